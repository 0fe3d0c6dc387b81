"""Typed, frozen configurations of the energy estimators, and how to load them."""

from .base import CostConfig, CostPart, Count, PicoJoule, Positive
from .compute import ComputeConfig, SimpleConfig
from .lemaire import LemaireConfig
from .loading import CONFIGS, config_class, load_config, preset_names, preset_text

__all__ = [
    "CONFIGS",
    "ComputeConfig",
    "CostConfig",
    "CostPart",
    "Count",
    "LemaireConfig",
    "PicoJoule",
    "Positive",
    "SimpleConfig",
    "config_class",
    "load_config",
    "preset_names",
    "preset_text",
]
