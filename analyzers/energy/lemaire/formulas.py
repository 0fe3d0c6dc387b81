"""Action counts of Lemaire's model as its authors publish them, by layer, sample and tensor.

The counts are those of the authors' code (Qualia plugin SNN 2.6.0; its docstrings give the
equations' numbers, which stand here in brackets), summed over the calls of a trace. With a spike
input: a = spikes in, c = output channels of a group, k = the kernel's size, N = outputs of a
sample and time step. Three faults of that code are corrected and can be switched on again:
addressing of convolutions (Q1) and of linear layers (Q2), and groups (Q3). A fourth one, sums (Q4),
is in `residual_sums`.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ....schemas.costs import LemaireConfig, NeuronOperations
from ...workload.layers import MODULE
from ...workload.sample_shares import steps_in_sample
from .actions import action, added

KINDS = ("Linear", "Conv1d", "Conv2d", "Conv3d")


def layers_by_role(
    layers: pl.DataFrame, behind: pl.DataFrame, config: LemaireConfig, *, spiking_network: bool
) -> pl.DataFrame:
    """Add to grouped layer calls what the formulas need.

    In a spiking network a layer is spiking if zeros and ones or sums of spikes went in at every
    call, and at one at least what is spikes beyond doubt; otherwise it is hybrid (direct encoding).
    In any other network every layer is formal.

    Args:
        layers: grouped rows of `layer_calls` with geometry and `KEYS`, `spikes`, `binary`,
            `summed`, `spike_count`, `batch` and `time_steps`; `in_numel` and `out_numel` are of one
            call.
        behind: what `neurons_behind` returns.
        config: whether groups count and whether there are hybrid layers.
        spiking_network: whether the network has neurons, or takes in spikes.

    Returns:
        `groups` as they count, `ins` and `outs` (elements of a sample and step), `in_elements`,
        `out_elements` and `events_in` (of all calls), `passes` (samples times steps of all calls),
        `steps` (of the sample), `part` (1 / steps in a hybrid layer, else 1), `how` (spiking,
        hybrid or formal), `fed` (a neuron takes what it made), `fan` and `fan_in`.
    """
    fits, surely = pl.col("binary") | pl.col("summed"), pl.col("spikes") | pl.col("summed")
    spiking = fits.all().over(MODULE) & surely.any().over(MODULE) & pl.lit(spiking_network)
    other = "hybrid" if spiking_network and config.hybrid_first_layer else "formal"
    fed = behind.select("rank", module_id="layer", fed=pl.lit(True)).unique()
    passes = pl.col("batch") * pl.col("time_steps")
    return (
        layers.join(fed, on=MODULE, how="left", maintain_order="left")
        .with_columns(
            pl.col("fed").fill_null(False),
            how=pl.when(spiking).then(pl.lit("spiking")).otherwise(pl.lit(other)),
            events_in=pl.when(spiking).then("spike_count").otherwise("in_nonzero"),
            groups=pl.col("groups") if config.respect_groups else pl.lit(1),
            passes=passes * pl.col("calls"),
            ins=pl.col("in_numel") / passes,
            outs=pl.col("out_numel") / passes,
            in_elements=pl.col("in_numel") * pl.col("calls"),
            out_elements=pl.col("out_numel") * pl.col("calls"),
            steps=steps_in_sample(),
        )
        .with_columns(
            part=pl.when(pl.col("how") == "hybrid").then(1 / pl.col("steps")).otherwise(1.0),
            fan=pl.col("out_channels") // pl.col("groups"),
            fan_in=pl.col("in_channels") // pl.col("groups") * pl.col("kernel_numel"),
        )
    )


def neuron_operations(neurons: pl.DataFrame, known: Mapping[str, NeuronOperations]) -> pl.DataFrame:
    """Return `rank`, `module_id` and the operations of the neurons that the model covers.

    Args:
        neurons: what `neurons_of` returns.
        known: operations by class name, with or without its package, else by kind.
    """
    rows = []
    for rank, number, name, kind in neurons.select(*MODULE, "class", "neuron").iter_rows():
        found = known.get(name) or known.get(name.rsplit(".", 1)[-1]) or known.get(kind)
        if found is not None:
            rows.append((rank, number, *found.model_dump().values()))
    fields = ("macs_per_step", "acs_per_step", "acs_per_spike")
    schema = {"rank": pl.Int32, "module_id": pl.Int32, **dict.fromkeys(fields, pl.Float64)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def layer_actions(
    layers: pl.DataFrame, neurons: pl.DataFrame, config: LemaireConfig
) -> pl.DataFrame:
    """Return the action counts of layers and the neurons behind them.

    Args:
        layers: what `layers_by_role` returns.
        neurons: grouped rows of `neuron_calls` behind a layer with `KEYS`; `layer` (path), `how`
            and `outs` of that layer; `elements`, `spikes_out` and `steps` (of the sample); and the
            operations of the neuron: `macs_per_step`, `acs_per_step`, `acs_per_spike`.
        config: bias policy, addressing and the FIFO's size.
    """
    spiking = layers.filter(pl.col("how") == "spiking")
    hybrid = layers.filter(pl.col("how") == "hybrid")
    formal = layers.filter(pl.col("how") == "formal")
    driven = pl.concat([spiking, hybrid])
    return added(
        [
            *_spike_driven(driven),
            *_events(driven, config),
            action(spiking, "synop", pl.col("events_in") * pl.col("fan") * pl.col("strided_taps")),
            action(hybrid, "mac", _pass_without_zeros()),
            *_formal(formal, config),
            *_bias(layers, config),
            *_neurons(neurons, config),
        ]
    )


def _is_conv() -> pl.Expr:
    return pl.col("kind") != "Linear"


def _reached() -> pl.Expr:
    """Return the outputs that an input element reaches."""
    return pl.col("fan") * pl.col("kernel_numel")


def _spike_driven(calls: pl.DataFrame) -> list[pl.LazyFrame]:
    """Count weights (7f, 8f) and potentials (9, 10, 14, 15).

    Each output's potential is read and written once a step; by the neuron, if one is behind.
    """
    spikes = pl.col("events_in")
    alone = pl.when(pl.col("fed")).then(0).otherwise(pl.col("out_elements"))
    potentials = spikes * _reached() + alone
    return [
        action(calls, "read_params", spikes * pl.col("part") * _reached(), pl.col("weight_numel")),
        action(calls, "read_potential", potentials, pl.col("outs")),
        action(calls, "write_potential", potentials, pl.col("outs")),
    ]


def _events(calls: pl.DataFrame, config: LemaireConfig) -> list[pl.LazyFrame]:
    """Count an input that comes as events: reads from the FIFO (5) and addressing (16, 17)."""
    once = pl.col("events_in") * pl.col("part")
    reach = _reached() if config.conv_address_every_output else pl.col("kernel_numel")
    outs = pl.col("out_channels")
    linear = outs if config.linear_address_every_spike else outs / pl.col("ins")
    return [
        action(calls, "read_in", once, pl.lit(config.snn_fifo_capacity_elements)),
        action(calls, "mac_addr", 2 * once, of=_is_conv()),
        action(calls, "acc_addr", once * reach, of=_is_conv()),
        action(calls, "acc_addr", once * linear, of=~_is_conv()),
    ]


def _pass_without_zeros() -> pl.Expr:
    """Return the MACs of one pass of direct encoding, at the rate of its input's nonzeros."""
    rate = pl.col("events_in") / pl.col("in_elements")
    return pl.col("out_elements") * pl.col("part") * pl.col("fan_in") * rate


def _formal(calls: pl.DataFrame, config: LemaireConfig) -> list[pl.LazyFrame]:
    """Count a dense pass: products (1.1, 2.1), memories (3, 4, 6, 11, 12) and addressing.

    What a neuron takes in goes to its potential and is not written.
    """
    ins, outs = pl.col("in_elements"), pl.col("out_elements")
    macs = outs * pl.col("fan_in")
    kernels = pl.col("passes") * pl.col("out_channels") * pl.col("kernel_numel")
    linear = macs if config.linear_dense_addressing == "product" else ins + outs
    reads = pl.when(_is_conv()).then(macs).otherwise(ins)
    return [
        action(calls, "mac", macs),
        action(calls, "read_in", reads, pl.col("ins")),
        action(calls, "read_params", macs, pl.col("weight_numel")),
        action(calls, "write_out", outs, pl.col("outs"), of=~pl.col("fed")),
        action(calls, "acc_addr", ins + outs + kernels, of=_is_conv()),
        action(calls, "acc_addr", linear, of=~_is_conv()),
    ]


def _bias(calls: pl.DataFrame, config: LemaireConfig) -> list[pl.LazyFrame]:
    """Count additions (1.2, 1.4, 2.2, 2.4) and reads (6.1s, 6.2s, 7s) of the bias."""
    with_bias = calls.filter(pl.col("bias_numel") > 0)
    adding = calls if config.bias_additions == "always" else with_bias
    return [
        action(adding, "ac", pl.col("out_elements") * pl.col("part")),
        action(with_bias, "read_bias", pl.col("out_elements"), pl.col("bias_numel")),
    ]


def _neurons(calls: pl.DataFrame, config: LemaireConfig) -> list[pl.LazyFrame]:
    """Count leak (1.3, 2.3), reset (1.4, 2.4), potentials and the spikes written (13).

    A hybrid layer's leak is one multiplication a neuron, once in a sample.
    """
    elements, spikes = pl.col("elements"), pl.col("spikes_out")
    leaks = elements * pl.col("macs_per_step")
    hybrid = pl.col("how") == "hybrid"
    return [
        action(calls, "mac", leaks, of=~hybrid),
        action(calls, "mul", leaks / pl.col("steps"), of=hybrid),
        action(calls, "ac", spikes * pl.col("acs_per_spike") + elements * pl.col("acs_per_step")),
        action(calls, "read_potential", elements, pl.col("outs")),
        action(calls, "write_potential", elements, pl.col("outs")),
        action(calls, "write_out", spikes, pl.lit(config.snn_fifo_capacity_elements)),
    ]
