"""The calls that the authors of Lemaire's model charge, put together from a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import LemaireConfig
from ...workload.dataflow import neurons_behind
from ...workload.geometry import layers_of, neurons_of
from ...workload.layer_calls import MODULE, grouped, layer_calls, neuron_calls
from ...workload.sample_shares import SEEN, steps_in_sample, with_shares
from ...workload.samples import Samples
from . import formulas as lemaire_source
from .charges import NEURON_OP
from .layer_groups import CALLED, Charged, layer_groups, measured, stepless
from .left_out import owners_of
from .residual_sums import sum_charges, sum_signatures, sums_of

if TYPE_CHECKING:
    from ...trace.trace import Trace


def by_authors(
    trace: Trace,
    config: LemaireConfig,
    *,
    by_step: bool,
    samples: Samples,
) -> Charged:
    """Charge the calls in eval mode as the authors do.

    Raises:
        TraceError: what went into a layer was not measured, or batch and time steps are open.
    """
    geometry, kinds = layers_of(trace), neurons_of(trace)
    calls = layer_calls(trace, geometry).filter(
        ~pl.col("training") & (pl.col("in_numel") > 0) & (pl.col("out_numel") > 0)
    )
    firing = neuron_calls(trace, kinds).filter(~pl.col("training"))
    behind = neurons_behind(trace, calls, firing)
    geometry = geometry.filter(pl.col("kind").is_in(lemaire_source.KINDS))
    layers = layer_groups(trace, calls, geometry, by_step, keys=SEEN, by_values_only=False)
    layers = with_shares(layers, samples.frame, spiking=not firing.is_empty())
    operations = lemaire_source.neuron_operations(kinds, config)
    behind = behind.join(operations.select("rank", neuron="module_id"), on=["rank", "neuron"])
    spiking = not firing.join(operations, on=MODULE, how="semi").is_empty()
    layers = lemaire_source.source_layers(layers, behind, config, spiking_network=spiking)
    neurons = _neurons_behind_layers(trace, firing, layers, behind.filter("last"), by_step).join(
        operations, on=MODULE, maintain_order="left"
    )
    charges = lemaire_source.source_charges(layers, neurons, config)
    free = sum_signatures(trace).select("rank", "signature_id")
    if not spiking:
        owners = owners_of(trace, layers_of(trace))
        sums = sums_of(trace, owners, samples.batch, by_step=by_step)
        charges = pl.concat([charges, sum_charges(sums)])
        free = sums.group_by(*MODULE, "signature_id").agg(charged=pl.col("calls").sum())
    return Charged(
        charges=charges,
        covered=pl.concat([geometry.select(MODULE), neurons.select(MODULE).unique()]),
        inputs=layers.with_columns(spikes=pl.col("how") == "spiking"),
        sums=free,
    )


def _neurons_behind_layers(
    trace: Trace, firing: pl.DataFrame, layers: pl.DataFrame, last: pl.DataFrame, by_step: bool
) -> pl.DataFrame:
    """Return groups of calls of the neurons that charged layers feed, with their layer."""
    fed_by = layers.group_by("rank", layer_id="module_id").agg(
        pl.col("module").first().alias("layer"), pl.col("how").first(), pl.col("outs").max()
    )
    kinds = neurons_of(trace).join(
        last.select("rank", module_id="neuron", layer_id="layer").join(
            fed_by, on=["rank", "layer_id"]
        ),
        on=MODULE,
        maintain_order="left",
    )
    firing = measured(trace, stepless(firing, by_step), kinds, "out").with_columns(
        pl.col("time_steps").fill_null(1)
    )
    keys = (*CALLED, "sample", "time_steps", "in_numel")
    return (
        grouped(firing, keys, ["out_nonzero"])
        .with_columns(
            op=pl.lit(NEURON_OP),
            elements=pl.col("in_numel") * pl.col("calls"),
            spikes_out="out_nonzero",
            steps=steps_in_sample(),
        )
        .join(kinds.drop("class", "neuron"), on=MODULE, maintain_order="left")
    )
