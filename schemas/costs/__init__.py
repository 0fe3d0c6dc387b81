"""Typed, frozen configurations of the energy estimators, and how to load them."""

from .base import CostConfig, CostPart, Count, PicoJoule, Positive
from .compute import ComputeConfig, SimpleConfig
from .lemaire import LemaireConfig, NeuronOperations
from .loading import CONFIGS, config_class, load_config, preset_names, preset_text
from .spikesim import SpikeSimConfig

__all__ = [
    "CONFIGS",
    "ComputeConfig",
    "CostConfig",
    "CostPart",
    "Count",
    "LemaireConfig",
    "NeuronOperations",
    "PicoJoule",
    "Positive",
    "SimpleConfig",
    "SpikeSimConfig",
    "config_class",
    "load_config",
    "preset_names",
    "preset_text",
]
