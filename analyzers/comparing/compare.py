"""Two traces side by side, aligned by module, op and stage: what differs, by how much, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import STAGES, ConfigError
from ...schemas.several import texts
from ..answers.page import Page
from ..answers.result import Result
from ..checking.figures import COUNTED, ENERGY, TWIN_RATIO, machine_of
from ..energy.revisions import SOURCE
from ..rules import rule_set
from ..text import number
from ..trace.trace import Trace, narrowed
from ..workload.divisors import number_of
from ..workload.modules import rolled_up, scopes_in
from ..workload.spikes import check_spikes
from .alignment import align
from .attribution import Reasons, explained
from .budgets import Failure, budget, check
from .causes import causes_of
from .diff import Total, joined, marked, summed, total_of
from .pages import comparison_page, explained_figures, failed_lines
from .profiles import (
    KEYS,
    Side,
    common_unit,
    counted_side,
    estimated,
    narrowed_pair,
    sampled_side,
    side_data,
)
from .recording_differences import circumstances, of_sides
from .twins import Twinned, twinned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...schemas.costs import CostConfig
    from ..energy.report import EnergyReport
    from .breakeven import Breakeven


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """Two traces, compared.

    Attributes:
        base: what is compared with.
        head: what is new.
        rows: `module` (innermost; its path in `head`, or in `base` if it is gone; null outside
            every module), `op`, `stage`, `module_base` (its path in `base` where that is another
            one), `mark` (added, removed, changed or equal) and for each figure its `_base`,
            `_head`, `_difference` and `_ratio`; `base_at_least` and `head_at_least` name the
            counters that are lower bounds there. Differences are null where one side has calls of
            unknown figures more than the other; else what is known of them adds up to those of
            `totals`.
        totals: each figure of everything, as `count` and the estimators give it.
        warnings: what a reader of the differences has to know: inputs, weights, versions, ... that
            were not the same.
        aligned: path of a module in `base` -> its path in `head`.
        rules: name of the rule set, of both sides.
        spikes: what a spike tensor may hold, on both sides.
        joined: what `rows` are made of, see `diff.joined`.
        scopes: the module tree of both sides, see `workload.modules.scopes_in`.
        per: what all figures speak of: "total", or one "sample" or "step" of each side.
        twins: of each figure of `breakeven` that was asked for, what it is on both sides.
        known_changes: what `changes` found before.
    """

    base: Side
    head: Side
    rows: pl.DataFrame
    totals: Mapping[str, Total]
    warnings: tuple[str, ...]
    aligned: Mapping[str, str]
    rules: str
    spikes: str
    joined: pl.DataFrame = field(repr=False)
    scopes: pl.DataFrame = field(repr=False)
    per: str = "total"
    twins: Mapping[str, Twinned] = field(default_factory=dict, repr=False)
    known_changes: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def unit_line(self) -> str:
        """Return what the figures speak of, in words: all, one sample or one step."""
        sides = (("BASE", self.base), ("HEAD", self.head))
        unit = "step" if self.per == "step" else "sample"
        known = [number_of(side.sampled, unit) for _, side in sides]
        guessed = [
            name
            for name, side in sides
            if unit == "sample" and side.sampled.batch_from == "guessed" and not side.sampled.told
        ]
        doubt = f"a guess in {' and '.join(guessed)}" if guessed else ""
        if self.per == "total":
            alike = self.base.trace.filters == self.head.trace.filters  # else a warning says so
            filters = ", ".join(self.head.trace.filters) if alike else ""
            narrowed_by = f", narrowed by {filters}" if filters else ""
            return f"of the whole recordings{_in_brackets(known, doubt)}{narrowed_by}"
        numbers = [
            f"{name} has {number(units or 1, unit)}"
            for (name, _), units in zip(sides, known, strict=True)
        ]
        apart = [
            f"; the energy of {name} is of {of[0]} and {of[1]}"
            for name in self.base.reports
            if (of := [side.units(f"{ENERGY}{name}") for _, side in sides]) != known
        ]
        return f"per {unit}: {', '.join(numbers)}{f' ({doubt})' if doubt else ''}{''.join(apart)}"

    @property
    def frame(self) -> pl.DataFrame:
        """The same as `rows`."""
        return self.rows

    def estimates(self, side: str) -> Mapping[str, EnergyReport | Breakeven]:
        """Return what "base" or "head" is estimated by: energies by name, twins by figure."""
        energies = (self.base if side == "base" else self.head).reports
        return {**energies, **{name: getattr(each, side) for name, each in self.twins.items()}}

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of data that was not measured, on each side."""
        return tuple(_assumed(self.base, self.head))

    @property
    def total(self) -> Mapping[str, Total]:
        """The same as `totals`, and those of `twins`."""
        return {**self.totals, **{name: each.total for name, each in self.twins.items()}}

    def page(
        self,
        figures: str | Sequence[str] = (),
        *,
        conditions: str | Sequence[str] = (),
        by: str | Sequence[str] = (),
        exclusive: bool = False,
        top: int = 10,
        failed: bool = True,
    ) -> Page:
        """Return what is shown.

        Args:
            figures: whose changes are explained; by default of those of the conditions that are
                met, else the first figure that changed.
            conditions: see `failures`.
            by: rows by some of module, op and stage too.
            exclusive: by module: each module's own figures.
            top: rows of an explanation.
            failed: with a line for each condition that is met, and its culprits.
        """
        failures = self.failures(conditions)
        shown = explained_figures(self, texts(figures), failures)
        rows = failures if failed else ()
        return comparison_page(self, shown, rows, texts(by), exclusive, top)

    def plot(
        self,
        figures: str | Sequence[str] = (),
        *,
        conditions: str | Sequence[str] = (),
        by: str | Sequence[str] = "module",
        most: int = 12,
        width: float | None = None,
    ) -> Figure:
        """Return a picture: bars of differences, head - base, biggest first, the rest as others.

        Args:
            figures: a panel for each; by default as in `page`.
            conditions: see `failures`.
            by: of module, op and stage; a module has what is its own.
            most: bars, beside the others.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: unknown figure, key or width.
        """
        from ..plotting.differences import comparison_figure

        asked = texts(figures)
        if ratios := [name for name in asked if name in self.twins]:
            raise ConfigError(f"{ratios[0]} has no parts that add up: it cannot be drawn as bars")
        explained = explained_figures(self, asked, self.failures(conditions))
        shown = [name for name in explained if name in self.totals]
        return comparison_figure(self, shown or ["flops"], by or "module", most=most, width=width)

    def by(self, *keys: str, exclusive: bool = False) -> pl.DataFrame:
        """Sum `rows` over everything but some of module, op and stage.

        Args:
            *keys: of module, op and stage; none of them: one row for all.
            exclusive: by module: each module's own figures; else a module includes those below
                it, and `Global` is everything.

        Raises:
            ConfigError: unknown key.
        """
        for key in keys:
            if key not in KEYS:
                raise ConfigError(f"unknown by={key!r}: expected some of {', '.join(KEYS)}")
        named, rows = tuple(dict.fromkeys(keys)), self.joined
        if "module" in named:
            rows = rolled_up(rows, self.scopes, exclusive=exclusive)
            rows = rows.sort("place", maintain_order=True)
        return marked(summed(rows, list(self.totals), named), list(self.totals))

    def changes(self, figure: str) -> pl.DataFrame:
        """Return what explains the change of a total, biggest first.

        Args:
            figure: a key of `total`.

        Returns:
            `module`, `op`, `stage`, `mark`, `base`, `head`, `difference`, `share` (of the total's
            difference; null if that is 0 or unknown) and `reason`, in words. A module that only
            one side has is one row with all below it; its `op` and `stage` are null. The
            differences add up to that of the total; not so ratios to a twin, whose rows are layers.

        Raises:
            ConfigError: there is no such figure.
        """
        if figure in self.twins:
            return self.twins[figure].changes
        if figure not in self.totals:
            raise ConfigError(f"no figure {figure!r}: choose from {', '.join(self.total)}")
        if figure not in self.known_changes:
            self.known_changes[figure] = explained(self, figure, self._reasons)
        return self.known_changes[figure]

    @cached_property
    def _reasons(self) -> Reasons:
        """Why rows differ, for the changes of every figure."""
        return Reasons(self)

    def causes(self, figure: str) -> pl.DataFrame:
        """Return `changes` with those that repeat as one, see `causes_of`; ratios stay apart."""
        changes = self.changes(figure)
        if figure in self.twins:
            return changes.with_columns(modules=pl.lit(1, pl.UInt32))
        return causes_of(changes)

    def failures(self, conditions: str | Sequence[str]) -> list[Failure]:
        """Return those of the conditions that are met: `flops>+0%`, `macs>1e9`, see `budgets`.

        Raises:
            ConfigError: a condition means nothing, or is of a figure that was not compared.
        """
        found = (check(self, budget(condition)) for condition in texts(conditions))
        return [failure for failure in found if failure is not None]

    def _twins(self, side: str) -> dict[str, Any]:
        return {name: getattr(each, side).to_dict() for name, each in self.twins.items()}

    def failed_lines(self, conditions: str | Sequence[str]) -> list[str]:
        """Return a line for each of the conditions that is met, and one for each culprit."""
        return [*failed_lines(self, self.failures(conditions))]

    def to_dict(self, conditions: str | Sequence[str] = ()) -> dict[str, Any]:
        """Return the comparison as plain data, ready for JSON; with those conditions that are met.

        Args:
            conditions: see `failures`.
        """
        return {
            "base": side_data(self.base) | {"twins": self._twins("base")},
            "head": side_data(self.head) | {"twins": self._twins("head")},
            "rules": self.rules,
            "spikes": self.spikes,
            "per": self.per,
            "coverage": {"base": self.base.coverage.line(), "head": self.head.coverage.line()},
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
            "totals": [asdict(total) for total in self.total.values()],
            "changes": {name: self.changes(name).to_dicts() for name in self.total},
            "rows": self.rows.to_dicts(),
            "failures": [failure.to_dict() for failure in self.failures(conditions)],
        }


def compare(
    base: Trace | str | os.PathLike[str],
    head: Trace | str | os.PathLike[str],
    *,
    energies: Mapping[str, CostConfig | None] | str | Sequence[str] = (),
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    rules: str = "full",
    spikes: str = "binary",
    per: str | None = None,
    twins: str | Sequence[str] = (),
    revision: str | Mapping[str, str] = SOURCE,
    strict: bool = False,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Comparison:
    """Compare two traces: counters and estimates, aligned by module path, op and stage.

    Args:
        base: what to compare with: a trace, or its path.
        head: what is new.
        energies: an estimator or several, or with a configuration each; both sides get the same.
        where: filters of both sides, see `where.parse_filters`. Of a module that only one side
            has, the other side has nothing.
        assume: what is assumed of data that was not measured, on both sides; see `Trace.assuming`.
        rules: the rule set of both sides.
        spikes: what a spike tensor may hold, for counters and estimators.
        per: "total", "sample" or "step": what all figures speak of. By default one sample, if the
            traces have different numbers of samples that are both known; else the total.
        twins: one or several figures of `breakeven` to compare too: "twin_ratio",
            "twin_ratio.MACHINE".
        revision: of the estimators: a name, or one for each.
        strict: refuse what an estimator would leave out.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: no such estimator, rule set, kind of spikes, filter or figure.
        TraceError: a trace cannot be read, or has no part that an estimator fits.
    """
    check_spikes(spikes)
    chosen = rule_set(rules)
    energies = [energies] if isinstance(energies, str) else energies
    configs = energies if isinstance(energies, Mapping) else dict.fromkeys(energies)
    twins = texts(twins)
    for each in twins:
        if machine_of(each, TWIN_RATIO) is None:
            raise ConfigError(f"twins={each!r}: expected {TWIN_RATIO} or {TWIN_RATIO}.MACHINE")
    one, two = (narrowed(each, assume=assume) for each in (base, head))
    one, two, notes = narrowed_pair(one, two, where)
    told: dict[str, Any] = {"samples": samples, "batch": batch, "time_steps": time_steps}
    asked: dict[str, Any] = {"spikes": spikes, "revision": revision, "strict": strict, **told}
    reports = [estimated(trace, configs, **asked) for trace in (one, two)]
    sampled = [sampled_side(trace, **told) for trace in (one, two)]
    per = common_unit((one, two), sampled, reports, per)
    sides = (
        counted_side(trace, chosen, spikes, costed, found, per)
        for trace, costed, found in zip((one, two), reports, sampled, strict=True)
    )
    beside = (dict.fromkeys(twins), {"spikes": spikes, **told})
    return _compared(*sides, rules=rules, spikes=spikes, notes=notes, beside=beside)


def _compared(
    base: Side,
    head: Side,
    *,
    rules: str,
    spikes: str,
    notes: list[str],
    beside: tuple[Iterable[str], Mapping[str, Any]],
) -> Comparison:
    aligned = align(base.trace.modules, head.trace.modules)
    figures = [*COUNTED, *(f"{ENERGY}{name}" for name in base.reports)]
    both = _in_order(joined(base.rows(aligned), head.rows({}), figures), base, head, aligned)
    elsewhere = {head_path: path for path, head_path in aligned.items() if path != head_path}
    old = pl.col("module").replace_strict(elsewhere, default=None, return_dtype=pl.String)
    rows = marked(both, figures)
    twins = {
        name: twinned(name, base.trace, head.trace, aligned, **beside[1]) for name in beside[0]
    }
    told = [
        text
        for name, each in twins.items()
        for text in of_sides(_of_twin(each.base, base), _of_twin(each.head, head), of=name)
    ]
    return Comparison(
        base=base,
        head=head,
        rows=rows.select(*KEYS, old.alias("module_base"), pl.exclude(KEYS)),
        totals={name: total_of(name, base, head, both) for name in figures},
        warnings=(*_assumed(base, head), *notes, *circumstances(base, head, aligned), *told),
        aligned=aligned,
        rules=rules,
        spikes=spikes,
        joined=both,
        scopes=scopes_in(head.trace.modules, _renamed(base.trace.modules, aligned)),
        per=base.per,
        twins=twins,
    )


def _of_twin(found: Breakeven, side: Side) -> list[str]:
    known = (*side.trace.assumed, *side.sampled.warnings)
    return [text for text in found.warnings if text not in known]


def _in_brackets(known: Sequence[int | None], doubt: str) -> str:
    """Return how many samples BASE and HEAD have, in brackets; nothing if one is not known."""
    base, head = known
    if base is None or head is None:
        return ""
    told = f"BASE has {number(base, 'sample')}, HEAD has {number(head, 'sample')}"
    if base == head:
        told = f"{number(base, 'sample')} each"
    return f" ({told}{'; ' if doubt else ''}{doubt})"


def _assumed(base: Side, head: Side) -> list[str]:
    sides = (("BASE", base), ("HEAD", head))
    return [f"{name}: {text}" for name, side in sides for text in side.trace.assumed]


def _renamed(modules: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """Return the modules of the base with the paths that both sides give them."""
    return modules.with_columns(pl.col("path").replace(dict(names)))


def _in_order(
    rows: pl.DataFrame, base: Side, head: Side, aligned: Mapping[str, str]
) -> pl.DataFrame:
    """Sort rows as the modules stand in the tree, those that are gone last; by stage and op."""
    paths = [*head.trace.modules["path"], *(aligned.get(p, p) for p in base.trace.modules["path"])]
    places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    stages = {stage: place for place, stage in enumerate(STAGES)}
    return rows.sort(
        pl.col("module").replace_strict(places, default=None, return_dtype=pl.Int64),
        pl.col("stage").replace_strict(stages, default=None, return_dtype=pl.Int64),
        "op",
        nulls_last=True,
    )
