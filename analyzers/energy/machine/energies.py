"""Energy per action of a machine: the price of a term, by the width and the memory it meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.machine import Machine, Term, bytes_of
from ...frames import added_up
from ..interpolation import interpolated
from ..row_keys import KEYS
from .actions import CAPACITY, asked_of

if TYPE_CHECKING:
    from ..report import EnergyReport
    from .actions import Counted

STRUCTURAL = frozenset({"term", "machine"})
"""Fields that decide what is counted; of a term all but its price, see `structure_of`."""

Sums = Sequence[tuple[float | None, float]]
"""Capacities of memories in bytes (None: it does not matter) with what is counted there."""


def structure_of(machine: Machine) -> str:
    """Return what decides the counts: machines with equal texts count alike."""
    return repr([asked_of(term, machine) for term in machine.term.values()])


def price_pj(
    term: Term, machine: Machine, capacity: float | None, bits: int | None = None
) -> float:
    """Return the energy of one of what a term counts, in pJ.

    Args:
        term: the term.
        machine: the machine that it is of.
        capacity: bytes of the memory that it meets.
        bits: width of one; by default the term's.
    """
    bits = term.bits if bits is None else bits
    if term.price_by_bits is not None:
        return interpolated(bits or 0, term.price_by_bits.at_bits, term.price_by_bits.pj)
    if term.memory is None:
        price = term.price or 0.0
        if term.per == "second":
            return price * (machine.machine.seconds_per_sample or 0.0)
        if term.per == "byte":  # what is counted are bytes, or elements of so many bits
            return price if bits is None else price * bits / 8
        return price * _width(bits) if term.per == "bit" else price
    memory = machine.memory[term.memory]
    if memory.price_per_bit is not None:
        size = capacity if term.capacity == "weights" else bytes_of(term.capacity or "")
        curve = memory.price_per_bit
        return interpolated(size or 0.0, curve.at_bytes, curve.pj) * _width(bits)
    price = memory.price or 0.0
    return price * (_width(bits) if memory.per == "bit" else _width(bits) / 8)


def _width(bits: int | None) -> float:
    """Return the bits of one: of a byte, where bytes are counted."""
    return 8.0 if bits is None else float(bits)


def energy_pj(term: Term, machine: Machine, sums: Sums, bits: int | None = None) -> float:
    """Return what a term charges for sums of its counts."""
    return sum((count * price_pj(term, machine, at, bits) for at, count in sums), 0.0)


def breakdown_pj(counts: Mapping[str, Counted], machine: Machine) -> dict[str, float]:
    """Return the energy of each term of which something is known, in pJ."""
    return {
        f"{name}_pj": energy_pj(machine.term[name], machine, found.sums)
        for name, found in counts.items()
        if found.known or not found.unknown
    }


def priced(rows: pl.DataFrame, machine: Machine) -> pl.DataFrame:
    """Return the rows of a report: counts of a term with their energies."""
    kinds = rows.select("component", CAPACITY).unique(maintain_order=True)
    prices = [price_pj(machine.term[name], machine, at) for name, at in kinds.iter_rows()]
    each = kinds.with_columns(price=pl.Series(prices, dtype=pl.Float64))
    return (
        rows.join(each, on=["component", CAPACITY], nulls_equal=True, maintain_order="left")
        .with_columns(energy_pj=pl.col("count") * pl.col("price"))
        .group_by(*KEYS, "component", maintain_order=True)
        .agg(added_up(pl.col("count", "energy_pj")))
    )


def prices_of(report: EnergyReport) -> Callable[[Machine], dict[str, float]]:
    """Return what the counts of a report cost on a machine that counts alike, by term."""
    sums: dict[str, list[tuple[float | None, float]]] = {}
    for name, at, count in report.details["actions"].iter_rows():
        sums.setdefault(name, []).append((at, count))
    known = [name.removesuffix("_pj") for name in report.breakdown_pj]

    def price(machine: Machine) -> dict[str, float]:
        terms = machine.term
        parts = {f"{n}_pj": energy_pj(terms[n], machine, sums.get(n, ())) for n in known}
        return {"total_pj": sum(parts.values()), **parts}

    return price
