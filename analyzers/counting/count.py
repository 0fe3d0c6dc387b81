"""The five counters of a trace, by module, op, stage, label, step or rank."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import STAGES, ConfigError
from ...schemas.several import texts
from ..answers.page import Page
from ..answers.result import Result
from ..answers.rows import Words, asked, no_words
from ..frames import at_once
from ..rules import PRODUCTS, OpRule, RuleSet, rule_set
from ..trace.files import check_unchanged
from ..trace.trace import Trace, narrowed
from ..workload.divisors import (
    both_modes,
    check_per,
    deviations,
    divided,
    divisors,
    known_number,
    number_of,
    with_samples,
)
from ..workload.hints import spike_hints
from ..workload.module_facts import in_words, with_classes
from ..workload.modules import rolled_up, scopes_of, with_paths
from ..workload.samples import Samples, regrouped, samples_of, unknown_samples
from ..workload.spikes import check_spikes
from .coverage import Coverage, covered, refuse_gaps
from .evaluate import COUNTERS, FIGURES, tally
from .pages import counts_page, keys_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BY = ("total", "module", "class", "op", "stage", "label", "step", "sample", "rank")
"""What counts can be told apart by."""

DIVIDED = ("calls", *FIGURES)
"""What is divided by samples or steps."""


@dataclass(frozen=True, repr=False, eq=False)
class Counts(Result):
    """Counters by the keys that were asked for.

    Attributes:
        frame: the key columns, `calls`, the five counters, `dense_macs` (the products'
            multiply-accumulates if no operand were spikes; int64, as the counters), `intensity`
            (FLOP by byte) and `at_least`: the names of the counters that are lower bounds, since
            some of the row's calls are unknown (null: all is exact). Null figures are not known: a
            counter of no call, or of no product while there are some; `dense_macs` of some product.
            Of an op that no rule covers it is not known if it is one: `dense_macs` is a lower bound
            then. A module's row includes its submodules; the row `Global` is everything.
        total: the same figures of everything: lower bounds as in `frame`, None where not known, 0
            where there is nothing to count.
        at_least: the names of those that are lower bounds.
        coverage: how far the counts reach.
        rules: name of the rule set.
        spikes: what a spike tensor may hold.
        per: of `PER`. With "sample" or "step", `frame` also has `<figure>_per_sample` (`_per_step`)
            of calls, the counters and `dense_macs`: the figure divided by the samples (steps) of
            its row, see `divisors`. With a spread also `<figure>_std`, see `deviations`.
        sampled: the samples that they are divided by; None for the total.
        samples_of_trace: finds the samples, also where nothing is divided by them.
        modules: tells what stands beside a module, see `module_facts.in_words`.
    """

    frame: pl.DataFrame
    total: dict[str, int | None]
    at_least: frozenset[str]
    coverage: Coverage
    rules: str
    spikes: str
    per: str = "total"
    sampled: Samples | None = None
    samples_of_trace: Callable[[], Samples] = field(default=unknown_samples, compare=False)
    modules: Words = field(default=no_words, compare=False)

    @property
    def units(self) -> int | None:
        """How many samples or steps there are; None for the total."""
        return number_of(self.sampled, self.per) if self.sampled else None

    @property
    def each(self) -> dict[str, float | None]:
        """The figures of `total` for one sample or step; for the total, these themselves."""
        units = self.units or 1
        return {
            name: value if value is None or self.sampled is None else value / units
            for name, value in self.total.items()
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is assumed, and what a reader of the figures of one sample has to know."""
        if self.sampled is None:
            return self.assumed
        modes = both_modes(self.sampled, self.per, keys_of(self.frame))
        return (*self.assumed, *self.sampled.warnings, *modes)

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of data that was not measured."""
        return self.coverage.assumed

    def page(self, share: str = "flops", **rows: Any) -> Page:
        """Return what is shown.

        Args:
            share: the counter that shares and bars speak of.
            **rows: `wide`, `depth`, `sort` and `top`, see `answers.rows.Rows`.
        """
        return counts_page(self, share, asked(**rows))

    def plot(self, figure: str = "flops", *, most: int = 12, width: float | None = None) -> Figure:
        """Return a picture: bars of one figure, the largest first, the rest as others.

        A module has what is its own, without what the modules below it have.

        Args:
            figure: of calls, flops, bytes, synops, macs, acs and dense_macs.
            most: bars, beside the others.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: unknown figure or width.
        """
        from ..plotting.counters import counts_figure

        return counts_figure(self, figure, most=most, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain data, ready for JSON.

        Of everything, and of one sample as far as it is known how many there are.
        """
        sampled = self.sampled or self.samples_of_trace()
        samples, steps = number_of(sampled, "sample"), number_of(sampled, "step")
        modes = both_modes(sampled, "sample") if samples else ()
        told = (*self.warnings, *sampled.warnings, *modes)
        return {
            "rules": self.rules,
            "spikes": self.spikes,
            "coverage": self.coverage.summary(),
            "assumed": list(self.assumed),
            "warnings": list(dict.fromkeys(told)),
            "per": self.per,
            "samples": samples,
            "steps": steps,
            "batch_from": sampled.batch_from,
            "total": self.total,
            "per_sample": {
                name: value / samples if samples and value is not None else None
                for name, value in self.total.items()
            },
            "rows": self.frame.to_dicts(),
        }


def count(
    trace: Trace | str | os.PathLike[str],
    by: str | Sequence[str] = "total",
    *,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    rules: str = "full",
    spikes: str = "binary",
    strict: bool = False,
    extra_rules: Iterable[OpRule] = (),
    exclusive: bool = False,
    per: str = "total",
    spread: bool = False,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Counts:
    """Count the calls of a trace.

    Args:
        trace: the trace, or its directory.
        by: of `BY`: one or several; several give a row for each combination.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        rules: "full", "torch", "spikingjelly-2.0" or "spikingjelly-2026-08".
        spikes: what a spike tensor may hold: "binary", "ternary", "scaled" or "graded"; "none"
            counts every product as dense, also in traces without statistics.
        strict: refuse ops that nothing covers, statistics that are missing, work that was hidden.
        extra_rules: rules of your own, asked before the built-in ones.
        exclusive: by module: each module's own calls, without those of the modules below it; no
            row `Global`, and what ran outside every module in a row without a module.
        per: "total", or "sample" or "step": also divide each row by its samples or steps.
        spread: also give the standard deviation over samples (by default) or steps.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: a key, rule set, kind of spikes or filter that does not exist.
        RuleError: under `strict`, what is not covered; two of your rules claim an op, or a rule
            fails.
        TraceError: a part or a signature is damaged, a sum does not fit 64 bits, or it is not known
            how many samples there are.
    """
    keys = _keys(by)
    check_spikes(spikes)
    check_per(per)
    per = "sample" if spread and per == "total" else per
    chosen = rule_set(rules, extra_rules)
    trace = regrouped(narrowed(trace, where, assume), samples)
    sampled = None
    find = partial(samples_of, trace, batch, time_steps, samples=samples)
    if per != "total":
        sampled = find()
        known_number(trace, sampled, per)
    apart = [*keys, per] if spread and per not in keys else keys
    if "sample" in apart:
        trace = with_samples(trace)
    gaps, found = _tallied(trace, chosen, columns_of(apart), spikes)
    if strict:
        refuse_gaps(trace, found, gaps)
    if "class" in apart:
        gaps = with_classes(trace, gaps)
    everything = _summed(gaps, ()).row(0, named=True)
    rows = _by_module(trace, gaps, apart, exclusive) if "module" in keys else gaps
    frame = _summed(rows, keys)
    if sampled is not None:
        frame = _per_unit(frame, sampled, per, keys)
    if sampled is not None and spread:
        frame = _with_spread(frame, _summed(rows, apart), sampled, per, keys)
    return Counts(
        frame=frame,
        total={name: everything[name] for name in FIGURES},
        at_least=frozenset((everything["at_least"] or "").split()),
        coverage=found,
        rules=rules,
        spikes=spikes,
        per=per,
        sampled=sampled,
        samples_of_trace=find,
        modules=partial(in_words, trace.whole),
    )


_OFTEN = ("module_id", "stage")
"""What most counts tell calls apart by: they share one tally."""


def _tallied(
    trace: Trace, rules: RuleSet, columns: Sequence[str], spikes: str
) -> tuple[pl.DataFrame, Coverage]:
    """Count a trace by at least these columns: with `_gaps`, and the coverage."""
    often = set(columns) <= set(_OFTEN) and not rules.extra
    known = trace.own if often else {}
    key = ("tallied", rules.name, spikes)
    if key not in known:
        counted = tally(trace, rules, _OFTEN if often else columns, spikes=spikes)
        hints = () if rules.by_values_only else spike_hints(trace, spikes)
        known[key] = _gaps(counted, rules.with_classes), covered(trace, counted, hints)
    check_unchanged(trace)
    found: tuple[pl.DataFrame, Coverage] = known[key]
    return found


def summed_up(counted: pl.DataFrame, rules: RuleSet) -> dict[str, Any]:
    """Return the figures of everything, as the one row of a count's `frame` has them.

    Args:
        counted: what `evaluate.tally` returned.
        rules: the rule set that counted.
    """
    return _summed(_gaps(counted, rules.with_classes), ()).row(0, named=True)


def columns_of(keys: Sequence[str]) -> list[str]:
    """Return the columns of calls that have to be kept apart for these keys."""
    modules = {"module": "module_id", "class": "module_id"}
    return list(dict.fromkeys(modules.get(key, key) for key in keys if key not in ("op", "rank")))


def _per_unit(frame: pl.DataFrame, sampled: Samples, per: str, keys: Sequence[str]) -> pl.DataFrame:
    names = {name: f"{name}_per_{per}" for name in DIVIDED}
    return divided(frame, divisors(sampled, per, keys), names)


def _with_spread(
    frame: pl.DataFrame, apart: pl.DataFrame, sampled: Samples, per: str, keys: Sequence[str]
) -> pl.DataFrame:
    names = {name: f"{name}_std" for name in DIVIDED}
    exact = pl.col("at_least").fill_null("").str.split(" ")
    known = apart.with_columns(
        pl.when(~exact.list.contains(name)).then(name).alias(name) for name in COUNTERS
    )
    if per in keys:  # a row is one sample or step
        return frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names.values())
    found = deviations(known, sampled, per, keys, names)
    if not keys:
        return pl.concat([frame, found], how="horizontal")
    return frame.join(found, on=list(keys), how="left", nulls_equal=True, maintain_order="left")


def _keys(by: str | Sequence[str]) -> list[str]:
    keys = texts(by)
    for key in keys:
        if key not in BY:
            raise ConfigError(f"unknown by={key!r}: expected some of {', '.join(BY)}")
    return [key for key in dict.fromkeys(keys) if key != "total"]


def _gaps(counted: pl.DataFrame, with_classes: bool) -> pl.DataFrame:
    """Add, for each counter, how many calls it is known of (free ones apart) and unknown of.

    And of those, how many are products; whether the size of a product is not known, and whether
    an op may be one. In the sets of SpikingJelly an op without a rule counts nothing, by their
    definition.
    """
    multiplies = pl.col("family").is_in(PRODUCTS) & (pl.col("dense_macs") != 0).fill_null(True)
    open_ = pl.lit(with_classes) | (pl.col("how") != "uncovered")
    unsized, uncovered = pl.col("dense_macs").is_null(), pl.col("how") == "uncovered"
    columns = {
        "dense_macs:lost": (unsized & ~uncovered).cast(pl.Int64),
        "dense_macs:open": (unsized & uncovered).cast(pl.Int64),
    }
    for name in COUNTERS:
        known = pl.col(name).is_not_null()
        for kind, holds in (
            ("seen", known & (pl.col("how") != "free")),
            ("lost", ~known & open_),
            ("seen_products", known & multiplies),
            ("lost_products", ~known & open_ & multiplies),
        ):
            columns[f"{name}:{kind}"] = pl.when(holds).then("calls").otherwise(pl.lit(0, pl.Int64))
    return counted.with_columns(**columns)


def _figures() -> list[pl.Expr]:
    """Return the sums of the figures, and of how many calls each is known of and unknown of."""
    sums = [pl.when(_is_known(name)).then(pl.col(name).sum()).alias(name) for name in COUNTERS]
    return [
        pl.col("calls").sum(),
        *sums,
        pl.when(_is_exact("dense_macs")).then(pl.col("dense_macs").sum()).alias("dense_macs"),
        pl.col("^.*:(seen|lost|open)(_products)?$").sum(),
    ]


def _by_module(
    trace: Trace, counted: pl.DataFrame, keys: Sequence[str], exclusive: bool
) -> pl.DataFrame:
    """Return the rows of each scope, signatures added up before they are copied for every scope."""
    alone = ["rank", "module_id", *(key for key in keys if key not in ("module", "rank"))]
    own = counted.group_by(alone).agg(*_figures(), pl.col("first_seq").min())
    return rolled_up(with_paths(trace, own), scopes_of(trace), exclusive=exclusive)


def _summed(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Add up by the keys."""
    figures = _figures()
    frame = rows.lazy()
    if keys:
        order = [*([pl.col("place").min()] if "module" in keys else []), pl.col("first_seq").min()]
        frame = frame.group_by(keys).agg(*figures, *order).sort(*_order(keys), maintain_order=True)
    else:
        frame = frame.select(figures)
    intensity = pl.col("flops") / pl.col("bytes")
    missing = {**{name: f"{name}:lost" for name in COUNTERS}, "dense_macs": "dense_macs:open"}
    bounds = [
        pl.when(pl.col(name).is_not_null() & (pl.col(lost) > 0)).then(pl.lit(name))
        for name, lost in missing.items()
    ]
    summed = frame.select(
        *keys,
        "calls",
        *FIGURES,
        intensity=pl.when(pl.col("bytes") > 0).then(intensity).otherwise(None),
        at_least=pl.concat_str(bounds, separator=" ", ignore_nulls=True).replace("", None),
    )
    return at_once(summed)


@cache
def _is_known(name: str) -> pl.Expr:
    """Return whether a sum says something: of nothing 0 is known, of unknown calls nothing.

    Beside unknown calls, free ones (0 for certain) make no figure; beside unknown products, other
    calls make none.
    """
    some = _some(name)
    for kind in ("", "_products"):
        seen, lost = pl.col(f"{name}:seen{kind}").sum(), pl.col(f"{name}:lost{kind}").sum()
        some = some & ((seen > 0) | (lost == 0))
    return some


@cache
def _is_exact(name: str) -> pl.Expr:
    """Return whether a sum lacks no call, those that no rule covers apart."""
    return _some(name) & (pl.col(f"{name}:lost").sum() == 0)


def _some(name: str) -> pl.Expr:
    return (pl.col(name).count() > 0) | (pl.len() == 0)


def _order(keys: Sequence[str]) -> list[pl.Expr | str]:
    """Return by what rows are sorted: modules as in the tree, ops as they first ran."""
    places: dict[str, pl.Expr | str] = {
        "module": "place",
        "op": "first_seq",
        "stage": pl.col("stage").replace_strict({s: i for i, s in enumerate(STAGES)}, default=9),
    }
    return [*(places.get(key, pl.col(key)) for key in keys), "first_seq", *keys]
