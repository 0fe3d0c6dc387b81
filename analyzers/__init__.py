"""Reads a trace, counts it and costs it: no model, no PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking.check import Check, check
    from .comparing.breakeven import Breakeven, breakeven
    from .comparing.compare import Comparison, compare
    from .comparing.table import Table, table
    from .counting.count import Counts, count
    from .counting.coverage import Coverage, coverage
    from .counting.memory import Memory, memory
    from .counting.rates import Rates, rates
    from .peers.conventions import Conventions, conventions
    from .reporting.report import Report, report
    from .rules import OpRule
    from .rules.rule import Figures
    from .sweeping.machines import sweep_machines
    from .sweeping.sweep import sensitivity, sweep
    from .timing.roofline import Roofline, roofline
    from .trace.trace import Trace, open_trace
    from .workload.spikes import SPIKE_MODES, spike_expr

_HOMES = {
    "Check": "checking.check",
    "check": "checking.check",
    "Breakeven": "comparing.breakeven",
    "breakeven": "comparing.breakeven",
    "Comparison": "comparing.compare",
    "compare": "comparing.compare",
    "Table": "comparing.table",
    "table": "comparing.table",
    "Counts": "counting.count",
    "count": "counting.count",
    "Coverage": "counting.coverage",
    "coverage": "counting.coverage",
    "Memory": "counting.memory",
    "Rates": "counting.rates",
    "memory": "counting.memory",
    "rates": "counting.rates",
    "Conventions": "peers.conventions",
    "conventions": "peers.conventions",
    "Report": "reporting.report",
    "report": "reporting.report",
    "OpRule": "rules",
    "Figures": "rules",
    "roofline": "timing.roofline",
    "Roofline": "timing.roofline",
    "sensitivity": "sweeping.sweep",
    "sweep": "sweeping.sweep",
    "sweep_machines": "sweeping.machines",
    "Trace": "trace.trace",
    "open_trace": "trace.trace",
    "SPIKE_MODES": "workload.spikes",
    "spike_expr": "workload.spikes",
}

__all__ = [
    "SPIKE_MODES",
    "Breakeven",
    "Check",
    "Comparison",
    "Conventions",
    "Counts",
    "Coverage",
    "Figures",
    "Memory",
    "OpRule",
    "Rates",
    "Report",
    "Roofline",
    "Table",
    "Trace",
    "breakeven",
    "check",
    "compare",
    "conventions",
    "count",
    "coverage",
    "memory",
    "open_trace",
    "rates",
    "report",
    "roofline",
    "sensitivity",
    "spike_expr",
    "sweep",
    "sweep_machines",
    "table",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that a command loads what it needs and no more.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
