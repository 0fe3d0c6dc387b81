"""`opjoule info`: what was recorded, where, when, from which commit, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.answers.page import Column
from ..analyzers.units import bytes_text, count_text, number_text
from . import options, tables, terminal
from .contents import content_lines, contents
from .reading import Source
from .tables import Reply

if TYPE_CHECKING:
    from ..analyzers import Trace
    from ..schemas import Manifest
    from ..schemas.manifest import Hidden

Fact = tuple[str, list[str]]
"""A heading and its lines; without lines there is nothing to say."""


@click.command(short_help="What was recorded, where, when, from which commit.")
@options.reads_trace
@options.answers
def info(source: Source, reply: Reply) -> None:
    """Tell what TRACE holds, how it was made, what was hidden and what is not the same to the bit.

    Of a recording that is not whole it tells what can be read, and what not. --where narrows what
    is told of calls, not what is told of the recording.
    """
    opened = _opened(source)
    held = contents(opened)
    if reply.kind == "json":
        return tables.text(tables.as_json(_data(opened) | {"contents": held}), reply.output)
    facts = [*_made(opened), *content_lines(held), *_missing(opened)]
    if reply.kind == "table":
        return tables.text(_listing(facts), reply.output)
    rows = [(name, text) for name, texts in facts for text in texts]
    return _tabled(rows, reply)


def _opened(source: Source) -> Trace:
    """Open a trace, and one that is not whole as with --partial."""
    from ..schemas import TraceError

    try:
        return source.opened()
    except TraceError as error:
        try:
            return source._replace(partial=True).opened()
        except TraceError:
            raise error from None


def _data(trace: Trace) -> dict[str, Any]:
    """Return the manifest of the lowest rank, and those of all if there are several."""
    ranks = [manifest.to_dict() for manifest in trace.manifests]
    several = {"ranks": ranks} if len(ranks) > 1 else {}
    return {
        "path": str(trace.path),
        **ranks[0],
        **several,
        "filters": list(trace.filters),
        **({"assumed": list(trace.assumed)} if trace.assumed else {}),
        **({"partial": trace.left_out} if trace.left_out else {}),
    }


def _listing(facts: Iterable[Fact]) -> str:
    """Return facts as text, a heading once for all its lines."""
    said = [(name, texts) for name, texts in facts if texts]
    width = max(len(name) for name, _ in said)
    return "".join(
        terminal.wrapped(f"{'' if place else name:<{width}}  {text}", " " * (width + 2))
        for name, texts in said
        for place, text in enumerate(texts)
    )


def _tabled(rows: Sequence[tuple[str, str]], reply: Reply) -> None:
    """Answer with facts one row a line."""
    import polars as pl

    frame = pl.DataFrame(rows, schema={"what": pl.String, "text": pl.String}, orient="row")
    return reply.listing(frame, [Column(name, name, left=True) for name in frame.columns])


def _made(trace: Trace) -> Iterator[Fact]:
    """Yield how the trace was made."""
    manifest, ranks = trace.manifest, trace.manifests
    sizes = [part.bytes for each in ranks for part in each.parts] or _sizes_of_files(trace)
    state = f"format {manifest.format_version}, {manifest.status}"
    yield "trace", [f"{trace.path} ({state})"]
    yield (
        "size",
        [f"{bytes_text(sum(sizes))} in {number_text(len(sizes), 'file')}"],
    )
    if manifest.failure is not None:
        yield "ended by", [f"{manifest.failure.type}: {manifest.failure.message}"]
    by = f" by opjoule {manifest.opjoule_version}" if manifest.opjoule_version else ""
    if manifest.started:
        yield "recorded", [f"{manifest.started} to {manifest.ended}{by}"]
    if manifest.world_size > 1:
        read = ", ".join(str(each.rank) for each in ranks)
        yield "ranks", [f"{read} of {manifest.world_size}"]
    yield "command", [" ".join(manifest.command)] if manifest.command else []
    yield "code", [_code(manifest)]
    yield from _environment(manifest)
    yield "seed", [str(manifest.seed)] if manifest.seed is not None else []
    yield "steps", [count_text(manifest.steps)] if manifest.status != "unfinished" else []
    yield "statistics", [_statistics(manifest)]
    prints = manifest.fingerprint
    named = [("inputs", prints.inputs), ("parameters", prints.parameters)]
    yield "fingerprint", [f"{name} {value}" for name, value in named if value]
    tables_of = {name: sum(each.rows.get(name, 0) for each in ranks) for name in manifest.rows}
    rows = ", ".join(f"{name} {count:,}" for name, count in tables_of.items())
    yield "rows", [rows] if rows else []
    if trace.filters:
        yield "narrowed by", [", ".join(trace.filters)]


def _sizes_of_files(trace: Trace) -> list[int]:
    """Return the bytes of each file of a recording that was killed before it could list them."""
    return [file.stat().st_size for file in trace.path.rglob("*.parquet")]


def _missing(trace: Trace) -> Iterator[Fact]:
    """Yield what was not seen or is not exact."""
    ranks = trace.manifests
    yield "not seen", _listed(ranks, [each.hidden for each in ranks])
    yield "not bit-equal", _listed(ranks, [each.inexact for each in ranks])
    yield "assumed", list(trace.assumed)
    yield "read", [trace.left_out] if trace.left_out else []
    yield "note", list(dict.fromkeys(note for each in ranks for note in each.notes))


def _listed(ranks: Sequence[Manifest], found: Sequence[Sequence[Hidden]]) -> list[str]:
    several = len(ranks) > 1
    return [
        f"{f'rank {rank.rank}: ' if several else ''}{h.what}: {h.why} "
        f"({number_text(h.calls, 'call')})"
        for rank, hidden in zip(ranks, found, strict=True)
        for h in hidden
    ]


def _code(manifest: Manifest) -> str:
    revision = manifest.revision
    if revision.commit is None:
        return "no git revision"
    branch = f" on {revision.branch}" if revision.branch else ""
    dirty = ", with uncommitted changes" if revision.dirty else ""
    return f"commit {revision.commit}{branch}{dirty}"


def _statistics(manifest: Manifest) -> str:
    how = manifest.environment.statistics
    return f"{manifest.statistics}, counted by {how}" if how else manifest.statistics


def _environment(manifest: Manifest) -> Iterator[Fact]:
    made = manifest.environment
    packages = ", ".join(f"{name} {version}" for name, version in sorted(made.packages.items()))
    python = f"Python {made.python} on {made.platform}" if made.python else ""
    yield "with", [text for text in (python, packages) if text]
    yield (
        "device",
        [f"{d.name} ({d.model}{f', driver {d.driver}' if d.driver else ''})" for d in made.devices],
    )
