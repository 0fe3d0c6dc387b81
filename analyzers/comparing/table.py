"""The table of a paper: networks beside each other, figures of one sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.several import texts
from ..answers.page import Column, Page, Sheet
from ..answers.result import Result
from ..energy.estimators import ESTIMATORS, check_estimators, fitting_config
from ..energy.revisions import SOURCE, variant_of
from ..progress import tracked
from ..trace.trace import Trace, narrowed
from .columns import COLUMNS, DEFAULT, RATIO, bare, cells_of, checked, energy_of, unit_of
from .footnotes import coverage_of, footnotes_of, warnings_of
from .networks import Asked, Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...schemas.costs import CostConfig

_Traced = Trace | str | os.PathLike[str]

LEAST = "at_least"
"""The column that names the lower bounds of a row."""

ROWS = ("networks", "figures")
"""What may have a row of its own as a table is shown."""


@dataclass(frozen=True, repr=False, eq=False)
class Table(Result):
    """Networks beside each other.

    Attributes:
        frame: a row for each network: `network`, and each column, numbers in their units (pJ for
            energies); with a spread also `<column>_std`. Null: not known, or it does not apply.
            If figures are lower bounds, since some calls are unknown, also `at_least`: the names
            of those columns (null: none in this row).
        columns: the columns in order.
        footnotes: what figures speak of, the model behind each energy, coverage and warnings.
        per: "sample", "step" or "total".
        assumed: what is assumed of data that was not measured; among the footnotes too.
        coverage: of each network, how far its counts reach, and how much of its products each
            estimate that is shown charges; among the footnotes too.
        warnings: what a reader has to know of each; among the footnotes too.
    """

    frame: pl.DataFrame
    columns: tuple[str, ...]
    footnotes: tuple[str, ...]
    per: str
    assumed: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
        read = [self._read(name) for name in names]
        columns = [
            Column(name, title, left=self.frame.schema[name] == pl.String,
                   style=None if place else "bold", optional=place)
            for place, (name, (title, _)) in enumerate(zip(names, read, strict=True))
        ]  # fmt: skip
        return Sheet(_of_texts(names, [*zip(*(cells for _, cells in read), strict=True)]), columns)

    def _by_figure(self) -> Sheet:
        networks = self.frame["network"].to_list()
        texts = [[title, *cells] for title, cells in map(self._read, self.columns)]
        names = ["figure", *map(str, range(len(networks)))]
        columns = [
            Column(name, title, left=not place, style=None if place else "bold")
            for place, (name, title) in enumerate(zip(names, ("", *networks), strict=True))
        ]
        return Sheet(_of_texts(names, texts), columns)

    def _read(self, name: str) -> tuple[str, list[str]]:
        """Return the heading of a column and its cells."""
        deviation = f"{name}_std"
        known = self.frame[deviation] if deviation in self.frame.columns else None
        spread = [None] * self.frame.height if known is None else known.to_list()
        told = self.frame[LEAST] if LEAST in self.frame.columns else ()
        bounds = [(text or "").split() for text in told]
        return cells_of(name, self.frame[name].to_list(), spread, bounds)

    def plot(
        self, columns: str | Sequence[str] | None = None, *, width: float | None = None
    ) -> Figure:
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

        return table_figure(self, None if columns is None else texts(columns), width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, ready for JSON."""
        return {
            "per": self.per,
            "columns": list(self.columns),
            "units": {name: unit for name in self.columns if (unit := unit_of(name))},
            "rows": self.frame.to_dicts(),
            "footnotes": list(self.footnotes),
            "coverage": list(self.coverage),
            "warnings": list(self.warnings),
            "assumed": list(self.assumed),
        }


def table(
    traces: Mapping[str, _Traced] | Sequence[_Traced] | _Traced,
    columns: str | Sequence[str] | None = None,
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
        traces: name of the network -> its trace, or the trace's directory; or several traces, or
            one, which are named as their directories.
        columns: one or several of `COLUMNS`, of those of `extra`, and `ratio.COLUMN`; by default
            `DEFAULT`, accuracy if it is given, the columns of `extra`, and the energies of all
            estimators that apply to one of the networks, each with its ratio to the first row.
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
        ConfigError: no trace; a column, network, estimator or revision that there is not; an
            accuracy that is no share of 1; or a configuration of another estimator.
        TraceError: a trace cannot be read, has no forward pass, or does not tell its samples.
    """
    traces = traces if isinstance(traces, Mapping) else _by_folder(traces)
    if not traces:
        raise ConfigError("a table needs at least one trace")
    given = {"accuracy": _of_networks("accuracy", accuracy or {}, traces)} if accuracy else {}
    given |= _extras(extra, traces)
    _check_accuracies(given.get("accuracy", {}))
    columns = None if columns is None else texts(columns)
    chosen = None if columns is None else checked(columns, given)
    options = {"samples": samples, "batch": batch, "time_steps": time_steps}
    asked = Asked(chosen, per, spread, spikes, _costs(configs or {}, revisions or {}), options)
    networks = [
        Network(name, narrowed(each, where, assume), asked)
        for name, each in tracked([*traces.items()])
    ]
    chosen = chosen or _default(networks, given)
    frame = _with_ratios(
        pl.DataFrame([_row(each, chosen, given) for each in networks], infer_schema_length=None),
        chosen,
    )
    assumed = tuple(f"{each.name}: {line}" for each in networks for line in each.counts.assumed)
    covered = tuple(coverage_of(networks, chosen))
    notes = tuple(footnotes_of(networks, chosen, _deviating(frame)))
    warnings = tuple(warnings_of(networks, chosen))
    return Table(frame, tuple(chosen), notes, per, assumed, covered, warnings)


def _by_folder(traces: Sequence[_Traced] | _Traced) -> dict[str, _Traced]:
    """Return traces by the names of their directories.

    Raises:
        ConfigError: two of them have the same name.
    """
    found: dict[str, _Traced] = {}
    for each in [traces] if isinstance(traces, Trace | str | os.PathLike) else traces:
        path = Path(each.path if isinstance(each, Trace) else each)
        name = path.name or path.resolve().name
        if name in found:
            raise ConfigError(f"two traces are in a folder {name!r}: give {{NAME: trace, ...}}")
        found[name] = each
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


def _of_networks(what: str, values: Mapping[str, Any], traces: Mapping[str, Any]) -> dict[str, Any]:
    for name in values:
        if name not in traces:
            raise ConfigError(f"{what} of {name!r}: there are {', '.join(traces)}")
    return dict(values)


def _check_accuracies(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise ConfigError(f"accuracy of {name!r} is {value!r}: give a share of 1, such as 0.93")


def _extras(extra: pl.DataFrame | None, traces: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if extra is None:
        return {}
    if "network" not in extra.columns:
        raise ConfigError("columns of your own need a column `network` with the names of the rows")
    names = extra["network"].cast(pl.String).to_list()
    own = [name for name in extra.columns if name != "network"]
    if taken := sorted(set(own) & {*COLUMNS, LEAST} - {"accuracy"}):
        raise ConfigError(f"{taken[0]!r} is a column of opjoule's: give yours another name")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two rows of your own columns are of the network {name!r}: give one")
    return {
        name: _of_networks(name, dict(zip(names, extra[name].to_list(), strict=True)), traces)
        for name in own
    }


def _default(networks: Sequence[Network], given: Mapping[str, Any]) -> list[str]:
    estimators = [name for name in ESTIMATORS if any(name in each.reports for each in networks)]
    energies = [energy_of(name) for name in estimators]
    ratios = len(networks) > 1
    return [
        *DEFAULT, *given,
        *(column for name in energies for column in (name, *([RATIO + name] if ratios else []))),
    ]  # fmt: skip


def _row(
    network: Network, columns: Iterable[str], given: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"network": network.name}
    bounds = []
    for column in dict.fromkeys(map(bare, columns)):
        if column in given:
            row[column] = given[column].get(network.name)
            continue
        row[column], row[f"{column}_std"] = network.figure(column)
        if network.at_least(column):
            bounds.append(column)
    return row | {LEAST: " ".join(bounds) or None}


def _with_ratios(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    for column in columns:
        if column.startswith(RATIO):
            values = frame[bare(column)].cast(pl.Float64).to_list()
            first = values[0]
            found = [None if not first or v is None else v / first for v in values]
            frame = frame.with_columns(pl.Series(column, found, dtype=pl.Float64))
    kept = [n for c in columns for n in (c, f"{c}_std") if n in frame.columns] + [LEAST]
    empty = [n for n in kept if n.endswith(("_std", LEAST)) and not frame[n].count()]
    return frame.select("network", *(name for name in kept if name not in empty))


def _deviating(frame: pl.DataFrame) -> set[str]:
    """Return the networks of which a deviation is shown."""
    deviations = [name for name in frame.columns if name.endswith("_std")]
    shown = frame.filter(pl.any_horizontal(pl.col(deviations).is_not_null(), pl.lit(False)))
    return set(shown["network"])


def _of_texts(names: Sequence[str], texts: Sequence[Sequence[str]]) -> pl.DataFrame:
    return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String), orient="row")
