"""Fragments: the pieces of work that NeuroMC's hardware is charged for, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

SPIKE_CORES = ("fp_soma", "wg")
"""Cores that take 1-bit inputs: a MAC is an addition and a selection."""

CORES = {
    "forward": ("ann_fe", "fp_soma"),
    "grad_input": ("ann_be", "bp_grad"),
    "grad_weight": ("ann_we", "wg"),
    "norm": ("ann_bn", "fp_bn"),
    "norm_backward": ("ann_bn_bp", "bp_bn"),
}
"""Core by the role of a fragment: for dense inputs, and for spikes."""


@dataclass(frozen=True)
class Loops:
    """Sizes of the loops of a fragment; all of them multiplied are its MACs."""

    batch: int = 1
    steps: int = 1
    c: int = 1
    k: int = 1
    oy: int = 1
    ox: int = 1
    fy: int = 1
    fx: int = 1

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.fy * self.fx

    @property
    def total(self) -> int:
        """All sizes multiplied."""
        return self.batch * self.steps * self.c * self.k * self.oy * self.ox * self.taps

    def positions_of(self, channels: int) -> int:
        """Values of `channels` channels at every position, sample and step."""
        return self.oy * self.ox * channels * self.batch * self.steps

    @classmethod
    def spatial(cls, out: tuple[int, ...], kernel: tuple[int, ...], **sizes: int) -> Loops:
        """Return the loops of a convolution; what a 1-d one lacks is 1."""
        oy, ox = (*out, 1, 1)[:2]
        fy, fx = (*kernel, 1, 1)[:2]
        return cls(oy=oy, ox=ox, fy=fy, fx=fx, **sizes)


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """One piece of work.

    Attributes:
        op: what it is: `linear.forward`, `soma.backward`, `adam`, or the aten op.
        stage: the stage that it is charged to: the user's, or forward, backward, optimizer.
        phase: forward, backward or optimizer.
        core: the core that does it, e.g. fp_soma.
        process: with_nothing, with_sg (neurons), with_bn or with_opt.
        source: module, trace (an op outside the modules that are known) or optimizer.
        loops: sizes of its loops.
        macs: multiply-accumulates.
        inputs: elements of the tensor that streams in.
        weights: elements of the second operand; in a weight gradient: of the output's gradient.
        outputs: elements of the result.
        input_bits: width of an input element.
        output_bits: width of an output element.
        weight_bits: width of an element of the second operand.
        groups: groups of a convolution; sums run within a group.
        parts: equal pieces that the fragment is worked off in, each with weights of its own reads.
        batch_reused: weights are there from an earlier batch.
        step_reused: weights are there from an earlier time step.
        norm_modelled: batch norm's backward operations are charged.
        momentum: SGD: momentum is on.
        momentum_buffer: SGD: its buffer existed before the step.
        weight_decay: SGD: weight decay is on.
    """

    op: str
    stage: str
    phase: str
    core: str
    process: str = "with_nothing"
    source: str = "module"
    loops: Loops = field(default_factory=Loops)
    macs: int = 0
    inputs: int = 0
    weights: int = 0
    outputs: int = 0
    input_bits: int = 16
    weight_bits: int = 16
    output_bits: int = 16
    groups: int = 1
    parts: int = 1
    batch_reused: bool = False
    step_reused: bool = False
    norm_modelled: bool = True
    momentum: bool = False
    momentum_buffer: bool = False
    weight_decay: bool = False

    @property
    def role(self) -> str:
        """Key of `CORES`; "" for what the optimizer does."""
        return next((role for role, cores in CORES.items() if self.core in cores), "")

    @property
    def reused(self) -> bool:
        """Whether the weights are there already, by the stage."""
        return self.batch_reused or self.step_reused

    @property
    def likeness(self) -> tuple[object, ...]:
        """What the revisions of SpikingJelly compare to find out what they have counted."""
        one = self.loops
        return (
            self.stage, self.phase, self.core, self.process, one.batch * one.steps,
            one.c, one.k, one.oy, one.ox, one.fy, one.fx,
            self.input_bits, self.weight_bits, self.output_bits,
            self.inputs, self.weights, self.outputs, self.macs, self.batch_reused, self.step_reused,
        )  # fmt: skip


def bits_of(core: str) -> int:
    """Return the width of an input element of a core."""
    return 1 if core in SPIKE_CORES else 16


def channels_and_rest(shape: tuple[int, ...], multi_step: bool) -> Loops:
    """Return the loops of batch norm or a neuron: C = K = channels, OY = all positions.

    Args:
        shape: of the input: (B, C, ...), in multi-step mode (T, B, C, ...).
        multi_step: the first dimension is time.
    """
    steps = shape[0] if multi_step and shape else 1
    rest = shape[1:] if multi_step else shape
    batch = rest[0] if rest else 1
    channels = rest[1] if len(rest) > 1 else batch
    return Loops(batch=batch, steps=steps, c=channels, k=channels, oy=prod(rest[2:]))
