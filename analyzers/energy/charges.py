"""Charges of the Lemaire model: how often what is done, before anything is priced.

A charge says how often an operation runs or how many words go to or come from a memory of a
given size. Charges do not depend on any energy, so a thousand configurations price one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

KEYS = ("module", "stage", "op", "label", "step")
"""What a charge belongs to; columns of every report's rows."""

SCHEMA = {
    "module": pl.String,
    "stage": pl.String,
    "op": pl.String,
    "label": pl.String,
    "step": pl.Int32,
    "component": pl.String,
    "what": pl.String,
    "amount": pl.Float64,
    "size": pl.Float64,
}
"""`component`: ops, addressing, inout, params or potential; `what`: see `OPERATIONS` and
`ACCESSES`; `amount`: operations, or words moved; `size`: words of the memory, null for operations.
"""

OPERATIONS = {
    "mac": "ops",
    "ac": "ops",
    "mul": "ops",
    "mac_addr": "addressing",
    "acc_addr": "addressing",
}
"""Operations by name, and the component that they are part of."""

ACCESSES = {
    "read_in": "inout",
    "write_out": "inout",
    "read_params": "params",
    "read_bias": "params",
    "read_potential": "potential",
    "write_potential": "potential",
}
"""Memory accesses by name, and the component that they are part of."""


def charge(
    calls: pl.DataFrame, what: str, amount: pl.Expr | float, size: pl.Expr | None = None
) -> pl.DataFrame:
    """Return one charge for each row of `calls`.

    Args:
        calls: rows with the columns of `KEYS`.
        what: a name of `OPERATIONS` or `ACCESSES`.
        amount: operations, or words moved.
        size: words of the memory that they are moved from or to.
    """
    component = OPERATIONS.get(what) or ACCESSES[what]
    return calls.select(
        *(pl.col(key).cast(SCHEMA[key]) for key in KEYS),
        component=pl.lit(component),
        what=pl.lit(what),
        amount=(amount if isinstance(amount, pl.Expr) else pl.lit(amount)).cast(pl.Float64),
        size=(pl.lit(None) if size is None else size).cast(pl.Float64),
    )


def together(charges: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the charges of several tables in one, equal ones added up."""
    if not charges:
        return pl.DataFrame(schema=SCHEMA)
    every = pl.concat(charges)
    return (
        every.group_by(*KEYS, "component", "what", "size", maintain_order=True)
        .agg(pl.col("amount").sum())
        .select(list(SCHEMA))
    )


def amounts(charges: pl.DataFrame) -> dict[str, float]:
    """Return the sum of the amounts by name, 0 for what did not happen."""
    found = dict(charges.group_by("what").agg(pl.col("amount").sum()).iter_rows())
    return {name: found.get(name, 0.0) for name in (*OPERATIONS, *ACCESSES)}


def energy_pj(e_add_pj: pl.Expr, e_mul_pj: pl.Expr, access_pj: pl.Expr) -> pl.Expr:
    """Return the energy of each charge in pJ.

    Args:
        e_add_pj: energy of an addition.
        e_mul_pj: energy of a multiplication; a MAC is both.
        access_pj: energy of moving one word from or to a memory of `size` words.
    """
    what = pl.col("what")
    unit = (
        pl.when(what.is_in(["ac", "acc_addr"]))
        .then(e_add_pj)
        .when(what.is_in(["mac", "mac_addr"]))
        .then(e_mul_pj + e_add_pj)
        .when(what == "mul")
        .then(e_mul_pj)
        .otherwise(access_pj)
    )
    return pl.col("amount") * unit


def line_pj(base_pj: pl.Expr, slope_pj_per_bit: pl.Expr, word_bits: int) -> pl.Expr:
    """Return the energy of an access to a memory of `size` words: base + slope · bits."""
    return base_pj + slope_pj_per_bit * (pl.col("size") * word_bits)


def piecewise_pj(points: Sequence[tuple[pl.Expr, pl.Expr]], word_bytes: float) -> pl.Expr:
    """Return the energy of moving a word of a memory of `size` words.

    Args:
        points: (size in bytes, pJ a byte), sizes increasing; linear between, held at both ends.
        word_bytes: bytes of a word.
    """
    size = pl.col("size") * word_bytes
    cost = points[0][1]
    for (low, low_pj), (high, high_pj) in zip(points, points[1:], strict=False):
        between = low_pj + (size - low) * (high_pj - low_pj) / (high - low)
        cost = pl.when(size >= high).then(high_pj).when(size > low).then(between).otherwise(cost)
    return cost * word_bytes


def breakdown_pj(by_component: Mapping[str, float]) -> dict[str, float]:
    """Return the report's parts; `memory_pj` is inout, params and potential together."""
    parts = {name: by_component.get(name, 0.0) for name in dict.fromkeys(OPERATIONS.values())}
    memory = {name: by_component.get(name, 0.0) for name in dict.fromkeys(ACCESSES.values())}
    return {
        **{f"{name}_pj": value for name, value in parts.items()},
        "memory_pj": sum(memory.values()),
        **{f"{name}_pj": value for name, value in memory.items()},
    }
