"""Charges of the Lemaire model: how often what is done, before anything is priced.

A charge says how often an operation runs or how many words go to or come from a memory of a
given size. Charges do not depend on any energy, so a thousand configurations price one table.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

KEYS = ("module", "stage", "op", "label", "step")
"""What a charge belongs to; columns of every report's rows. `module` is where it was spent."""

SCHEMA = {
    "module": pl.String,
    "stage": pl.String,
    "op": pl.String,
    "label": pl.String,
    "step": pl.Int32,
    "layer": pl.String,
    "component": pl.String,
    "what": pl.String,
    "size": pl.Float64,
    "amount": pl.Float64,
}
"""`layer`: the layer to whose account it goes, a neuron's is that of the layer before it;
`component`: ops, addressing, inout, params or potential; `what`: of `OPERATIONS` or `ACCESSES`;
`size`: words of the memory, null for operations; `amount`: operations, or words moved.
"""

OPERATIONS = {
    "synop": "ops",
    "ac": "ops",
    "mac": "ops",
    "mul": "ops",
    "state_ac": "ops",
    "state_mac": "ops",
    "acc_addr": "addressing",
    "mac_addr": "addressing",
}
"""Operations by name, and the component that they are part of. Synaptic operations are additions
that are told apart; `state_` is of a neuron's own operations, `addr` of addresses."""

ACCESSES = {
    "read_in": "inout",
    "write_out": "inout",
    "read_params": "params",
    "read_bias": "params",
    "read_potential": "potential",
    "write_potential": "potential",
}
"""Memory accesses by name, and the component that they are part of."""

NEURON_OP = "neuron"
"""Stands for the op of what a neuron is charged as a whole."""


def charge(
    calls: pl.DataFrame, what: str, amount: pl.Expr | float, size: pl.Expr | None = None
) -> pl.DataFrame:
    """Return one charge for each row of `calls`.

    Args:
        calls: rows with the columns of `KEYS`, and `layer` where it is not the module.
        what: a name of `OPERATIONS` or `ACCESSES`.
        amount: operations, or words moved.
        size: words of the memory that they are moved from or to.
    """
    component = OPERATIONS.get(what) or ACCESSES[what]
    layer = "layer" if "layer" in calls.columns else "module"
    return calls.select(
        *(pl.col(key).cast(SCHEMA[key]) for key in KEYS),
        layer=pl.col(layer),
        component=pl.lit(component),
        what=pl.lit(what),
        size=(pl.lit(None) if size is None else size).cast(pl.Float64),
        amount=(amount if isinstance(amount, pl.Expr) else pl.lit(amount)).cast(pl.Float64),
    )


def together(charges: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the charges of several tables in one, equal ones added up.

    Operations that never ran are left out; memories stay even if nothing was moved.
    """
    if not charges:
        return pl.DataFrame(schema=SCHEMA)
    return (
        pl.concat(charges)
        .group_by(*KEYS, "layer", "component", "what", "size", maintain_order=True)
        .agg(pl.col("amount").sum())
        .filter((pl.col("amount") != 0) | pl.col("size").is_not_null())
        .select(list(SCHEMA))
    )


def amounts(charges: pl.DataFrame) -> dict[str, float]:
    """Return the sum of the amounts by name, 0 for what did not happen."""
    found = dict(charges.group_by("what").agg(pl.col("amount").sum()).iter_rows())
    return {name: found.get(name, 0.0) for name in (*OPERATIONS, *ACCESSES)}


def largest(charges: pl.DataFrame) -> dict[str, float]:
    """Return the largest memory of each component in words, used or not; 0 without one."""
    found = dict(charges.group_by("component").agg(pl.col("size").max()).iter_rows())
    return {name: found.get(name) or 0.0 for name in dict.fromkeys(ACCESSES.values())}
