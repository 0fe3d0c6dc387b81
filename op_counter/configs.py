"""SpikingJelly's configurations of the energy estimators, by its names and with its defaults.

Each can be changed after it was made; what it says is checked when an estimate is made with it,
by opjoule's own typed configuration of the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from ..schemas.costs import (
    ComputeConfig,
    LemaireConfig,
    SimpleConfig,
    SpikeSimConfig,
    config_class,
    load_config,
)
from .refusals import MeaninglessError, refusing
from .revisions import RELEASE

if TYPE_CHECKING:
    from torch import nn


def _energies(estimator: str, preset: str) -> dict[str, float]:
    return {k: v for k, v in load_config(estimator, preset=preset).model_dump().items()}


@dataclass
class ComputeEnergyCostConfig:
    """Energies of a MAC and of an AC in pJ; the defaults are `fp32()`."""

    e_mac_pj: float = 4.6
    e_ac_pj: float = 0.9

    @refusing()
    def __post_init__(self) -> None:
        config_class(self._estimator())(**vars(self))

    @classmethod
    def fp32(cls) -> Self:
        """Return the preset for 32-bit floats (Horowitz 2014, 45 nm)."""
        return cls(**_energies(cls._estimator(), "fp32"))

    @classmethod
    def fp16(cls) -> Self:
        """Return the preset for 16-bit floats (Horowitz 2014, 45 nm)."""
        return cls(**_energies(cls._estimator(), "fp16"))

    @classmethod
    def int8(cls) -> Self:
        """Return the preset for 8-bit integers (Horowitz 2014, 45 nm)."""
        return cls(**_energies(cls._estimator(), "int8"))

    @classmethod
    def _estimator(cls) -> str:
        return "compute"


@dataclass
class SimpleEnergyCostConfig(ComputeEnergyCostConfig):
    """Energies of a MAC, of an AC, and of a byte that is read or written, in pJ."""

    e_memory_pj_per_byte: float = 24.96

    @classmethod
    def _estimator(cls) -> str:
        return "simple"


@dataclass
class ComputeEnergyConfig:
    """How `estimate_compute_energy` goes about it.

    Attributes:
        strict: refuse a run in which nothing was counted, instead of warning.
        verbose: log what was counted, by module and op, to `opjoule.op_counter`.
        cost_config: energies of the operations.
        extra_ignore_modules: module classes; nothing that runs inside them is charged.
    """

    strict: bool = False
    verbose: bool = False
    cost_config: ComputeEnergyCostConfig = field(default_factory=ComputeEnergyCostConfig)
    extra_ignore_modules: list[type[nn.Module]] | None = None

    @refusing()
    def typed(self) -> ComputeConfig:
        """Return opjoule's configuration; ConfigError if a value is not allowed."""
        return ComputeConfig(**vars(self.cost_config))


@dataclass
class SimpleEnergyConfig:
    """How `estimate_simple_energy` goes about it; see `ComputeEnergyConfig`."""

    strict: bool = False
    cost_config: SimpleEnergyCostConfig = field(default_factory=SimpleEnergyCostConfig)
    extra_ignore_modules: list[type[nn.Module]] | None = None

    @refusing()
    def typed(self) -> SimpleConfig:
        """Return opjoule's configuration; ConfigError if a value is not allowed."""
        return SimpleConfig(**vars(self.cost_config))


@dataclass
class LemaireEnergyCostConfig:
    """Energies of integer operations in pJ, and of memory by four (bytes, pJ a byte) points."""

    e_add_pj: float = 0.1
    e_mul_pj: float = 3.1
    memory_breakpoints: tuple[tuple[float, float], ...] = (
        (0.0, 0.0),
        (8192.0, 2.5),
        (32768.0, 5.0),
        (1048576.0, 25.0),
    )

    @refusing()
    def __post_init__(self) -> None:
        LemaireConfig(**vars(self))

    def memory_cost_pj(self, memory: float) -> float:
        """Return the pJ a byte of a memory of that many bytes: linear between the points."""
        points = self.memory_breakpoints
        if memory <= points[0][0]:
            return points[0][1]
        for (low, below), (high, above) in pairwise(points):
            if memory <= high:
                return below + (above - below) * (memory - low) / (high - low)
        return points[-1][1]


@dataclass
class LemaireEnergyConfig:
    """How `estimate_lemaire_energy` goes about it.

    Attributes:
        strict: refuse modules that the model has no formulas for; None: as the revision does
            (2.0 refuses, August 2026 warns).
        cost_config: energies of operations and memories.
        snn_fifo_capacity_elements: elements of the FIFO between spiking layers.
        sparse_zero_ratio_threshold: August 2026 only: share of zeros from which a tensor is
            stored sparsely.
        enable_sparse_memory_estimation: August 2026 only; False is not taken over.
        extra_state_rules: August 2026 only; not taken over: a rule was code.
    """

    strict: bool | None = None
    cost_config: LemaireEnergyCostConfig = field(default_factory=LemaireEnergyCostConfig)
    snn_fifo_capacity_elements: int = 1000
    sparse_zero_ratio_threshold: float = 0.5
    enable_sparse_memory_estimation: bool = True
    extra_state_rules: dict[type[nn.Module], Callable[..., Any]] = field(default_factory=dict)

    @refusing()
    def __post_init__(self) -> None:
        if self.extra_state_rules:
            raise MeaninglessError(
                "LemaireEnergyConfig.extra_state_rules is not taken over: state is read from the "
                "recording. Describe a neuron of your own to the recorder with NeuronRule."
            )
        if not self.enable_sparse_memory_estimation:
            raise MeaninglessError(
                "LemaireEnergyConfig.enable_sparse_memory_estimation = False is not taken over: "
                "tensors are stored sparsely from sparse_zero_ratio_threshold on."
            )
        self.typed()

    def refuses(self, revision: str) -> bool:
        """Tell whether modules without formulas are refused."""
        return revision == RELEASE if self.strict is None else self.strict

    @refusing()
    def typed(self) -> LemaireConfig:
        """Return opjoule's configuration; ConfigError if a value is not allowed."""
        return LemaireConfig(
            **vars(self.cost_config),
            snn_fifo_capacity_elements=self.snn_fifo_capacity_elements,
            sparse_share=self.sparse_zero_ratio_threshold,
        )


@dataclass
class SpikeSimEnergyConfig:
    """How `estimate_spikesim_energy` goes about it: the crossbars and their energies in pJ.

    Attributes:
        xbar_size: rows and columns of a crossbar.
        device: "rram" or "sram".
        activity_mode: "dense": sparsity saves nothing; "event": work of spikes only.
        require_if_lif_neurons: other neurons are named, or refused under `strict`.
    """

    xbar_size: int = 64
    device: str = "rram"
    activity_mode: str = "dense"
    require_if_lif_neurons: bool = True
    tile_buffer_pj: float = 397.0
    temp_buffer_pj: float = 0.2
    sub_pj: float = 1.15e-6
    adc_pj: float = 2.03084
    htree_pj: float = 19.64 * 8
    mux_pj: float = 0.094245
    mem_fetch_pj: float = 4.64
    neuron_pj: float = 1.274 * 4
    rram_xbar_pj: float = 1.76423
    sram_xbar_pj: float = 671.089

    def validate(self) -> None:
        """Check the values; ConfigError if one is not allowed."""
        self.typed()

    @refusing()
    def typed(self) -> SpikeSimConfig:
        """Return opjoule's configuration; ConfigError if a value is not allowed."""
        return SpikeSimConfig(**vars(self))


@dataclass
class MemoryInstanceSpec:
    """One memory of NeuroMC's hardware: size and widths in bits, costs in pJ an access."""

    name: str
    size_bits: int
    datawidth: int
    r_bw: int
    w_bw: int
    r_cost: float
    w_cost: float
