"""Names of SpikingJelly's op_counter that are not here, and what does their work."""

from __future__ import annotations

from typing import NoReturn

_RECORD = "record with opjoule.Recorder around the same code and give the trace to"

ABSENT = {
    "ActiveModuleTracker": "opjoule.Recorder knows the module of every call",
    "EnergyModelInfo": "a report's statement() tells source, scope and technology",
    "FunctionCounterMode": "DispatchCounterMode sees what functions do, op by op",
    "LemaireEnergyProfiler": f"{_RECORD} estimate_lemaire_energy",
    "ModuleCounter": "DispatchCounterMode's counters tell every module apart: get_counts()",
    "ModuleCounterMode": "DispatchCounterMode's counters tell every module apart: get_counts()",
    "NeuromorphicMemoryAccessCounter": (
        "estimate_simple_energy counts weight_read_bytes, bias_read_bytes and neuron states"
    ),
    "NeuronStateCounter": (
        "estimate_simple_energy counts neuron_state_read_bytes and neuron_state_write_bytes"
    ),
    "SimpleEnergyProfiler": f"{_RECORD} estimate_simple_energy",
    "SpikeSimCounter": "estimate_spikesim_energy's report has event_stats_by_stage",
    "SpikeSimEnergyProfiler": f"{_RECORD} estimate_spikesim_energy",
    "is_binary_tensor": (
        "((x == 0) | (x == 1)).all() asks a tensor; a trace keeps the class of every value"
    ),
}
"""Name -> what to use instead."""

SUBMODULES = {
    "ac": "ACCounter",
    "analytical_energy": "estimate_lemaire_energy and its config and report",
    "base": "BaseCounter and DispatchCounterMode",
    "flop": "FlopCounter",
    "mac": "MACCounter",
    "memory_access": "MemoryAccessCounter",
    "neuromorphic_memory_access": "estimate_simple_energy",
    "neuron_state": "estimate_simple_energy",
    "simple_energy": "estimate_simple_energy and its config and report",
    "spikesim": "estimate_spikesim_energy and its config and report",
    "synop": "SynOpCounter",
}
"""Submodule -> what of it stands in the package itself."""


def refuse(name: str) -> NoReturn:
    """Tell what to use instead of a name that SpikingJelly's package has and this one has not.

    Raises:
        AttributeError: always, so that `hasattr` and `getattr` with a default go on working.
    """
    if name in ABSENT:
        told = f"opjoule.op_counter has no {name}: {ABSENT[name]}"
    elif name in SUBMODULES:
        told = f"opjoule.op_counter has no submodule {name}; in the package: {SUBMODULES[name]}"
    else:
        raise AttributeError(f"module 'opjoule.op_counter' has no attribute {name!r}")
    raise AttributeError(f"{told} (see docs/spikingjelly.md)")
