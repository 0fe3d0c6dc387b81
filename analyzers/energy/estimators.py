"""The door to the energy estimators: by name, whichever packages there are.

An estimator is a package of this folder, `NAME`, and its configuration in `schemas.costs.CONFIGS`.
Of its files the door reads, by name:

- `report.py`: `estimate_NAME(trace, config, *, revision, ...)`, which returns an `EnergyReport`;
- `energies.py`: `STRUCTURAL`, the fields of the configuration that decide what is counted, and
  `prices_of(report)`, which prices what a report counted with another configuration;
- `variant.py`: `SOURCE`, what the revision `source` does; see `revisions`.

Beside them stand `actions.py` (action counts) and `scope.py` (what is covered, in words).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...schemas import ConfigError
from ...schemas.costs import CONFIGS, CostConfig, config_class, load_config, preset_names
from .revisions import SOURCE

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from .report import EnergyReport

ESTIMATORS = tuple(CONFIGS)
"""The names of the estimators."""


def estimate(
    trace: Trace, name: str, config: CostConfig | None = None, **options: Any
) -> EnergyReport:
    """Estimate the energy of a trace.

    Args:
        trace: the trace.
        name: of `ESTIMATORS`.
        config: the hardware; by default `default_config`.
        **options: of `estimate_NAME`: revision, strict, batch, time_steps, where, spikes.

    Raises:
        ConfigError: unknown estimator, or a configuration of another one; or what it raises.
        TraceError: what the estimator raises.
    """
    config = fitting_config(name, config, options.get("revision", SOURCE))
    report: EnergyReport = getattr(_file(name, "report"), f"estimate_{name}")(
        trace, config, **options
    )
    return report


def default_preset(name: str, revision: str = SOURCE) -> str | None:
    """Return the preset that a revision of an estimator assumes: the one of the revision's name.

    Returns:
        Its name; None: the defaults of the configuration's class.

    Raises:
        ConfigError: unknown estimator.
    """
    return revision if revision in preset_names(name) else None


def default_config(name: str, revision: str = SOURCE) -> CostConfig:
    """Return the configuration that a revision of an estimator assumes.

    Raises:
        ConfigError: unknown estimator.
    """
    return load_config(name, preset=default_preset(name, revision))


def fitting_config(name: str, config: CostConfig | None, revision: str = SOURCE) -> CostConfig:
    """Return a configuration of an estimator: the given one, or the default.

    Raises:
        ConfigError: it is of another estimator.
    """
    expected = config_class(name)
    if config is None:
        return default_config(name, revision)
    if not isinstance(config, expected):
        raise ConfigError(f"{name} takes a {expected.__name__}, not a {type(config).__name__}")
    return config


def structural_fields(name: str) -> frozenset[str]:
    """Return the fields of an estimator's configuration that decide what is counted."""
    found: frozenset[str] = energies_of(name).STRUCTURAL
    return found


def energies_of(name: str) -> Any:
    """Return the file `energies` of an estimator: `STRUCTURAL` and `prices_of`."""
    return _file(name, "energies")


def _file(name: str, file: str) -> Any:
    config_class(name)
    return import_module(f".{name}.{file}", __package__)
