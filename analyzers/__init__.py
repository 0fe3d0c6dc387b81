"""Reads a trace, counts it and costs it: no model, no PyTorch."""

from .comparing.compare import Comparison, compare
from .counting.count import Counts, count
from .counting.coverage import Coverage, coverage
from .rules import OpRule
from .sweeping.sweep import sensitivity, sweep
from .trace.trace import Trace, open_trace
from .workload.spikes import SPIKE_MODES, spike_expr

__all__ = [
    "SPIKE_MODES",
    "Comparison",
    "Counts",
    "Coverage",
    "OpRule",
    "Trace",
    "compare",
    "count",
    "coverage",
    "open_trace",
    "sensitivity",
    "spike_expr",
    "sweep",
]
