"""Energy of each action in Lemaire's model: operations and memory accesses, in pJ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.lemaire import LemaireConfig
from ...frames import added_up
from ..interpolation import interpolation
from ..revisions import variant_of
from .actions import ACCESSES, OPERATIONS
from .variant import Variant

if TYPE_CHECKING:
    from ..report import EnergyReport

STRUCTURAL = frozenset(
    {
        "snn_fifo_capacity_elements",
        "bias_additions",
        "conv_address_every_output",
        "linear_address_every_spike",
        "respect_groups",
        "linear_dense_addressing",
        "sum_every_element",
        "neurons_behind_others",
        "hybrid_first_layer",
        "spikes_by_provenance",
        "sums_of_spikes",
        "neurons",
        "sparse_share",
    }
)
"""Fields of the configuration that action counts depend on; all others are energies."""

_ADDITIONS = ("synop", "ac", "state_ac", "acc_addr")
_MACS = ("mac", "state_mac", "mac_addr")


def priced(counts: pl.DataFrame, config: LemaireConfig, variant: Variant) -> pl.DataFrame:
    """Add `energy_pj` to action counts.

    Args:
        counts: rows with `what`, `size` and `count`.
        config: energies.
        variant: what a word is and which memory cost holds.
    """
    what = pl.col("what")
    operation = what.replace_strict(_operations(config), default=0.0, return_dtype=pl.Float64)
    access = _access_pj(pl.col("size").fill_null(0.0), config, variant)
    each = pl.when(what.is_in(list(OPERATIONS))).then(operation).otherwise(access)
    return counts.with_columns(energy_pj=pl.col("count") * each)


def _operations(config: LemaireConfig) -> dict[str, float]:
    mac = config.e_mul_pj + config.e_add_pj
    return {
        **dict.fromkeys(_ADDITIONS, config.e_add_pj),
        **dict.fromkeys(_MACS, mac),
        "mul": config.e_mul_pj,
    }


def word_bytes(config: LemaireConfig, variant: Variant) -> float:
    """Return the bytes of the words that are counted."""
    return config.word_bits / 8 if variant.word_bytes is None else variant.word_bytes


def _access_pj(words: pl.Expr, config: LemaireConfig, variant: Variant) -> pl.Expr:
    """Return the energy of moving one word from or to memories of so many words.

    Authors: base + slope · bits, for every width. Piecewise: pJ a byte, linear between the
    points, held at both ends.
    """
    if config.memory == "authors" and not variant.piecewise:
        return config.ram_base_pj + config.ram_slope_pj_per_bit * (words * config.word_bits)
    word = word_bytes(config, variant)
    sizes, costs = zip(*config.memory_breakpoints, strict=True)
    return interpolation(words * word, sizes, costs) * word


def breakdown_pj(energies: pl.DataFrame) -> dict[str, float]:
    """Return a report's parts; `memory_pj` is inout, params and potential together.

    Args:
        energies: what `priced` returns.
    """
    sums = energies.group_by("component", maintain_order=True).agg(added_up(pl.col("energy_pj")))
    found = dict(sums.iter_rows())
    parts = {name: found.get(name, 0.0) for name in dict.fromkeys(OPERATIONS.values())}
    memory = {name: found.get(name, 0.0) for name in dict.fromkeys(ACCESSES.values())}
    return {
        **{f"{name}_pj": value for name, value in parts.items()},
        "memory_pj": sum(memory.values()),
        **{f"{name}_pj": value for name, value in memory.items()},
    }


def total_pj(breakdown: Mapping[str, float]) -> float:
    """Return the sum of a report's parts, which have the memory twice."""
    return breakdown["ops_pj"] + breakdown["addressing_pj"] + breakdown["memory_pj"]


def prices_of(report: EnergyReport) -> Callable[[LemaireConfig], dict[str, float]]:
    """Return a function from a configuration to the total and the parts of a report.

    Args:
        report: of `estimate_lemaire`; configurations have to share its structural fields.
    """
    counts, variant = report.details["actions"], variant_of("lemaire", report.revision)

    def price(config: LemaireConfig) -> dict[str, float]:
        parts = breakdown_pj(priced(counts, config, variant))
        return {"total_pj": total_pj(parts), **parts}

    return price
