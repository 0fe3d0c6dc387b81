"""A recorded trace, opened: its tables as frames, checked and narrowed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ...schemas import MANIFEST_NAME, PART_TABLES, STATIC_TABLES, Manifest, TraceError
from ...schemas.several import texts
from ..answers import html, table
from ..answers.page import Column, Page, Sheet
from ..units import number_text
from .assumptions import assuming
from .checks import check_static
from .files import (
    Checked,
    Found,
    Identity,
    check_unchanged,
    collected,
    files_of,
    missing_calls,
    readable_files,
    scan,
)
from .filters import CHOOSING, Filter, parse_filters
from .held import held, held_tables
from .manifests import check_ranks, ending, find_ranks, read_manifest
from .suggestions import refuse_nothing


@dataclass(frozen=True, eq=False)
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
        assumed: what is assumed of data that was not measured, a line for each; see `assuming`.
        conditions: what `calls` were filtered by since the trace was opened (null of a call whose
            columns do not tell); None: other changes were made to them.
        untold: those of `calls` for which `conditions` are null; None: there are none.
        sample_calls: `module_calls` without the filters on modules, ops and stages: what tells
            batch and time steps of a sample, whichever of its modules are left.
        identities: what each file was as the trace was opened, without those that are in memory;
            see `files.collected`.
        in_memory: all its tables are, see `held`.
        alike: by static table, ranks -> the first rank of which the table is the same.
        left_out: if it was opened with `partial`, what was read and what not, in words; else None.
        opened: the trace that this one was narrowed from, or None.
        wide: the trace without its filters on modules and ops; None: it has none, or what they
            leave was changed since.
        facts: what was derived from the whole trace once, by name: see `workload`.
        own: what was derived from this trace as it is narrowed once, by name.
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
    identities: Mapping[Path, Identity] = field(default_factory=dict, repr=False, compare=False)
    alike: Mapping[str, Mapping[int, int]] = field(default_factory=dict, repr=False, compare=False)
    in_memory: bool = False
    left_out: str | None = None
    assumed: tuple[str, ...] = ()
    conditions: tuple[pl.Expr, ...] | None = field(default=(), repr=False, compare=False)
    untold: pl.LazyFrame | None = field(default=None, repr=False, compare=False)
    opened: Trace | None = field(default=None, repr=False, compare=False)
    wide: Trace | None = field(default=None, repr=False, compare=False)
    facts: dict[Any, Any] = field(init=False, repr=False, compare=False)
    own: dict[Any, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", self.opened.facts if self.opened else {})
        object.__setattr__(self, "own", {})

    def _page(self) -> Page:
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
        notes += [*([self.left_out] if self.left_out else []), *self.assumed]
        columns = [Column(name, name, left=True) for name in frame.columns]
        return Page((Sheet(frame, columns),), title=str(self.path), notes=notes)

    def __repr__(self) -> str:
        return table.brief(self._page())

    def _repr_html_(self) -> str:
        return html.written(self._page())

    @property
    def whole(self) -> Trace:
        """The trace as it was opened, before it was narrowed."""
        return self.opened or self

    @property
    def unchosen(self) -> Trace:
        """The trace without its filters on modules and ops, which choose among what is charged."""
        return self.wide or self

    @property
    def of_every_op(self) -> bool:
        """Whether no filter on ops narrows it.

        What is of no op, the updates of neurons and the steps of optimizers that estimators charge
        as a whole, is no part of some ops.
        """
        return all(each.field != "op" for each in parse_filters(self.filters))

    def with_tables(self, **tables: Any) -> Trace:
        """Return the trace with other tables; `whole` and `facts` stay those of the opened one."""
        if "calls" in tables:
            tables.setdefault("conditions", None)
            tables.setdefault("untold", None)
        tables.setdefault("wide", None)
        return replace(self, opened=self.whole, **tables)

    def with_calls(self, condition: pl.Expr, **tables: Any) -> Trace:
        """Return the trace with the calls that fit a condition, and other tables."""
        conditions = None if self.conditions is None else (*self.conditions, condition)
        untold = None if self.untold is None else self.untold.filter(condition)
        calls = self.calls.filter(condition)
        return self.with_tables(calls=calls, conditions=conditions, untold=untold, **tables)

    def kept(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Trace | None] | None:
        """Return rows that stand for calls, without those that the trace was narrowed by.

        Args:
            rows: calls of the whole trace or groups of them, with some of the columns of `calls`.

        Returns:
            The rows that are in the trace for certain, and the trace of the calls that other rows
            stand for, which were told apart one by one (None: there are none); or None if the
            columns do not tell.
        """
        conditions = self.conditions
        if conditions is None or not {
            name for each in conditions for name in each.meta.root_names()
        } <= set(rows.columns):
            return None
        told = rows.with_columns(pl.all_horizontal(pl.lit(True), *conditions).alias("kept"))["kept"]
        if not told.null_count():
            return rows.filter(told), None
        if self.untold is None:
            return None
        rest = self.with_tables(calls=self.untold, untold=self.untold)
        return rows.filter(told), rest

    def where(self, *filters: str) -> Trace:
        """Return the trace with only the calls, module calls and optimizer steps that fit.

        Args:
            *filters: see `where.parse_filters`; all of them have to hold.

        Raises:
            ConfigError: a filter means nothing, or names a module that is not there.
        """
        known: dict[tuple[str, ...], Trace] = self.own.setdefault("where", {})
        if filters not in known:
            if len(known) >= _MOST_PARTS:
                known.pop(next(iter(known)))
            known[filters] = self._where(filters)
        return known[filters]

    def _where(self, filters: tuple[str, ...]) -> Trace:
        parsed: Sequence[Filter] = parse_filters(filters)
        trace = self
        for each in parsed:
            trace = trace.with_calls(
                each.of_calls(self),
                module_calls=trace.module_calls.filter(each.of_module_calls(self)),
                sample_calls=trace.sample_calls
                if each.field in (*CHOOSING, "stage")
                else trace.sample_calls.filter(each.of_module_calls(self)),
                optimizer_steps=trace.optimizer_steps.filter(each.of_optimizer_steps()),
            )
        rest = [each.text for each in parsed if each.field not in CHOOSING]
        wide = self.wide if len(rest) == len(parsed) else self.unchosen
        if wide is not None and rest:
            wide = wide.where(*rest)
        return trace.with_tables(filters=(*self.filters, *filters), wide=wide)

    def assuming(self, *assumptions: str) -> Trace:
        """Return the trace as if what was not measured were what is assumed.

        Args:
            *assumptions: "dense" (no element is zero), "spikes=0.1" (what leaves neurons is
                spikes, a tenth of them ones) or "spikes=0.1@GLOB" (what enters the products of the
                modules that fit); what none of them speaks of is dense.

        Raises:
            ConfigError: an assumption means nothing, or speaks of no tensor of the trace.
        """
        found = assuming(self.whole, assumptions)
        return found.where(*self.filters) if self.filters else found


_MOST_PARTS = 8
"""Narrowed traces that are kept, with what was derived from them: every estimator asks for one."""


def open_trace(
    path: str | os.PathLike[str], partial: bool = False, rank: int | None = None
) -> Trace:
    """Open a trace: its manifest, version, parts, columns and checksums are checked.

    Args:
        path: its directory, or the directory of one rank.
        partial: also read what an aborted or killed recording left; what of it cannot be read is
            left out, and every answer says so.
        rank: one rank only; None: all.

    Raises:
        TraceVersionError: it is of a format that this opjoule does not read.
        TraceError: it is no trace, not whole, damaged, or has no such rank.
    """
    path = Path(path)
    for moment in _MOMENTS_S:
        before = _looks(path)
        try:
            return _open(path, partial, rank)
        except TraceError:
            if before is None or _looks(path) == before:
                raise
        time.sleep(moment)  # it was replaced meanwhile: the new one may not be in its place yet
    raise TraceError(f"{path} was replaced again and again while it was read: open it again.")


_MOMENTS_S = (0.05, 0.1, 0.2, 0.4)
"""How long to wait after each time that a trace was replaced while it was opened."""


def _looks(path: Path) -> tuple[tuple[int, int], ...] | None:
    """Return what tells whether a trace was replaced: of its directory, and of its manifests."""
    try:
        files = (path, *path.glob(MANIFEST_NAME), *path.glob(f"rank=*/{MANIFEST_NAME}"))
        return tuple((found.st_ino, found.st_mtime_ns) for found in map(os.stat, files))
    except (OSError, ValueError):
        return None


def _open(path: Path, partial: bool, rank: int | None) -> Trace:
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
    checked = Checked(held_tables([*found.values()]))
    opened = [(told, _files(folders[each], told, checked)) for each, told in found.items()]
    return _joined(path, opened, checked.held, partial=partial)


def _files(folder: Path, manifest: Manifest, checked: Checked) -> Found:
    if manifest.parts or manifest.status != "unfinished":
        return files_of(folder, manifest, checked)
    return readable_files(folder)


class _Opening(NamedTuple):
    """A trace of which the static tables are read."""

    path: Path
    identities: Mapping[Path, Identity]
    in_memory: bool = False


def _joined(
    path: Path, ranks: Iterable[tuple[Manifest, Found]], at_once: Set[str], *, partial: bool
) -> Trace:
    known = sorted(ranks, key=lambda pair: pair[0].rank)
    identities = {file: seen for _, found in known for file, seen in found.identities.items()}
    opening = _Opening(path, {})  # the files are compared once, when all is read

    of_rank = {each.rank: found for each, found in known}
    tables = {
        name: held(of_rank, name, opening).lazy()
        if name in at_once
        else scan({rank: found.files[name] for rank, found in of_rank.items()}, name)
        for name in PART_TABLES
    }
    twins = {name: _twins(known, name) for name in STATIC_TABLES}
    once = {
        name: collected(scan({first: files for first, (files, _) in found.items()}, name), opening)
        for name, found in twins.items()
    }
    check_unchanged(_Opening(path, identities))
    check_static(path, **once)
    static = {name: _of_all(once[name], found) for name, found in twins.items()}
    told = None
    for manifest, found in known:
        gap = missing_calls(found)
        if gap and manifest.status == "complete":
            raise TraceError(f"{found.path} is damaged: {gap}.")
    if partial:
        told = _left_out(known)
    over = {file for _, found in known for name in at_once for file in found.files[name]}
    over |= {file for _, found in known for name in STATIC_TABLES for file in found.files[name]}
    return Trace(
        path=path,
        manifest=known[0][0],
        manifests=tuple(manifest for manifest, _ in known),
        identities={file: seen for file, seen in identities.items() if file not in over},
        in_memory=at_once == {*PART_TABLES},
        alike={name: _first_of(found) for name, found in twins.items()},
        left_out=told,
        signatures=static["signatures"],
        modules=static["modules"],
        optimizer_steps=static["optimizer_steps"],
        calls=tables["calls"],
        call_operands=tables["call_operands"],
        values=tables["values"],
        module_calls=tables["module_calls"],
        sample_calls=tables["module_calls"],
    )


_Twins = dict[int, tuple[list[Path], list[int]]]
"""By the first of ranks with an equal static table its files, and all of these ranks."""


def _twins(ranks: Iterable[tuple[Manifest, Found]], name: str) -> _Twins:
    """Return which ranks have an equal static table, by checksum; those without one stand alone."""
    found: dict[object, tuple[list[Path], list[int]]] = {}
    for manifest, files in ranks:
        sums = [part.checksum for part in manifest.parts if part.table == name]
        key = sums[0] if sums else manifest.rank
        found.setdefault(key, (files.files[name], []))[1].append(manifest.rank)
    return {alike[0]: (files, alike) for files, alike in found.values()}


def _first_of(twins: _Twins) -> dict[int, int]:
    return {rank: first for first, (_, alike) in twins.items() for rank in alike}


def _of_all(once: pl.DataFrame, twins: _Twins) -> pl.DataFrame:
    """Return a static table of all ranks, of which equal ones were read once and are held once."""
    first = _first_of(twins)
    if len(first) == len(twins):
        return once
    frames = {rank: once.filter(pl.col("rank") == rank).drop("rank") for rank in twins}
    ranks = sorted(rank for rank in first if frames[first[rank]].height)
    if not ranks:
        return once
    repeated = pl.concat([frames[first[rank]] for rank in ranks])
    heights = [frames[first[rank]].height for rank in ranks]
    numbers = pl.Series("rank", ranks, dtype=pl.Int32).repeat_by(pl.Series(heights)).explode()
    whole = repeated.insert_column(once.get_column_index("rank"), numbers)
    return whole.rechunk() if whole.estimated_size() < _MOST_COPIED else whole


_MOST_COPIED = 1 << 26
"""Bytes of a static table of all ranks that is copied into one piece, on which steps are faster."""


def _left_out(ranks: Iterable[tuple[Manifest, Found]]) -> str:
    """Return what is read of a trace that need not be whole, and what not."""
    ranks = list(ranks)
    faults: list[str] = []
    for manifest, found in ranks:
        faults += found.left_out
        if (gap := missing_calls(found)) is not None:
            faults.append(f"{found.path}: {gap}")
        if manifest.status != "complete":
            faults.append(f"what followed, in its last step too ({ending(manifest)})")
    present = len(ranks)
    if present < (size := max(manifest.world_size for manifest, _ in ranks)):
        faults.append(f"{size - present} of {size} ranks")
    rows = sum(found.calls for _, found in ranks)
    left = "; ".join(dict.fromkeys(faults)) or "nothing"
    return f"partial: {number_text(rows, 'call')} read, left out: {left}"


def narrowed(
    trace: Trace | str | os.PathLike[str],
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
) -> Trace:
    """Return a trace, opened if it is told by its directory, narrowed by one filter or several.

    Before that, what was not measured may be assumed, see `Trace.assuming`.

    Raises:
        TraceError: the trace cannot be read.
        ConfigError: a filter or an assumption means nothing, or no call fits.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    if assume:
        opened = opened.assuming(*texts(assume))
    if not where:
        return opened
    filters = texts(where)
    refuse_nothing(opened, filters)
    return opened.where(*filters)
