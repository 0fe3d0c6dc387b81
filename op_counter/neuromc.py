"""NeuroMC in one call, by SpikingJelly's name for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..analyzers.energy import estimate
from .memories import MemoryHierarchyConfig
from .profiler import NeuroMCEnergyProfiler
from .refusals import MisuseError, refusing
from .reports import NeuroMCRuntimeEnergyReport
from .revisions import chosen
from .runs import MISSING, call, forward_of, is_trace

if TYPE_CHECKING:
    import torch
    from torch import nn


@refusing()
def estimate_neuromc_runtime_energy(
    model: Any,
    inputs: Any = MISSING,
    *,
    target: torch.Tensor | None = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    memory_config: MemoryHierarchyConfig | None = None,
    strict: bool = True,
) -> NeuroMCRuntimeEnergyReport:
    """Return the energy of one forward pass, and with a loss of the backward pass and the step.

    The loss itself is not charged, and the optimizer takes no step: its parameters stay as they
    are. Both revisions of SpikingJelly have this name: `opjoule.op_counter.revision` decides.

    Args:
        model: the model, or a trace (its path, or opened).
        inputs: one tensor, a tuple or list of arguments, or a dict; none for a trace.
        target: what the loss is taken against.
        loss_fn: `loss_fn(output, target)`, or `loss_fn(output)` without a target.
        optimizer: whose step is charged.
        memory_config: the hardware; None takes NeuroMC's.
        strict: refuse ops outside the supported fragments, as SpikingJelly does.

    Raises:
        RecordError: a loss or an optimizer with a trace, or an optimizer without a loss.
        TraceError: something is not supported.
    """
    training = loss_fn is not None
    if is_trace(model):
        if training or optimizer is not None or target is not None:
            raise MisuseError("a trace holds what was run: leave loss_fn, target, optimizer out.")
        config = (memory_config or MemoryHierarchyConfig()).typed({})
        with forward_of(model, inputs) as trace:
            energy = estimate(trace, "neuromc", config, revision=chosen(), strict=strict)
        return NeuroMCRuntimeEnergyReport.of(energy, memory_config or MemoryHierarchyConfig())
    if optimizer is not None and not training:
        raise MisuseError("optimizer needs loss_fn: without a loss there are no gradients.")
    profiler = NeuroMCEnergyProfiler(memory_config=memory_config, strict=strict)
    profiler.bind_model(model)
    profiler.bind_optimizer(optimizer)
    _run(profiler, model, inputs, loss_fn, target, optimizer)
    return profiler.get_report()


def _run(profiler: NeuroMCEnergyProfiler, model: nn.Module, inputs: Any,
         loss_fn: Callable[..., Any] | None, target: Any,
         optimizer: torch.optim.Optimizer | None) -> None:  # fmt: skip
    """Run what is to be profiled; gradients are afterwards what they were before."""
    if inputs is MISSING:
        raise MisuseError(f"{type(model).__name__} is no trace, so inputs are needed to run it.")
    held = [(p, p.grad) for p in model.parameters()] if loss_fn is not None else []
    try:
        for parameter, _ in held:
            parameter.grad = None
        with profiler:
            output = call(model, inputs)
            if loss_fn is not None:
                with profiler.suspend():
                    loss = loss_fn(output) if target is None else loss_fn(output, target)
                loss.backward()
            if optimizer is not None:
                profiler.record_optimizer_step()
    finally:
        for parameter, gradient in held:
            parameter.grad = gradient
