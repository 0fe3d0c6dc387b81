"""NeuroMC's memories by SpikingJelly's names, and the way from them to opjoule's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..schemas.costs import NeuroMCCapacities, NeuroMCConfig, NeuroMCMemories, NeuroMCStage
from .configs import MemoryInstanceSpec
from .refusals import MeaninglessError, refusing
from .revisions import TUTORIAL, chosen

__all__ = ["MemoryHierarchyConfig", "MemoryInstanceSpec", "default_memories"]

# By opjoule's name: bits in 2.0, bits as of August 2026, bits of one value.
_SIZES = {
    "reg_1b": (1, 1, 1),
    "reg_16b": (16, 16, 16),
    "reg_32b": (32, 32, 32),
    "fp_conv_in_s": (18496 * 16, 18496, 1),
    "fp_conv_in_w": (18432 * 256, 18432, 16),
    "fp_conv_out_xi": (65536 * 16, 65536, 16),
    "fp_soma_u": (1048576, 1048576, 16),
    "fp_soma_s": (262144, 262144, 1),
    "fp_soma_smask": (65536, 65536, 1),
    "bp_conv_in_du": (73984 * 16, 73984, 16),
    "bp_conv_in_w": (18432 * 256, 18432, 16),
    "bp_conv_out_res": (65536 * 16, 65536, 16),
    "bp_grad_in_u": (1048576, 1048576, 16),
    "bp_grad_in_smask": (65536, 65536, 1),
    "bp_grad_in_s": (65536, 65536, 1),
    "bp_grad_out_du": (1048576, 1048576, 16),
    "wg_conv_in_s": (4624 * 16, 4624, 1),
    "wg_conv_in_du": (65536 * 16, 65536, 16),
    "wg_conv_out_dw": (18432 * 256, 18432, 16),
    "sram_2mb": (16777216, 1048576, 16),
    "sram_6mb": (50331648, 50331648, 16),
    "dram": (134217728 * 64, 134217728 * 64, 16),
}


def _name(ours: str) -> str:
    """Return SpikingJelly's name of a memory."""
    if ours.startswith(("reg_", "dram")):
        return ours
    return ours.replace("mb", "MB") if ours.startswith("sram_") else f"sram_{ours}"


def default_memories() -> dict[str, MemoryInstanceSpec]:
    """Return NeuroMC's memories with the sizes of the chosen revision."""
    memories, august = NeuroMCMemories(), chosen() == TUTORIAL
    found = {}
    for ours, (release, tutorial, width) in _SIZES.items():
        cost = getattr(memories, ours)
        found[_name(ours)] = MemoryInstanceSpec(
            name=_name(ours),
            size_bits=tutorial if august else release,
            datawidth=width,
            r_bw=cost.read_bits,
            w_bw=cost.write_bits,
            r_cost=cost.read_pj,
            w_cost=cost.write_pj,
        )
    return found


@dataclass
class MemoryHierarchyConfig:
    """The memories that NeuroMC charges.

    Attributes:
        level_order: names of the levels; nothing depends on it, as in SpikingJelly 2.0.
        memory_instances: the memories by name; all of `default_memories` have to be there.
        zero_dram_in_paper_energy: DRAM costs nothing. No bits of it are counted: off changes
            nothing either, as in SpikingJelly 2.0.
        zero_noc_in_paper_energy: likewise the network on chip.
        zero_sram_high_directions: likewise what moves between SRAM and the levels above.
    """

    level_order: tuple[str, str, str, str] = ("dram", "sram", "reg", "noc")
    memory_instances: dict[str, MemoryInstanceSpec] = field(default_factory=default_memories)
    zero_dram_in_paper_energy: bool = True
    zero_noc_in_paper_energy: bool = True
    zero_sram_high_directions: bool = True

    @property
    def preset_name(self) -> str:
        """SpikingJelly's name of this hardware."""
        return "neuromc_like_v1"

    @property
    def technology_nm(self) -> int:
        """Technology node in nm."""
        return 32

    def validate(self) -> None:
        """Check the memories.

        Raises:
            ConfigError: one is missing or means nothing.
        """
        self.typed({})

    @refusing()
    def typed(self, stages: Mapping[str, NeuroMCStage]) -> NeuroMCConfig:
        """Return opjoule's configuration.

        Args:
            stages: stages by label.

        Raises:
            ConfigError: a memory is missing or means nothing.
        """
        missing = sorted({_name(ours) for ours in _SIZES} - self.memory_instances.keys())
        if missing:
            raise MeaninglessError(
                f"MemoryHierarchyConfig lacks the memories {', '.join(missing)}."
            )
        memories = {}
        for ours in _SIZES:
            one = self.memory_instances[_name(ours)]
            memories[ours] = {
                "read_bits": one.r_bw,
                "write_bits": one.w_bw,
                "read_pj": one.r_cost,
                "write_pj": one.w_cost,
            }
        sizes = {
            ours: self.memory_instances[_name(ours)].size_bits
            for ours in NeuroMCCapacities.model_fields
        }
        return NeuroMCConfig.model_validate(
            {"memories": memories, "capacity_bits": sizes, "stages": dict(stages)}
        )
