"""Lemaire's model as SpikingJelly 2.0 evaluates it: by layer, every word 4 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import LemaireConfig
from ...workload.layer_calls import grouped, layer_calls, neuron_calls, products_run
from ...workload.layers import MODULE, layers_of
from ...workload.samples import Samples
from ..lemaire.actions import Counted, action, added
from ..lemaire.formulas import KINDS
from ..lemaire.network import CALLED, layer_groups, measured, stepless
from ..lemaire.variant import Variant
from ..row_keys import NEURON_OP
from .nodes import nodes_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

_NEURONS = ("IF", "LIF")


def count_calls(trace: Trace, config: LemaireConfig, *, by_step: bool, samples: Samples) -> Counted:
    """Count the forward calls, in whatever mode the model was.

    Raises:
        TraceError: what went into a layer, or came out of a neuron, was not measured.
    """
    geometry = layers_of(trace).filter(pl.col("kind").is_in(KINDS))
    calls = layer_calls(trace, geometry, by_values_only=True)
    layers = layer_groups(trace, calls, geometry, by_step).join(
        _parameters(trace), on=MODULE, maintain_order="left"
    )
    nodes = nodes_of(trace)
    charged = nodes.filter(pl.col("neuron").is_in(_NEURONS))
    firing = measured(trace, stepless(neuron_calls(trace, charged), by_step), charged, "out")
    keys = (*CALLED, "out_numel", "in_first", "step_mode")
    neurons = grouped(firing, keys, ["out_nonzero"]).join(charged, on=MODULE, maintain_order="left")
    neurons = neurons.with_columns(op=pl.lit(NEURON_OP))
    spiking, dense = layers.filter("spikes"), layers.filter(~pl.col("spikes"))
    fifo = pl.lit(config.snn_fifo_capacity_elements)
    return Counted(
        actions=added(
            [
                *_spike_driven(spiking, fifo),
                *_dense(dense, spiking_model=not nodes.is_empty()),
                *_bias(layers.filter(pl.col("bias_numel") > 0)),
                *_neurons(neurons, fifo),
            ]
        ),
        products=products_run(calls),
        covered=pl.concat([geometry.select(MODULE), charged.select(MODULE)]),
        inputs=layers,
    )


def _warnings(rest: pl.DataFrame, trace: Trace) -> tuple[str, ...]:
    """Name the modules that there are no formulas for."""
    named = rest.filter(pl.col("kind") == "module")["what"]
    return tuple(f"Lemaire does not cover {name}; its energy is left out" for name in named)


VARIANT = Variant(count=count_calls, warnings=_warnings, word_bytes=4.0, piecewise=True)


def _parameters(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `module_id` and `parameters`: the elements of all of a module's own ones."""
    own = pl.col("parameters").list.eval(pl.element().struct.field("numel")).list.sum()
    return trace.modules.select(*MODULE, parameters=own)


def _is_conv() -> pl.Expr:
    return pl.col("kind") != "Linear"


def _of_all(name: str) -> pl.Expr:
    return pl.col(name) * pl.col("calls")


def _steps() -> pl.Expr:
    """Return the time steps of a call: only a module in multi-step mode has any."""
    return pl.when(pl.col("step_mode") == "m").then(pl.col("in_first")).otherwise(1)


def _spike_driven(calls: pl.DataFrame, fifo: pl.Expr) -> list[pl.LazyFrame]:
    """Count calls with a spike input; a = nonzero elements, c = c_out / groups."""
    spikes, fan = pl.col("in_nonzero"), pl.col("out_channels") // pl.col("groups")
    events = spikes * fan * pl.col("kernel_numel")
    potentials = pl.col("out_numel") / _steps()
    return [
        action(calls, "synop", spikes * fan * pl.col("strided_taps")),
        action(calls, "acc_addr", events),
        action(calls, "mac_addr", 2 * spikes, of=_is_conv()),
        action(calls, "read_in", spikes, fifo),
        action(calls, "read_params", events, pl.col("parameters")),
        action(calls, "read_potential", events, potentials),
        action(calls, "write_potential", events, potentials),
    ]


def _dense(calls: pl.DataFrame, *, spiking_model: bool) -> list[pl.LazyFrame]:
    """Count calls with a dense input."""
    ins, outs = _of_all("in_numel"), _of_all("out_numel")
    macs = outs * (pl.col("in_channels") // pl.col("groups")) * pl.col("kernel_numel")
    kernels = pl.col("calls") * pl.col("out_channels") * pl.col("kernel_numel")
    reads = pl.when(_is_conv()).then(macs).otherwise(ins)
    counts = [
        action(calls, "mac", macs),
        action(calls, "acc_addr", ins + outs + pl.when(_is_conv()).then(kernels).otherwise(0)),
        action(calls, "read_in", reads, pl.col("in_numel")),
        action(calls, "read_params", macs, pl.col("parameters")),
    ]
    if spiking_model:
        return counts
    return [*counts, action(calls, "write_out", outs, pl.col("out_numel"))]


def _bias(calls: pl.DataFrame) -> list[pl.LazyFrame]:
    return [
        action(calls, "ac", _of_all("out_numel")),
        action(calls, "read_bias", _of_all("out_numel"), pl.col("parameters")),
    ]


def _neurons(calls: pl.DataFrame, fifo: pl.Expr) -> list[pl.LazyFrame]:
    """Count neuron calls: state once a step, spikes to the FIFO, a MAC a leak."""
    elements, state = _of_all("out_numel"), pl.col("out_numel") / _steps()
    return [
        action(calls, "ac", pl.col("out_nonzero")),
        action(calls, "mac", elements, of=pl.col("neuron") == "LIF"),
        action(calls, "read_potential", elements, state),
        action(calls, "write_potential", elements, state),
        action(calls, "write_out", pl.col("out_nonzero"), fifo),
    ]
