"""SpikingJelly's energy reports by its names, each with the report of opjoule behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..analyzers.energy.report import EnergyReport
from .revisions import note


@dataclass(kw_only=True)
class Report:
    """What all reports have.

    Attributes:
        warnings: what a reader of the figures has to know.
        config: the configuration that the estimate was made with.
        energy: opjoule's report, with rows by module, stage, op, label and step.
    """

    warnings: list[str]
    config: Any
    energy: EnergyReport = field(repr=False, compare=False)

    @property
    def revision(self) -> str:
        """Whose figures these are: a revision of SpikingJelly, or "source"."""
        return self.energy.revision

    @property
    def note(self) -> str:
        """One line: whose figures these are, and how to ask for the model's own authors'."""
        return note(self.energy.revision)

    def statement(self) -> str:
        """Return a paragraph that can be pasted into a paper beside the figure."""
        return f"{self.energy.statement()} {self.note}"

    @classmethod
    def of(cls, energy: EnergyReport, config: object) -> Self:
        """Return the report with what opjoule's report tells of each field."""
        return cls(
            **cls._fields(energy), warnings=list(energy.warnings), config=config, energy=energy
        )

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        raise NotImplementedError


def _whole(counts: Mapping[str, float]) -> dict[str, Any]:
    """Return counts, integers where they are whole."""
    return {name: int(n) if float(n).is_integer() else n for name, n in counts.items()}


@dataclass(kw_only=True)
class ComputeEnergyReport(Report):
    """Energy of MACs and ACs, in pJ."""

    energy_total_pj: float
    energy_mac_pj: float
    energy_ac_pj: float
    breakdown_pj: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        parts = dict(energy.breakdown_pj)
        return {
            "energy_total_pj": energy.total_pj,
            "energy_mac_pj": parts["mac_pj"],
            "energy_ac_pj": parts["ac_pj"],
            "breakdown_pj": parts,
            "counts": _whole(energy.counts),
        }


@dataclass(kw_only=True)
class SimpleEnergyReport(ComputeEnergyReport):
    """Energy of MACs, ACs, and of the bytes of weights, biases and neuron states, in pJ."""

    energy_compute_pj: float
    energy_memory_pj: float

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        found = super()._fields(energy)
        parts = found["breakdown_pj"]
        return {
            **found,
            "energy_compute_pj": parts["mac_pj"] + parts["ac_pj"],
            "energy_memory_pj": parts["memory_pj"],
        }


@dataclass(kw_only=True)
class LemaireEnergyReport(Report):
    """Energy of a forward inference by operations, addressing and memory, in pJ."""

    total_pj: float
    breakdown_pj: dict[str, float]
    counts: dict[str, int]
    buffer_sizes_bytes: dict[str, int]

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        return {
            "total_pj": energy.total_pj,
            "breakdown_pj": dict(energy.breakdown_pj),
            "counts": _whole(energy.counts),
            "buffer_sizes_bytes": _whole(energy.details.get("buffer_sizes_bytes", {})),
        }


def _told(energy: EnergyReport, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what opjoule's report tells under these names."""
    return {n: energy.details[n] if n in energy.details else energy.breakdown_pj[n] for n in names}


@dataclass(kw_only=True)
class SpikeSimEnergyReport(Report):
    """Energy of Conv2d inference on crossbars, in pJ."""

    energy_total_pj: float
    energy_by_stage: dict[str, float]
    energy_by_component: dict[str, Any]
    event_stats_by_stage: dict[str, dict[str, Any]]
    stage_metadata: dict[str, dict[str, Any]]
    breakdown_pj: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        by_name = (
            "energy_by_stage",
            "energy_by_component",
            "event_stats_by_stage",
            "stage_metadata",
        )
        return {
            "energy_total_pj": energy.total_pj,
            "breakdown_pj": dict(energy.breakdown_pj),
            "counts": _whole(energy.counts),
            **_told(energy, by_name),
        }


_NEUROMC = (
    "energy_compute_pj", "energy_memory_pj", "energy_by_stage", "energy_by_op",
    "primitive_counts", "memory_bits_by_level", "energy_mac_pj", "energy_base_memory_pj",
    "energy_extra_memory_pj", "energy_extra_compute_pj", "energy_by_core_type",
    "energy_by_process_key", "energy_by_memory_level_dir", "counts_by_core_type",
    "counts_by_process_key", "mapping_summary",
)  # fmt: skip


@dataclass(kw_only=True)
class NeuroMCRuntimeEnergyReport(Report):
    """Energy of forward, backward and optimizer on NeuroMC's hardware, in pJ."""

    energy_total_pj: float
    energy_compute_pj: float
    energy_memory_pj: float
    energy_by_stage: dict[str, float]
    energy_by_op: dict[str, float]
    primitive_counts: dict[str, Any]
    memory_bits_by_level: dict[str, Any]
    energy_mac_pj: float
    energy_base_memory_pj: float
    energy_extra_memory_pj: float
    energy_extra_compute_pj: float
    energy_by_core_type: dict[str, float]
    energy_by_process_key: dict[str, float]
    energy_by_memory_level_dir: dict[str, dict[str, float]]
    counts_by_core_type: dict[str, dict[str, int]]
    counts_by_process_key: dict[str, dict[str, int]]
    mapping_summary: list[dict[str, Any]]

    @classmethod
    def _fields(cls, energy: EnergyReport) -> dict[str, Any]:
        return {"energy_total_pj": energy.total_pj, **_told(energy, _NEUROMC)}
