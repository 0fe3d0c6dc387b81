"""The two sides of a comparison: one trace each, counted and costed by module, op and stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.several import texts
from ..checking.figures import COUNTED, ENERGY
from ..counting.coverage import Coverage, covered
from ..counting.evaluate import COUNTERS, tally
from ..energy.revisions import SOURCE
from ..frames import added_up
from ..progress import tracked
from ..rules import RuleSet
from ..trace.suggestions import has_calls, refuse_nothing
from ..units import AT_LEAST
from ..workload.divisors import check_per, known_number, number_of
from ..workload.modules import with_paths
from ..workload.samples import Samples, regrouped, samples_of, unknown_samples

if TYPE_CHECKING:
    from ...schemas.costs import CostConfig
    from ..energy.report import EnergyReport
    from ..trace.trace import Trace

KEYS = ("module", "op", "stage")
"""What rows are aligned by."""


@dataclass(frozen=True, eq=False)
class Side:
    """One trace, counted.

    Attributes:
        trace: the trace, narrowed.
        kinds: calls that are alike, see `tally`, with `module`, the path of the innermost module
            or null, in the place of its number.
        coverage: how far the counters reach.
        reports: the estimates by estimator.
        open: whether figures of ops that no rule covers are unknown. In the sets of SpikingJelly
            they count nothing, by definition.
        sampled: the samples of the trace.
        per: what all figures speak of, see `divisors.PER`.
    """

    trace: Trace
    kinds: pl.DataFrame
    coverage: Coverage
    reports: Mapping[str, EnergyReport]
    open: bool = True
    sampled: Samples = field(default_factory=unknown_samples)
    per: str = "total"

    def units(self, figure: str) -> int:
        """Return what a figure is divided by: samples or steps, an energy by those it is of."""
        if figure.startswith(ENERGY):
            return number_of(self.reports[figure.removeprefix(ENERGY)].sampled, self.per) or 1
        return number_of(self.sampled, self.per) or 1

    def rows(self, names: Mapping[str, str]) -> pl.DataFrame:
        """Sum by `KEYS`.

        Args:
            names: path of a module -> the name that both sides give it.

        Returns:
            `KEYS`, the figures (null: all of the calls unknown), and for each counter
            `<counter>_unknown`, in how many calls it is.
        """
        frame = self.kinds.group_by(KEYS, maintain_order=True).agg(
            pl.col("calls").sum(),
            *(
                pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
                for name in COUNTERS
            ),
            *(
                pl.col("calls").filter(self._lost(name)).sum().alias(f"{name}_unknown")
                for name in COUNTERS
            ),
        )
        for name, report in self.reports.items():
            energies = (
                report.rows.select(pl.col(key).cast(pl.String) for key in KEYS)
                .with_columns(report.rows["energy_pj"].alias(ENERGY + name))
                .group_by(KEYS, maintain_order=True)
                .agg(added_up(pl.col(ENERGY + name)))
            )
            frame = frame.join(
                energies,
                on=list(KEYS),
                how="full",
                nulls_equal=True,
                coalesce=True,
                maintain_order="left_right",
            )
        counted = [*COUNTED, *(f"{name}_unknown" for name in COUNTERS)]
        bare = pl.col("calls").is_null()  # an energy of what no call stands for
        return (
            frame.with_columns(
                pl.when(bare).then(pl.lit(0, pl.Int64)).otherwise(pl.col(name)).alias(name)
                for name in counted
            )
            .with_columns(
                pl.col("module").replace(dict(names)),
                *(pl.col(ENERGY + name).fill_null(0.0) for name in self.reports),
            )
            .with_columns(self._divided(counted))
        )

    def _divided(self, counted: Sequence[str]) -> list[pl.Expr]:
        if self.per == "total":
            return []
        energies = [ENERGY + name for name in self.reports]
        return [pl.col(name) / self.units(name) for name in (*counted, *energies)]

    def total(self, figure: str) -> int | float | None:
        """Return a figure of everything, what is unknown left out; None if all of it is."""
        if figure.startswith(ENERGY):
            return self.reports[figure.removeprefix(ENERGY)].total_pj / self.units(figure)
        column = self.kinds[figure]
        if not column.count() and column.len():
            return None
        whole = int(column.sum())
        return whole if self.per == "total" else whole / self.units(figure)

    def unknown(self, figure: str) -> int:
        """Return in how many calls a figure is unknown."""
        if figure not in COUNTERS:
            return 0
        return int(self.kinds.filter(self._lost(figure))["calls"].sum())

    def left_out(self, figure: str) -> dict[str, float | None]:
        """Return what an energy leaves out as not known, and in how many calls."""
        report = self.reports[figure.removeprefix(ENERGY)]
        calls = dict(report.left_out.select("what", "calls").iter_rows())
        return {
            what: calls[what] / self.units(figure) if what in calls else None
            for what in report.account.unknown
        }

    def sign(self, figure: str) -> str:
        """Return what stands before a total of the side: of a lower bound a sign."""
        if figure.startswith(ENERGY):
            return self.reports[figure.removeprefix(ENERGY)].sign
        return AT_LEAST if self.unknown(figure) else ""

    def _lost(self, figure: str) -> pl.Expr:
        known_of = pl.lit(self.open) | (pl.col("how") != "uncovered")
        return pl.col(figure).is_null() & known_of


def side_data(side: Side) -> dict[str, Any]:
    """Return what there is to say of one side, as plain data."""
    manifest = side.trace.manifest
    return {
        "path": str(side.trace.path),
        "filters": list(side.trace.filters),
        "revision": manifest.revision.to_dict(),
        "started": manifest.started,
        "steps": manifest.steps,
        "fingerprint": manifest.fingerprint.to_dict(),
        "coverage": side.coverage.line(),
        "samples": side.sampled.samples,
        "batch_from": side.sampled.batch_from,
        "energies": {
            name: {
                "total_pj": report.total_pj,
                "per_sample_pj": report.per_sample_pj,
                "samples": report.samples,
                "revision": report.revision,
                "config": report.config,
                "statement": report.statement(),
                "coverage": report.coverage,
                "at_least": report.at_least,
                "warnings": list(report.warnings),
            }
            for name, report in side.reports.items()
        },
    }


def counted_side(
    trace: Trace,
    rules: RuleSet,
    spikes: str,
    reports: Mapping[str, EnergyReport],
    sampled: Samples,
    per: str,
) -> Side:
    """Count one trace for a comparison."""
    counted = tally(trace, rules, ["module_id", "stage"], spikes=spikes, facts=True)
    kinds = with_paths(trace, counted)
    return Side(
        trace=trace,
        kinds=kinds.drop("module_id"),
        coverage=covered(trace, counted),
        reports=reports,
        open=rules.with_classes,
        sampled=sampled,
        per=per,
    )


def sampled_side(
    trace: Trace,
    *,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Samples:
    """Return the samples of one trace."""
    told = regrouped(trace, samples)
    return samples_of(told, batch, time_steps, samples=samples)


def common_unit(
    traces: Sequence[Trace],
    sampled: Sequence[Samples],
    reports: Sequence[Mapping[str, EnergyReport]],
    per: str | None,
) -> str:
    """Return what the figures of a comparison speak of: what was asked for, or what fits.

    One sample, if it is known how many each side has, and they have different numbers; else the
    whole.

    Raises:
        ConfigError: no such unit.
        TraceError: it was asked for, and how many a side has is not known.
    """
    every = [[found, *(r.sampled for r in costed.values())]
             for found, costed in zip(sampled, reports, strict=True)]  # fmt: skip
    if per is None:
        numbers = [[number_of(each, "sample") for each in side] for side in every]
        known = None not in [number for side in numbers for number in side]
        return "sample" if known and numbers[0] != numbers[1] else "total"
    check_per(per)
    for trace, side in zip(traces, every, strict=True):
        for each in side:
            known_number(trace, each, per)
    return per


def narrowed_pair(
    base: Trace, head: Trace, where: str | Sequence[str] | None
) -> tuple[Trace, Trace, list[str]]:
    """Narrow two traces alike; a module that only one of them has leaves nothing of the other.

    Returns:
        The traces, and warnings.

    Raises:
        ConfigError: a filter means nothing, or no call fits, in either.
    """
    filters = texts(where)
    whole, warnings = (base, head), []
    for text in filters:
        found: list[Trace | ConfigError] = []
        for trace in (base, head):
            try:
                found.append(trace.where(text))
            except ConfigError as error:
                found.append(error)
        if isinstance(found[0], ConfigError) and isinstance(found[1], ConfigError):
            raise found[0]
        pair = []
        for name, trace, result in zip(("BASE", "HEAD"), (base, head), found, strict=True):
            if isinstance(result, ConfigError):
                warnings.append(f"{name} has no module that fits {text}: nothing of it is compared")
                result = _emptied(trace, text)
            pair.append(result)
        base, head = pair
    bare = [n for n, t in (("BASE", base), ("HEAD", head)) if filters and not has_calls(t)]
    if bare == ["BASE", "HEAD"]:
        for trace in whole:
            refuse_nothing(trace, filters)
    elif bare and not warnings:
        warnings.append(f"{bare[0]} has no calls that fit {', '.join(filters)}")
    return base, head, warnings


def _emptied(trace: Trace, text: str) -> Trace:
    nothing = pl.lit(False)
    return replace(
        trace,
        calls=trace.calls.filter(nothing),
        module_calls=trace.module_calls.filter(nothing),
        optimizer_steps=trace.optimizer_steps.filter(nothing),
        filters=(*trace.filters, text),
    )


def estimated(
    trace: Trace,
    configs: Mapping[str, CostConfig | None],
    *,
    revision: str | Mapping[str, str] = SOURCE,
    **options: Any,
) -> dict[str, EnergyReport]:
    """Estimate one trace with several estimators; their figures are never added.

    Raises:
        ConfigError: no such estimator.
        TraceError: the trace has no part that an estimator fits.
    """
    if not configs:
        return {}
    from ..energy.estimators import estimate  # the models are loaded where energies are asked for

    found = {}
    for name, config in tracked([*configs.items()]):
        chosen = revision if isinstance(revision, str) else revision.get(name, SOURCE)
        found[name] = estimate(trace, name, config, revision=chosen, **options)
    return found
