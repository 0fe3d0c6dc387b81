"""NeuroMC stage by stage, by SpikingJelly's name for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..analyzers import open_trace
from ..analyzers.energy import estimate
from ..schemas import TraceError
from ..schemas.costs import NeuroMCStage
from .memories import MemoryHierarchyConfig
from .refusals import MeaninglessError, MisuseError, refusing
from .reports import NeuroMCRuntimeEnergyReport
from .revisions import chosen
from .runs import of_the_model, own_part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..analyzers.energy import EnergyReport
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
            raise MisuseError("this NeuroMCEnergyProfiler is entered already. Make a new one.")
        if self._model is None:
            raise MisuseError("NeuroMCEnergyProfiler: call bind_model(model) before entering it.")
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
            raise MisuseError(f"stage {name!r} stands inside another stage: end that one first.")
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
            raise MisuseError("record_optimizer_step: call bind_optimizer(optimizer) before.")
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
            raise MisuseError("NeuroMCEnergyProfiler has profiled nothing: run a model inside it.")
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
            raise MisuseError(
                f"{what}: enter the NeuroMCEnergyProfiler first (with profiler: ...)."
            )
        return self._recorder

    def _declare(self, name: str, phase: Phase, reuse: bool, norm: bool) -> None:
        if phase not in PHASES:
            raise MeaninglessError(
                f"stage {name!r}: phase = {phase!r}: choose from {', '.join(PHASES)}"
            )
        stage = NeuroMCStage(phase=phase, reuse_weights=reuse, batch_norm_backward=norm)
        if self._stages.setdefault(name, stage) != stage:
            raise MeaninglessError(
                f"stage {name!r} had other options before: {self._stages[name]}."
            )

    @refusing()
    def _estimate(self, path: Path) -> EnergyReport:
        config = self.memory_config.typed(self._stages)
        assert self._model is not None
        with of_the_model(path, self._model):
            trace = replace(open_trace(path, partial=True), left_out=None)
            return estimate(trace, "neuromc", config, revision=self.revision, strict=self.strict)
