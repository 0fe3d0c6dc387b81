"""Lemaire's model as SpikingJelly evaluated it in August 2026: by runtime bytes.

Words are single bytes here: a layer moves its tensors at their own types, and every access of a
kind costs what the largest access of that kind costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import SpikeClass
from ....schemas.costs import LemaireConfig, NeuronOperations
from ...counting.evaluate import tally
from ...rules import rule_set
from ...workload.layer_calls import layer_calls, neuron_calls
from ...workload.layers import MODULE, layers_of, neurons_of
from ...workload.samples import Samples
from ..lemaire.actions import Counted, action, added
from ..lemaire.formulas import neuron_operations
from ..lemaire.left_out import owners_of
from ..lemaire.network import CALLED, layer_groups, stepless
from ..lemaire.variant import Variant
from .neuron_state import own_operations, state_operations

if TYPE_CHECKING:
    from ...trace.trace import Trace

_MOVED = ("read_in", "write_out", "read_params")
"""What a layer call moves."""

_TRANSPOSED = pl.col("kind").str.starts_with("ConvTranspose")
"""Layers that are taken as dense."""


def count_run(trace: Trace, config: LemaireConfig, *, by_step: bool, samples: Samples) -> Counted:
    """Count the forward calls, in whatever mode the model was.

    Raises:
        TraceError: what went into a layer was not measured.
    """
    geometry, kinds = layers_of(trace), neurons_of(trace)
    calls = layer_calls(trace, geometry, outputs=True, by_values_only=True)
    moved = moved_bytes(
        calls.join(geometry, on=MODULE, maintain_order="left"), config.sparse_share
    ).select(*calls.columns, *_MOVED)
    layers = layer_groups(trace, moved, geometry, by_step, sums=_MOVED)
    outside = _outside_neurons(trace, by_step)
    most = {what: float(moved[what].max() or 0) for what in _MOVED}  # type: ignore[arg-type]
    return Counted(
        actions=added(
            [
                *_operations(outside),
                *_layers(layers, most),
                *_states(_states_of(trace, config, kinds, by_step)),
            ]
        ),
        products=outside.filter((pl.col("how") == "rule") & pl.col("macs").is_not_null()).select(
            *MODULE, "signature_id", "stage", "calls"
        ),
        covered=pl.concat([geometry.select(MODULE), kinds.select(MODULE)]),
        inputs=layers,
        warnings=_unmeasured(trace, calls),
    )


def _warnings(rest: pl.DataFrame, trace: Trace) -> tuple[str, ...]:
    """Name transposed convolutions: no others are."""
    kinds = layers_of(trace).filter(_TRANSPOSED)["kind"].unique(maintain_order=True)
    return tuple(f"Lemaire takes {k} as dense, which is a lower bound of its memory" for k in kinds)


def _unmeasured(trace: Trace, calls: pl.DataFrame) -> tuple[str, ...]:
    """Tell whether outputs of layers are taken as dense because nobody counted their zeros."""
    number = calls.filter(pl.col("out_class").is_null()).height
    if not number:
        return ()
    return (
        f"the outputs of {number:,} of {calls.height:,} layer calls were not measured (statistics "
        f"= {trace.manifest.statistics}): they are taken as dense; record with statistics='full'",
    )


VARIANT = Variant(
    count=count_run,
    warnings=_warnings,
    word_bytes=1.0,
    piecewise=True,
    acs_with_synops=False,
    more_counts={"state_acc_like": "state_ac", "state_mac_like": "state_mac"},
)


def _outside_neurons(trace: Trace, by_step: bool) -> pl.DataFrame:
    """Return what the revision's rules count of the forward calls that run in no neuron."""
    keys = ["module_id", "stage", "label", *(["step"] if by_step else [])]
    counted = tally(trace, rule_set("spikingjelly-2026-08"), keys)
    neurons = neurons_of(trace).select("rank", owner="module_id")
    owners = owners_of(trace).join(
        neurons.with_columns(neuron=True), on=["rank", "owner"], how="left"
    )
    return (
        stepless(counted.filter(pl.col("stage") == "forward"), by_step)
        .join(owners, on=MODULE, how="left", maintain_order="left")
        .filter(pl.col("neuron").is_null())
    )


def _states_of(
    trace: Trace, config: LemaireConfig, neurons: pl.DataFrame, by_step: bool
) -> pl.DataFrame:
    """Return what neurons do to their state, or what the configuration says of their class."""
    default = LemaireConfig.model_fields["neurons"].default
    named: dict[str, NeuronOperations] = {
        name: value
        for name, value in config.neurons.items()
        if value != default.get(name) and name not in _KINDS
    }
    own = neuron_operations(neurons, named)
    firing = stepless(neuron_calls(trace, neurons), by_step)
    others = firing.join(own, on=MODULE, how="anti", maintain_order="left")
    states = [
        state_operations(trace, others, config.sparse_share, list(CALLED)),
        own_operations(firing.join(own, on=MODULE, maintain_order="left"), list(CALLED)),
    ]
    return pl.concat(states).join(
        neurons.select(*MODULE, "module"), on=MODULE, maintain_order="left"
    )


_KINDS = ("IF", "LIF", "other")
"""Names of neurons in a configuration that are of no class."""


def _sparse(side: str, share: float) -> pl.Expr:
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
    in_sparse, out_sparse = (
        _sparse("in", share) & ~_TRANSPOSED,
        _sparse("out", share) & ~_TRANSPOSED,
    )
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


def _layers(layers: pl.DataFrame, most: Mapping[str, float]) -> list[pl.LazyFrame]:
    """Count addresses, and single bytes to and from memory, of layers.

    Args:
        layers: grouped rows of what `moved_bytes` returns, with geometry, `KEYS` and `spikes`;
            `in_numel` and `out_numel` are of one call.
        most: the bytes of each of `_MOVED` in the call that moves most.
    """
    calls = pl.col("calls")
    kernels = calls * pl.col("out_channels") * pl.col("kernel_numel")
    addressed = layers.filter(~_TRANSPOSED)
    spiking, formal = addressed.filter("spikes"), addressed.filter(~pl.col("spikes"))
    dense = calls * (pl.col("in_numel") + pl.col("out_numel"))
    convolved = pl.col("kind") != "Linear"
    return [
        action(spiking, "acc_addr", _events()),
        action(spiking, "mac_addr", 2 * pl.col("in_nonzero"), of=convolved),
        action(formal, "acc_addr", dense + pl.when(convolved).then(kernels).otherwise(0)),
        *(action(layers, what, pl.col(what), pl.lit(most[what])) for what in _MOVED),
    ]


def _operations(counted: pl.DataFrame) -> list[pl.LazyFrame]:
    """Count the additions and MACs of the dispatched calls outside neurons.

    SynOps stand beside the ACs that they are, as in the revision.
    """
    return [
        action(rows, what, pl.col(counter))
        for what, counter in (("synop", "synops"), ("ac", "acs"), ("mac", "macs"))
        if not (rows := counted.filter(pl.col(counter) > 0)).is_empty()
    ]


def _states(states: pl.DataFrame) -> list[pl.LazyFrame]:
    """Count operations on neuron state, and its bytes read and written.

    Args:
        states: what `state_operations` returns, with `KEYS`.
    """
    buffer = pl.lit(states["largest"].max() or 0)
    return [
        action(states, "state_ac", pl.col("additions")),
        action(states, "state_mac", pl.col("multiplications")),
        action(states, "read_potential", pl.col("read_bytes"), buffer),
        action(states, "write_potential", pl.col("written_bytes"), buffer),
    ]
