"""Energy estimators: pure functions of a trace and a configuration."""

from .compute import estimate_compute
from .report import EnergyReport, Scope
from .spikesim import estimate_spikesim

__all__ = ["EnergyReport", "Scope", "estimate_compute", "estimate_spikesim"]
