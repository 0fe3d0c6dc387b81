"""What an estimator found in a trace, priced for any number of configurations without it.

An estimator's configuration has structural fields, which decide what is counted, and energies.
Configurations that share the structural fields share what was counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .estimators import energies_of, estimate, structural_fields
from .prices import finite

if TYPE_CHECKING:
    from ...schemas.costs import CostConfig
    from ..trace.trace import Trace
    from .report import EnergyReport

Prices = Callable[[Any], dict[str, float]]
"""From a configuration to energies in pJ by component; `total_pj` is the whole."""


@dataclass(frozen=True)
class Measured:
    """What was counted, and what every estimate from it has in common.

    Attributes:
        price: energies in pJ of a configuration with the same structural fields: `total_pj`, and
            the parts as in `EnergyReport.breakdown_pj`.
        report: the estimate that it was counted for.
    """

    price: Prices
    report: EnergyReport


def measure(estimator: str, trace: Trace, config: CostConfig, **options: Any) -> Measured:
    """Estimate once and keep what any other price of it needs; see `estimators.estimate`."""
    report = estimate(trace, estimator, config, **options)
    prices = energies_of(estimator).prices_of(report)

    def price(of: Any) -> dict[str, float]:
        found: dict[str, float] = prices(of)
        finite(estimator, found["total_pj"])
        return found

    return Measured(price, report)


def structure_of(estimator: str, config: CostConfig) -> str:
    """Return the structural fields of a configuration: equal texts count alike."""
    own = getattr(energies_of(estimator), "structure_of", None)
    if own is not None:
        return str(own(config))
    return config.model_dump_json(include=set(structural_fields(estimator)))
