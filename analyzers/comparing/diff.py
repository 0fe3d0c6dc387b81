"""Two tables of figures as one: what each side has, differences, ratios and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ..checking.figures import ENERGY
from ..counting.evaluate import COUNTERS
from ..frames import added_up
from .profiles import KEYS, Side

MARKS = ("added", "removed", "changed", "equal")

NOISE = 1e-9
"""Energies, and figures of one sample, that differ by less, as a share of the larger, are equal:
sums of floats depend on the order of adding."""


@dataclass(frozen=True)
class Total:
    """One figure of everything on both sides.

    Attributes:
        figure: "flops", "energy.compute", ...
        unit: FLOP, B, SynOp, MAC, AC, pJ; "" for calls.
        base: its value there, what is unknown left out; None: all of it is unknown.
        head: its value there.
        difference: head - base; None where either is unknown, in whole or for more calls than
            on the other side.
        ratio: head / base; None where the difference is, and where base is 0.
        mark: changed, equal or unknown.
    """

    figure: str
    unit: str
    base: int | float | None
    head: int | float | None
    difference: int | float | None
    ratio: float | None
    mark: str


UNITS = {"calls": "", "flops": "FLOP", "bytes": "B", "synops": "SynOp", "macs": "MAC", "acs": "AC"}


def total_of(figure: str, base: Side, head: Side, joined: pl.DataFrame) -> Total:
    """Return a figure of everything."""
    one, two = base.total(figure), head.total(figure)
    known = one is not None and two is not None
    if figure in COUNTERS:
        uneven = joined[f"{figure}_unknown_base"] != joined[f"{figure}_unknown_head"]
        known = known and not uneven.any()
    elif figure.startswith(ENERGY):
        known = known and base.left_out(figure) == head.left_out(figure)
    return total_between(figure, UNITS.get(figure, "pJ"), one, two, known=known)


def total_between(
    figure: str, unit: str, one: float | None, two: float | None, *, known: bool = True
) -> Total:
    """Return a figure of both sides; `known`: whether they can be compared."""
    difference = difference_of(one, two) if known else None
    return Total(
        figure=figure,
        unit=unit,
        base=one,
        head=two,
        difference=difference,
        ratio=two / one if difference is not None and one and two is not None else None,
        mark="unknown" if difference is None else "changed" if difference else "equal",
    )


def difference_of(one: int | float | None, two: int | float | None) -> int | float | None:
    """Return two - one; 0 if they differ by rounding alone, None if either is not known."""
    if one is None or two is None:
        return None
    difference = two - one
    noise = isinstance(difference, float) and abs(difference) <= NOISE * max(abs(one), abs(two))
    return 0.0 if noise else difference


def joined(base: pl.DataFrame, head: pl.DataFrame, figures: Sequence[str]) -> pl.DataFrame:
    """Put the rows of two sides beside each other.

    Args:
        base: see `Side.rows`; modules named as on the other side.
        head: the same.
        figures: what both have.

    Returns:
        `KEYS`, `in_base`, `in_head`, and for each figure `_base` and `_head`, for each counter also
        `_unknown_base` and `_unknown_head`. What one side lacks is 0 there.
    """
    numbers = [*figures, *(f"{name}_unknown" for name in COUNTERS)]
    sides = [
        frame.select(
            *KEYS,
            pl.lit(True).alias(f"in_{side}"),
            *(pl.col(name).alias(f"{name}_{side}") for name in numbers),
        )
        for side, frame in (("base", base), ("head", head))
    ]
    both = sides[0].join(
        sides[1],
        on=list(KEYS),
        how="full",
        nulls_equal=True,
        coalesce=True,
        maintain_order="left_right",
    )
    for side in ("base", "head"):
        both = both.with_columns(pl.col(f"in_{side}").fill_null(False)).with_columns(
            pl.when(f"in_{side}").then(f"{name}_{side}").otherwise(0).alias(f"{name}_{side}")
            for name in numbers
        )
    return both


def _sum(name: str) -> pl.Expr:
    return added_up(pl.col(name)) if name.startswith(ENERGY) else pl.col(name).sum()


def summed(rows: pl.DataFrame, figures: Sequence[str], keys: Sequence[str]) -> pl.DataFrame:
    """Add joined rows up by some of `KEYS`; by none: to one row."""
    known = [f"{name}_{side}" for name in figures for side in ("base", "head")]
    unknown = [f"{name}_unknown_{side}" for name in COUNTERS for side in ("base", "head")]
    figured = [
        pl.col("in_base", "in_head").any(),
        *(pl.when(pl.col(n).count() > 0).then(_sum(n)).alias(n) for n in known),
        pl.col(unknown).sum(),
    ]
    if not keys:
        return rows.select(figured)
    return rows.group_by(keys, maintain_order=True).agg(figured)


def marked(rows: pl.DataFrame, figures: Sequence[str]) -> pl.DataFrame:
    """Return joined rows with their marks and, for each figure, its difference and ratio.

    `base_at_least` and `head_at_least` name the counters of which a side has a lower bound: they
    are unknown for some calls. Null: of none.
    """
    named = [name for name in KEYS if name in rows.columns]
    differences = [
        _difference_expr(name, rows.schema[f"{name}_base"].is_float()).alias(f"{name}_difference")
        for name in figures
    ]
    rows = rows.with_columns(differences)
    changed = pl.any_horizontal(
        *(pl.col(f"{name}_difference").fill_null(0) != 0 for name in figures),
        *(_uneven(name) for name in COUNTERS),
    )
    mark = (
        pl.when(~pl.col("in_base")).then(pl.lit("added"))
        .when(~pl.col("in_head")).then(pl.lit("removed"))
        .when(changed).then(pl.lit("changed"))
        .otherwise(pl.lit("equal"))
    )  # fmt: skip
    rows = rows.with_columns(mark.alias("mark"), *(_ratio(f).alias(f"{f}_ratio") for f in figures))
    parts = ("base", "head", "difference", "ratio")
    bounds = [_at_least(side).alias(f"{side}_at_least") for side in ("base", "head")]
    parted = [f"{name}_{part}" for name in figures for part in parts]
    return rows.select(*named, "mark", *parted, *bounds)


def _at_least(side: str) -> pl.Expr:
    bounds = [
        pl.when(pl.col(f"{n}_{side}").is_not_null() & (pl.col(f"{n}_unknown_{side}") > 0)).then(
            pl.lit(n)
        )
        for n in COUNTERS
    ]
    return pl.concat_str(bounds, separator=" ", ignore_nulls=True).replace("", None)


def _difference_expr(figure: str, fractions: bool) -> pl.Expr:
    base, head = (pl.col(f"{figure}_{side}").fill_null(0) for side in ("base", "head"))
    difference = head - base
    if fractions:
        noise = NOISE * pl.max_horizontal(base.abs(), head.abs())
        difference = pl.when(difference.abs() <= noise).then(0.0).otherwise(difference)
    if figure not in COUNTERS:
        return difference
    both = pl.col(f"{figure}_base").is_null() & pl.col(f"{figure}_head").is_null()
    return pl.when(~(both | _uneven(figure))).then(difference)


def _uneven(figure: str) -> pl.Expr:
    return pl.col(f"{figure}_unknown_base") != pl.col(f"{figure}_unknown_head")


def _ratio(figure: str) -> pl.Expr:
    base, head = pl.col(f"{figure}_base"), pl.col(f"{figure}_head")
    known = (base != 0) & pl.col(f"{figure}_difference").is_not_null()
    return pl.when(known).then(head / base)
