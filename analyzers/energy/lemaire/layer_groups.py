"""The calls that Lemaire's model charges, put together from a trace for each revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import TraceError
from ....schemas.costs import LemaireConfig
from ...counting.evaluate import tally
from ...rules import rule_set
from ...workload.geometry import layers_of, neurons_of
from ...workload.layer_calls import MODULE, grouped, layer_calls, neuron_calls
from ...workload.samples import Samples
from ...workload.spikes import decided_by_provenance, spike_expr
from ..spikingjelly import lemaire_2_0 as lemaire_release
from ..spikingjelly.lemaire_2026_08 import (
    MOVED,
    layer_charges,
    moved_bytes,
    operation_charges,
    state_charges,
)
from ..spikingjelly.neuron_state import own_operations, state_operations
from . import formulas as lemaire_source
from .charges import NEURON_OP, together
from .left_out import owners_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

CALLED = ("rank", "module_id", "stage", "label", "step")
ALIKE = (*CALLED, "op", "in_numel", "out_numel")
"""What layer calls that are charged together always have in common."""


@dataclass(frozen=True)
class Charged:
    """The charges of one revision, and what they were made from.

    Attributes:
        charges: see `charges.SCHEMA`.
        covered: `rank` and `module_id` of the layers and neurons that are charged.
        inputs: groups of layer calls with `module`, `spikes` (the input was taken for spikes),
            `decided` (provenance decided about a constant), `in_numel` (of a call), `in_nonzero`
            (of all) and `calls`.
        sums: signatures of sums of tensors that are free; or with the modules and how many are
            `charged`. None: not asked for.
    """

    charges: pl.DataFrame
    covered: pl.DataFrame
    inputs: pl.DataFrame
    sums: pl.DataFrame | None = None


def by_release(
    trace: Trace,
    config: LemaireConfig,
    *,
    by_step: bool,
    samples: Samples,
) -> Charged:
    """Charge the forward calls as SpikingJelly 2.0 does."""
    geometry = layers_of(trace).filter(pl.col("kind").is_in(lemaire_release.KINDS))
    kinds = neurons_of(trace)
    layers = layer_groups(trace, layer_calls(trace, geometry), geometry, by_step)
    charged = kinds.filter(pl.col("neuron").is_in(lemaire_release.NEURONS))
    firing = measured(trace, stepless(neuron_calls(trace, charged), by_step), charged, "out")
    neurons = grouped(
        firing, (*CALLED, "out_numel", "in_first", "step_mode"), ["out_nonzero"]
    ).join(charged, on=MODULE, maintain_order="left")
    return Charged(
        charges=lemaire_release.release_charges(
            layers,
            neurons.with_columns(op=pl.lit(NEURON_OP)),
            config.snn_fifo_capacity_elements,
            spiking_model=not kinds.is_empty(),
        ),
        covered=pl.concat([geometry.select(MODULE), charged.select(MODULE)]),
        inputs=layers,
    )


def by_runtime(
    trace: Trace,
    config: LemaireConfig,
    *,
    by_step: bool,
    samples: Samples,
) -> Charged:
    """Charge the forward calls as SpikingJelly did in August 2026."""
    geometry, kinds = layers_of(trace), neurons_of(trace)
    calls = layer_calls(trace, geometry, outputs=True)
    moved = moved_bytes(
        calls.join(geometry, on=MODULE, maintain_order="left"), config.sparse_share
    ).select(*calls.columns, *MOVED)
    layers = layer_groups(trace, moved, geometry, by_step, sums=MOVED)
    own = lemaire_source.neuron_operations(kinds, config, by_class=True)
    firing = stepless(neuron_calls(trace, kinds), by_step)
    states = pl.concat(
        [
            state_operations(
                trace,
                firing.join(own, on=MODULE, how="anti"),
                config.sparse_share,
                list(CALLED),
            ),
            own_operations(firing.join(own, on=MODULE), list(CALLED)),
        ]
    ).join(kinds.select(*MODULE, "module"), on=MODULE, maintain_order="left")
    most = {what: _most(moved[what]) for what in MOVED}
    return Charged(
        charges=together(
            [
                operation_charges(_outside_neurons(trace, by_step)),
                layer_charges(layers, most),
                state_charges(states),
            ]
        ),
        covered=pl.concat([geometry.select(MODULE), kinds.select(MODULE)]),
        inputs=layers,
    )


def stepless(calls: pl.DataFrame, by_step: bool) -> pl.DataFrame:
    """Return calls whose `step` is null unless steps are kept apart."""
    return calls if by_step else calls.with_columns(step=pl.lit(None, pl.Int32))


def _most(values: pl.Series) -> float:
    return 0.0 if values.is_empty() else float(values.to_numpy().max())


def layer_groups(
    trace: Trace,
    calls: pl.DataFrame,
    geometry: pl.DataFrame,
    by_step: bool,
    *,
    keys: Sequence[str] = ("in_first", "step_mode"),
    sums: Sequence[str] = (),
    by_values_only: bool = True,
) -> pl.DataFrame:
    """Return groups of layer calls with their geometry.

    Raises:
        TraceError: what went into a layer was not measured.
    """
    decided = pl.lit(False) if by_values_only else decided_by_provenance("in")
    calls = stepless(calls, by_step).with_columns(
        spikes=spike_expr("in", by_values_only=by_values_only), decided=decided
    )
    calls = measured(trace, calls, geometry, "in")
    layers = grouped(calls, (*ALIKE, *keys, "spikes", "decided"), ["in_nonzero", *sums])
    return layers.join(geometry, on=MODULE, maintain_order="left")


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


def _outside_neurons(trace: Trace, by_step: bool) -> pl.DataFrame:
    """Return what the revision's rules count of the forward calls that run in no neuron."""
    counted = tally(
        trace,
        rule_set("spikingjelly-2026-08"),
        ["module_id", "stage", "label", *(["step"] if by_step else [])],
    ).filter(pl.col("stage") == "forward")
    owners = owners_of(trace, layers_of(trace)).join(
        neurons_of(trace).select("rank", "neuron", owner="module_id"),
        on=["rank", "owner"],
        how="left",
        maintain_order="left",
    )
    return (
        stepless(counted, by_step)
        .join(owners, on=MODULE, how="left", maintain_order="left")
        .filter(pl.col("neuron").is_null())
    )
