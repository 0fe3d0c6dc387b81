"""Energy estimators: pure functions of a trace and a configuration."""

from .compute.report import estimate_compute
from .estimators import ESTIMATORS, Energies, default_config, energy, estimate
from .lemaire.report import estimate_lemaire
from .neuromc.report import estimate_neuromc
from .report import EnergyReport, Scope
from .simple.report import estimate_simple
from .spikesim.report import estimate_spikesim

__all__ = [
    "ESTIMATORS",
    "Energies",
    "EnergyReport",
    "Scope",
    "default_config",
    "energy",
    "estimate",
    "estimate_compute",
    "estimate_lemaire",
    "estimate_neuromc",
    "estimate_simple",
    "estimate_spikesim",
]
