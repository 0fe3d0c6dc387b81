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

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

import polars as pl

from ...schemas import ConfigError, TraceError
from ...schemas.costs import CONFIGS, CostConfig, config_class, load_config, preset_names
from ...schemas.several import texts
from ...schemas.spelling import refuse_unknown
from ..answers.page import Page
from ..answers.result import Result
from ..text import listed
from ..trace.trace import narrowed
from ..workload.divisors import check_per, known_number, stepped_by_sample
from ..workload.module_facts import in_words
from ..workload.samples import regrouped
from .pages import energies_page
from .revisions import SOURCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...schemas.costs import Machine
    from ..trace.trace import Trace
    from .report import EnergyReport

ESTIMATORS = tuple(CONFIGS)
"""The names of the estimators."""

ON_MACHINE = "machine"
"""Stands for the name of an estimator where a machine is the configuration."""

OPTIONS = ("revision", "strict", "batch", "time_steps", "samples", "where", "spikes", "per")
"""What every estimator is asked with."""


def estimate(
    trace: Trace,
    name: str,
    config: CostConfig | None = None,
    *,
    per: str = "total",
    **options: Any,
) -> EnergyReport:
    """Estimate the energy of a trace.

    Args:
        trace: the trace.
        name: of `ESTIMATORS`, or "machine.NAME"; with a machine as config, "machine"
            or any such name.
        config: the hardware; by default `default_config`.
        per: what the report speaks of by default, see `EnergyReport.by`.
        **options: of `estimate_NAME`: revision, strict, batch, time_steps, where, spikes.

    Raises:
        ConfigError: unknown estimator, or a configuration of another one; or what it raises.
        TraceError: what the estimator raises; nothing can be charged; or `per` is "sample" or
            "step", and it is not known how many there are.
    """
    check_per(per)
    if _package(name) == ON_MACHINE and isinstance(config, config_class(ON_MACHINE)):
        name = ON_MACHINE  # the machine is here; its name need not be one of opjoule's
    config = fitting_config(name, config, options.get("revision", SOURCE))
    made = getattr(_file(name, "report"), f"estimate_{_package(name)}")

    def by_sample() -> EnergyReport:
        # Filters speak of steps: they come before samples take the place of these.
        told = narrowed(regrouped(trace, options.get("samples")), options.get("where"))
        again: EnergyReport = made(stepped_by_sample(told), config, **{**options, "where": None})
        return again

    report: EnergyReport = made(trace, config, **options)
    _refuse_unknown_alone(trace, report)
    known_number(trace, report.sampled, per)
    return replace(
        report.of(trace),
        by_sample=by_sample,
        per=per,
        modules=partial(in_words, trace.whole),
    )


def _refuse_unknown_alone(trace: Trace, report: EnergyReport) -> None:
    """Refuse an energy of 0 of a trace in which ops ran whose energy is not known.

    Raises:
        TraceError: it is one.
    """
    open_ones = report.left_out.filter(pl.col("macs").is_null())["what"].to_list()
    if open_ones and not report.total_pj and not report.account.charged_macs:
        raise TraceError(
            f"{trace.path}: nothing can be charged: how much {listed(open_ones)} "
            "multiplies is not known. Record the network without it (a quantized one before its "
            "conversion)"
        )


@dataclass(frozen=True, repr=False)
class Energies(Result, Mapping[str, "EnergyReport"]):
    """The estimates of a trace by every estimator that applies, by name.

    Energies of different estimators are not to be added or ranked: their models cover other work.

    Attributes:
        reports: the estimates by name.
        refused: the other estimators, and why they do not apply.
    """

    reports: Mapping[str, EnergyReport]
    refused: Mapping[str, str]

    def __getitem__(self, name: str) -> EnergyReport:
        return self.reports[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    @property
    def frame(self) -> pl.DataFrame:
        """The estimate of each.

        `estimator`, `revision`, `total_pj`, `per_sample_pj`, `macs_share` and `at_least` (the
        energies are lower bounds).
        """
        rows = [
            (
                name,
                report.revision,
                report.total_pj,
                report.per_sample_pj,
                report.account.share,
                report.at_least,
            )
            for name, report in self.reports.items()
        ]
        schema = {
            "estimator": pl.String,
            "revision": pl.String,
            "total_pj": pl.Float64,
            "per_sample_pj": pl.Float64,
            "macs_share": pl.Float64,
            "at_least": pl.Boolean,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    @property
    def total(self) -> dict[str, float]:
        """`total_pj` of each; they are not to be added or compared."""
        return {name: report.total_pj for name, report in self.reports.items()}

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of data that was not measured."""
        return next((each.assumed for each in self.reports.values()), ())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know, with the estimators that it is of."""
        of: dict[str, list[str]] = {}
        for name, each in self.reports.items():
            for text in each.warnings:
                of.setdefault(text, []).append(name)
        return tuple(f"{', '.join(names)}: {text}" for text, names in of.items())

    def by(self, *keys: str, **options: Any) -> pl.DataFrame:
        """Return the rows of all estimates, with `estimator`, see `EnergyReport.by`."""
        return pl.concat(
            report.by(*keys, **options).select(pl.lit(name).alias("estimator"), pl.all())
            for name, report in self.reports.items()
        )

    def page(
        self,
        by: str | Sequence[str] = "module",
        **options: Any,
    ) -> Page:
        """Return what is shown; options as of `EnergyReport.page`."""
        return energies_page(self, texts(by), **options)

    def plot(
        self,
        by: str | Sequence[str] = "module",
        *,
        per: str | None = None,
        spread: bool = False,
        most: int | None = None,
        width: float | None = None,
    ) -> Figure:
        """Return a picture: a panel for each estimate, each on a scale of its own.

        Options are those of `EnergyReport.plot`.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: unknown key, `per` or width.
        """
        from ..plotting.energies import energies_figure

        return energies_figure(self, by, per=per, spread=spread, most=most, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimates as plain data, ready for JSON."""
        return {
            "estimates": {name: report.to_dict() for name, report in self.reports.items()},
            "refused": dict(self.refused),
            "coverage": {name: report.coverage for name, report in self.reports.items()},
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
        }


@overload
def energy(
    trace: Trace | str | os.PathLike[str],
    estimator: str,
    config: CostConfig | None = None,
    **options: Any,
) -> EnergyReport: ...


@overload
def energy(
    trace: Trace | str | os.PathLike[str],
    estimator: None = None,
    config: None = None,
    *,
    machine: str | os.PathLike[str] | Machine,
    **options: Any,
) -> EnergyReport: ...


@overload
def energy(
    trace: Trace | str | os.PathLike[str],
    estimator: Sequence[str] | None = None,
    config: None = None,
    **options: Any,
) -> Energies: ...


def energy(
    trace: Trace | str | os.PathLike[str],
    estimator: str | Sequence[str] | None = None,
    config: CostConfig | None = None,
    *,
    machine: str | os.PathLike[str] | Machine | None = None,
    assume: str | Sequence[str] | None = None,
    **options: Any,
) -> EnergyReport | Energies:
    """Estimate the energy of a trace, by one estimator, on a machine, or by every one that applies.

    Args:
        trace: the trace, or its directory.
        estimator: of `ESTIMATORS`, or several; None: all of them.
        config: the hardware, see `load_config`; by default the estimator's.
        machine: in place of both: the name of a machine, a TOML file, or what `load_machine` gave.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        **options: `revision`, `strict`, `batch`, `time_steps`, `samples`, `where`, `spikes`, `per`.

    Returns:
        The estimate; of several a mapping from names to estimates, of those that apply.

    Raises:
        ConfigError: unknown estimator or option, a configuration of another estimator or without
            one, or what the estimator raises.
        TraceError: what the estimator raises; of several, none of them applies.
    """
    refuse_unknown("energy", options, OPTIONS)
    opened = narrowed(trace, assume=assume)
    if machine is not None:
        if estimator is not None or config is not None:
            raise ConfigError("a machine stands in the place of estimator and configuration")
        from ...schemas.costs import load_machine  # machines are loaded where one is asked for

        return estimate(opened, ON_MACHINE, load_machine(machine), **options)
    if isinstance(estimator, str):
        return estimate(opened, estimator, config, **options)
    if config is not None:
        raise ConfigError("a configuration belongs to one estimator: name it")
    names = ESTIMATORS if estimator is None else tuple(dict.fromkeys(estimator))
    if not names:
        raise ConfigError(f"no estimator is named: choose from {', '.join(ESTIMATORS)}")
    for name in names:
        config_class(name)
    reports, refused = {}, {}
    for name in names:
        try:
            reports[name] = estimate(opened, name, **options)
        except TraceError as error:
            refused[name] = str(error)
    if not reports:
        raise TraceError(next(iter(refused.values())))
    return Energies(reports, refused)


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
    if config is None and name == ON_MACHINE:
        raise ConfigError("a machine has no default: name it, as machine.loihi or a .toml file")
    if config is None:
        return default_config(name, revision)
    if not isinstance(config, expected):
        raise ConfigError(f"{name} takes a {expected.__name__}, not a {type(config).__name__}")
    return config


def check_estimators(*told: Mapping[str, Any] | None) -> None:
    """Refuse options by estimator for a name that there is not.

    Raises:
        ConfigError: it is not one of `ESTIMATORS`.
    """
    for name in {name: None for each in told if each for name in each}:
        if name not in ESTIMATORS:
            raise ConfigError(f"unknown estimator {name!r}: choose from {', '.join(ESTIMATORS)}")


def structural_fields(name: str) -> frozenset[str]:
    """Return the fields of an estimator's configuration that decide what is counted."""
    found: frozenset[str] = energies_of(name).STRUCTURAL
    return found


def energies_of(name: str) -> Any:
    """Return the file `energies` of an estimator: `STRUCTURAL` and `prices_of`."""
    return _file(name, "energies")


def _file(name: str, file: str) -> Any:
    config_class(name)
    return import_module(f".{_package(name)}.{file}", __package__)


def _package(name: str) -> str:
    """Return the package of an estimator; that of every machine is `machine`."""
    return name.partition(".")[0]
