"""A recorded trace, opened: its tables as frames, checked and narrowed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from ...schemas import Manifest, TraceError
from ..display import View, as_html, as_lines
from .files import Files, collected, files_of, readable_files, scan
from .filters import Filter, parse_filters
from .manifests import check_ranks, find_ranks, read_manifest


@dataclass(frozen=True)
class Trace:
    """The tables of a trace. Every one has a `rank` column (int32): ids are unique in a rank only.

    Attributes:
        path: the directory that was opened.
        manifest: of the lowest rank that was opened.
        manifests: of every rank that was opened.
        signatures: each distinct call once.
        modules: the module tree.
        optimizer_steps: one row for each optimizer step and parameter group.
        calls: one row for each dispatched call.
        call_operands: operands past the third and results past the first.
        values: one row for each tensor value.
        module_calls: one row for each call of a module.
        filters: the filters that the trace was narrowed by.
        sample_calls: `module_calls` without the filters on modules, ops and stages: what tells
            batch and time steps of a sample, whichever of its modules are left.
        opened: the trace that this one was narrowed from, or None.
        facts: what was derived from the whole trace once, by name: see `workload`.
    """

    path: Path
    manifest: Manifest
    manifests: tuple[Manifest, ...]
    signatures: pl.DataFrame
    modules: pl.DataFrame
    optimizer_steps: pl.DataFrame
    calls: pl.LazyFrame
    call_operands: pl.LazyFrame
    values: pl.LazyFrame
    module_calls: pl.LazyFrame
    sample_calls: pl.LazyFrame
    filters: tuple[str, ...] = ()
    opened: Trace | None = field(default=None, repr=False, compare=False)
    facts: dict[Any, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", self.opened.facts if self.opened else {})

    def _view(self) -> View:
        first = self.manifest
        rows = sum(manifest.rows.get("calls", 0) for manifest in self.manifests)
        figures = {
            "status": first.status,
            "calls": f"{rows:,}",
            "modules": f"{self.modules.height:,}",
            "steps": f"{first.steps:,}",
            "ranks": str(len(self.manifests)),
            "statistics": first.statistics,
        }
        frame = pl.DataFrame({"": list(figures), "trace": list(figures.values())})
        notes = [f"narrowed by {', '.join(self.filters)}"] if self.filters else []
        return View(str(self.path), frame, notes)

    def __repr__(self) -> str:
        return as_lines(self._view())

    def _repr_html_(self) -> str:
        return as_html(self._view())

    @property
    def whole(self) -> Trace:
        """The trace as it was opened, before it was narrowed."""
        return self.opened or self

    def with_tables(self, **tables: Any) -> Trace:
        """Return the trace with other tables; `whole` and `facts` stay those of the opened one."""
        return replace(self, opened=self.whole, **tables)

    def where(self, *filters: str) -> Trace:
        """Return the trace with only the calls, module calls and optimizer steps that fit.

        Args:
            *filters: see `where.parse_filters`; all of them have to hold.

        Raises:
            ConfigError: a filter means nothing, or names a module that is not there.
        """
        parsed: Sequence[Filter] = parse_filters(filters)
        trace = self
        for each in parsed:
            trace = trace.with_tables(
                calls=trace.calls.filter(each.of_calls(self)),
                module_calls=trace.module_calls.filter(each.of_module_calls(self)),
                sample_calls=trace.sample_calls
                if each.field in ("module", "op", "stage")
                else trace.sample_calls.filter(each.of_module_calls(self)),
                optimizer_steps=trace.optimizer_steps.filter(each.of_optimizer_steps()),
            )
        return trace.with_tables(filters=(*self.filters, *filters))


def open_trace(
    path: str | os.PathLike[str], partial: bool = False, rank: int | None = None
) -> Trace:
    """Open a trace: its manifest, version, parts, columns and checksums are checked.

    Args:
        path: its directory, or the directory of one rank.
        partial: also read what an aborted or killed recording left; files of a killed one that
            cannot be read are left out and told in the manifest's notes.
        rank: one rank only; None: all.

    Raises:
        TraceVersionError: it is of a format that this opjoule does not read.
        TraceError: it is no trace, not whole, damaged, or has no such rank.
    """
    path = Path(path)
    folders = find_ranks(path)
    if rank is not None and None not in folders:
        if rank not in folders:
            known = ", ".join(str(each) for each in folders)
            raise TraceError(f"{path} has no rank {rank}; it has {known}.")
        folders = {rank: folders[rank]}
    found = {each: read_manifest(folder, partial=partial) for each, folder in folders.items()}
    if rank is None:
        check_ranks(path, found, partial=partial)
    elif None in found and found[None].rank != rank:
        raise TraceError(f"{path} has no rank {rank}; it is of rank {found[None].rank}.")
    opened = [_opened(folders[each], manifest) for each, manifest in found.items()]
    return _joined(path, opened)


def _opened(folder: Path, manifest: Manifest) -> tuple[Manifest, Files]:
    if manifest.parts or manifest.status != "unfinished":
        return manifest, files_of(folder, manifest)
    files, notes = readable_files(folder)
    return manifest.model_copy(update={"notes": [*manifest.notes, *notes]}), files


def _joined(path: Path, ranks: Iterable[tuple[Manifest, Files]]) -> Trace:
    known = sorted(ranks, key=lambda pair: pair[0].rank)

    def table(name: str) -> pl.LazyFrame:
        return pl.concat([scan(files[name], name, manifest.rank) for manifest, files in known])

    return Trace(
        path=path,
        manifest=known[0][0],
        manifests=tuple(manifest for manifest, _ in known),
        signatures=collected(table("signatures"), path),
        modules=collected(table("modules"), path),
        optimizer_steps=collected(table("optimizer_steps"), path),
        calls=table("calls"),
        call_operands=table("call_operands"),
        values=table("values"),
        module_calls=table("module_calls"),
        sample_calls=table("module_calls"),
    )


def narrowed(
    trace: Trace | str | os.PathLike[str], where: str | Sequence[str] | None = None
) -> Trace:
    """Return a trace, opened if it is told by its directory, narrowed by one filter or several."""
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    if not where:
        return opened
    return opened.where(*([where] if isinstance(where, str) else where))
