"""The module tree of a page: what each module is, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ..text import number, plain
from ..units import AT_LEAST, bytes_text, count_text, energy_text, share_text, time_text
from ..workload.modules import GLOBAL
from ..workload.parameters import parameters_of
from .cells import Cell, Head, figure

if TYPE_CHECKING:
    from .report import Report

TITLES = {"flops": "FLOP", "bytes": "bytes", "synops": "SynOp", "macs": "MAC", "acs": "AC"}

_OPEN = 2
"""So many levels of the tree are open at first."""

_MOST_OPEN = 40
"""In a tree of more rows than this, the second level is closed at first."""


class Row(NamedTuple):
    """A module.

    Attributes:
        path: its path; "" for everything.
        name: its own name.
        kind: its class.
        notes: shapes and parameters, in words.
        cells: a figure for each column; None: there is none for this module.
        share: of the FLOPs of everything, 0 to 1.
        leaf: no module is below it.
        opened: what is below it is shown at first.
        closes: so many modules end with it.
    """

    path: str
    name: str
    kind: str
    notes: str
    cells: Sequence[Cell | None]
    share: float
    leaf: bool
    opened: bool
    closes: int


class Tree(NamedTuple):
    """The tree.

    Attributes:
        heads: the columns.
        top: everything.
        rows: the modules, as the tree stands.
        outside: what ran outside every module, in words; "" if nothing did.
    """

    heads: Sequence[Head]
    top: Row
    rows: Sequence[Row]
    outside: str


class _Column(NamedTuple):
    head: Head
    show: Callable[[Any], str]
    values: Mapping[str, float | None]
    bounds: frozenset[str] = frozenset()
    """Modules whose figure is a lower bound."""

    def cell(self, module: str) -> Cell | None:
        if module not in self.values:
            return None
        return figure(self.values[module], self.show, AT_LEAST if module in self.bounds else "")


def tree_of(report: Report) -> Tree:
    """Return the module tree with every figure that the report has by module.

    A column that is 0 for everything is left out.
    """
    columns = [each for each in _columns(report) if any(each.values.values())]
    whole = columns[0].values.get(GLOBAL) if columns else None
    flops = dict(report.counts.frame.select("module", "flops").iter_rows())
    rows = list(_rows(report, columns, flops))
    top = Row("", "everything", "", "", [each.cell(GLOBAL) for each in columns],
              1.0 if whole else 0.0, True, False, 0)  # fmt: skip
    return Tree([each.head for each in columns], top, rows, _outside(report))


def _columns(report: Report) -> Sequence[_Column]:
    counts = report.counts
    ending = "" if counts.per == "total" else f"_per_{counts.per}"
    bounds = counts.frame.select("module", pl.col("at_least").fill_null("").str.split(" "))
    found = [
        _Column(
            Head(title, f"{name}{ending}"),
            bytes_text if name == "bytes" else count_text,
            _by_module(counts.frame, f"{name}{ending}"),
            frozenset(bounds.filter(pl.col("at_least").list.contains(name))["module"]),
        )
        for name, title in TITLES.items()
    ]
    parameters = _by_module(parameters_of(report.trace), "parameters")
    found.append(_Column(Head("parameters", "parameters"), count_text, parameters))
    if report.rates is not None:
        found.append(_rate(report))
    energy = "energy_pj" if counts.per == "total" else "per_sample_pj"
    charged = pl.col("at_least").list.contains("macs") | pl.col("at_least").list.contains("acs")
    open_ones = frozenset((GLOBAL, *bounds.filter(charged)["module"]))
    for name, each in report.energies.items():
        head, values = Head(name, f"energy.{name}.{energy}"), _by_module(each.by("module"), energy)
        floors = open_ones if each.at_least else frozenset[str]()
        found.append(_Column(head, energy_text, values, floors))
    if report.roofline is not None:
        times = _by_module(report.roofline.frame, "time_s")
        found.append(_Column(Head("at the roof", "roofline.time_s"), time_text, times))
    return found


def _rate(report: Report) -> _Column:
    layers = report.rates.layers if report.rates is not None else pl.DataFrame()
    values = _by_module(layers, "rate")
    if report.rates is not None and report.rates.totals["rate"] is not None:
        values |= {GLOBAL: report.rates.totals["rate"]}
    return _Column(Head("rate", "rate"), share_text, values)


def _by_module(frame: pl.DataFrame, name: str) -> dict[str, float | None]:
    return dict(frame.select("module", name).iter_rows())


def _rows(
    report: Report, columns: Sequence[_Column], flops: Mapping[str, int | None]
) -> Sequence[Row]:
    modules = report.modules.to_dicts()
    depths = [module["depth"] for module in modules]
    shown = _OPEN if len(modules) <= _MOST_OPEN else 1
    whole = flops.get(GLOBAL) or 0
    rows = []
    for place, module in enumerate(modules):
        after = depths[place + 1] if place + 1 < len(depths) else 0
        leaf = after <= depths[place]
        path, parent = module["module"], module["parent"]
        rows.append(
            Row(
                path=plain(path),
                name=plain(path if parent is None else path.removeprefix(f"{parent}.")),
                kind=plain(module["class"].rpartition(".")[2]),
                notes=plain(_notes(module)),
                cells=[each.cell(path) for each in columns],
                share=(flops.get(path) or 0) / whole if whole else 0.0,
                leaf=leaf,
                opened=depths[place] < shown,
                closes=depths[place] - after if leaf else 0,
            )
        )
    return rows


def _notes(module: Mapping[str, Any]) -> str:
    """Return shapes and parameters of a module: in, out, then own."""
    arrow = f"{module['inputs']} → {module['outputs']}" if module["outputs"] else ""
    shared = f"shared with {module['same_as']}" if module["same_as"] else ""
    return "; ".join(filter(None, (arrow, module["own"], shared)))


def _outside(report: Report) -> str:
    roots = report.modules.filter(pl.col("parent").is_null())["module"]
    calls = dict(report.counts.frame.select("module", "calls").iter_rows())
    rest = calls.get(GLOBAL, 0) - sum(calls.get(root, 0) for root in roots)
    return f"{number(rest, 'call')} ran outside every module" if rest > 0 else ""
