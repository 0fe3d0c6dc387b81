"""Charges of Lemaire's model as SpikingJelly evaluated it in August 2026: by runtime bytes.

Words are single bytes here: a layer moves its tensors at their own types, and every access of a
kind costs what the largest access of that kind costs.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ....schemas import SpikeClass
from ..lemaire.charges import charge, together

CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")
MOVED = ("read_in", "write_out", "read_params")
"""What a layer call moves."""

TRANSPOSED = "ConvTranspose"
"""What kinds start with that are taken as dense."""


def sparse(side: str, share: float) -> pl.Expr:
    """Tell whether a layer's input or output is stored sparsely.

    Args:
        side: "in" or "out".
        share: share of zeros from which it is, if it is no spike tensor.
    """
    zeros = pl.col(f"{side}_numel") - pl.col(f"{side}_nonzero")
    binary = (pl.col(f"{side}_class") & int(SpikeClass.BINARY)) != 0
    return (binary | (zeros >= share * pl.col(f"{side}_numel"))).fill_null(False)


def moved_bytes(layers: pl.DataFrame, share: float) -> pl.DataFrame:
    """Add the bytes that each layer call moves: `read_in`, `write_out`, `read_params`.

    Args:
        layers: rows of `layer_calls` with outputs, and geometry; transposed convolutions are
            taken as dense.
        share: share of zeros from which a tensor is stored sparsely.
    """
    transposed = pl.col("kind").str.starts_with(TRANSPOSED)
    in_sparse, out_sparse = sparse("in", share) & ~transposed, sparse("out", share) & ~transposed
    in_size = pl.col("in_bytes") // pl.max_horizontal("in_numel", 1)
    out_size = pl.col("out_bytes") // pl.max_horizontal("out_numel", 1)
    weight_size = pl.col("weight_bytes") // pl.max_horizontal("weight_numel", 1)
    active = pl.when(out_sparse).then("out_nonzero").otherwise("out_numel")
    bias_size = pl.col("bias_bytes") // pl.max_horizontal("bias_numel", 1)
    driven = _events() * weight_size + active * bias_size
    return layers.with_columns(
        read_in=pl.when(in_sparse).then(pl.col("in_nonzero") * in_size).otherwise("in_bytes"),
        write_out=pl.when(in_sparse & out_sparse)
        .then(pl.col("out_nonzero") * out_size)
        .otherwise("out_bytes"),
        read_params=pl.when(in_sparse)
        .then(driven)
        .otherwise(pl.col("weight_bytes") + pl.col("bias_bytes")),
    )


def _events() -> pl.Expr:
    fan = pl.col("out_channels") // pl.col("groups") * pl.col("kernel_numel")
    return pl.col("in_nonzero") * fan


def layer_charges(layers: pl.DataFrame, most: Mapping[str, float]) -> pl.DataFrame:
    """Return addressing and memory charges of layers, as single bytes.

    Args:
        layers: grouped rows of what `moved_bytes` returns, with geometry, `KEYS` and `spikes`;
            `in_numel` and `out_numel` are of one call.
        most: the bytes of each of `MOVED` in the call that moves most.
    """
    calls = pl.col("calls")
    kernels = calls * pl.col("out_channels") * pl.col("kernel_numel")
    addressed = layers.filter(~pl.col("kind").str.starts_with(TRANSPOSED))
    spiking, formal = addressed.filter("spikes"), addressed.filter(~pl.col("spikes"))
    dense = calls * (pl.col("in_numel") + pl.col("out_numel"))
    convolved = pl.col("kind") != "Linear"
    return together(
        [
            charge(spiking, "acc_addr", _events()),
            charge(spiking.filter(convolved), "mac_addr", 2 * pl.col("in_nonzero")),
            charge(formal, "acc_addr", dense + pl.when(convolved).then(kernels).otherwise(0)),
            *(charge(layers, what, pl.col(what), pl.lit(most[what])) for what in MOVED),
        ]
    )


def operation_charges(counted: pl.DataFrame) -> pl.DataFrame:
    """Return the additions and MACs of the dispatched calls outside neurons.

    Args:
        counted: `KEYS` and the counters `synops`, `acs`, `macs` of the revision's rule set,
            without what ran inside neurons. SynOps are charged beside the ACs that they are,
            as the revision does.
    """
    return together(
        [
            charge(rows, what, pl.col(counter))
            for what, counter in (("synop", "synops"), ("ac", "acs"), ("mac", "macs"))
            if not (rows := counted.filter(pl.col(counter) > 0)).is_empty()
        ]
    )


def state_charges(states: pl.DataFrame) -> pl.DataFrame:
    """Return the charges of operations on neuron state.

    Args:
        states: what `state_operations` returns, with `KEYS`.
    """
    buffer = pl.lit(states["largest"].max() or 0)
    return together(
        [
            charge(states, "state_ac", pl.col("additions")),
            charge(states, "state_mac", pl.col("multiplications")),
            charge(states, "read_potential", pl.col("read_bytes"), buffer),
            charge(states, "write_potential", pl.col("written_bytes"), buffer),
        ]
    )
