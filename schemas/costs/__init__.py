"""Typed, frozen configurations of the energy estimators, and how to load them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import CostConfig, CostPart, Count, Factor, PicoJoule, Positive
    from .compute import ComputeConfig, SimpleConfig
    from .lemaire import LemaireConfig, NeuronOperations
    from .loading import CONFIGS, changed, config_class, load_config, preset_names, preset_text
    from .machine import Machine
    from .machine_files import load_machine, load_machines, machine_names, machine_text
    from .neuromc import (
        NeuroMCCapacities,
        NeuroMCConfig,
        NeuroMCMemories,
        NeuroMCMemory,
        NeuroMCStage,
    )
    from .spikesim import SpikeSimConfig

_HOMES = {
    "CONFIGS": "loading",
    "ComputeConfig": "compute",
    "CostConfig": "base",
    "CostPart": "base",
    "Count": "base",
    "Factor": "base",
    "LemaireConfig": "lemaire",
    "Machine": "machine",
    "NeuroMCCapacities": "neuromc",
    "NeuroMCConfig": "neuromc",
    "NeuroMCMemories": "neuromc",
    "NeuroMCMemory": "neuromc",
    "NeuroMCStage": "neuromc",
    "NeuronOperations": "lemaire",
    "PicoJoule": "base",
    "Positive": "base",
    "SimpleConfig": "compute",
    "SpikeSimConfig": "spikesim",
    "changed": "loading",
    "config_class": "loading",
    "load_config": "loading",
    "load_machine": "machine_files",
    "load_machines": "machine_files",
    "machine_names": "machine_files",
    "machine_text": "machine_files",
    "preset_names": "loading",
    "preset_text": "loading",
}

__all__ = [
    "CONFIGS",
    "ComputeConfig",
    "CostConfig",
    "CostPart",
    "Count",
    "Factor",
    "LemaireConfig",
    "Machine",
    "NeuroMCCapacities",
    "NeuroMCConfig",
    "NeuroMCMemories",
    "NeuroMCMemory",
    "NeuroMCStage",
    "NeuronOperations",
    "PicoJoule",
    "Positive",
    "SimpleConfig",
    "SpikeSimConfig",
    "changed",
    "config_class",
    "load_config",
    "load_machine",
    "load_machines",
    "machine_names",
    "machine_text",
    "preset_names",
    "preset_text",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that one configuration is not loaded for another.
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
