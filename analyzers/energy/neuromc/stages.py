"""Which of NeuroMC's stages a call belongs to, and what the stage's options are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ....schemas.costs import NeuroMCConfig

_PHASES = {"forward": "forward", "recompute": "forward", "backward": "backward"}
_POSITION = re.compile(r"(?<![a-z0-9])([bt])([0-9]+)(?![a-z0-9])")


@dataclass(frozen=True)
class Stage:
    """A stage of the account.

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


def stage_of(label: str | None, stage: str, revision: str, config: NeuroMCConfig) -> Stage:
    """Return the stage of calls.

    Args:
        label: the label that they were recorded under.
        stage: forward, backward, recompute or optimizer, as recorded.
        revision: 2026-08 reads the options of declared stages off their names.
        config: declares stages, or that every label is one.
    """
    by_name = config.stage_options == "names"
    declared = config.stages.get(label) if label is not None else None
    if label is None or not (declared or by_name):
        return Stage(name=stage, phase=_PHASES.get(stage, "optimizer"))
    if declared is None or by_name or revision == "spikingjelly-2026-08":
        return read_off(label)
    return Stage(
        name=label,
        phase=declared.phase,
        step_reused=declared.reuse_weights,
        norm_modelled=declared.batch_norm_backward,
    )


def read_off(name: str) -> Stage:
    """Return a stage with the options that its name tells (SpikingJelly's revision 2026-08)."""
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
