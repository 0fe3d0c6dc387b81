"""Charges of Lemaire's model as SpikingJelly 2.0 evaluates it: by layer, every word 4 bytes."""

from __future__ import annotations

import polars as pl

from ..lemaire.charges import charge, together

KINDS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
NEURONS = ("IF", "LIF")


def release_charges(
    layers: pl.DataFrame, neurons: pl.DataFrame, fifo_elements: int, spiking_model: bool
) -> pl.DataFrame:
    """Return the charges of all layers and neurons.

    Args:
        layers: grouped rows of `layer_calls` with geometry, `KEYS` and `spikes` (its input is a
            spike tensor); `in_numel` and `out_numel` are of one call, `in_nonzero` of all.
        neurons: grouped rows of `neuron_calls` with `KEYS` and `neuron`, likewise.
        fifo_elements: elements of the FIFO between spiking layers.
        spiking_model: whether the model has any neuron; then dense layers write no output.
    """
    layers = layers.filter(pl.col("kind").is_in(KINDS))
    spiking, dense = layers.filter("spikes"), layers.filter(~pl.col("spikes"))
    return together(
        [
            *_spike_driven(spiking, fifo_elements),
            *_dense(dense, spiking_model),
            *_bias(layers.filter(pl.col("bias_numel") > 0)),
            *_neurons(neurons.filter(pl.col("neuron").is_in(NEURONS)), fifo_elements),
        ]
    )


def _parameters() -> pl.Expr:
    return pl.col("weight_numel") + pl.col("bias_numel")


def _is_conv() -> pl.Expr:
    return pl.col("kind") != "Linear"


def _of_all(name: str) -> pl.Expr:
    return pl.col(name) * pl.col("calls")


def _steps() -> pl.Expr:
    """Return the time steps of a call: only a module in multi-step mode has any."""
    return pl.when(pl.col("step_mode") == "m").then(pl.col("in_first")).otherwise(1)


def _spike_driven(calls: pl.DataFrame, fifo_elements: int) -> list[pl.DataFrame]:
    """Charge calls with a spike input; a = nonzero elements, c = c_out / groups."""
    spikes, fan = pl.col("in_nonzero"), pl.col("out_channels") // pl.col("groups")
    events = spikes * fan * pl.col("kernel_numel")
    potentials = pl.col("out_numel") / _steps()
    fifo = pl.lit(fifo_elements)
    return [
        charge(calls, "synop", spikes * fan * pl.col("strided_taps")),
        charge(calls, "acc_addr", events),
        charge(calls.filter(_is_conv()), "mac_addr", 2 * spikes),
        charge(calls, "read_in", spikes, fifo),
        charge(calls, "read_params", events, _parameters()),
        charge(calls, "read_potential", events, potentials),
        charge(calls, "write_potential", events, potentials),
    ]


def _dense(calls: pl.DataFrame, spiking_model: bool) -> list[pl.DataFrame]:
    """Charge calls with a dense input."""
    ins, outs = _of_all("in_numel"), _of_all("out_numel")
    macs = outs * (pl.col("in_channels") // pl.col("groups")) * pl.col("kernel_numel")
    kernels = pl.col("calls") * pl.col("out_channels") * pl.col("kernel_numel")
    reads = pl.when(_is_conv()).then(macs).otherwise(ins)
    charged = [
        charge(calls, "mac", macs),
        charge(calls, "acc_addr", ins + outs + pl.when(_is_conv()).then(kernels).otherwise(0)),
        charge(calls, "read_in", reads, pl.col("in_numel")),
        charge(calls, "read_params", macs, _parameters()),
    ]
    if spiking_model:
        return charged
    return [*charged, charge(calls, "write_out", outs, pl.col("out_numel"))]


def _bias(calls: pl.DataFrame) -> list[pl.DataFrame]:
    return [
        charge(calls, "ac", _of_all("out_numel")),
        charge(calls, "read_bias", _of_all("out_numel"), _parameters()),
    ]


def _neurons(calls: pl.DataFrame, fifo_elements: int) -> list[pl.DataFrame]:
    """Charge neuron calls: state once a step, spikes to the FIFO, a MAC a leak."""
    elements, state = _of_all("out_numel"), pl.col("out_numel") / _steps()
    return [
        charge(calls, "ac", pl.col("out_nonzero")),
        charge(calls.filter(pl.col("neuron") == "LIF"), "mac", elements),
        charge(calls, "read_potential", elements, state),
        charge(calls, "write_potential", elements, state),
        charge(calls, "write_out", pl.col("out_nonzero"), pl.lit(fifo_elements)),
    ]
