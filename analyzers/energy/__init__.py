"""Energy estimators: pure functions of a trace and a configuration."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compute.report import estimate_compute
    from .estimators import ESTIMATORS, Energies, default_config, energy, estimate
    from .lemaire.report import estimate_lemaire
    from .neuromc.report import estimate_neuromc
    from .report import EnergyReport, Scope
    from .simple.report import estimate_simple
    from .spikesim.report import estimate_spikesim

_HOMES = {
    "ESTIMATORS": "estimators",
    "Energies": "estimators",
    "EnergyReport": "report",
    "Scope": "report",
    "default_config": "estimators",
    "energy": "estimators",
    "estimate": "estimators",
    "estimate_compute": "compute.report",
    "estimate_lemaire": "lemaire.report",
    "estimate_neuromc": "neuromc.report",
    "estimate_simple": "simple.report",
    "estimate_spikesim": "spikesim.report",
}

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


def __getattr__(name: str) -> Any:
    # Lazy, so that one estimator is not loaded for another.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
