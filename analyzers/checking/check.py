"""One trace against limits: what is within them, what is over, and which modules weigh most."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ..answers.page import Page
from ..answers.result import Result
from ..comparing.profiles import estimated
from ..energy.revisions import SOURCE
from ..trace.trace import Trace, narrowed
from ..workload.divisors import both_modes
from ..workload.samples import Samples, check_samples, unknown_samples
from .figures import ENERGY, TWIN_RATIO, machine_of
from .limits import Limit, Limits, limits_of
from .page import check_page
from .verdicts import Figures, Verdict, verdict_of

if TYPE_CHECKING:
    from ...schemas.costs import CostConfig
    from ..comparing.breakeven import Breakeven
    from ..counting.coverage import Coverage
    from ..energy.report import EnergyReport


@dataclass(frozen=True, repr=False, eq=False)
class Check(Result):
    """A trace, checked; true if every limit holds.

    Attributes:
        verdicts: one for each limit, in their order.
        coverage: how far the counts reach.
        reports: the estimates of the energies that have limits, by estimator.
        sampled: the samples of limits on counters of one sample; of nothing, if there are none.
        twins: the comparisons with the twin behind ratios that have limits, by figure.
    """

    verdicts: tuple[Verdict, ...]
    coverage: Coverage
    reports: Mapping[str, EnergyReport]
    sampled: Samples = field(default_factory=unknown_samples)
    twins: Mapping[str, Breakeven] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every limit is known to hold."""
        return not self.failures

    @property
    def failures(self) -> list[Verdict]:
        """The limits that do not hold, or of which that is not known."""
        return [each for each in self.verdicts if each.verdict != "within"]

    @property
    def frame(self) -> pl.DataFrame:
        """A row for each limit.

        `limit` (its text), `figure`, `modules` (the glob), `per_sample`, `most`, `value` (null:
        not known), `at_least` (it is a lower bound), `module` (that has this value), `verdict`
        (within, over, unknown) and `why`.
        """
        rows = [
            (
                each.limit.text, each.limit.figure, each.limit.modules, each.limit.per_sample,
                float(each.limit.most), None if each.value is None else float(each.value),
                each.at_least, each.module, each.verdict, each.why,
            )
            for each in self.verdicts
        ]  # fmt: skip
        text = pl.String
        schema = {
            "limit": text, "figure": text, "modules": text, "per_sample": pl.Boolean,
            "most": pl.Float64, "value": pl.Float64, "at_least": pl.Boolean, "module": text,
            "verdict": text, "why": text,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        samples = (*self.sampled.warnings, *both_modes(self.sampled, "sample"))
        estimates = (
            f"{name}: {text}"
            for name, found in self._estimates.items()
            for text in found.warnings
            if text not in (*self.assumed, *self.sampled.warnings)
        )
        return (*self.assumed, *samples, *estimates)

    @property
    def charged(self) -> tuple[str, ...]:
        """How much of the products each estimate charges."""
        return tuple(f"{name}: {found.coverage}" for name, found in self._estimates.items())

    @property
    def _estimates(self) -> Mapping[str, EnergyReport | Breakeven]:
        return {**self.reports, **self.twins}

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of data that was not measured."""
        return self.coverage.assumed

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data, ready for JSON."""
        return {
            "passed": self.passed,
            "limits": [
                row | {"culprits": each.culprits.to_dicts()}
                for row, each in zip(self.frame.to_dicts(), self.verdicts, strict=True)
            ],
            "coverage": self.coverage.line(),
            "charged": list(self.charged),
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
        }

    def __bool__(self) -> bool:
        return self.passed

    @property
    def total(self) -> dict[str, float | None]:
        """The value of each limit's figure, by the text of the limit; None: not known."""
        return {each.limit.text: each.value for each in self.verdicts}

    def page(self, *, failed: bool = True) -> Page:
        """Return what is shown.

        Args:
            failed: with a line for each limit that does not hold.
        """
        return check_page(self, failed)


def check(
    trace: Trace | str | os.PathLike[str],
    max: Limits,
    *,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    rules: str = "full",
    spikes: str = "binary",
    energies: Mapping[str, CostConfig] | None = None,
    revision: str | Mapping[str, str] = SOURCE,
    strict: bool = False,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
    allow_unknown: bool = False,
) -> Check:
    """Check a trace against limits.

    Args:
        trace: the trace, or its directory.
        max: `"flops=1G"`, several such texts, or a mapping: `{"flops": 1e9, "energy.lemaire":
            "5 uJ/sample", "synops": "2M@encoder.*"}`. See `limits.limit`.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        rules: the rule set that counts.
        spikes: what a spike tensor may hold.
        energies: configurations by estimator; by default the estimator's.
        revision: of the estimators: a name, or one for each.
        strict: refuse what an estimator does not cover.
        samples: replaces what was recorded, as `batch` and `time_steps` do.
        batch: samples in a batch.
        time_steps: time steps of a sample.
        allow_unknown: a figure of which some calls are unknown is compared by what is known of it.

    Raises:
        ConfigError: a limit, figure, unit, module or setting that means nothing; a configuration
            of an energy without a limit.
        TraceError: the trace cannot be read, or has no part that an estimator fits.
    """
    limits = limits_of(max)
    check_samples(samples)
    opened = narrowed(trace, where, assume)
    configs = _configurations(limits, energies or {})
    given = {"samples": samples, "batch": batch, "time_steps": time_steps}
    reports = estimated(
        opened, configs, revision=revision, strict=strict, spikes=spikes, **given
    )  # fmt: skip
    figures = Figures(opened, reports, rules, spikes, given)
    verdicts = tuple(verdict_of(figures, each, allow_unknown) for each in limits)
    counted = any(each.per_sample and not each.figure.startswith(ENERGY) for each in limits)
    sampled = figures.sampled if counted else unknown_samples()
    ratios = dict.fromkeys(each.figure for each in limits)
    machines = {name: machine_of(name, TWIN_RATIO) for name in ratios}
    twins = {name: figures.beside(at) for name, at in machines.items() if at is not None}
    return Check(verdicts, figures.counts("total").coverage, reports, sampled, twins)


def _configurations(
    limits: Sequence[Limit], given: Mapping[str, CostConfig]
) -> dict[str, CostConfig | None]:
    named = [each.figure.removeprefix(ENERGY) for each in limits if each.figure.startswith(ENERGY)]
    for name in given:
        if name not in named:
            raise ConfigError(f"a configuration of {name!r}, but no limit of {ENERGY}{name}")
    return {name: given.get(name) for name in dict.fromkeys(named)}
