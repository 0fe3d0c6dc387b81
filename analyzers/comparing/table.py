"""The table of a paper: networks beside each other, figures of one sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError, TraceError
from ...schemas.costs import config_class
from ...schemas.spelling import meant
from ..answers.page import Column, Page, Sheet
from ..answers.result import Result
from ..checking.figures import check_machine, machine_of
from ..counting.count import Counts, count, summed_up
from ..counting.evaluate import tally
from ..counting.rates import Rates, rates
from ..energy.estimators import ESTIMATORS, check_estimators, estimate, fitting_config
from ..energy.revisions import SOURCE, variant_of
from ..energy.statement import model_statement_of
from ..progress import tracked
from ..rules import rule_set
from ..trace.trace import narrowed
from ..units import count_text, deviating_text, figure_text, ratio_text, share_text
from ..workload.divisors import number_of, spread_text
from ..workload.inference import forward_alone
from .breakeven import DEFAULT as DEFAULT_MACHINE
from .breakeven import Breakeven, breakeven, rate_text
from .profiles import sampled_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from ...schemas.costs import CostConfig
    from ..energy.report import EnergyReport
    from ..trace.trace import Trace
    from ..workload.samples import Samples

COUNTED = {"flops": "FLOP", "macs": "MAC", "acs": "AC", "synops": "SynOp", "bytes": "Bytes",
           "dense_macs": "Dense MAC"}  # fmt: skip
SAMPLED = {"samples": "Samples", "time_steps": "T", "batch": "Batch"}
RATED = {"rate": "Firing rate", "activation_sparsity": "Activation sparsity",
         "effective_macs": "Effective MAC", "effective_acs": "Effective AC"}  # fmt: skip
TWINNED = {"twin_ratio": "Energy by its twin's", "input_rate": "Rate of input spikes",
           "breakeven_rate": "Wins below an input rate of"}  # fmt: skip
"""Figures of `breakeven`; `.MACHINE` after one of them names the machine. The rate is that of the
layers' inputs, weighted by their dense MACs, and not the neurons' firing rate."""
COLUMNS = (
    *SAMPLED, *RATED, *COUNTED, "accuracy", *(f"energy.{name}" for name in ESTIMATORS), *TWINNED
)  # fmt: skip
"""What a table can show; `ratio.` before one of them: by its value in the first row."""

DEFAULT = (*SAMPLED, "rate", "flops", "macs", "acs", "synops")

ROWS = ("networks", "figures")
"""What may have a row of its own as a table is shown."""

_LEAST = 0.0005
"""The smallest share of work outside modules that a footnote names: it shows as 0.1 %."""
_ENERGY, _RATIO = "energy.", "ratio."
_MACHINE = f"{_ENERGY}machine."


@dataclass(frozen=True, repr=False)
class Table(Result):
    """Networks beside each other.

    Attributes:
        frame: a row for each network: `network`, and each column, numbers in their units (pJ for
            energies); with a spread also `<column>_std`. Null: not known, or it does not apply.
        columns: the columns in order.
        footnotes: what figures speak of, the model behind each energy, coverage and warnings.
        per: "sample", "step" or "total".
        assumed: what is assumed of data that was not measured; among the footnotes too.
        coverage: of each network, how far its counts reach.
    """

    frame: pl.DataFrame
    columns: tuple[str, ...]
    footnotes: tuple[str, ...]
    per: str
    assumed: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()

    @property
    def total(self) -> dict[str, dict[str, Any]]:
        """The row of each network, by its name."""
        rows = self.frame.iter_rows(named=True)
        return {row["network"]: {k: v for k, v in row.items() if k != "network"} for row in rows}

    def page(self, rows: str = "networks") -> Page:
        """Return what is shown: the table with the units that people read, and its footnotes.

        Args:
            rows: what has a row of its own, "networks" or "figures". With figures as rows a table
                of many columns fits a page.

        Raises:
            ConfigError: unknown `rows`.
        """
        if rows not in ROWS:
            raise ConfigError(f"unknown rows={rows!r}: expected one of {', '.join(ROWS)}")
        per = "in all" if self.per == "total" else f"figures of one {self.per}"
        sheet = self._by_network() if rows == "networks" else self._by_figure()
        return Page((sheet,), title=f"networks, {per}", notes=self.footnotes)

    def _by_network(self) -> Sheet:
        names = ("network", *self.columns)
        columns = [
            Column(name, _title(name), left=self.frame.schema[name] == pl.String,
                   style=None if place else "bold", optional=place)
            for place, name in enumerate(names)
        ]  # fmt: skip
        return Sheet(_of_texts(names, self._texts(names)), columns)

    def _by_figure(self) -> Sheet:
        networks = self.frame["network"].to_list()
        cells = zip(*self._texts(self.columns), strict=True)
        texts = [[_title(name), *each] for name, each in zip(self.columns, cells, strict=True)]
        names = ["figure", *map(str, range(len(networks)))]
        columns = [
            Column(name, title, left=not place, style=None if place else "bold")
            for place, (name, title) in enumerate(zip(names, ("", *networks), strict=True))
        ]
        return Sheet(_of_texts(names, texts), columns)

    def _texts(self, names: Sequence[str]) -> list[list[str]]:
        """Return the cells of these columns, a list for each network."""
        return [
            [_cell(name, row[name], row.get(f"{name}_std")) for name in names]
            for row in self.frame.iter_rows(named=True)
        ]

    def plot(self, columns: Sequence[str] | None = None, *, width: float | None = None) -> Figure:
        """Return a picture: for each column a panel with its ratio to the first row.

        Energies of different estimators are never on one axis: they are not to be compared.

        Args:
            columns: of the table; by default its energies, and if it has none, all its numbers.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed; or there is no column of numbers.
            ConfigError: no such width.
        """
        from ..plotting.networks import table_figure

        return table_figure(self, columns, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, ready for JSON."""
        return {
            "per": self.per,
            "columns": list(self.columns),
            "rows": self.frame.to_dicts(),
            "footnotes": list(self.footnotes),
            "assumed": list(self.assumed),
        }


def table(
    traces: Mapping[str, Trace | str | os.PathLike[str]],
    columns: Sequence[str] | None = None,
    *,
    accuracy: Mapping[str, float] | None = None,
    extra: pl.DataFrame | None = None,
    per: str = "sample",
    spread: bool = True,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    configs: Mapping[str, CostConfig] | None = None,
    revisions: Mapping[str, str] | None = None,
    spikes: str = "binary",
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Table:
    """Put networks beside each other, as in the table of a paper.

    Of each trace its inference: forward passes in eval mode; if there are none, all forward passes,
    and a footnote says so.

    Args:
        traces: name of the network -> its trace, or the trace's directory.
        columns: of `COLUMNS`, those of `extra`, and `ratio.COLUMN`; by default `DEFAULT`, accuracy
            if it is given, the columns of `extra`, and the energies of all estimators that apply
            to one of the networks, each with its ratio to the first row.
        accuracy: name of the network -> a share of 1.
        extra: columns of your own, a row for each network, named by its column `network`.
        per: "sample", "step" or "total".
        spread: give the standard deviation too, where a trace has several samples or steps.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, in each; see `Trace.assuming`.
        configs: estimator -> its hardware, the same for all networks; by default the estimator's.
        revisions: estimator -> its revision; by default "source".
        spikes: what a spike tensor may hold, for counters and estimators.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: no trace; a column, network, estimator or revision that there is not; or a
            configuration of another estimator.
        TraceError: a trace cannot be read, has no forward pass, or does not tell its samples.
    """
    if not traces:
        raise ConfigError("a table needs at least one trace")
    given = {"accuracy": _of_networks("accuracy", accuracy or {}, traces)} if accuracy else {}
    given |= _extras(extra, traces)
    chosen = None if columns is None else _checked(columns, given)
    options = {"samples": samples, "batch": batch, "time_steps": time_steps}
    asked = _Asked(chosen, per, spread, spikes, _costs(configs or {}, revisions or {}), options)
    networks = [
        _Network(name, narrowed(each, where, assume), asked)
        for name, each in tracked([*traces.items()])
    ]
    chosen = chosen or _default(networks, given)
    frame = _with_ratios(
        pl.DataFrame([_row(each, chosen, given) for each in networks], infer_schema_length=None),
        chosen,
    )
    assumed = tuple(f"{each.name}: {line}" for each in networks for line in each.counts.assumed)
    covered = tuple(f"{each.name}: {each.counts.coverage.line()}" for each in networks)
    return Table(frame, tuple(chosen), tuple(_footnotes(networks, chosen)), per, assumed, covered)


@dataclass(frozen=True)
class _Asked:
    """What is asked of every network; columns: None where the usual ones are."""

    columns: Sequence[str] | None
    per: str
    spread: bool
    spikes: str
    costs: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]


class _Network:
    """What is known of one network, as far as columns ask for it."""

    def __init__(self, name: str, trace: Trace, asked: _Asked) -> None:
        self.name, self.trained = name, False
        try:
            part = forward_alone(trace, eval_only=True)
        except TraceError:
            part, self.trained = forward_alone(trace, eval_only=False), True
        per, options = asked.per, {"spikes": asked.spikes, **asked.options}
        several = asked.spread and per != "total"
        self.counts: Counts = count(part, per=per, spread=several, **options)
        self.sampled: Samples = sampled_side(part, **asked.options)
        columns = [_bare(name) for name in asked.columns or (*DEFAULT, *map(_energy, ESTIMATORS))]
        rated = set(columns) & set(RATED)
        self.rates: Rates | None = rates(part, **asked.options) if rated else None
        self.outside = _outside(part, self.counts, columns, asked.spikes)
        self.reports: dict[str, EnergyReport] = {}
        self.refused: dict[str, str] = {}
        for estimator in _estimators(columns):
            if _energy(estimator) in columns:
                costs = asked.costs.get(estimator, {})
                try:
                    self.reports[estimator] = estimate(part, estimator, per=per, **costs, **options)
                except (TraceError, ConfigError) as error:
                    self.refused[estimator] = str(error)
        self.twins: dict[str, Breakeven] = {}
        for machine in dict.fromkeys(machine for name in columns for machine in _machines(name)):
            try:
                self.twins[machine] = breakeven(part, machine=machine, **options)
            except (TraceError, ConfigError) as error:
                self.refused[f"twin on {machine}"] = str(error)
        self.per, self.spread = per, several

    def figure(self, column: str) -> tuple[Any, float | None]:
        """Return the value of a column and its deviation."""
        if column in SAMPLED:
            return getattr(self.sampled, column), None
        if column in RATED:
            if self.rates is None:
                return None, None
            deviation = self.rates.deviations.get(column) if self.per == "sample" else None
            return self.rates.totals[column], deviation if self.spread else None
        if column in COUNTED:
            row = self.counts.frame.row(0, named=True)
            return self.counts.each[column], row.get(f"{column}_std")
        for machine in _machines(column):
            twin = self.twins.get(machine)
            if twin is None:
                return None, None
            name = column.partition(".")[0]
            return {"twin_ratio": twin.ratio, "input_rate": twin.rate}.get(
                name, twin.breakeven_rate
            ), None
        report = self.reports.get(column.removeprefix(_ENERGY))
        if report is None:
            return None, None
        return report.each_pj(self.per), self._deviation(report)

    def _deviation(self, report: EnergyReport) -> float | None:
        if not self.spread or report.sampled.frame.height < 2:
            return None
        found: float | None = report.by(spread=True)["std_pj"][0]
        return found


def _costs(
    configs: Mapping[str, CostConfig], revisions: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the options of each estimator of which constants or a revision are given.

    Raises:
        ConfigError: no such estimator or revision, or a configuration of another estimator.
    """
    check_estimators(configs, revisions)
    found: dict[str, dict[str, Any]] = {}
    for name in {**configs, **revisions}:
        revision = revisions.get(name, SOURCE)
        variant_of(name, revision)
        config = fitting_config(name, configs.get(name), revision)
        found[name] = {"config": config, "revision": revision}
    return found


def _outside(part: Trace, counts: Counts, columns: Sequence[str], spikes: str) -> dict[str, float]:
    """Return which share of each counter that is shown ran outside every module, if any did."""
    shown = [name for name in COUNTED if name in columns]
    if not shown:
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


def _estimators(columns: Iterable[str]) -> list[str]:
    """Return the estimators, and the machines that columns name."""
    bare = map(_bare, columns)
    machines = (name.removeprefix(_ENERGY) for name in bare if name.startswith(_MACHINE))
    return [*ESTIMATORS, *dict.fromkeys(machines)]


def _machines(column: str) -> list[str]:
    """Return the machine on which a column stands beside the twin; none: it is another column."""
    named = (machine_of(column, name) for name in TWINNED)
    return [machine or DEFAULT_MACHINE for machine in named if machine is not None]


def _energy(estimator: str) -> str:
    return f"{_ENERGY}{estimator}"


def _bare(column: str) -> str:
    return column.removeprefix(_RATIO)


def _of_networks(what: str, values: Mapping[str, Any], traces: Mapping[str, Any]) -> dict[str, Any]:
    for name in values:
        if name not in traces:
            raise ConfigError(f"{what} of {name!r}: there are {', '.join(traces)}")
    return dict(values)


def _extras(extra: pl.DataFrame | None, traces: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if extra is None:
        return {}
    if "network" not in extra.columns:
        raise ConfigError("columns of your own need a column `network` with the names of the rows")
    names = extra["network"].cast(pl.String).to_list()
    own = [name for name in extra.columns if name != "network"]
    if taken := sorted(set(own) & set(COLUMNS) - {"accuracy"}):
        raise ConfigError(f"{taken[0]!r} is a column of opjoule's: give yours another name")
    return {
        name: _of_networks(name, dict(zip(names, extra[name].to_list(), strict=True)), traces)
        for name in own
    }


def _checked(columns: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    known = (*COLUMNS, *given)
    for column in columns:
        if _bare(column).startswith(_MACHINE):
            config_class(_bare(column).removeprefix(_ENERGY))
        elif _machines(_bare(column)):
            check_machine(_bare(column).partition(".")[2])
        elif _bare(column) == "accuracy" and "accuracy" not in given:
            raise ConfigError("no column 'accuracy': no accuracy was told, as --accuracy SNN=0.93")
        elif _bare(column) not in known:
            near = meant(_bare(column), known)
            raise ConfigError(f"no column {column!r}: {near}there are {', '.join(known)}")
    return list(dict.fromkeys(columns))


def _default(networks: Sequence[_Network], given: Mapping[str, Any]) -> list[str]:
    estimators = [name for name in ESTIMATORS if any(name in each.reports for each in networks)]
    energies = [_energy(name) for name in estimators]
    ratios = len(networks) > 1
    return [
        *DEFAULT, *given,
        *(column for name in energies for column in (name, *([_RATIO + name] if ratios else []))),
    ]  # fmt: skip


def _row(
    network: _Network, columns: Iterable[str], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"network": network.name}
    for column in dict.fromkeys(map(_bare, columns)):
        if column in given:
            row[column] = given[column].get(network.name)
            continue
        row[column], row[f"{column}_std"] = network.figure(column)
    return row


def _with_ratios(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    for column in columns:
        if column.startswith(_RATIO):
            values = frame[_bare(column)].cast(pl.Float64).to_list()
            first = values[0]
            found = [None if not first or v is None else v / first for v in values]
            frame = frame.with_columns(pl.Series(column, found, dtype=pl.Float64))
    kept = [n for c in columns for n in (c, f"{c}_std") if n in frame.columns]
    empty = [n for n in kept if n.endswith("_std") and not frame[n].count()]
    return frame.select("network", *(name for name in kept if name not in empty))


def _footnotes(networks: Sequence[_Network], columns: Sequence[str]) -> Iterator[str]:
    first = networks[0]
    unit = {"total": "the whole recording", "sample": "one sample", "step": "one step"}[first.per]
    yield f"Figures of {unit}: operations and energies of inference; nothing is measured power."
    yield from _gathered({each.name: list(_of_network(each, columns)) for each in networks})
    ratios = [_title(_bare(name)) for name in columns if name.startswith(_RATIO)]
    if ratios:
        yield f"Ratio: by the value of {first.name}."
    for name in _estimators(columns):
        reports = [each.reports[name] for each in networks if name in each.reports]
        if reports and _energy(name) in map(_bare, columns):
            yield model_statement_of(reports[0])
            yield from _of_estimates(name, networks)
    for machine in dict.fromkeys(machine for name in columns for machine in _machines(_bare(name))):
        yield from _of_twins(machine, networks)
    if len([name for name in columns if name.startswith(_ENERGY)]) > 1:
        yield "Energies of different estimators speak of different machines: do not compare them."


def _gathered(lines: Mapping[str, Sequence[str]], what: str = "") -> Iterator[str]:
    """Yield the lines of networks, each once, after the names of the networks that it is of."""
    for line in dict.fromkeys(line for each in lines.values() for line in each):
        names = [name for name, each in lines.items() if line in each]
        whose = "all networks" if len(names) == len(lines) > 1 else ", ".join(names)
        yield f"{what}{whose}: {line}"


def _of_network(network: _Network, columns: Sequence[str]) -> Iterator[str]:
    sampled = network.sampled
    if network.trained:
        yield "its forward passes ran in training mode."
    if "guessed" in (sampled.batch_from, sampled.time_steps_from):
        yield "batch or time steps are a guess."
    if network.spread and (number_of(sampled, network.per) or 0) > 1 and sampled.frame.height > 1:
        yield f"{spread_text(sampled, network.per)}."
    yield from (f"{line}." for line in network.counts.assumed)
    shares = [f"{share_text(share)} of {COUNTED[name]}" for name, share in network.outside.items()
              if name in map(_bare, columns)]  # fmt: skip
    if shares:
        yield (
            f"{', '.join(shares)} ran outside every module, such as in the preparation of data; "
            '--where "module=*" leaves it out.'
        )
    yield f"{network.counts.coverage.line()}."


def _of_estimates(estimator: str, networks: Sequence[_Network]) -> Iterator[str]:
    lines = {}
    for each in networks:
        if estimator in each.refused:
            yield f"{estimator} does not apply to {each.name}: {each.refused[estimator]}"
        elif report := each.reports.get(estimator):
            told = (text for text in report.warnings if text not in report.assumed)
            lines[each.name] = [f"{text}." for text in (report.coverage, *told)]
    yield from _gathered(lines, f"{estimator} of ")


def _of_twins(machine: str, networks: Sequence[_Network]) -> Iterator[str]:
    for each in networks:
        if reason := each.refused.get(f"twin on {machine}"):
            yield f"{each.name} has no quantized twin on {machine}: {reason}"
        elif each.twins[machine].rate is None:
            yield f"{each.name} has no quantized twin: none of its layers has spikes as input."
        else:
            for line in each.twins[machine].lines():
                yield f"{each.name}: {line}."


def _of_texts(names: Sequence[str], texts: Sequence[Sequence[str]]) -> pl.DataFrame:
    return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String), orient="row")


def _title(column: str) -> str:
    if column.startswith(_RATIO):
        return f"{_title(_bare(column))}, ratio"
    if column.startswith(_ENERGY):
        return f"Energy ({column.removeprefix(_ENERGY)})"
    for machine in _machines(column):
        title = TWINNED[column.partition(".")[0]]
        return f"{title} ({machine})" if "." in column else title
    known = {**SAMPLED, **RATED, **COUNTED, "accuracy": "Accuracy", "network": "Network"}
    return known.get(column, column)


def _cell(column: str, value: Any, deviation: float | None) -> str:
    if value is None:
        return "" if column == "accuracy" else "-"
    if isinstance(value, str | bool):
        return str(value)
    if deviation is not None and _shown(column) is share_text:
        return share_text(value, deviation)
    if deviation is not None:
        return deviating_text(column, value, deviation)
    return _shown(column)(value)


def _shown(column: str) -> Callable[[Any], str]:
    if column.startswith(_RATIO):
        return ratio_text
    if _machines(column):
        if column.startswith("twin_ratio"):
            return ratio_text
        return rate_text if column.startswith("breakeven_rate") else share_text
    if column in ("rate", "activation_sparsity", "accuracy"):
        return share_text
    if column.startswith(_ENERGY) or column in COUNTED:
        return figure_text(column)
    return count_text if column in (*SAMPLED, *RATED) else lambda value: f"{value:g}"
