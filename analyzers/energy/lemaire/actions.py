"""Action counts of Lemaire's model: how often what is done, before anything is priced.

An action count says how often an operation runs or how many words go to or come from a memory of a
given size. It depends on no energy, so a thousand configurations price one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from ...frames import added_up, at_once
from ..row_keys import KEYS, KINDS

SCHEMA = {
    **KINDS,
    "layer": pl.String,
    "component": pl.String,
    "what": pl.String,
    "size": pl.Float64,
    "count": pl.Float64,
}
"""`layer`: the layer to whose account it goes, a neuron's is that of the layer before it;
`component`: ops, addressing, inout, params or potential; `what`: of `OPERATIONS` or `ACCESSES`;
`size`: words of the memory, null for operations; `count`: operations, or words moved.
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
of their own name; `state_` is of a neuron's own operations, `addr` of addresses."""

ACCESSES = {
    "read_in": "inout",
    "write_out": "inout",
    "read_params": "params",
    "read_bias": "params",
    "read_potential": "potential",
    "write_potential": "potential",
}
"""Memory accesses by name, and the component that they are part of."""


class Counted(NamedTuple):
    """What a variant of the model counts of a trace.

    Attributes:
        actions: see `SCHEMA`; `step` is null unless steps are kept apart.
        products: the product calls behind them: columns of `products_of`, and `calls`.
        covered: `rank` and `module_id` of the layers and neurons that the model covers.
        inputs: groups of layer calls with `module`, `spikes` (the input was taken for spikes),
            `decided` (provenance decided about a constant), `in_numel` (of a call), `in_nonzero`
            (of all) and `calls`; where sums of spikes are known, `summed`.
        sums: additions in containers that are no functional work: `rank`, `signature_id`, and if
            only some of these are, `module_id` and `calls`. None: functional work is not named.
        warnings: what a reader of the counts has to know; strict refuses them.
        notes: what else a reader has to know.
    """

    actions: pl.DataFrame
    products: pl.DataFrame
    covered: pl.DataFrame
    inputs: pl.DataFrame
    sums: pl.DataFrame | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def action(
    calls: pl.DataFrame,
    what: str,
    count: pl.Expr | float,
    size: pl.Expr | None = None,
    *,
    of: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Return one action count for each row of `calls`.

    Args:
        calls: rows with the columns of `KEYS`, and `layer` where it is not the module.
        what: a name of `OPERATIONS` or `ACCESSES`.
        count: operations, or words moved.
        size: words of the memory that they are moved from or to.
        of: which rows; by default all.
    """
    if calls.is_empty():
        return pl.LazyFrame(schema=SCHEMA)
    component = OPERATIONS.get(what) or ACCESSES[what]
    layer = "layer" if "layer" in calls.columns else "module"
    rows = calls.lazy() if of is None else calls.lazy().filter(of)
    return rows.select(
        *(pl.col(key).cast(SCHEMA[key]) for key in KEYS),
        layer=pl.col(layer),
        component=pl.lit(component),
        what=pl.lit(what),
        size=(pl.lit(None) if size is None else size).cast(pl.Float64),
        count=(count if isinstance(count, pl.Expr) else pl.lit(count)).cast(pl.Float64),
    )


def added(counts: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Return the action counts of several tables in one, equal actions added up.

    Operations that never ran are left out; memories stay even if nothing was moved.
    """
    if not counts:
        return pl.DataFrame(schema=SCHEMA)
    return (
        pl.concat(counts)
        .group_by(*KEYS, "layer", "component", "what", "size", maintain_order=True)
        .agg(added_up(pl.col("count")))
        .filter((pl.col("count") != 0) | pl.col("size").is_not_null())
        .select(list(SCHEMA))
        .pipe(at_once)
    )


def totals(counts: pl.DataFrame) -> dict[str, float]:
    """Return the sum of the counts by name, 0 for what did not happen."""
    found = dict(
        counts.group_by("what", maintain_order=True).agg(added_up(pl.col("count"))).iter_rows()
    )
    return {name: found.get(name, 0.0) for name in (*OPERATIONS, *ACCESSES)}


def largest(counts: pl.DataFrame) -> dict[str, float]:
    """Return the largest memory of each component in words, used or not; 0 without one."""
    found = dict(
        counts.group_by("component", maintain_order=True).agg(pl.col("size").max()).iter_rows()
    )
    return {name: found.get(name) or 0.0 for name in dict.fromkeys(ACCESSES.values())}
