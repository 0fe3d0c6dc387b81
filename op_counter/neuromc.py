"""NeuroMC by SpikingJelly's names: one call, or stages by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..analyzers import open_trace
from ..analyzers.energy import estimate_neuromc
from ..schemas import ConfigError, RecordError, TraceError
from ..schemas.costs import NeuroMCStage
from .memories import MemoryHierarchyConfig
from .reports import NeuroMCRuntimeEnergyReport
from .revisions import chosen
from .runs import MISSING, call, forward_of, is_trace, of_the_model, own_part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..analyzers.energy.report import EnergyReport
    from ..tracer import Recorder

Phase = Literal["forward", "backward", "optimizer"]

PHASES: tuple[Phase, ...] = get_args(Phase)


class NeuroMCEnergyProfiler:
    """Charges what runs inside the context to stages that the user names.

    Bind the model first, the optimizer before `record_optimizer_step`. What runs outside every
    stage is charged to `forward`, `backward` and `optimizer` by what it is.

    Args:
        memory_config: the hardware; None takes NeuroMC's.
        strict: refuse ops outside the supported fragments, as SpikingJelly does.
    """

    def __init__(
        self, *, memory_config: MemoryHierarchyConfig | None = None, strict: bool = True
    ) -> None:
        self.memory_config = deepcopy(memory_config) if memory_config else MemoryHierarchyConfig()
        self.strict = strict
        self._model: nn.Module | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._recorder: Recorder | None = None
        self._stages: dict[str, NeuroMCStage] = {}
        self._in_stage = False
        self._energy: EnergyReport | None = None
        self._refused: TraceError | None = None
        self.revision = chosen()

    def bind_model(self, model: nn.Module) -> None:
        """Take the model that is to be profiled."""
        self._model = model

    def bind_optimizer(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Take the optimizer that `record_optimizer_step` speaks of; None for none."""
        self._optimizer = optimizer

    def __enter__(self) -> NeuroMCEnergyProfiler:
        from ..tracer import Recorder

        if self._recorder is not None:
            raise RecordError("this NeuroMCEnergyProfiler is entered already. Make a new one.")
        if self._model is None:
            raise RecordError("NeuroMCEnergyProfiler: call bind_model(model) before entering it.")
        self.revision = chosen()
        self._stages, self._energy, self._refused = {}, None, None
        self._folder = TemporaryDirectory(prefix="opjoule-")
        recorder = Recorder(Path(self._folder.name) / "trace", model=self._model)
        recorder.__enter__()
        self._recorder = recorder
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        recorder = self._recorder
        assert recorder is not None
        try:
            recorder.__exit__(kind, error, trace)
            if kind is None:
                self._energy = self._estimate(own_part(recorder.path))
        except TraceError as refused:  # is told when the report is asked for, as in SpikingJelly
            self._refused = refused
        finally:
            self._recorder = None
            self._folder.cleanup()

    @contextmanager
    def stage(self, name: str, *, phase: Phase = "forward", reuse_weights: bool = False,
              batch_norm_backward: bool = True) -> Iterator[NeuroMCEnergyProfiler]:  # fmt: skip
        """Charge what runs inside to a stage.

        Args:
            name: the stage in the report.
            phase: "forward", "backward" or "optimizer".
            reuse_weights: weights that fit are there already (a time step or batch after the
                first).
            batch_norm_backward: whether batch norm's backward is modelled.

        Raises:
            ConfigError: there is no such phase, or the stage had other options before.
            RecordError: outside the context, or inside another stage.
        """
        recorder = self._running("stage")
        if self._in_stage:
            raise RecordError(f"stage {name!r} stands inside another stage: end that one first.")
        self._declare(name, phase, reuse_weights, batch_norm_backward)
        self._in_stage = True
        try:
            with recorder.label(name):
                yield self
        finally:
            self._in_stage = False

    @contextmanager
    def suspend(self) -> Iterator[NeuroMCEnergyProfiler]:
        """Charge nothing inside, e.g. for the loss."""
        with self._running("suspend").suspend():
            yield self

    def record_optimizer_step(self, stage: str = "optimizer") -> None:
        """Charge the step that the bound optimizer would take now, without taking it.

        Raises:
            RecordError: outside the context, or no optimizer is bound.
        """
        recorder = self._running("record_optimizer_step")
        if self._optimizer is None:
            raise RecordError("record_optimizer_step: call bind_optimizer(optimizer) before.")
        if stage not in self._stages:
            self._declare(stage, "optimizer", False, True)
        with recorder.label(stage):
            recorder.note_optimizer_step(self._optimizer)

    def get_report(self) -> NeuroMCRuntimeEnergyReport:
        """Return the report; inside the context, of what has run up to now.

        Raises:
            RecordError: nothing was profiled.
            TraceError: something is not supported.
        """
        energy = self._energy
        if self._recorder is not None:
            with TemporaryDirectory(prefix="opjoule-") as folder:
                energy = self._estimate(self._recorder.snapshot(Path(folder) / "snapshot"))
        elif self._refused is not None:
            raise self._refused
        if energy is None:
            raise RecordError("NeuroMCEnergyProfiler has profiled nothing: run a model inside it.")
        return NeuroMCRuntimeEnergyReport.of(energy, deepcopy(self.memory_config))

    def get_total(self) -> float:
        """Return the whole energy in pJ."""
        return self.get_report().energy_total_pj

    def get_counts(self) -> dict[str, Any]:
        """Return operations, bits by memory level, and counts by core type and process."""
        report = self.get_report()
        names = ("primitive_counts", "memory_bits_by_level", "counts_by_core_type",
                 "counts_by_process_key")  # fmt: skip
        return {name: getattr(report, name) for name in names}

    def _running(self, what: str) -> Recorder:
        if self._recorder is None:
            raise RecordError(
                f"{what}: enter the NeuroMCEnergyProfiler first (with profiler: ...)."
            )
        return self._recorder

    def _declare(self, name: str, phase: Phase, reuse: bool, norm: bool) -> None:
        if phase not in PHASES:
            raise ConfigError(f"stage {name!r}: phase = {phase!r}: choose from {', '.join(PHASES)}")
        stage = NeuroMCStage(phase=phase, reuse_weights=reuse, batch_norm_backward=norm)
        if self._stages.setdefault(name, stage) != stage:
            raise ConfigError(f"stage {name!r} had other options before: {self._stages[name]}.")

    def _estimate(self, path: Path) -> EnergyReport:
        config = self.memory_config.typed(self._stages)
        assert self._model is not None
        with of_the_model(path, self._model):
            trace = open_trace(path, partial=True)
            return estimate_neuromc(trace, config, revision=self.revision, strict=self.strict)


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
            raise RecordError("a trace holds what was run: leave loss_fn, target, optimizer out.")
        config = (memory_config or MemoryHierarchyConfig()).typed({})
        with forward_of(model, inputs) as trace:
            energy = estimate_neuromc(trace, config, revision=chosen(), strict=strict)
        return NeuroMCRuntimeEnergyReport.of(energy, memory_config or MemoryHierarchyConfig())
    if optimizer is not None and not training:
        raise RecordError("optimizer needs loss_fn: without a loss there are no gradients.")
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
        raise RecordError(f"{type(model).__name__} is no trace, so inputs are needed to run it.")
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
