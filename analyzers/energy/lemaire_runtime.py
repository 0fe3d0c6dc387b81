"""Charges of Lemaire's model as SpikingJelly evaluated it in August 2026: by runtime bytes.

Words are single bytes here: a layer moves its tensors at their own types, and every access of a
kind costs what the largest access of that kind costs.
"""

from __future__ import annotations

import polars as pl

from ...schemas import SpikeClass
from .charges import charge, together

CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")
BUFFERS = {
    "read_in": ("read_in",),
    "write_out": ("write_out",),
    "read_params": ("read_params",),
    "potential": ("read_potential", "write_potential"),
}
"""Which accesses share the cost of one buffer."""


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
        layers: rows of `layer_calls`; transposed convolutions are taken as dense.
        share: share of zeros from which a tensor is stored sparsely.
    """
    transposed = pl.col("kind").str.starts_with("ConvTranspose")
    in_sparse, out_sparse = sparse("in", share) & ~transposed, sparse("out", share) & ~transposed
    in_size = pl.col("in_bytes") // pl.max_horizontal("in_numel", 1)
    out_size = pl.col("out_bytes") // pl.max_horizontal("out_numel", 1)
    weight_size = pl.col("weight_bytes") // pl.max_horizontal("weight_numel", 1)
    fan = pl.col("out_channels") // pl.col("groups") * pl.col("kernel_numel")
    active = pl.when(out_sparse).then("out_nonzero").otherwise("out_numel")
    bias_size = pl.col("bias_bytes") // pl.max_horizontal("bias_numel", 1)
    driven = pl.col("in_nonzero") * fan * weight_size + active * bias_size
    return layers.with_columns(
        read_in=pl.when(in_sparse).then(pl.col("in_nonzero") * in_size).otherwise("in_bytes"),
        write_out=pl.when(in_sparse & out_sparse)
        .then(pl.col("out_nonzero") * out_size)
        .otherwise("out_bytes"),
        read_params=pl.when(in_sparse)
        .then(driven)
        .otherwise(pl.col("weight_bytes") + pl.col("bias_bytes")),
    )


def layer_charges(moved: pl.DataFrame) -> pl.DataFrame:
    """Return addressing and memory charges of layers, as single bytes.

    Args:
        moved: what `moved_bytes` returns, with `KEYS` and `spikes`.
    """
    addressed = moved.filter(pl.col("kind").is_in(["Linear", *CONVOLUTIONS]))
    convolved = addressed.filter(pl.col("kind") != "Linear")
    dense = pl.col("in_numel") + pl.col("out_numel")
    kernels = pl.col("out_channels") * pl.col("kernel_numel")
    events = (
        pl.col("in_nonzero") * (pl.col("out_channels") // pl.col("groups")) * pl.col("kernel_numel")
    )
    spiking, formal = addressed.filter("spikes"), addressed.filter(~pl.col("spikes"))
    return together(
        [
            charge(spiking, "acc_addr", events),
            charge(convolved.filter("spikes"), "mac_addr", 2 * pl.col("in_nonzero")),
            charge(formal, "acc_addr", dense),
            charge(convolved.filter(~pl.col("spikes")), "acc_addr", kernels),
            *(
                charge(moved, what, pl.col(what), pl.col(what).max())
                for what in ("read_in", "write_out", "read_params")
            ),
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
            charge(counted, "ac", pl.col("synops") + pl.col("acs")),
            charge(counted, "mac", pl.col("macs")),
        ]
    )


def state_charges(states: pl.DataFrame) -> pl.DataFrame:
    """Return the charges of operations on neuron state.

    Args:
        states: what `state_operations` returns, with `KEYS`.
    """
    buffer = pl.col("largest").max()
    return together(
        [
            charge(states, "ac", pl.col("additions")),
            charge(states, "mac", pl.col("multiplications")),
            charge(states, "read_potential", pl.col("read_bytes"), buffer),
            charge(states, "write_potential", pl.col("written_bytes"), buffer),
        ]
    )
