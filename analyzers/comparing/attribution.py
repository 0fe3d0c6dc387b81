"""What explains the change of a total: rows and their reasons, biggest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..checking.figures import ENERGY
from ..rules import PRODUCTS
from ..text import number
from .alignment import parent_of
from .call_groups import kinds_of, signatures_of
from .profiles import Side
from .reasons import reasons

if TYPE_CHECKING:
    from .compare import Comparison

STATIC = ("calls", "flops", "bytes")
"""Figures that what the operands held explains only if nothing else does."""

REPLACED = (*PRODUCTS, "cell", "norm", "norm backward", "pooling", "pooling backward", "optimizer")
"""Families of which one op of a module takes the place of another."""

_NAMED = 2
"""So many ops of a module that one side lacks are named."""

_Row = Mapping[str, Any]


def explained(comparison: Comparison, figure: str, why: Reasons) -> pl.DataFrame:
    """Return what changes a figure, with reasons; see `Comparison.changes`."""
    total = comparison.totals[figure].difference
    data = []
    for unit, rows in _units(comparison, _changing(comparison.rows, figure)).items():
        module, op, stage, mark = unit
        base, head, difference = (
            _sum(row[f"{figure}_{part}"] for row in rows) for part in ("base", "head", "difference")
        )
        if difference != 0:
            text = why.of_module(mark, rows) if stage is None else why.of_row(rows[0], figure)
            share = difference / total if total and difference is not None else None
            data.append((module, op, stage, mark, base, head, difference, share, text))
    data.sort(key=lambda row: (row[6] is not None, -abs(row[6] or 0)))
    whole = comparison.per == "total" and not figure.startswith(ENERGY)
    kind = pl.Int64 if whole else pl.Float64
    schema = {
        **dict.fromkeys(("module", "op", "stage", "mark"), pl.String),
        **dict.fromkeys(("base", "head", "difference"), kind),
        "share": pl.Float64,
        "reason": pl.String,
    }
    return pl.DataFrame(data, schema=schema, orient="row")


def _changing(rows: pl.DataFrame, figure: str) -> pl.DataFrame:
    """Return the rows that change a figure, or make it unknown."""
    base, head, difference = (pl.col(f"{figure}_{part}") for part in ("base", "head", "difference"))
    both_unknown = base.is_null() & head.is_null() & (pl.col("calls_difference") == 0)
    return rows.filter(pl.when(difference.is_null()).then(~both_unknown).otherwise(difference != 0))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


_Unit = tuple[str | None, str | None, str | None, str]


def _units(comparison: Comparison, rows: pl.DataFrame) -> dict[_Unit, list[_Row]]:
    """Group rows of modules that one side lacks under the topmost of them; all others alone."""
    tops = _tops(comparison)
    found: dict[_Unit, list[_Row]] = {}
    for row in rows.iter_rows(named=True):
        module, mark = row["module"], row["mark"]
        top = tops.get(module)
        unit = (module, row["op"], row["stage"], mark) if top is None else (top, None, None, mark)
        found.setdefault(unit, []).append(row)
    return found


def _tops(comparison: Comparison) -> dict[str, str]:
    """Return for each module that one side lacks the topmost one above it that it lacks too."""
    found: dict[str, str] = {}
    known = set(comparison.aligned), set(comparison.aligned.values())
    for side, paired in zip((comparison.base, comparison.head), known, strict=True):
        alone = {path for path in side.trace.modules["path"] if path not in paired}
        for path in alone:
            top = path
            while (above := parent_of(top)) in alone and above:
                top = above
            found[path] = top
    return found


class Reasons:
    """Why rows differ; the kinds of calls of each are looked up once."""

    def __init__(self, comparison: Comparison) -> None:
        sides = comparison.base, comparison.head
        names: tuple[Mapping[str, str], Mapping[str, str]] = comparison.aligned, {}
        self._kinds = [_by_place(side, named) for side, named in zip(sides, names, strict=True)]
        self._signatures = [signatures_of(side.trace.signatures) for side in sides]
        self._classes = _classes(sides[0], names[0]), _classes(sides[1], {})
        self._units = (sides[0].units("calls"), sides[1].units("calls"))

    def of_module(self, mark: str, rows: Sequence[_Row]) -> str:
        """Return what there is to say of a module that one side lacks, with all below it."""
        side = 1 if mark == "added" else 0
        of_one = sum(row["calls_head" if side else "calls_base"] for row in rows)
        calls = round(of_one * self._units[side])
        largest = sorted(rows, key=lambda row: -(row["flops_head"] or row["flops_base"] or 0))
        ops = list(dict.fromkeys(op_text(row["op"]) for row in largest if row["op"]))
        more = f" and {len(ops) - _NAMED} more" if ops[_NAMED:] else ""
        word = "new" if mark == "added" else "gone"
        return f"module is {word}: {number(calls, 'call')}, {', '.join(ops[:_NAMED])}{more}"

    def of_row(self, row: _Row, figure: str) -> str:
        """Return why a figure of a module's op differs."""
        changed = self._class(row["module"])
        if row["mark"] in ("added", "removed"):
            return "; ".join([*changed, self._of_op(row)])
        found = changed + self._of_calls(row, data=figure not in STATIC)
        if row[f"{figure}_difference"] is None:
            return "; ".join([*found, "not known on both sides: no rule or no statistics"])
        found = found or self._of_calls(row, data=True) or self._of_others(row)
        if found:
            return "; ".join(found)
        if figure.startswith(ENERGY):
            return "same calls, shapes and data here: its surroundings decide its cost"
        return "as many nonzero elements, in other places"

    def _of_op(self, row: _Row) -> str:
        """Tell of an op that a module has on one side only; name the one in its place."""
        added = row["mark"] == "added"
        here, there = (kinds.get(_place(row), {}) for kinds in self._kinds[:: -1 if added else 1])
        family = self._family(here.get(row["op"], []))
        ours, theirs = (
            [op for op, rows in ops.items() if op not in others and self._family(rows) == family]
            for ops, others in ((here, there), (there, here))
        )
        alone = len(ours) == len(theirs) == 1 and family in REPLACED
        instead = f", {'in place of' if added else 'now'} {op_text(theirs[0])}" if alone else ""
        return f"op is {'new' if added else 'gone'} here{instead}"

    @staticmethod
    def _family(rows: Sequence[_Row]) -> str | None:
        return rows[0]["family"] if rows else None

    def _class(self, module: str | None) -> list[str]:
        before, after = (classes.get(module or "") for classes in self._classes)
        return [f"{before} -> {after}"] if before and after and before != after else []

    def _of_calls(self, row: _Row, *, data: bool) -> list[str]:
        sides = [
            kinds_of(kinds.get(_place(row), {}).get(row["op"], []), signatures)
            for kinds, signatures in zip(self._kinds, self._signatures, strict=True)
        ]
        return reasons(*sides, data=data, units=self._units) if all(sides) else []

    def _of_others(self, row: _Row) -> list[str]:
        """Return why the module's other ops in that stage differ: the largest that does."""
        ops = self._kinds[1].get(_place(row), {})
        for op in sorted(ops, key=lambda op: -sum(each["flops"] or 0 for each in ops[op])):
            if op != row["op"] and (found := self._of_calls({**row, "op": op}, data=True)):
                return [f"{op_text(op)}: {found[0]}", *found[1:]]
        return []


def op_text(op: str | None) -> str:
    """Return an op without the overload that says nothing."""
    return (op or "").removesuffix(".default")


_Place = tuple[str | None, str]


def _place(row: _Row) -> _Place:
    return row["module"], row["stage"]


def _by_place(side: Side, names: Mapping[str, str]) -> dict[_Place, dict[str, list[_Row]]]:
    """Return the kinds of calls by module and stage, then by op."""
    found: dict[_Place, dict[str, list[_Row]]] = {}
    for row in side.kinds.with_columns(pl.col("module").replace(dict(names))).iter_rows(named=True):
        found.setdefault(_place(row), {}).setdefault(row["op"], []).append(row)
    return found


def _classes(side: Side, names: Mapping[str, str]) -> dict[str, str]:
    modules = side.trace.modules.select("path", "class").iter_rows()
    return {names.get(path, path): kind.rpartition(".")[2] for path, kind in modules}
