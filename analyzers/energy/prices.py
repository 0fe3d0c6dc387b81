"""Energies that can be written: finite numbers."""

from __future__ import annotations

import math

from ...schemas import ConfigError


def finite(name: str, total_pj: float) -> float:
    """Return an energy in pJ.

    Args:
        name: the estimator or machine, for the message.
        total_pj: what its prices make of the counts.

    Raises:
        ConfigError: it is no finite number.
    """
    if not math.isfinite(total_pj):
        raise ConfigError(
            f"{name}: the energy is larger than any number: check the prices of its configuration"
        )
    return total_pj
