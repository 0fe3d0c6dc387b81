"""What a table asks of one network: counts, rates, energies, and what its twin would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ...schemas import ConfigError, TraceError
from ..counting.count import Counts, count, summed_up
from ..counting.evaluate import tally
from ..counting.firing import firing_of
from ..counting.rates import rates
from ..energy.estimators import ESTIMATORS, estimate
from ..rules import rule_set
from ..workload.inference import forward_alone, passes_left_out, told_of
from ..workload.kinds import kinds_of
from ..workload.products import pads
from .columns import (
    COUNTED,
    DEFAULT,
    ENERGY,
    FIRED,
    RATED,
    SAMPLED,
    bare,
    energy_of,
    estimators_of,
    machines_of,
)
from .profiles import sampled_side

if TYPE_CHECKING:
    from ..energy.report import EnergyReport
    from ..trace.trace import Trace
    from ..workload.samples import Samples
    from .breakeven import Breakeven

_LEAST = 0.0005
"""The smallest share of work outside modules that a footnote names: it shows as 0.1 %."""


class Asked(NamedTuple):
    """What is asked of every network; columns: None where the usual ones are."""

    columns: Sequence[str] | None
    per: str
    spread: bool
    spikes: str
    costs: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]


class Network:
    """What is known of one network, as far as columns ask for it."""

    def __init__(self, name: str, trace: Trace, asked: Asked) -> None:
        self.name, self.trained = name, False
        try:
            part = forward_alone(trace, eval_only=True)
        except TraceError:
            part, self.trained = forward_alone(trace, eval_only=False), True
        self.left_out: Sequence[str] = told_of(passes_left_out(trace, part))
        per, options = asked.per, {"spikes": asked.spikes, **asked.options}
        several = asked.spread and per != "total"
        self.counts: Counts = count(part, per=per, spread=several, **options)
        self.sampled: Samples = sampled_side(part, **asked.options)
        columns = [bare(name) for name in asked.columns or (*DEFAULT, *map(energy_of, ESTIMATORS))]
        rated = set(columns) & set(RATED)
        self.rates, self.rate_deviations = _rates(part, rated, asked.options)
        self.pads = {"macs", "acs"} <= set(columns) and pads(part)
        self.outside = _outside(part, self.counts, columns, asked.spikes)
        self.reports: dict[str, EnergyReport] = {}
        self.refused: dict[str, str] = {}
        for estimator in estimators_of(columns):
            if energy_of(estimator) in columns:
                costs = asked.costs.get(estimator, {})
                try:
                    self.reports[estimator] = estimate(part, estimator, per=per, **costs, **options)
                except (TraceError, ConfigError) as error:
                    self.refused[estimator] = _reason(error, part)
        self.twins: dict[str, Breakeven] = {}
        for machine in dict.fromkeys(machine for name in columns for machine in machines_of(name)):
            from .breakeven import breakeven  # machines are loaded where a twin is asked for

            try:
                self.twins[machine] = breakeven(part, machine=machine, **options)
            except (TraceError, ConfigError) as error:
                self.refused[f"twin on {machine}"] = _reason(error, part)
        self.per, self.spread = per, several

    def figure(self, column: str) -> tuple[Any, float | None]:
        """Return the value of a column and its deviation."""
        if column in SAMPLED:
            return getattr(self.sampled, column), None
        if column in RATED:
            known = self.per == "sample" and self.spread
            return self.rates.get(column), self.rate_deviations.get(column) if known else None
        if column in COUNTED:
            row = self.counts.frame.row(0, named=True)
            return self.counts.each[column], row.get(f"{column}_std")
        for machine in machines_of(column):
            twin = self.twins.get(machine)
            if twin is None:
                return None, None
            name = column.partition(".")[0]
            return {"twin_ratio": twin.ratio, "input_rate": twin.rate}.get(
                name, twin.breakeven_rate
            ), None
        report = self.reports.get(column.removeprefix(ENERGY))
        if report is None:
            return None, None
        return report.each_pj(self.per), self._deviation(report)

    def at_least(self, column: str) -> bool:
        """Return whether the value of a column is a lower bound."""
        report = self.reports.get(column.removeprefix(ENERGY))
        return report.at_least if report is not None else column in self.counts.at_least

    def _deviation(self, report: EnergyReport) -> float | None:
        if not self.spread or report.sampled.completed.height < 2:
            return None
        found: float | None = report.by(spread=True)["std_pj"][0]
        return found


def _rates(
    part: Trace, columns: Set[str], options: Mapping[str, Any]
) -> tuple[Mapping[str, float | None], Mapping[str, float | None]]:
    """Return totals of `rates` and their deviations, no more of them than columns need."""
    if not columns:
        return {}, {}
    if columns <= set(FIRED):
        firing = firing_of(part, **options)
        return firing.totals(), firing.deviations()
    found = rates(part, **options)
    return found.totals, found.deviations


def _reason(error: Exception, part: Trace) -> str:
    """Return why something does not apply to a network, without the place of its trace."""
    return str(error).removeprefix(f"{part.path}: ")


def _outside(part: Trace, counts: Counts, columns: Sequence[str], spikes: str) -> dict[str, float]:
    """Return which share of each counter that is shown ran outside every module, if any did."""
    shown = [name for name in COUNTED if name in columns]
    if not shown or not kinds_of(part)["module_id"].null_count():
        return {}
    rules = rule_set(counts.rules)
    outside = tally(part, rules, ["module_id"], spikes=spikes).filter(pl.col("module_id").is_null())
    rest = summed_up(outside, rules)
    amounts = {name: (rest[name] or 0, counts.total[name]) for name in shown}
    return {
        name: some / whole
        for name, (some, whole) in amounts.items()
        if whole and some / whole >= _LEAST
    }
