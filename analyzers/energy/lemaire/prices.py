"""Prices of charges in the Lemaire model: operations and accesses, in pJ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....schemas.costs import LemaireConfig
from .charges import ACCESSES, OPERATIONS

if TYPE_CHECKING:
    from ..report import EnergyReport

WORD_BYTES = {"spikingjelly-2.0": 4.0, "spikingjelly-2026-08": 1.0}
"""Bytes of a charge's word, by revision; the source's words are `word_bits` wide."""

_ADDITIONS = ("synop", "ac", "state_ac", "acc_addr")
_MACS = ("mac", "state_mac", "mac_addr")

Floats = NDArray[np.float64]


def energy_pj(charges: pl.DataFrame, config: LemaireConfig, revision: str) -> Floats:
    """Return the energy of each charge in pJ.

    Args:
        charges: rows with `what`, `size` and `amount`.
        config: energies.
        revision: what a word is and which memory cost holds.
    """
    size = charges["size"].fill_null(0.0).to_numpy()
    unit = np.where(
        charges["what"].is_in(list(OPERATIONS)).to_numpy(),
        charges["what"].replace_strict(_operations(config), default=0.0).to_numpy(),
        access_pj(size, config, revision),
    )
    return np.asarray(charges["amount"].to_numpy() * unit)


def _operations(config: LemaireConfig) -> dict[str, float]:
    mac = config.e_mul_pj + config.e_add_pj
    return {
        **dict.fromkeys(_ADDITIONS, config.e_add_pj),
        **dict.fromkeys(_MACS, mac),
        "mul": config.e_mul_pj,
    }


def word_bytes(config: LemaireConfig, revision: str) -> float:
    """Return the bytes of the words that charges count."""
    return WORD_BYTES.get(revision, config.word_bits / 8)


def access_pj(words: Floats, config: LemaireConfig, revision: str) -> Floats:
    """Return the energy of moving one word from or to memories of so many words.

    Authors: base + slope · bits, for every width. Piecewise: pJ a byte, linear between the
    points, held at both ends.
    """
    word = word_bytes(config, revision)
    if revision == "source" and config.memory == "authors":
        return config.ram_base_pj + config.ram_slope_pj_per_bit * (words * config.word_bits)
    sizes, costs = zip(*config.memory_breakpoints, strict=True)
    return np.asarray(np.interp(words * word, sizes, costs) * word)


def breakdown_pj(charges: pl.DataFrame) -> dict[str, float]:
    """Return a report's parts; `memory_pj` is inout, params and potential together.

    Args:
        charges: rows with `component` and `energy_pj`.
    """
    found = dict(charges.group_by("component").agg(pl.col("energy_pj").sum()).iter_rows())
    parts = {name: found.get(name, 0.0) for name in dict.fromkeys(OPERATIONS.values())}
    memory = {name: found.get(name, 0.0) for name in dict.fromkeys(ACCESSES.values())}
    return {
        **{f"{name}_pj": value for name, value in parts.items()},
        "memory_pj": sum(memory.values()),
        **{f"{name}_pj": value for name, value in memory.items()},
    }


def total_pj(breakdown: Mapping[str, float]) -> float:
    """Return the sum of a report's parts; memory is told twice there."""
    return breakdown["ops_pj"] + breakdown["addressing_pj"] + breakdown["memory_pj"]


def prices_of(report: EnergyReport) -> Callable[[LemaireConfig], dict[str, float]]:
    """Return what gives the total and the parts of a report at other prices.

    Args:
        report: of `estimate_lemaire`; configurations have to share its structural fields.
    """
    kinds, revision = report.details["charges"], report.revision

    def price(config: LemaireConfig) -> dict[str, float]:
        energies = energy_pj(kinds, config, revision)
        parts = breakdown_pj(kinds.with_columns(energy_pj=pl.Series(energies, dtype=pl.Float64)))
        return {"total_pj": total_pj(parts), **parts}

    return price
