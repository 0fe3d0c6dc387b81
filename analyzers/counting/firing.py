"""How often neurons and activation modules give something else than zero, and how far it varies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..workload.divisors import deviations, divisors
from ..workload.layers import MODULE
from ..workload.modules import scopes_of
from ..workload.samples import SAMPLE, numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..trace.trace import Trace
    from ..workload.samples import Samples

_ACTIVATIONS = "torch.nn.modules.activation."
_NO_ACTIVATIONS = ("MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax")


def known_sum(name: str) -> pl.Expr:
    """Return a sum that is null if a part of it is not known."""
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum())


def active_of(trace: Trace) -> pl.DataFrame:
    """Return `MODULE`, `module`, `kind` and `spiking` of neurons and activation modules."""
    name = pl.col("class").str.split(".").list.last()
    activation = pl.col("class").str.starts_with(_ACTIVATIONS) & ~name.is_in(_NO_ACTIVATIONS)
    neuron = pl.col("neuron").is_not_null()
    return trace.modules.filter(neuron | activation).select(
        *MODULE, module="path", kind=pl.coalesce("neuron", name), spiking=neuron
    )


def by_layer(trace: Trace, active: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Return neurons, calls and what outputs hold of each module of `active_of`, in their order."""
    places = scopes_of(trace).select(module="scope", place="place").unique()
    size = pl.col("out_numel") / (pl.col("batch") * pl.col("time_steps"))
    one = size.n_unique() == 1
    return (
        calls.join(active, on=list(MODULE))
        .sort("rank", "module_call_id")
        .group_by("module", "kind", "spiking", maintain_order=True)
        .agg(
            neurons=pl.when(one).then(size.first()).round().cast(pl.Int64),
            calls=pl.len().cast(pl.Int64),
            elements=known_sum("out_numel"),
            nonzero=known_sum("out_nonzero"),
        )
        .join(places, on="module", how="left", maintain_order="left")
        .sort("place", maintain_order=True)
    )


def over_time(active: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Return the rate of neurons at each time step, of those that one call is one step of."""
    stepped = active.filter("spiking").join(
        calls.filter(pl.col("time_steps") == 1), on=list(MODULE)
    )
    within = pl.int_range(pl.len(), dtype=pl.Int64).over(*SAMPLE, "module_id")
    return (
        stepped.sort("rank", "module_call_id")
        .with_columns(time_step=within)
        .group_by("module", "time_step", maintain_order=True)
        .agg(rate=known_sum("out_nonzero") / known_sum("out_numel"))
        .sort("module", "time_step")
    )


def deviating(
    trace: Trace, active: pl.DataFrame, calls: pl.DataFrame, sampled: Samples
) -> tuple[pl.DataFrame, dict[str, float | None]]:
    """Return the standard deviation of rates over samples, see `divisors.deviations`.

    Args:
        trace: the forward passes.
        active: what `active_of` returned.
        calls: what `neuron_calls` returned of it.
        sampled: the samples.

    Returns:
        `module` and `rate_std` of each layer; and the deviations of `rate` and `nonzero` of all
        neurons together, and of `activation_sparsity`. None: fewer than two samples, or not known.
    """
    numbers = numbers_of(trace).select(*SAMPLE, "number").unique()
    weights = divisors(sampled, "sample", ["sample"])
    each = (
        calls.join(active, on=list(MODULE))
        .join(numbers, on=list(SAMPLE))
        .with_columns(sample="number")
        .join(weights.cast({"sample": numbers.schema["number"]}), on="sample", how="left")
    )

    def std(rows: pl.DataFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
        sums = rows.group_by(*keys, "sample").agg(
            known_sum("out_nonzero"), known_sum("out_numel"), pl.col("units").first()
        )
        share = pl.col("out_nonzero") / pl.col("out_numel") * pl.col("units")
        names = {"rate": "rate_std", "out_nonzero": "nonzero_std"}
        return deviations(sums.with_columns(rate=share), sampled, "sample", keys, names)

    firing, every = (std(rows).row(0, named=True) for rows in (each.filter("spiking"), each))
    found = {
        "nonzero": firing["nonzero_std"],
        "rate": firing["rate_std"],
        "activation_sparsity": every["rate_std"],
    }
    return std(each, ["module"]).select("module", "rate_std"), found
