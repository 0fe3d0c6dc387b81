"""The calls of layers and neurons that Lemaire's model counts, in groups that count alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import SpikeClass, TraceError
from ....schemas.costs import LemaireConfig
from ...frames import at_once
from ...workload.dataflow import neurons_behind
from ...workload.layer_calls import (
    as_run,
    called,
    grouped,
    layer_calls,
    neuron_calls,
    products_run,
)
from ...workload.layers import ID, MODULE, layers_of, neurons_of
from ...workload.repeats import unlike_steps
from ...workload.sample_shares import SEEN, steps_in_sample, with_shares
from ...workload.samples import SAMPLE, Samples
from ...workload.spike_sums import spike_sums, sum_signatures
from ...workload.spikes import spike_expr
from ..row_keys import NEURON_OP
from .actions import Counted
from .formulas import KINDS, layer_actions, layers_by_role, neuron_operations
from .left_out import owners_of
from .residual_sums import sum_actions, sums_of
from .scope import lost_sums, unlike_inputs

if TYPE_CHECKING:
    from ...trace.trace import Trace

CALLED = ("rank", "module_id", "stage", "label", "step")
_ALIKE = (*CALLED, "op", "in_numel", "out_numel")
"""What layer calls that are counted together always have in common."""

_SEEN_IN = ("binary", "summed", "lost", "events")

_TOGETHER = (*MODULE, "stage", "label", "step", "sample", "op", "in_numel", "out_numel")
"""What layer calls have in common whose spikes need not be known one by one."""


def count_network(
    trace: Trace, config: LemaireConfig, *, by_step: bool, samples: Samples
) -> Counted:
    """Count the calls of an inference as the authors do.

    Args:
        trace: the inference.
        config: the options.
        by_step: whether steps are kept apart.
        samples: those that are asked about: other models of the trace are no part of the network.

    Raises:
        TraceError: what went into a layer was not measured, or batch and time steps are open.
    """
    every, kinds = layers_of(trace), neurons_of(trace)
    known = called(trace, pl.concat([every.select(MODULE), kinds.select(MODULE)]))
    asked = samples.frame.lazy().select(*SAMPLE, asked=pl.lit(True))
    known = (
        known.lazy()
        .join(asked, on=list(SAMPLE), how="left", maintain_order="left")
        .filter(pl.col("asked") | pl.col("sample").is_null())
        .drop("asked")
        .pipe(at_once)
    )
    by_values_only = not config.spikes_by_provenance
    calls = layer_calls(
        trace, every, at_module=True, by_values_only=by_values_only, known=known
    ).filter(
        pl.col("signature_id").is_not_null() & (pl.col("in_numel") > 0) & (pl.col("out_numel") > 0)
    )
    calls = as_run(trace, calls)
    firing = neuron_calls(trace, kinds, known=known)
    behind = neurons_behind(trace, calls, firing)
    if not config.neurons_behind_others:
        behind = behind.filter("direct")
    geometry = every.filter(pl.col("kind").is_in(KINDS))
    calls = calls.join(geometry.select(MODULE), on=MODULE, how="semi", maintain_order="left")
    layers = layer_groups(
        trace,
        _with_spikes(trace, calls, config),
        geometry,
        by_step,
        keys=(*SEEN, *_SEEN_IN),
        sums=["spike_count"],
    )
    layers = with_shares(layers, samples.frame, spiking=not firing.is_empty())
    operations = neuron_operations(kinds, config.neurons)
    behind = behind.join(operations.select("rank", neuron="module_id"), on=["rank", "neuron"])
    spiking = not firing.is_empty() or bool(layers["events"].any())
    layers = layers_by_role(layers, behind, config, spiking_network=spiking)
    neurons = _neurons_behind_layers(trace, firing, layers, behind.filter("last"), by_step).join(
        operations, on=MODULE, maintain_order="left"
    )
    actions = layer_actions(layers, neurons, config)
    sums = sum_signatures(trace).select("rank", "signature_id")
    if not spiking:
        ran = sums_of(trace, owners_of(trace), samples.batch, by_step=by_step)
        actions = pl.concat([actions, sum_actions(ran, every_element=config.sum_every_element)])
        sums = ran.select(*MODULE, "signature_id", "calls")
    return Counted(
        actions=actions,
        products=products_run(calls),
        covered=pl.concat([geometry.select(MODULE), neurons.select(MODULE).unique()]),
        inputs=layers.with_columns(spikes=pl.col("how") == "spiking"),
        sums=sums,
        warnings=lost_sums(layers) if spiking else (),
        notes=unlike_inputs(_not_repeated(trace, calls, layers, samples)),
    )


def _not_repeated(
    trace: Trace, calls: pl.DataFrame, layers: pl.DataFrame, samples: Samples
) -> pl.DataFrame:
    """Return `module` of hybrid layers whose inputs are not seen to be the same at each step."""
    hybrid = layers.filter((pl.col("how") == "hybrid") & (pl.col("steps") > 1))
    asked = calls.join(hybrid.select(MODULE).unique(), on=MODULE, how="semi")
    if asked.is_empty():
        return hybrid.select("module")
    steps = hybrid.group_by(*MODULE, "sample").agg(pl.col("time_steps").max())
    asked = asked.drop("time_steps").join(steps, on=[*MODULE, "sample"])
    unlike = unlike_steps(trace, asked)
    named = hybrid.join(unlike, on=MODULE, how="semi", maintain_order="left")
    return named.select("module").unique(maintain_order=True)


def layer_groups(
    trace: Trace,
    calls: pl.DataFrame,
    geometry: pl.DataFrame,
    by_step: bool,
    *,
    keys: Sequence[str] = ("in_first", "step_mode"),
    sums: Sequence[str] = (),
) -> pl.DataFrame:
    """Return groups of layer calls with their geometry.

    Raises:
        TraceError: what went into a layer was not measured.
    """
    calls = stepless(calls, by_step).rename({"in_spikes": "spikes", "in_decided": "decided"})
    calls = measured(trace, calls, geometry, "in")
    layers = grouped(calls, (*_ALIKE, *keys, "spikes", "decided"), ["in_nonzero", *sums])
    return layers.join(geometry, on=MODULE, maintain_order="left")


def stepless(calls: pl.DataFrame, by_step: bool) -> pl.DataFrame:
    """Return calls whose `step` is null unless steps are kept apart."""
    return calls if by_step else calls.with_columns(step=pl.lit(None, pl.Int32))


def measured(trace: Trace, calls: pl.DataFrame, modules: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the calls of modules; all of them have to be measured.

    Raises:
        TraceError: one is not; names its module.
    """
    calls = calls.join(modules.select(MODULE), on=MODULE, how="semi", maintain_order="left")
    unknown = calls.filter(pl.col(f"{side}_class").is_null() | pl.col(f"{side}_nonzero").is_null())
    if unknown.height:
        path = unknown.head(1).join(modules, on=MODULE)["module"][0]
        what = "input" if side == "in" else "output"
        raise TraceError(
            f"{trace.path}: the {what} of {path} was not measured (statistics = "
            f"{trace.manifest.statistics}): record with statistics='full'"
        )
    return calls


def _with_spikes(trace: Trace, calls: pl.DataFrame, config: LemaireConfig) -> pl.DataFrame:
    """Add what the inputs of layer calls are.

    Returns:
        `binary` (all 0 or 1), `summed` (a sum of spikes), `lost` (whole numbers that came out of
        adding spikes, of which the trace does not tell how many), `events` (spikes by provenance)
        and `spike_count`, the spikes if it is one of the first two.
    """
    taken = calls.select(
        *ID, *_TOGETHER[1:], value_id="in_value", **{"class": "in_class", "nonzero": "in_nonzero"}
    )
    sums = spike_sums(
        trace,
        taken if config.sums_of_spikes else taken.clear(),
        _TOGETHER,
        by_values_only=not config.spikes_by_provenance,
    )
    return (
        calls.lazy()
        .join(
            sums.lazy().select(*ID, "from_spikes", "total"),
            on=list(ID),
            how="left",
            maintain_order="left",
        )
        .with_columns(
            binary=spike_expr("in", by_values_only=True),
            summed=pl.col("total").is_not_null(),
            lost=pl.col("from_spikes").fill_null(False) & pl.col("total").is_null(),
            events=(pl.col("in_class") & int(SpikeClass.EVENTS)) != 0,
            spike_count=pl.coalesce("total", "in_nonzero"),
        )
        .drop("from_spikes")
        .pipe(at_once)
    )


def _neurons_behind_layers(
    trace: Trace, firing: pl.DataFrame, layers: pl.DataFrame, last: pl.DataFrame, by_step: bool
) -> pl.DataFrame:
    """Return groups of calls of the neurons that counted layers feed, with their layer."""
    fed_by = (
        layers.lazy()
        .group_by("rank", layer_id="module_id")
        .agg(pl.col("module").first().alias("layer"), pl.col("how").first(), pl.col("outs").max())
    )
    behind = last.lazy().select("rank", "population", module_id="neuron", layer_id="layer")
    fed = behind.join(fed_by, on=["rank", "layer_id"])
    kinds = at_once(neurons_of(trace).lazy().join(fed, on=MODULE, maintain_order="left"))
    one = [*MODULE, "population"]
    firing = measured(trace, stepless(firing, by_step), kinds, "out").with_columns(
        pl.col("time_steps").fill_null(1)
    )
    keys = (*CALLED, "population", "sample", "time_steps", "in_numel")
    return (
        grouped(firing, keys, ["out_nonzero"])
        .lazy()
        .with_columns(
            op=pl.lit(NEURON_OP),
            elements=pl.col("in_numel") * pl.col("calls"),
            spikes_out="out_nonzero",
            steps=steps_in_sample("population"),
        )
        .join(kinds.lazy().drop("class", "neuron"), on=one, maintain_order="left")
        .pipe(at_once)
    )
