"""Many configurations over one trace, and which constants decide the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.costs import CostConfig, changed
from ...schemas.spelling import refuse_unknown
from ..answers.page import Page
from ..answers.result import Result
from ..energy.estimators import OPTIONS, fitting_config
from ..energy.report import EnergyReport
from ..energy.repricing import Measured, measure, structure_of
from ..energy.revisions import SOURCE
from ..progress import tracked
from ..trace.trace import Trace, narrowed
from ..workload.divisors import check_per, known_number
from .configurations import columns, combinations, configured, read_configs
from .page import sweep_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OPTIONS = tuple(name for name in OPTIONS if name != "per")
"""Of estimators, those that a sweep hands on."""

_STEP = 1e-3
"""Share by which a constant is moved up and down."""


@dataclass(frozen=True, repr=False, eq=False)
class Sweep(Result):
    """A sweep and what it rests on.

    Attributes:
        frame: see `sweep`.
        reports: the estimates that were made in full, one for all configurations that count alike;
            their warnings hold for these.
        per: what the frame gives besides the total.
        config: what was not varied, as plain data.
    """

    frame: pl.DataFrame
    reports: tuple[EnergyReport, ...]
    per: str = "total"
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know, each once."""
        return tuple(dict.fromkeys(text for report in self.reports for text in report.warnings))

    @property
    def total(self) -> dict[str, float]:
        """`total_pj` of the first configuration of each estimate that was made in full, by number.

        Beside a sensitivity: of the configuration around which constants were moved.
        """
        return {str(place): report.total_pj for place, report in enumerate(self.reports)}

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of data that was not measured."""
        return self.reports[0].assumed

    def page(self) -> Page:
        """Return what is shown."""
        return sweep_page(self)

    def plot(self, *, most: int = 12, width: float | None = None) -> Figure:
        """Return a picture: a line over one varied number, a heat map over two fields, else bars.

        Of a sensitivity: by how many percent the total grows with each constant.

        Args:
            most: constants of a sensitivity.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: no such width.
        """
        from ..plotting.sweeps import sweep_figure

        return sweep_figure(self, most=most, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return the sweep as plain data, ready for JSON."""
        report = self.reports[0]
        return {
            "estimator": report.estimator,
            "revision": report.revision,
            "stages": list(report.scope.stages),
            "technology": report.scope.technology,
            "source": report.scope.source,
            "coverage": report.coverage,
            "per": self.per,
            "samples": report.samples,
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
            "config": self.config,
            "rows": self.frame.to_dicts(),
        }


def sweep(
    trace: Trace | str | os.PathLike[str],
    estimator: str,
    vary: Mapping[str, Iterable[Any]] | None = None,
    configs: pl.DataFrame | str | os.PathLike[str] | None = None,
    *,
    config: CostConfig | None = None,
    per: str = "total",
    assume: str | Sequence[str] | None = None,
    **options: Any,
) -> Sweep:
    """Estimate with many configurations, reading the trace once for all that count alike.

    Args:
        trace: the trace, or its directory.
        estimator: "compute", "simple", "lemaire", "neuromc" or "spikesim".
        vary: field -> values, dots leading into tables; every combination is estimated.
        configs: a table of configurations, fields as columns, or its file (CSV, Parquet, TOML);
            null leaves a field as in `config`, the column `name` is a label. With `vary`, each
            row with every combination.
        config: what is not varied; by default the estimator's defaults.
        per: "sample" or "step" adds the total and each part for one of them.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        **options: of the estimator: revision, strict, samples, batch, time_steps, where, spikes.

    Returns:
        A row for each configuration, in order: its varied fields, `total_pj`, `per_sample_pj` (null
        where the trace does not tell how many samples there were), and `energy_PART_pj` for each
        part of the estimator's breakdown; with `per="sample"` also `energy_PART_per_sample_pj`,
        with "step" `per_step_pj` and `energy_PART_per_step_pj`.

    Raises:
        ConfigError: no such estimator, field or value, or nothing to vary.
        TraceError: what the estimator raises; or it is not known how many samples there are.
    """
    check_per(per)
    refuse_unknown("sweep", options, _OPTIONS)
    opened = narrowed(trace, assume=assume)
    if configs is not None and not isinstance(configs, pl.DataFrame):
        configs = read_configs(configs)
    rows = combinations(vary, configs)
    base = fitting_config(estimator, config, options.get("revision", SOURCE))
    made = configured(base, rows)
    known: dict[str, Measured] = {}
    energies = [
        _row(opened, _measured(known, estimator, opened, each, options), each, per)
        for each in tracked(made)
    ]
    frame = pl.DataFrame([*columns(rows), *columns(energies)])
    return Sweep(frame, tuple(measured.report for measured in known.values()), per,
                 base.model_dump(mode="json"))  # fmt: skip


def sensitivity(
    trace: Trace | str | os.PathLike[str],
    estimator: str,
    config: CostConfig | None = None,
    *,
    assume: str | Sequence[str] | None = None,
    **options: Any,
) -> Sweep:
    """Return what each constant decides of the total, the most decisive first.

    Constants are the numbers with a fraction in the configuration, those in tables and lists
    included (`memory_breakpoints.2.1`); whole numbers are options. Each is moved up and down by a
    thousandth: exact where the total is linear in it, as in energies, a mean slope elsewhere.

    Args:
        trace: the trace, or its directory.
        estimator: its name.
        config: where to look; by default the estimator's defaults.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        **options: of the estimator: revision, strict, samples, batch, time_steps, where, spikes.

    Returns:
        `constant`, `value`, `percent_per_percent` (by how many percent the total grows if the
        constant grows by one) and `energy_pj` (the constant times the slope of the total: for an
        energy, all that is charged with it).

    Raises:
        ConfigError: no such estimator.
        TraceError: what the estimator raises.
    """
    refuse_unknown("sensitivity", options, _OPTIONS)
    opened = narrowed(trace, assume=assume)
    base = fitting_config(estimator, config, options.get("revision", SOURCE))
    known: dict[str, Measured] = {}

    def total(of: CostConfig) -> float:
        return _measured(known, estimator, opened, of, options).price(of)["total_pj"]

    whole = total(base)
    report = next(iter(known.values())).report
    rows = []
    for path, value in constants(base.model_dump()):
        energy = value * _slope(total, base, path, value) if value else 0.0
        rows.append((".".join(path), value, energy / whole if whole else 0.0, energy))
    frame = pl.DataFrame(rows, schema=_SENSITIVITY, orient="row").sort(
        pl.col("percent_per_percent").abs(), descending=True, maintain_order=True
    )
    return Sweep(frame, (report,), config=base.model_dump(mode="json"))


_SENSITIVITY = {
    "constant": pl.String,
    "value": pl.Float64,
    "percent_per_percent": pl.Float64,
    "energy_pj": pl.Float64,
}


def constants(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield path and value of every float in nested plain data."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from constants(value, (*path, str(key)))
    elif isinstance(data, list | tuple):
        for place, value in enumerate(data):
            yield from constants(value, (*path, str(place)))
    elif isinstance(data, float):
        yield path, data


def _slope(
    total: Callable[[CostConfig], float], base: CostConfig, path: tuple[str, ...], value: float
) -> float:
    """Return d total / d constant; to one side only where the other is not allowed."""
    points = []
    for moved in (value * (1 - _STEP), value * (1 + _STEP)):
        try:
            points.append((moved, changed(base, {path: moved})))
        except ConfigError:
            points.append((value, base))
    (low, below), (high, above) = points
    return (total(above) - total(below)) / (high - low) if high > low else 0.0


def _measured(
    known: dict[str, Measured],
    estimator: str,
    trace: Trace,
    config: CostConfig,
    options: Mapping[str, Any],
) -> Measured:
    """Return what was measured for the structural fields of a configuration, once for each."""
    key = structure_of(estimator, config)
    if key not in known:
        known[key] = measure(estimator, trace, config, **options)
    return known[key]


def _row(trace: Trace, measured: Measured, config: CostConfig, per: str) -> dict[str, float | None]:
    prices = measured.price(config)
    total, samples = prices.pop("total_pj"), measured.report.samples
    row = {"total_pj": total, "per_sample_pj": total / samples if samples else None}
    row |= {f"energy_{name}": value for name, value in prices.items()}
    if per == "total":
        return row
    units = known_number(trace, measured.report.sampled, per)
    row[f"per_{per}_pj"] = total / units
    ending = f"_per_{per}_pj"
    parts = {f"energy_{n.removesuffix('_pj')}{ending}": v / units for n, v in prices.items()}
    return row | parts
