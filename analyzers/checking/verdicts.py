"""Whether one limit holds: figures of everything or of modules against it, compared exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ...schemas import ConfigError
from ...schemas.spelling import meant
from ..counting.count import Counts, count
from ..text import agreeing, listed, number
from ..trace.filters import fits
from ..units import AT_LEAST, figure_text, share_text
from ..workload.modules import GLOBAL
from ..workload.samples import Samples, regrouped, samples_of
from .figures import ENERGY, TWIN_MACHINE, TWIN_RATIO, machine_of
from .limits import Limit

if TYPE_CHECKING:
    from ..comparing.breakeven import Breakeven
    from ..energy.report import EnergyReport
    from ..trace.trace import Trace

_CULPRITS = 3
"""So many modules are named."""

_KEYS: Mapping[str, Sequence[str]] = {
    "total": (),
    "module": ("module",),
    "own": ("module",),
    "op": ("op",),
    "module and op": ("module", "op"),
}


class Row(NamedTuple):
    """A figure of one scope.

    Attributes:
        module: path of the module, None: everything, or outside every module.
        op: the op, or None.
        amount: in the figure's unit; None: not known.
        floor: some of its calls are unknown: the amount is a lower bound.
    """

    module: str | None
    op: str | None
    amount: int | float | None
    floor: bool


@dataclass(frozen=True)
class Verdict:
    """What became of one limit.

    Attributes:
        limit: the limit.
        verdict: within; over; or unknown, which is not within.
        value: the largest figure that the limit is of, in its unit (pJ for energies), of a sample
            if the limit is; None: not known.
        module: the module that has this value; None: it is of everything.
        why: why it is unknown, in words.
        culprits: the modules that weigh most, heaviest first: `module` (null: outside every
            module), `amount` and `share`. Of a limit of modules: those over it, with what is
            below them, and their share of it all; else each module's own figures.
        at_least: the value is a lower bound: some calls are unknown.
    """

    limit: Limit
    verdict: str
    value: int | float | None = None
    module: str | None = None
    why: str = ""
    culprits: pl.DataFrame = field(default_factory=lambda: _blamed([], 1, None))
    at_least: bool = False

    @property
    def text(self) -> str:
        """The value in its unit, a lower bound with a sign."""
        return (AT_LEAST if self.at_least else "") + figure_text(self.limit.figure)(self.value)

    def line(self) -> str:
        """Return the verdict in one line, with the modules that weigh most."""
        show = figure_text(self.limit.figure)
        each = " a sample" if self.limit.per_sample else ""
        if self.verdict == "within":
            return f"{self.limit.text}: {self.text}{each}"
        if self.verdict == "unknown":
            return f"{self.limit.text}: not known: {self.why}"
        named = [
            f"{row['module'] or '(no module)'}: {show(row['amount'])}{each}"
            + ("" if row["share"] is None else f" ({share_text(row['share'])})")
            for row in self.culprits.iter_rows(named=True)
        ]
        if self.limit.modules is not None:
            return f"{self.limit.text}: over it {agreeing(len(named), 'is', 'are')} " + ", ".join(
                named
            )
        by = f"; most by {', '.join(named)}" if named else ""
        return f"{self.limit.text}: {self.text}{each}{by}"


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of a trace, counted when they are asked for."""

    trace: Trace
    reports: Mapping[str, EnergyReport]
    rules: str
    spikes: str
    given: Mapping[str, Any]

    @cache  # noqa: B019 - lives as long as one check
    def counts(self, scope: str) -> Counts:
        """Count by what a scope asks for, see `_KEYS`; `own` is exclusive."""
        return count(
            self.trace,
            _KEYS[scope] or "total",
            rules=self.rules,
            spikes=self.spikes,
            exclusive=scope == "own",
        )

    def rows(self, figure: str, scope: str) -> list[Row]:
        """Return a figure in each module or op, or of everything."""
        machine = machine_of(figure, TWIN_RATIO)
        if machine is not None:
            return self._ratios(machine, scope)
        if figure.startswith(ENERGY):
            report = self.reports[figure.removeprefix(ENERGY)]
            if scope == "total":
                return [Row(None, None, report.total_pj, report.at_least)]
            frame = report.by(*_KEYS[scope], exclusive=scope == "own")
            least = pl.lit(figure if report.at_least else None)  # of which rows is not known
            frame = frame.rename({"energy_pj": figure}).with_columns(at_least=least)
        else:
            frame = self.counts(scope).frame
        return [
            Row(
                row.get("module"),
                row.get("op"),
                row[figure],
                figure in (row["at_least"] or "").split(),
            )
            for row in frame.iter_rows(named=True)
        ]

    @cache  # noqa: B019 - lives as long as one check
    def beside(self, machine: str) -> Breakeven:
        """Return the comparison with the twin; "" is the usual machine."""
        from ..comparing.breakeven import breakeven  # loaded where a twin is asked for

        machine = machine or TWIN_MACHINE
        return breakeven(self.trace, machine=machine, spikes=self.spikes, **self.given)

    def _ratios(self, machine: str, scope: str) -> list[Row]:
        """Return the ratio to the twin of everything, or of each layer whose twin has work."""
        from ..comparing.breakeven import OTHERS

        if self.beside(machine).ratio is None:
            return []
        return [
            Row(None if row["layer"] == GLOBAL else row["layer"], None, row["ratio"], False)
            for row in self.beside(machine).frame.iter_rows(named=True)
            if (row["layer"] == GLOBAL) == (scope == "total")
            and row["layer"] != OTHERS
            and row["ratio"] is not None
        ]

    def without_ratio(self, machine: str) -> str:
        """Return why nothing that was asked for has a ratio to the twin, in words."""
        if self.beside(machine).ratio is None:
            return "none of its layers has spikes as input, so it has no quantized twin"
        return "no layer fits: ratios to a twin are of layers, and of the whole"

    def samples(self, figure: str) -> int | None:
        """Return how many samples a figure is of, None: not known."""
        if figure.startswith(ENERGY):
            return self.reports[figure.removeprefix(ENERGY)].samples
        return self.sampled.samples

    @cached_property
    def sampled(self) -> Samples:
        """The samples of the trace."""
        return samples_of(regrouped(self.trace, self.given["samples"]), **self.given)


def verdict_of(figures: Figures, limit: Limit, allow_unknown: bool) -> Verdict:
    """Tell whether a limit holds.

    Args:
        figures: of the trace.
        limit: the limit.
        allow_unknown: what is known of a figure stands for all of it.

    Raises:
        ConfigError: no module of the trace fits.
    """
    rows = _asked(figures, limit)
    samples = figures.samples(limit.figure) if limit.per_sample else 1
    if not samples:
        why = "the number of samples is not known; samples=N (--samples N) tells it"
        return Verdict(limit, "unknown", why=why)
    known = [row for row in rows if row.amount is not None]
    known.sort(key=lambda row: -(row.amount or 0))
    over = [row for row in known if Fraction(row.amount or 0) > limit.most * samples]
    hidden, why = figures.counts("total").coverage.hidden, ""
    if not over:
        why = _unknown(figures, limit, rows, hidden)
        if why and not (allow_unknown and known):
            return Verdict(limit, "unknown", why=why)
    value, module = _of_sample(known[0].amount or 0, samples), known[0].module
    floor = bool(why) or known[0].floor
    if not over:
        return Verdict(limit, "within", value, module, at_least=floor)
    parts = machine_of(limit.figure, TWIN_RATIO) is None  # ratios do not add up to a whole
    total = figures.rows(limit.figure, "total")[0].amount if parts else None
    blamed = over if limit.modules is not None else figures.rows(limit.figure, "own")
    return Verdict(limit, "over", value, module, "", _blamed(blamed, samples, total), floor)


def _asked(figures: Figures, limit: Limit) -> list[Row]:
    """Return the figures that a limit is of."""
    if limit.modules is None:
        return figures.rows(limit.figure, "total")
    paths = figures.trace.modules["path"].to_list()
    fitting = {path for path in paths if fits(path, limit.modules)}
    if not fitting:
        near = meant(limit.modules, [*paths, *(path.partition(".")[2] for path in paths)])
        raise ConfigError(
            f"{limit.text!r}: no module of {figures.trace.path} fits {limit.modules!r}: "
            f"{near}there are {listed(paths)}."
        )
    return [row for row in figures.rows(limit.figure, "module") if row.module in fitting]


def _unknown(figures: Figures, limit: Limit, rows: Sequence[Row], hidden: int) -> str:
    """Return why the figures are not known, in words; "" if they are."""
    machine = machine_of(limit.figure, TWIN_RATIO)
    if not rows and machine is not None:
        return figures.without_ratio(machine)
    if not rows:
        charged = limit.figure.startswith(ENERGY)
        return f"nothing {'is charged' if charged else 'ran'} in a module that fits"
    if any(row.amount is None or row.floor for row in rows):
        least = max((row.amount for row in rows if row.amount is not None), default=None)
        bound = "" if least is None else f"at least {figure_text(limit.figure)(least)}; "
        if limit.figure.startswith(ENERGY):
            unknown = figures.reports[limit.figure.removeprefix(ENERGY)].account.unknown
            return f"{bound}unknown for {listed([*unknown])}"
        scope = "op" if limit.modules is None else "module and op"
        modules = {row.module for row in rows}
        ops = [
            row.op
            for row in figures.rows(limit.figure, scope)
            if row.op and (row.amount is None or row.floor) and row.module in modules
        ]
        return f"{bound}unknown for calls of {listed(list(dict.fromkeys(ops)))}"
    if figures.trace.left_out:
        return figures.trace.left_out
    if hidden:
        return f"{number(hidden, 'call')} of modules ran where the recorder does not see"
    return ""


def _of_sample(amount: int | float, samples: int) -> int | float:
    value = Fraction(amount) / samples
    return int(value) if value.denominator == 1 else float(value)


def _blamed(rows: Sequence[Row], samples: int, total: float | None) -> pl.DataFrame:
    """Return the heaviest rows as the culprits of a verdict."""
    heavy = sorted((row for row in rows if row.amount), key=lambda row: -(row.amount or 0))
    culprits = [
        (row.module, float(_of_sample(row.amount or 0, samples)),
         float(row.amount or 0) / total if total else None)
        for row in heavy[:_CULPRITS]
    ]  # fmt: skip
    schema = {"module": pl.String, "amount": pl.Float64, "share": pl.Float64}
    return pl.DataFrame(culprits, schema=schema, orient="row")
