"""Typed, frozen configurations of the energy estimators, and how to load them."""

from .base import CostConfig, CostPart, Count, Factor, PicoJoule, Positive
from .compute import ComputeConfig, SimpleConfig
from .lemaire import LemaireConfig, NeuronOperations
from .loading import CONFIGS, changed, config_class, load_config, preset_names, preset_text
from .machine import Machine
from .machine_files import load_machine, machine_names, machine_text
from .neuromc import (
    NeuroMCCapacities,
    NeuroMCConfig,
    NeuroMCMemories,
    NeuroMCMemory,
    NeuroMCStage,
)
from .spikesim import SpikeSimConfig

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
    "machine_names",
    "machine_text",
    "preset_names",
    "preset_text",
]
