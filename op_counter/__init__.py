"""SpikingJelly's names, over recording once and analyzing the trace.

`opjoule.op_counter.revision` says which revision of SpikingJelly's op_counter the names answer as:
"spikingjelly-2.0" (default), "spikingjelly-2026-08", or "source" for the models' own authors.
"""

from __future__ import annotations

from .absent import refuse as __getattr__  # noqa: F401
from .configs import (
    ComputeEnergyConfig,
    ComputeEnergyCostConfig,
    LemaireEnergyConfig,
    LemaireEnergyCostConfig,
    MemoryInstanceSpec,
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
from .memories import MemoryHierarchyConfig
from .mode import DispatchCounterMode
from .neuromc import estimate_neuromc_runtime_energy
from .profiler import NeuroMCEnergyProfiler
from .reports import (
    ComputeEnergyReport,
    LemaireEnergyReport,
    NeuroMCRuntimeEnergyReport,
    SimpleEnergyReport,
    SpikeSimEnergyReport,
)
from .revisions import revision

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
