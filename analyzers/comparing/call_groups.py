"""Kinds of calls: what operands and arguments they had, and what their data was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import polars as pl

from ..rules.call import FLAGGED

Signatures = Mapping[tuple[int, int], Mapping[str, Any]]
"""Rows of `signatures` by rank and number."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operands:
    """The tensors that one argument takes or one result gives: several for a list.

    Attributes:
        name: of the argument in the op's schema; "out" for a result without a name.
        shapes: their shapes.
        dtypes: their distinct element types.
    """

    name: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]

    def text(self) -> str:
        """Return the shape as people write it: 64x3x3x3."""
        if len(self.shapes) != 1:
            return f"{len(self.shapes)} tensors of {sum(map(prod, self.shapes))} elements"
        return "x".join(map(str, self.shapes[0])) or "scalar"


@dataclass
class Kind:
    """Calls alike in operands and arguments.

    Attributes:
        reads: operands by name.
        writes: results by name.
        arguments: the other arguments, as JSON.
        calls: how many there were.
        weight: what they cost, to tell which kind matters most.
        spikes: operand -> calls in which it was spikes, and in which it was not.
        nonzero: operand -> nonzero elements and all elements, of the calls that were measured.
    """

    reads: dict[str, Operands]
    writes: dict[str, Operands]
    arguments: str
    calls: int = 0
    weight: int = 0
    spikes: dict[str, tuple[int, int]] = field(default_factory=dict)
    nonzero: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def form(self) -> tuple[Any, ...]:
        """What calls of one kind have in common."""
        return tuple(self.reads.values()), tuple(self.writes.values()), self.arguments


def signatures_of(frame: pl.DataFrame) -> Signatures:
    """Return the signatures of a trace by rank and number."""
    return {(row["rank"], row["signature_id"]): row for row in frame.iter_rows(named=True)}


def kinds_of(rows: Iterable[Mapping[str, Any]], signatures: Signatures) -> list[Kind]:
    """Return calls, as `tally` counts them with facts, as kinds, the weightiest first."""
    found: dict[Any, Kind] = {}
    for row in rows:
        signature = signatures[row["rank"], row["signature_id"]]
        operands = signature["operands"]
        new = Kind(_grouped(operands, "in"), _grouped(operands, "out"), signature["arguments"])
        kind = found.setdefault(new.form, new)
        kind.calls += row["calls"]
        kind.weight += row["flops"] or row["bytes"] or 0
        for operand in operands:
            slot = f"{operand['role']}{operand['slot']}"
            if slot in FLAGGED and operand["list_index"] is None:
                _add_facts(kind, _called(operand), operand["numel"], slot, row)
    return sorted(found.values(), key=lambda kind: (-kind.weight, -kind.calls))


def _grouped(operands: Sequence[Mapping[str, Any]], role: str) -> dict[str, Operands]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in operands:
        if each["role"] == role:
            groups.setdefault(_called(each), []).append(each)
    return {
        name: Operands(
            name,
            tuple(tuple(each["shape"] or ()) for each in group),
            tuple(sorted({each["dtype"] for each in group})),
        )
        for name, group in groups.items()
    }


def _called(operand: Mapping[str, Any]) -> str:
    other = "out" if operand["role"] == "out" else f"operand {operand['slot']}"
    return str(operand["name"] or other)


def _add_facts(kind: Kind, name: str, numel: int, slot: str, row: Mapping[str, Any]) -> None:
    calls = row["calls"]
    if (flag := row[f"{slot}_spikes"]) is not None:
        yes, no = kind.spikes.get(name, (0, 0))
        kind.spikes[name] = (yes + calls, no) if flag else (yes, no + calls)
    measured = calls - row[f"{slot}_nonzero_unknown"]
    if measured and numel:
        some, whole = kind.nonzero.get(name, (0, 0))
        kind.nonzero[name] = some + row[f"{slot}_nonzero"], whole + numel * measured
