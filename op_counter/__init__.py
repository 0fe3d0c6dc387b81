"""SpikingJelly's names, over recording once and analyzing the trace.

`opjoule.op_counter.revision` says which revision of SpikingJelly's op_counter the names answer as:
"spikingjelly-2.0" (default), "spikingjelly-2026-08", or "source" for the models' own authors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .configs import (
    ComputeEnergyConfig,
    ComputeEnergyCostConfig,
    LemaireEnergyConfig,
    LemaireEnergyCostConfig,
    SimpleEnergyConfig,
    SimpleEnergyCostConfig,
    SpikeSimEnergyConfig,
)
from .counters import (
    ACCounter,
    BaseCounter,
    FlopCounter,
    MACCounter,
    MemoryAccessCounter,
    SynOpCounter,
)
from .energy import (
    estimate_compute_energy,
    estimate_lemaire_energy,
    estimate_simple_energy,
    estimate_spikesim_energy,
    estimate_spikesim_event_energy,
)
from .known_ops import UncoveredOpError
from .mode import DispatchCounterMode
from .reports import (
    ComputeEnergyReport,
    LemaireEnergyReport,
    NeuroMCRuntimeEnergyReport,
    SimpleEnergyReport,
    SpikeSimEnergyReport,
)
from .revisions import revision

if TYPE_CHECKING:
    from .memories import MemoryHierarchyConfig, MemoryInstanceSpec
    from .neuromc import NeuroMCEnergyProfiler, estimate_neuromc_runtime_energy

__all__ = [
    "ACCounter",
    "BaseCounter",
    "ComputeEnergyConfig",
    "ComputeEnergyCostConfig",
    "ComputeEnergyReport",
    "DispatchCounterMode",
    "FlopCounter",
    "LemaireEnergyConfig",
    "LemaireEnergyCostConfig",
    "LemaireEnergyReport",
    "MACCounter",
    "MemoryAccessCounter",
    "MemoryHierarchyConfig",
    "MemoryInstanceSpec",
    "NeuroMCEnergyProfiler",
    "NeuroMCRuntimeEnergyReport",
    "SimpleEnergyConfig",
    "SimpleEnergyCostConfig",
    "SimpleEnergyReport",
    "SpikeSimEnergyConfig",
    "SpikeSimEnergyReport",
    "SynOpCounter",
    "UncoveredOpError",
    "estimate_compute_energy",
    "estimate_lemaire_energy",
    "estimate_neuromc_runtime_energy",
    "estimate_simple_energy",
    "estimate_spikesim_energy",
    "estimate_spikesim_event_energy",
    "revision",
]


def __getattr__(name: str) -> Any:
    if name in ("NeuroMCEnergyProfiler", "estimate_neuromc_runtime_energy"):
        from . import neuromc

        return getattr(neuromc, name)
    if name in ("MemoryHierarchyConfig", "MemoryInstanceSpec"):
        from . import memories

        return getattr(memories, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
