"""`opjoule list`: the traces in a folder, what each is of and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.answers.page import Column
from ..analyzers.units import bytes_text, count_text, number_text
from . import options, reading
from .tables import Reply

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Trace

_COLUMNS = (
    Column("trace", "trace", left=True, style="bold"),
    Column("status", "status", left=True),
    Column("model", "model", left=True, optional=2),
    Column("samples", "samples", count_text),
    Column("calls", "calls", count_text),
    Column("bytes", "size", bytes_text, optional=1),
    Column("recorded", "recorded", left=True),
)
_NAMED = 3
"""So many models of a trace are named."""


@click.command("list", short_help="The traces in a folder: status, model, samples, calls, when.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"), metavar="[DIR]")
@options.answers
def list(folder: Path, reply: Reply) -> None:
    """List the traces in DIR and in the folders below it; by default in runs.

    A trace that is not whole is listed with what is known of it, and stderr says why.
    """
    with reading.working("reading traces"):
        frame = _listed(folder)
    why = [*frame["why"].drop_nulls()]
    reply.listing(frame, _COLUMNS, why)


def _listed(folder: Path) -> pl.DataFrame:
    """Return a row for each trace in a folder.

    Raises:
        TraceError: there is no such folder, or no trace in it.
    """
    import polars as pl

    from ..analyzers.progress import tracked
    from ..analyzers.trace.manifests import DEPTH, is_trace, traces_in
    from ..schemas import TraceError

    if not folder.is_dir():
        raise TraceError(f"{folder}: no such folder; name one that holds traces.")
    found = [folder] if is_trace(folder) else [*traces_in(folder)]
    if not found:
        raise TraceError(
            f"{folder} holds no traces (looked {number_text(DEPTH, 'folder')} deep): "
            "opjoule record SCRIPT writes one."
        )
    schema = {
        "trace": pl.String, "status": pl.String, "model": pl.String, "samples": pl.Int64,
        "calls": pl.Int64, "bytes": pl.Int64, "recorded": pl.String, "why": pl.String,
    }  # fmt: skip
    rows = [{"trace": str(path), **_described(path)} for path in tracked(found)]
    return pl.DataFrame(rows, schema=schema)


def _described(path: Path) -> dict[str, Any]:
    """Return what is known of one trace; what is not is left out."""
    from ..analyzers import open_trace
    from ..schemas import TraceError

    try:
        return {"status": "complete", **_held(open_trace(path))}
    except TraceError as error:
        why = str(error)
    try:
        if not _has_manifests(path):  # its files may still be written: they are not read
            return {"status": "unfinished", "why": why}
        trace = open_trace(path, partial=True)
    except TraceError:
        return {"status": "unreadable", "why": why}
    status = trace.manifest.status
    state = "incomplete" if status == "complete" else status
    return {"status": state, **_held(trace), "why": why}


def _has_manifests(path: Path) -> bool:
    from ..analyzers.trace.manifests import find_ranks
    from ..schemas import MANIFEST_NAME

    return all((each / MANIFEST_NAME).exists() for each in find_ranks(path).values())


def _held(trace: Trace) -> dict[str, Any]:
    from ..analyzers.workload.samples import samples_of
    from ..schemas import TraceError

    started = trace.manifest.started
    known = {
        "model": _models(trace.modules["path"]),
        "calls": sum(each.rows.get("calls", 0) for each in trace.manifests),
        "bytes": sum(part.bytes for each in trace.manifests for part in each.parts),
        "recorded": started[:16].replace("T", " ") or None,
    }
    try:
        return {**known, "samples": samples_of(trace).samples}
    except TraceError:  # of what was not recorded whole, a file may be missing
        return known


def _models(paths: Iterable[str]) -> str:
    roots = [*dict.fromkeys(path.partition(".")[0] for path in paths)]
    more = f" and {len(roots) - _NAMED} more" if roots[_NAMED:] else ""
    return ", ".join(roots[:_NAMED]) + more
