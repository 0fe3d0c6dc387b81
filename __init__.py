"""opjoule: record a PyTorch model's aten calls once; count and cost them offline."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .analyzers.checking.check import Check, check
    from .analyzers.comparing.compare import Comparison, compare
    from .analyzers.counting.count import Counts, count
    from .analyzers.counting.coverage import Coverage, coverage
    from .analyzers.energy.estimators import energy
    from .analyzers.energy.report import EnergyReport
    from .analyzers.rules import Figures, OpRule
    from .analyzers.sweeping.sweep import sensitivity, sweep
    from .analyzers.timing.roofline import Roofline, roofline
    from .analyzers.trace.trace import Trace, open_trace
    from .schemas.costs import load_config
    from .schemas.errors import (
        ConfigError,
        OpjouleError,
        RecordError,
        RuleError,
        TraceError,
        TraceVersionError,
    )
    from .tracer.neurons import NeuronRule
    from .tracer.record import record
    from .tracer.recorder import Recorder, RecordingWarning

_HOMES = {
    "tracer": ("NeuronRule", "Recorder", "RecordingWarning", "record"),
    "analyzers": (
        "Check", "Comparison", "Counts", "Coverage", "Figures", "OpRule", "Roofline", "Trace",
        "check", "compare", "count", "coverage", "open_trace", "roofline", "sensitivity", "sweep",
    ),
    "analyzers.energy": ("EnergyReport", "energy"),
    "schemas.costs": ("load_config",),
    "schemas.errors": (
        "ConfigError", "OpjouleError", "RecordError", "RuleError", "TraceError",
        "TraceVersionError",
    ),
}  # fmt: skip

__all__ = [
    "Check",
    "Comparison",
    "ConfigError",
    "Counts",
    "Coverage",
    "EnergyReport",
    "Figures",
    "NeuronRule",
    "OpRule",
    "OpjouleError",
    "RecordError",
    "Recorder",
    "RecordingWarning",
    "Roofline",
    "RuleError",
    "Trace",
    "TraceError",
    "TraceVersionError",
    "__version__",
    "check",
    "compare",
    "count",
    "coverage",
    "energy",
    "load_config",
    "open_trace",
    "record",
    "roofline",
    "sensitivity",
    "sweep",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that analyzing never loads PyTorch and recording never loads Polars.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
