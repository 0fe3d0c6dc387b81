"""What an energy estimator answers: figures, where they come from, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ...schemas import ConfigError
from ...schemas.several import texts
from ..answers.page import Page
from ..answers.result import Result
from ..answers.rows import Words, asked, no_words
from ..frames import added_up
from ..units import AT_LEAST
from ..workload.account import Account
from ..workload.divisors import check_per, deviations, divided, divisors, number_of
from ..workload.modules import no_scopes, rolled_up
from ..workload.samples import Samples, unknown_samples
from . import row_keys
from .pages import report_page
from .prices import finite
from .statement import statement_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..trace.trace import Trace

KEYS = (*row_keys.KEYS, "class", "component", "sample")
"""What the energies of a report can be told apart by."""


class Scope(NamedTuple):
    """What an estimate speaks of, in words that fit into a paper.

    Attributes:
        title: the model's name, e.g. "Lemaire et al. 2022".
        source: citation of the formulas and constants.
        stages: stages that the estimate covers.
        technology: node and precision that the constants are for.
        covers: what is charged.
        leaves_out: what is not charged.
    """

    title: str
    source: str
    stages: tuple[str, ...]
    technology: str
    covers: str
    leaves_out: str


@dataclass(frozen=True, repr=False, eq=False)
class EnergyReport(Result):
    """One estimate, in picojoules.

    Attributes:
        estimator: "compute", "simple", "lemaire", "neuromc" or "spikesim".
        revision: "source", "spikingjelly-2.0" or "spikingjelly-2026-08".
        total_pj: the whole energy of the calls that the estimator covers.
        breakdown_pj: parts of `total_pj` by component; names end in `_pj`.
        counts: what was counted on the way, exact.
        rows: one row for each (module, stage, op, label, step, component) with `energy_pj`
            and the counts behind it; `energy_pj` adds up to `total_pj`. `module` is the path of
            the innermost module or null outside every module.
        config: the configuration that made the report, as plain data.
        scope: what the estimate speaks of.
        warnings: what a reader of the figure has to know.
        assumed: what is assumed of data that was not measured; among the warnings too.
        account: what of the products is charged and what is left out, see `workload.account`.
        sampled: the samples that `total_pj` is the energy of, see `workload.samples`.
        input_types: what the inputs were: how many of them spikes, how sparse.
        details: tables and figures that only this estimator has, as plain data or frames.
        recount: for long runs, whose rows do not tell steps apart: makes the rows for given keys.
        scopes: the module tree, see `workload.modules.scopes_in`.
        by_sample: makes the estimate again, its steps being the samples; None: nobody can.
        per: what `by` gives besides, unless it is told: see there.
        modules: tells what stands beside a module, see `module_facts.in_words`.
    """

    estimator: str
    revision: str
    total_pj: float
    breakdown_pj: dict[str, float]
    counts: dict[str, float]
    rows: pl.DataFrame
    config: dict[str, Any]
    scope: Scope
    warnings: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    account: Account = field(default_factory=Account)
    sampled: Samples = field(default_factory=unknown_samples)
    input_types: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    recount: Callable[[Sequence[str]], pl.DataFrame] | None = field(default=None, compare=False)
    scopes: pl.DataFrame = field(default_factory=no_scopes, repr=False, compare=False)
    by_sample: Callable[[], EnergyReport] | None = field(default=None, repr=False, compare=False)
    per: str = "total"
    modules: Words = field(default=no_words, repr=False, compare=False)

    def __post_init__(self) -> None:
        finite(self.estimator, self.total_pj)

    def warnings_beside(self, sampled: Samples) -> tuple[str, ...]:
        """Return the warnings without what is assumed and what is told of samples elsewhere.

        Args:
            sampled: the samples whose warnings stand beside these.
        """
        known = (*self.assumed, *sampled.warnings)
        return tuple(text for text in self.warnings if text not in known)

    def of(self, trace: Trace) -> EnergyReport:
        """Return the report with what a reader has to know of its trace among the warnings."""
        left_out = () if trace.left_out is None else (trace.left_out,)
        warnings = (*left_out, *trace.assumed, *self.warnings)
        return replace(self, warnings=warnings, assumed=trace.assumed)

    @property
    def per_sample_pj(self) -> float | None:
        """Energy of one sample in pJ; None if the trace does not tell how many there were."""
        return self.total_pj / self.samples if self.samples else None

    @property
    def at_least(self) -> bool:
        """Whether the energy is a lower bound: of some calls the size or the data is not known."""
        return self.account.at_least

    @property
    def sign(self) -> str:
        """What stands before the energy: the sign of a lower bound, or nothing."""
        return AT_LEAST if self.at_least else ""

    @property
    def batch(self) -> int | None:
        """Samples in one inference, if known."""
        return self.sampled.batch

    @property
    def time_steps(self) -> int | None:
        """Time steps of one sample, if known."""
        return self.sampled.time_steps

    @property
    def samples(self) -> int | None:
        """Number of samples that `total_pj` is the energy of, if known."""
        return self.sampled.samples

    @property
    def left_out(self) -> pl.DataFrame:
        """What is not charged: `what`, `calls`, `macs` and `macs_share` (null: not known)."""
        return self.account.left_out

    @property
    def coverage(self) -> str:
        """One sentence on how much of the products is charged."""
        return self.account.line()

    @property
    def frame(self) -> pl.DataFrame:
        """The same as `rows`."""
        return self.rows

    @property
    def total(self) -> dict[str, float]:
        """`energy_pj`, and its parts as in `breakdown_pj`."""
        return {"energy_pj": self.total_pj, **self.breakdown_pj}

    def page(
        self,
        by: str | Sequence[str] = "module",
        *,
        exclusive: bool = False,
        per: str | None = None,
        spread: bool = False,
        **rows: Any,
    ) -> Page:
        """Return what is shown.

        Args:
            by: what rows are told apart by, as of the method `by`.
            exclusive: by module: each module's own energy.
            per: "total", "sample" or "step"; by default what the estimate was asked for.
            spread: show deviations, over samples or steps.
            **rows: `wide`, `depth`, `sort` and `top`, see `answers.rows.Rows`.
        """
        keys = texts(by)
        per = per or self.per
        return report_page(self, keys, exclusive, "sample" if spread and per == "total" else per,
                           spread, asked(**rows))  # fmt: skip

    def plot(
        self,
        by: str | Sequence[str] = "module",
        *,
        per: str | None = None,
        spread: bool = False,
        most: int = 12,
        width: float | None = None,
    ) -> Figure:
        """Return a picture: bars of energy in parts, the largest first, the rest as others.

        Args:
            by: what bars are told apart by, as of the method `by`; a module has its own energy,
                without that of the modules below it.
            per: "total", "sample" or "step"; by default what the estimate was asked for.
            spread: show deviations, over samples or steps.
            most: bars, beside the others.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: unknown key, `per` or width.
        """
        from ..plotting.energies import report_figure

        return report_figure(self, by, per=per, spread=spread, most=most, width=width)

    def each_pj(self, per: str) -> float | None:
        """Return the energy of one sample or step, or for "total" the whole; None: not known.

        Raises:
            ConfigError: `per` is neither of them.
        """
        number = number_of(self.sampled, per)
        return self.total_pj / number if number else None

    def by(
        self, *keys: str, exclusive: bool = False, per: str | None = None, spread: bool = False
    ) -> pl.DataFrame:
        """Sum the rows over everything but `keys`, highest energy first.

        Args:
            *keys: module, class, stage, op, label, step, sample or component; none: one row for
                all. Rows by sample are estimated anew, and not together with step.
            exclusive: by module: each module's own energy, which adds up to the total; else a
                module includes those below it, and `Global` is everything.
            per: "step" adds `per_step_pj`; what a spread is over ("total": over samples). By
                default what the estimate was asked for.
            spread: add `std_pj`, the standard deviation of the energy of a sample (of a step, with
                `per="step"`), see `workload.divisors.deviations`.

        Returns:
            The key columns, `energy_pj`, `share` of the total (0 to 1) and `per_sample_pj`, the
            energy divided by the samples of the row: of its step, label or sample if it has one,
            else by all (null where the trace does not say how many samples there were).

        Raises:
            ConfigError: unknown key or `per`; or by sample and step.
        """
        for key in keys:
            if key not in KEYS:
                raise ConfigError(f"unknown by={key!r}: expected some of {', '.join(KEYS)}")
        per = per or self.per
        check_per(per)
        named = tuple(dict.fromkeys(keys))
        if "sample" in named:
            if "step" in named:
                raise ConfigError("energies by sample do not go together with by step")
            stepped = ["step" if key == "sample" else key for key in named]
            found = self._sampled().by(*stepped, exclusive=exclusive)
            return found.rename({"step": "sample"})
        found = self._summed(named, exclusive)
        units = divisors(self.sampled, "sample", named)
        found = divided(found, units, {"energy_pj": "per_sample_pj"})
        if per == "step":
            found = divided(found, divisors(self.sampled, per, named), {"energy_pj": "per_step_pj"})
        return self._with_spread(found, named, exclusive, per) if spread else found

    def _summed(self, keys: Sequence[str], exclusive: bool) -> pl.DataFrame:
        order: list[str] = []
        energy = self._rows(keys).select(*keys, "energy_pj")
        if "module" in keys:
            energy = energy.group_by(keys, maintain_order=True).agg(added_up(pl.col("energy_pj")))
            energy = rolled_up(energy, self.scopes, exclusive=exclusive)
            order = ["place"]
        summed = (
            energy.group_by(*keys, *order, maintain_order=True).agg(added_up(pl.col("energy_pj")))
            if keys
            else energy.select(pl.col("energy_pj").sum())
        )
        return (
            summed.with_columns(share=pl.col("energy_pj") / (self.total_pj or 1.0))
            .sort(-pl.col("energy_pj"), *order, *keys, maintain_order=True)
            .drop(order)
        )

    def _with_spread(
        self, found: pl.DataFrame, keys: Sequence[str], exclusive: bool, per: str
    ) -> pl.DataFrame:
        report = self if per == "step" else self._sampled()
        names = {"energy_pj": "std_pj"}
        if "step" in keys:  # a row is one step: of several samples only if these are told apart
            return found.with_columns(std_pj=pl.lit(None, pl.Float64))
        rows = report._summed((*keys, "step"), exclusive)
        spread = deviations(rows, report.sampled, "step" if per == "step" else "sample", keys,
                            names, of="step")  # fmt: skip
        if not keys:
            return pl.concat([found, spread], how="horizontal")
        return found.join(
            spread, on=list(keys), how="left", nulls_equal=True, maintain_order="left"
        )

    def _sampled(self) -> EnergyReport:
        """Return the estimate whose steps are the samples."""
        if self.by_sample is None:
            raise ConfigError("this report cannot be told apart by sample: estimate with oj.energy")
        return self.by_sample()

    def _rows(self, keys: Sequence[str]) -> pl.DataFrame:
        whole = "step" not in keys or self.rows["step"].null_count() < self.rows.height
        if whole or self.recount is None:
            rows = self.rows
        else:
            named = dict.fromkeys("module" if key == "class" else key for key in keys)
            rows = self.recount([key for key in named if key != "component"])
        if "class" not in keys:
            return rows
        return rows.join(self.modules(), on="module", how="left", maintain_order="left")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for JSON."""
        return {
            "estimator": self.estimator,
            "revision": self.revision,
            "total_pj": self.total_pj,
            "per_sample_pj": self.per_sample_pj,
            "breakdown_pj": self.breakdown_pj,
            "counts": self.counts,
            "rows": self.rows.to_dicts(),
            **self.account.to_dict(),
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
            "coverage": self.coverage,
            "batch": self.batch,
            "time_steps": self.time_steps,
            "samples": self.samples,
            "batch_from": self.sampled.batch_from,
            "time_steps_from": self.sampled.time_steps_from,
            "input_types": self.input_types,
            "stages": list(self.scope.stages),
            "technology": self.scope.technology,
            "source": self.scope.source,
            "statement": self.statement(),
            "config": self.config,
            "details": _plain(self.details),
        }

    def statement(self) -> str:
        """Return a paragraph that can be pasted into a paper beside the figure."""
        return statement_of(self)


def _plain(value: Any) -> Any:
    """Return nested data without frames: each becomes a list of its rows."""
    if isinstance(value, pl.DataFrame):
        return value.to_dicts()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
