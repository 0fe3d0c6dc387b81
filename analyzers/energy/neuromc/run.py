"""What ran of a trace as NeuroMC takes it: products and batch norms, and the stage of each call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ....schemas.costs import NeuroMCConfig
from ...frames import at_once
from ...workload.gradients import Geometries, geometries_of, product_calls, shaped_calls
from ...workload.layers import ID, MODULE, layers_of, neurons_of

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from ...workload.samples import Samples
    from .addons import Options
    from .variant import Variant

_PHASES = {"forward": "forward", "recompute": "forward", "backward": "backward"}
_POSITION = re.compile(r"(?<![a-z0-9])([bt])([0-9]+)(?![a-z0-9])")


SHAPES = ("last_seq", "grad_enabled", "multi_step", "in_shape", "out_shape")
"""What products of layers and batch norms may depend on of their module's call."""


class Stage(NamedTuple):
    """A stage that fragments are charged to.

    Attributes:
        name: the user's label, or what the calls were part of.
        phase: forward, backward or optimizer.
        batch_reused: weights are there from an earlier batch.
        step_reused: weights are there from an earlier time step.
        norm_modelled: batch norm's backward operations are charged.
    """

    name: str
    phase: str
    batch_reused: bool = False
    step_reused: bool = False
    norm_modelled: bool = True


@dataclass(frozen=True)
class Run:
    """What ran, to cut fragments from.

    Attributes:
        trace: the trace, narrowed to what is estimated.
        config: its structural fields decide.
        samples: of the whole trace.
        calls: `workload.gradients.product_calls`, with `kind`, `in_channels`, `out_channels` and
            `weight_numel` of the layer that they ran in (null outside layers).
        shapes: `workload.gradients.shaped_calls` of the modules that they ran in, and of neurons.
        geometries: sizes of what multiplies or normalises, by signature.
        neurons: the neurons, see `workload.layers.neurons_of`.
        neuron_calls: `workload.gradients.shaped_calls` of the neurons in the whole trace.
        by_name: options of declared stages are read off their names.
        optimizers: those that have fragments, see `Variant`.
    """

    trace: Trace
    config: NeuroMCConfig
    samples: Samples
    calls: pl.DataFrame
    shapes: pl.DataFrame
    geometries: Geometries
    neurons: pl.DataFrame
    neuron_calls: pl.DataFrame
    by_name: bool
    optimizers: Mapping[str, Options]
    _stages: dict[tuple[str | None, str], Stage] = field(default_factory=dict)

    def with_shapes(self, calls: pl.DataFrame) -> pl.DataFrame:
        """Return rows of `calls` with `SHAPES` of the module calls that they ran in."""
        shapes = self.shapes.select(*ID, *SHAPES)
        return calls.join(shapes, on=ID, how="left", maintain_order="left")

    def stage(self, label: str | None, recorded: str) -> Stage:
        """Return the stage of calls under a label that were recorded as part of a stage."""
        key = (label, recorded)
        if key not in self._stages:
            self._stages[key] = _stage_of(label, recorded, self.config, by_name=self.by_name)
        return self._stages[key]


def run_of(
    trace: Trace, config: NeuroMCConfig, samples: Samples, variant: Variant, spikes: str
) -> Run:
    """Return what ran of a trace; `samples` are those of the whole trace."""
    calls = product_calls(trace, spikes, by_values_only=variant.by_values_only)
    layers = layers_of(trace).select(*MODULE, "kind", "in_channels", "out_channels", "weight_numel")
    neurons = neurons_of(trace)
    ran = calls.lazy().select(MODULE).drop_nulls().unique().pipe(at_once)
    shaped = shaped_calls(trace.whole, pl.concat([ran, neurons.select(MODULE)]))
    calls = calls.join(layers, on=MODULE, how="left", maintain_order="left")
    fired = shaped.join(neurons, on=MODULE, how="semi", maintain_order="left")
    geometries, told = geometries_of(trace), (variant.stages_by_name, variant.optimizers)
    return Run(trace, config, samples, calls, shaped, geometries, neurons, fired, *told)


def _stage_of(label: str | None, stage: str, config: NeuroMCConfig, *, by_name: bool) -> Stage:
    declared = config.stages.get(label) if label is not None else None
    if label is None or not (declared or config.stage_options == "names"):
        return Stage(name=stage, phase=_PHASES.get(stage, "optimizer"))
    if declared is None or by_name or config.stage_options == "names":
        return read_off(label)
    return Stage(
        name=label,
        phase=declared.phase,
        step_reused=declared.reuse_weights,
        norm_modelled=declared.batch_norm_backward,
    )


def read_off(name: str) -> Stage:
    """Return a stage with the options that its name gives (SpikingJelly's revision 2026-08)."""
    low = name.lower()
    phase = "forward"
    if "backward" in low:
        phase = "backward"
    elif "optimizer" in low or "update" in low:
        phase = "optimizer"
    later = {kind for kind, position in _POSITION.findall(low.replace("_", " ")) if int(position)}
    return Stage(
        name=name,
        phase=phase,
        batch_reused="b" in later,
        step_reused="t" in later,
        norm_modelled="without_bp_bn" not in low,
    )
