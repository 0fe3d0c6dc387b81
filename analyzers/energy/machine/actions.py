"""Action counts of a machine's terms: how many of what, before anything is priced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ....schemas.costs.machine import Machine, Term
from ....schemas.quantities import QUANTITIES
from ...frames import added_up
from ...trace.filters import parse_filters
from ..row_keys import KEYS, KINDS, key_columns
from .tables import BYTES, Tables

if TYPE_CHECKING:
    from ...trace.trace import Trace

CAPACITY = "capacity_bytes"
"""Size of the memory that a row's action meets; null: it does not matter."""

_TAKES_CALLS = ("calls", "layers", "effective", "traffic")


class Asked(NamedTuple):
    """What is counted: terms that ask for the same share their counts.

    Attributes:
        quantity: names of quantities, added up.
        where: filters.
        of: layers, neurons, others or all.
        kind: of value.
        measure: one (how many) or bytes (at the recorded dtype).
        by_weights: told apart by the bytes of the layer's weights.
        weight_bits: width of the weights that fill a memory; None: as recorded.
        cores: outputs that a core holds.
    """

    quantity: tuple[str, ...]
    where: tuple[str, ...] = ()
    of: str = "all"
    kind: str | None = None
    measure: str = "one"
    by_weights: bool = False
    weight_bits: int | None = None
    cores: int | None = None


@dataclass(frozen=True)
class Counted:
    """What was counted for a term.

    Attributes:
        rows: `KEYS`, `CAPACITY` and `count`; known ones above 0.
        sums: `CAPACITY` and `count`, of all rows.
        matched: calls that the filters fit.
        unknown: calls among them of which a quantity is not known.
        known: calls of which it is.
    """

    rows: pl.DataFrame
    sums: tuple[tuple[float | None, int], ...]
    matched: int
    unknown: int
    known: int

    @property
    def total(self) -> int:
        """All that was counted."""
        return sum(count for _, count in self.sums)


@dataclass
class Actions:
    """Counts of one part of a trace, each made once.

    Attributes:
        part: the trace.
        tables: its tables.
        whole: the trace that it is the inference of; itself, where it is not of inference alone.
    """

    part: Trace
    tables: Tables
    whole: Trace
    _known: dict[Asked, Counted] = field(default_factory=dict)
    _rows: dict[tuple[str, Asked], pl.DataFrame] = field(default_factory=dict)

    def by(self, keys: Sequence[str]) -> Actions:
        """Return the same actions, told apart by some of `KEYS` and by what filters name."""
        tables = copy(self.tables)
        tables.keys, tables.made = told_apart(keys, tables.fields), {}
        return Actions(self.part, tables, self.whole)

    def of(self, asked: Asked) -> Counted:
        """Return what is counted."""
        if asked not in self._known:
            self._known[asked] = self._counted(asked)
        return self._known[asked]

    def on(self, machine: Machine) -> dict[str, Counted]:
        """Return the counts of the terms of a machine that speak of this network, by name."""
        return {
            name: self.of(asked_of(term, machine))
            for name, term in machine.term.items()
            if term.network in ("both", self.tables.network)
        }

    def _counted(self, asked: Asked) -> Counted:
        parts, matched, unknown = [], 0, 0
        for name in asked.quantity:
            rows = self.rows(name, asked)
            matched += int(rows["calls"].sum())
            unknown += int(rows["calls"].filter(rows["count"].is_null()).sum())
            counted = rows.filter(pl.col("count") > 0)
            parts.append(counted.select(*key_columns(counted), CAPACITY, "count"))
        keys = [*KEYS, CAPACITY]
        rows = pl.concat(parts).group_by(keys, maintain_order=True).agg(added_up(pl.col("count")))
        sums = rows.group_by(CAPACITY).agg(added_up(pl.col("count"))).sort(CAPACITY)
        return Counted(rows, tuple(sums.rows()), matched, unknown, matched - unknown)

    def rows(self, name: str, asked: Asked) -> pl.DataFrame:
        """Return the rows that fit, with `count` and `CAPACITY`."""
        if (name, asked) not in self._rows:
            self._rows[name, asked] = self._made(name, asked)
        return self._rows[name, asked]

    def _made(self, name: str, asked: Asked) -> pl.DataFrame:
        table = self.tables.of(QUANTITIES[name].source)
        held = self.fitting(table, name, asked)
        if name == "input_events":
            value = pl.col("spikes_in") * _cores(asked.cores)
        elif asked.measure == "bytes" and not name.startswith("bytes_"):
            value = pl.col(name + BYTES) if name + BYTES in table.columns else pl.lit(None)
        else:
            value = pl.col(name)
        return held.with_columns(
            count=value.cast(pl.Int64), **{CAPACITY: _capacity(asked).cast(pl.Float64)}
        )

    def fitting(self, table: pl.DataFrame, name: str, asked: Asked) -> pl.DataFrame:
        """Return the rows of a table that the filters of a term fit."""
        conditions = []
        if asked.of != "all":
            conditions.append(pl.col("of") == asked.of)
        if asked.kind is not None:
            conditions.append((pl.col("kind") == asked.kind).fill_null(False))
        source = QUANTITIES[name].source
        for each in parse_filters(asked.where):
            if not each.knows(self.part):  # a machine is for many traces: it is warned of
                conditions.append(pl.lit(False))
            elif source in _TAKES_CALLS:
                conditions.append(each.of_calls(self.part))
            elif source in ("neurons", "states"):
                conditions.append(each.of_neurons(self.part))
            elif source == "optimizer":
                conditions.append(each.of_optimizer_steps())
            elif each.field in ("step", "label", "rank"):
                conditions.append(each.of_module_calls(self.part))
            else:  # a sample is forward work, of no module and of any mode
                fits = each.field != "module" and (
                    each.field != "stage" or "forward" in each.values
                )
                conditions.append(pl.lit(fits))
        return table.filter(*conditions) if conditions else table


def _cores(outputs: int | None) -> pl.Expr:
    """Return how many cores hold the outputs of a layer."""
    if outputs is None:
        return pl.lit(1)
    return (pl.col("outputs_each") + (outputs - 1)) // outputs


def _capacity(asked: Asked) -> pl.Expr:
    if not asked.by_weights:
        return pl.lit(None)
    if asked.weight_bits is None:
        return pl.col("weight_bytes")
    return pl.col("weight_numel") * asked.weight_bits / 8


def asked_of(term: Term, machine: Machine) -> Asked:
    """Return what a term counts."""
    wide = term.per in ("bit", "byte") or term.memory is not None
    weights = term.capacity == "weights"
    return Asked(
        quantity=term.quantity,
        where=term.where,
        of=term.of,
        kind=term.kind,
        measure="bytes" if wide and term.bits is None else "one",
        by_weights=weights,
        weight_bits=term.bits if weights else None,
        cores=machine.machine.neurons_per_core if "input_events" in term.quantity else None,
    )


def fields_of(machines: Iterable[Machine]) -> set[str]:
    """Return the fields that the filters of machines name."""
    texts = (text for each in machines for term in each.term.values() for text in term.where)
    return {each.field for each in parse_filters(dict.fromkeys(texts))}


def rows_of(actions: Actions, machine: Machine) -> pl.DataFrame:
    """Return the counts of a machine: `KEYS`, `component` (its term), `CAPACITY` and `count`."""
    schema = pl.Schema({**KINDS, "component": pl.String, CAPACITY: pl.Float64, "count": pl.Int64})
    tables = [
        found.rows.with_columns(component=pl.lit(name)).select(
            pl.col(column).cast(kind) for column, kind in schema.items()
        )
        for name, found in actions.on(machine).items()
    ]
    return pl.concat([schema.to_frame(), *tables])


def told_apart(keys: Sequence[str], fields: Set[str]) -> tuple[str, ...]:
    """Return the columns of calls to keep apart: the keys of the rows, and what filters name."""
    kept = [key for key in keys if key not in ("module", "op")]
    asked = fields & {"step", "training", "label", "stage"}
    if "training" in asked:  # what is of the stage optimizer is training
        asked = asked | {"stage"}
    return (*kept, *sorted(asked - set(kept)))
