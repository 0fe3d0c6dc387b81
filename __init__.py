"""opjoule: record a PyTorch model's aten calls once; count and cost them offline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .analyzers.checking.check import Check, check
    from .analyzers.comparing.breakeven import Breakeven, breakeven
    from .analyzers.comparing.compare import Comparison, compare
    from .analyzers.comparing.table import Table, table
    from .analyzers.counting.count import Counts, count
    from .analyzers.counting.coverage import Coverage, coverage
    from .analyzers.counting.memory import Memory, memory
    from .analyzers.counting.rates import Rates, rates
    from .analyzers.energy.estimators import energy
    from .analyzers.energy.report import EnergyReport
    from .analyzers.peers.conventions import Conventions, conventions
    from .analyzers.reporting.report import Report, report
    from .analyzers.rules import Figures, OpRule
    from .analyzers.sweeping.machines import sweep_machines
    from .analyzers.sweeping.sweep import sensitivity, sweep
    from .analyzers.timing.roofline import Roofline, roofline
    from .analyzers.trace.trace import Trace, open_trace
    from .schemas.costs import load_config, load_machine
    from .schemas.errors import (
        ConfigError,
        OpjouleError,
        RecordError,
        RuleError,
        TraceError,
        TraceVersionError,
    )
    from .tracer.neurons import NeuronRule
    from .tracer.notices import RecordingWarning
    from .tracer.record import record
    from .tracer.recorder import Recorder

_HOMES = {
    "tracer": ("NeuronRule", "Recorder", "RecordingWarning", "record"),
    "analyzers": (
        "Breakeven", "Check", "Comparison", "Conventions", "Counts", "Coverage", "Figures",
        "Memory", "OpRule", "Rates", "Report", "Roofline", "Table", "Trace", "breakeven", "check",
        "compare", "conventions", "count", "coverage", "memory", "open_trace", "rates", "report",
        "roofline", "sensitivity", "sweep", "sweep_machines", "table",
    ),
    "analyzers.energy": ("EnergyReport", "energy"),
    "schemas.costs": ("load_config", "load_machine"),
    "schemas.errors": (
        "ConfigError", "OpjouleError", "RecordError", "RuleError", "TraceError",
        "TraceVersionError",
    ),
}  # fmt: skip

__all__ = [
    "Breakeven",
    "Check",
    "Comparison",
    "ConfigError",
    "Conventions",
    "Counts",
    "Coverage",
    "EnergyReport",
    "Figures",
    "Memory",
    "NeuronRule",
    "OpRule",
    "OpjouleError",
    "Rates",
    "RecordError",
    "Recorder",
    "RecordingWarning",
    "Report",
    "Roofline",
    "RuleError",
    "Table",
    "Trace",
    "TraceError",
    "TraceVersionError",
    "__version__",
    "breakeven",
    "check",
    "compare",
    "conventions",
    "count",
    "coverage",
    "energy",
    "label",
    "load_config",
    "load_machine",
    "memory",
    "open_trace",
    "rates",
    "record",
    "report",
    "roofline",
    "sensitivity",
    "sweep",
    "sweep_machines",
    "table",
]


@contextmanager
def label(name: str) -> Iterator[None]:
    """Name a phase of a script: label the calls inside for every recorder that runs.

    Does nothing, and imports nothing, where none runs: a script may keep it.

    Args:
        name: the label; the innermost one holds.
    """
    current = sys.modules.get(f"{__name__}.tracer.current")  # no recorder runs that is not loaded
    with nullcontext() if current is None else current.label(name):
        yield


def __getattr__(name: str) -> Any:
    # Lazy, so that analyzing never loads PyTorch and recording never loads Polars.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
