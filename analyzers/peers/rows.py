"""A row of the table of conventions: a figure as one tool defines it, and why it is another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ..units import AT_LEAST, count_text, energy_text, ratio_text

UNITS = {
    "flops": "FLOP",
    "macs": "MAC",
    "acs": "AC",
    "synops": "SynOp",
    "dense_macs": "dense MAC",
    "energy_pj": "pJ",
}
"""Kind of figure -> its unit."""

OF_SIZES = ("flops", "dense_macs")
"""Kinds that hang on sizes alone, not on what the elements of tensors were."""

_MOST = 3
"""Parts of a difference that are named each; the rest is one part."""

_SAME = "the same"
_OPEN = "opjoule's own figure is not exact"

NOT_MEASURED = "not recorded: record with statistics"
"""Why a figure that hangs on the data is not known."""

NOT_SIZED = "a size is not recorded (nested, sparse or packed tensors)"
"""Why a figure is not known where statistics do not help."""

OUTSIDE = "products outside layers"
"""A part of a difference: attention, recurrent layers, and products in no layer."""


@dataclass(frozen=True)
class Term:
    """A part of the difference between a figure and opjoule's own of its kind.

    Attributes:
        what: what makes it.
        amount: how much, of all samples; the parts of a difference add up to it.
    """

    what: str
    amount: float


@dataclass(frozen=True)
class Row:
    """A figure as one tool defines it.

    Attributes:
        convention: whose it is.
        figure: what it is called there.
        kind: of `UNITS`: which of opjoule's own figures it is compared with.
        definition: what it counts, in a line.
        value: of all samples; None: the trace does not tell.
        terms: what makes its difference from opjoule's own.
        note: why it is not known, or what else a reader has to know.
        at_least: the value is a lower bound.
    """

    convention: str
    figure: str
    kind: str
    definition: str
    value: float | None
    terms: tuple[Term, ...] = ()
    note: str = ""
    at_least: bool = False

    @property
    def unit(self) -> str:
        """The unit of the value."""
        return UNITS[self.kind]

    def why(self, own: float | None, units: int) -> str:
        """Return why the figure is what it is, in words and figures.

        Args:
            own: opjoule's figure of this kind, of all samples.
            units: what figures are divided by.
        """
        parts = [_signed(self.kind, each.amount / units) + f" {each.what}" for each in self.terms]
        if not parts and self.value is not None:
            parts = [_SAME] if self.value == own else [_OPEN] if own is None else []
        return "; ".join([*parts, *([self.note] if self.note else [])])


def shown(kind: str, value: float | None, at_least: bool = False) -> str:
    """Return a value with its unit where it is an energy, and a sign where it is a lower bound."""
    text = energy_text(value) if kind == "energy_pj" else count_text(value)
    return AT_LEAST + text if at_least else text


def _signed(kind: str, amount: float) -> str:
    small = kind != "energy_pj" and abs(amount) < 1
    text = ratio_text(abs(amount)) if small else shown(kind, abs(amount))
    return ("+" if amount > 0 else "-") + text


def terms_of(parts: Iterable[tuple[str, float]]) -> tuple[Term, ...]:
    """Return the parts of a difference, those of one name added up, without what is 0."""
    sums: dict[str, float] = {}
    for what, amount in parts:
        sums[what] = sums.get(what, 0) + amount
    found = [Term(what, amount) for what, amount in sums.items() if amount]
    return tuple(sorted(found, key=lambda each: -abs(each.amount)))


def by_place(rows: pl.DataFrame, figure: str, sign: int = -1) -> list[tuple[str, float]]:
    """Return what a figure of calls is made of: in neurons, else by family; the least as a rest.

    Args:
        rows: rows of `Facts.own`.
        figure: their column.
        sign: of the amounts.
    """
    place = pl.when("inside").then(pl.lit("in neurons")).otherwise(pl.lit("in ") + pl.col("family"))
    sums = rows.group_by(place.alias("place")).agg(amount=pl.col(figure).sum())
    return largest(sums.select("place", pl.col("amount") * sign).rows(), "in other ops")


def largest(parts: Sequence[tuple[str, float]], rest: str) -> list[tuple[str, float]]:
    """Return the largest parts by name, and the others as one."""
    some = [each for each in parts if each[1]]
    ordered = sorted(some, key=lambda each: (-abs(each[1]), each[0]))
    if len(ordered) <= _MOST + 1:
        return ordered
    return [*ordered[:_MOST], (rest, sum(amount for _, amount in ordered[_MOST:]))]
