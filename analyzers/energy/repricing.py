"""What an estimator found in a trace, priced for any number of configurations without it.

An estimator's configuration has structural fields, which decide what is counted, and prices.
Configurations that share the structural fields share what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...schemas import ConfigError
from ...schemas.costs import CostConfig

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from .report import EnergyReport

Prices = Callable[[Any], dict[str, float]]
"""From a configuration to energies in pJ by component; `total_pj` is the whole."""


@dataclass(frozen=True)
class Measured:
    """What was measured, and what every estimate from it has in common.

    Attributes:
        price: energies in pJ of a configuration with the same structural fields: `total_pj`, and
            the parts as in `EnergyReport.breakdown_pj`.
        report: the estimate that it was measured with.
    """

    price: Prices
    report: EnergyReport


def structural_fields(estimator: str) -> frozenset[str]:
    """Return the fields of an estimator's configuration that decide what is counted."""
    module, _ = _model(estimator)
    found: frozenset[str] = import_module(f".{module}", __package__).STRUCTURAL
    return found


def measure(estimator: str, trace: Trace, config: CostConfig, **options: Any) -> Measured:
    """Estimate once and keep what any other price of it needs.

    Args:
        estimator: its name.
        trace: the trace.
        config: its structural fields count.
        **options: of `estimate_NAME`: revision, strict, batch, time_steps, where.

    Raises:
        ConfigError: no such estimator, or what it raises.
        TraceError: what the estimator raises.
    """
    _, prices = _model(estimator)
    estimate = getattr(import_module(".", __package__), f"estimate_{estimator}")
    report: EnergyReport = estimate(trace, config, **options)
    return Measured(prices(report), report)


def _model(estimator: str) -> tuple[str, Callable[[EnergyReport], Prices]]:
    if estimator not in _MODELS:
        raise ConfigError(f"no estimator {estimator!r}: choose from {', '.join(_MODELS)}")
    return _MODELS[estimator]


def _added(parts: dict[str, float]) -> dict[str, float]:
    return {"total_pj": sum(parts.values()), **parts}


def _compute(report: EnergyReport) -> Prices:
    macs, acs = report.counts["mac"], report.counts["ac"]
    return lambda config: _added({"mac_pj": macs * config.e_mac_pj, "ac_pj": acs * config.e_ac_pj})


def _simple(report: EnergyReport) -> Prices:
    from .simple.report import breakdown_pj

    def price(config: Any) -> dict[str, float]:
        parts = breakdown_pj(report.counts, config)
        return {"total_pj": parts["mac_pj"] + parts["ac_pj"] + parts["memory_pj"], **parts}

    return price


def _lemaire(report: EnergyReport) -> Prices:
    from .lemaire.prices import prices_of

    return prices_of(report)


def _neuromc(report: EnergyReport) -> Prices:
    from .neuromc.energies import prices_of

    return prices_of(report)


def _spikesim(report: EnergyReport) -> Prices:
    from .spikesim.crossbars import breakdown_pj
    from .spikesim.report import totals_of

    totals = totals_of(report.rows)
    return lambda config: _added(breakdown_pj(totals, config))


_MODELS: Mapping[str, tuple[str, Callable[[EnergyReport], Prices]]] = {
    "compute": ("compute", _compute),
    "simple": ("simple.report", _simple),
    "lemaire": ("lemaire.report", _lemaire),
    "neuromc": ("neuromc.energies", _neuromc),
    "spikesim": ("spikesim.crossbars", _spikesim),
}
"""Estimator -> file that says which fields are structural, and how its reports are priced anew."""

ESTIMATORS = tuple(_MODELS)
"""Estimators that can be swept."""
