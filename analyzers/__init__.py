"""Reads a trace, counts it and costs it: no model, no PyTorch."""

from .compare import Comparison, compare
from .count import Counts, count
from .coverage import Coverage, coverage
from .rules import OpRule
from .spikes import SPIKE_MODES, spike_expr
from .sweep import sensitivity, sweep
from .trace import Trace, open_trace

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
