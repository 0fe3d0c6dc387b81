"""The sections of a page as tables and lines, out of the objects that the functions return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ..text import number, percent, plain
from ..units import (
    AT_LEAST,
    bytes_text,
    count_text,
    energy_text,
    figure_text,
    quotient_sign,
    ratio_text,
    share_text,
)
from ..workload.divisors import per_text
from .cells import Cell, Grid, Head, figure, said
from .drawings import sparkline
from .tree import TITLES

if TYPE_CHECKING:
    from ..comparing.compare import Comparison
    from ..energy.report import EnergyReport
    from .report import Report

MOST_ROWS = 200
"""Rows of a table; the tree of modules has no limit."""

_NEURONS = ("IF", "LIF", "other")
"""Kinds of layers that fire; all others are activations."""
_MOST_CHANGES = 12
_MOST_STEPS = 16
"""Rates at so many time steps stand in a table; a line shows all of them."""


class Card(NamedTuple):
    """A headline figure.

    Attributes:
        key: names it for machines.
        title: what it is.
        cell: the figure.
        note: what it speaks of.
        base: the base's figure; None: there is no base.
        ratio: by the base's.
    """

    key: str
    title: str
    cell: Cell
    note: str = ""
    base: Cell | None = None
    ratio: Cell | None = None


class Estimate(NamedTuple):
    """One estimate on the page."""

    name: str
    title: str
    cards: Sequence[Card]
    parts: Grid
    statement: str
    warnings: Sequence[str]
    left_out: Grid


def grid(
    key: str,
    frame: pl.DataFrame,
    columns: Sequence[tuple[str, str, Callable[[Any], str] | None]],
    most: int = MOST_ROWS,
    counters: Mapping[str, str] | None = None,
) -> Grid:
    """Return a frame as a table.

    Args:
        key: names the table.
        frame: the rows.
        columns: name, heading and how a figure is shown; None: it is a text.
        most: rows that are shown.
        counters: column -> its counter, which `at_least` of the frame may name: a lower bound.
    """
    heads = [Head(title, name if show else "") for name, title, show in columns]
    top, of = frame.head(most), counters or {}
    bounds = [(text or "").split() for text in top["at_least"]] if of else [[]] * top.height
    rows = [
        [
            said(value) if show is None
            else figure(value, show, AT_LEAST if of.get(name) in bound else "")
            for value, (name, _, show) in zip(row, columns, strict=True)
        ]
        for row, bound in zip(
            top.select([name for name, _, _ in columns]).iter_rows(), bounds, strict=True
        )
    ]  # fmt: skip
    return Grid(key, heads, rows, max(0, frame.height - most))


def cards(report: Report) -> Iterator[Card]:
    """Yield the headline figures."""
    counts, compared = report.counts, report.compared
    unit = "in all" if counts.per == "total" else f"a {counts.per}"
    yield from _sampled(report)
    each = counts.each
    for name, title in TITLES.items():
        if each[name] != 0:
            show = bytes_text if name == "bytes" else count_text
            yield _card(name, f"{title} {unit}", each[name], show, compared,
                        sign=AT_LEAST if name in counts.at_least else "")  # fmt: skip
    if report.rates is not None and not report.rates.layers.is_empty():
        totals = report.rates.totals
        if report.rates.layers["kind"].is_in(_NEURONS).any():
            yield Card("rate", "mean firing rate", figure(totals["rate"], share_text))
        sparsity = figure(totals["activation_sparsity"], share_text)
        yield Card("activation_sparsity", "activation sparsity", sparsity)
    for name, found in report.energies.items():
        value = found.total_pj if counts.per == "total" else found.per_sample_pj
        yield _card(f"energy.{name}", f"energy {unit}, {name}", value, energy_text, compared,
                    _scope(found), found.sign)  # fmt: skip


def _scope(found: EnergyReport) -> str:
    """Return what an energy is of, and that it charges a part of the products, if it does."""
    share = found.account.share
    part = "" if share == 1 else f"; {percent(share)} of the MACs of the products charged"
    return f"stages {', '.join(found.scope.stages)}{part}"


def _sampled(report: Report) -> Iterator[Card]:
    sampled = report.sampled
    known = [
        f"{name} {value} ({origin})"
        for name, value, origin in (
            ("batch", sampled.batch, sampled.batch_from),
            ("time steps", sampled.time_steps, sampled.time_steps_from),
        )
        if value is not None
    ]
    yield Card("samples", "samples", figure(sampled.samples, count_text), ", ".join(known))


def _card(
    name: str,
    title: str,
    value: float | None,
    show: Callable[[Any], str],
    compared: Comparison | None,
    note: str = "",
    sign: str = "",
) -> Card:
    total = compared.totals.get(name) if compared is not None else None
    if total is None or compared is None:
        return Card(name, title, figure(value, show, sign), note)
    below = compared.base.sign(name)
    ratio = figure(total.ratio, ratio_text, quotient_sign(bool(sign), bool(below)))
    base = figure(total.base, show, below)
    return Card(name, title, figure(value, show, sign), note, base, ratio)


def stages(report: Report) -> Grid:
    """Return the counters by stage."""
    ending = "" if report.counts.per == "total" else f"_per_{report.counts.per}"
    shown = [(f"{name}{ending}", title, bytes_text if name == "bytes" else count_text)
             for name, title in TITLES.items()]  # fmt: skip
    counters = {f"{name}{ending}": name for name in TITLES}
    return grid("stages", report.stages.frame,
                [("stage", "stage", None), ("calls", "calls", count_text), *shown],
                counters=counters)  # fmt: skip


def estimates(report: Report) -> Iterator[Estimate]:
    """Yield the estimates that apply."""
    for name, found in report.energies.items():
        yield Estimate(
            name=name,
            title=f"{found.scope.title}, revision {found.revision}, {found.scope.technology}",
            cards=(
                Card(f"energy.{name}.per_sample_pj", "a sample",
                     figure(found.per_sample_pj, energy_text, found.sign)),
                Card(f"energy.{name}.total_pj", "in all",
                     figure(found.total_pj, energy_text, found.sign)),
            ),
            parts=_parts(name, found),
            statement=plain(found.statement()),
            warnings=[plain(text) for text in found.warnings],
            left_out=grid(f"left-out.{name}", found.left_out,
                          [("what", "left out", None), ("calls", "calls", count_text),
                           ("macs_share", "share of MACs", share_text)]),
        )  # fmt: skip


def _parts(name: str, found: EnergyReport) -> Grid:
    each = found.samples or None
    rows = [
        (part.removesuffix("_pj"), value, value / each if each else None,
         value / found.total_pj if found.total_pj else 0.0)
        for part, value in found.breakdown_pj.items()
    ]  # fmt: skip
    schema = {"part": pl.String, "energy_pj": pl.Float64, "per_sample_pj": pl.Float64,
              "share": pl.Float64}  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return grid(f"parts.{name}", frame,
                [("part", "part", None), ("energy_pj", "in all", energy_text),
                 ("per_sample_pj", "a sample", energy_text), ("share", "share", share_text)],
    )  # fmt: skip


def layers(report: Report) -> Grid | None:
    """Return the firing rates by layer."""
    if report.rates is None or report.rates.layers.is_empty():
        return None
    return grid(
        "layers", report.rates.layers,
        [("module", "layer", None), ("kind", "kind", None), ("neurons", "neurons", count_text),
         ("nonzero_per_sample", "nonzero a sample", count_text), ("rate", "rate", share_text)],
    )  # fmt: skip


def lines_over_time(report: Report) -> Mapping[str, str]:
    """Return for each layer with rates over time its line, on one scale for all."""
    if report.rates is None or report.rates.steps.is_empty():
        return {}
    steps = report.rates.steps
    highest = steps["rate"].max()
    found = steps.group_by("module", maintain_order=True).agg("rate")
    top = float(highest) if isinstance(highest, float) else 1.0
    return {plain(module): sparkline(rates, top) for module, rates in found.iter_rows()}


def over_time(report: Report) -> Grid | None:
    """Return the rates at each time step; None where there are none, or too many for a table."""
    if report.rates is None or report.rates.steps.is_empty():
        return None
    wide = report.rates.steps.pivot("time_step", index="module", values="rate")
    if wide.width - 1 > _MOST_STEPS:
        return None
    return grid("time", wide, [("module", "layer", None),
                               *((name, f"t = {name}", share_text) for name in wide.columns[1:])],
    )  # fmt: skip


def products(report: Report) -> Grid | None:
    """Return what zeros leave of the products."""
    if report.rates is None or report.rates.products.is_empty():
        return None
    return grid(
        "products", report.rates.products,
        [("module", "product", None), ("kind", "kind", None),
         ("nonzero_share", "nonzero inputs", share_text), ("dense_per_sample", "dense", count_text),
         ("effective_macs_per_sample", "effective MAC", count_text),
         ("effective_acs_per_sample", "effective AC", count_text)],
    )  # fmt: skip


def totals(compared: Comparison) -> Grid:
    """Return each figure of both traces."""
    heads = [Head("figure"), Head("base", "base"), Head("this trace", "head"),
             Head("difference", "difference"), Head("ratio", "ratio")]  # fmt: skip
    rows = []
    for name, total in compared.totals.items():
        show = figure_text(name)
        sign = "+" if (total.difference or 0) > 0 else ""
        base, head = compared.base.sign(name), compared.head.sign(name)
        ratio = quotient_sign(bool(head), bool(base))
        rows.append([said(name), figure(total.base, show, base), figure(total.head, show, head),
                     figure(total.difference, show, sign), figure(total.ratio, ratio_text, ratio)],
        )  # fmt: skip
    return Grid("totals", heads, rows)


def changes(compared: Comparison) -> Iterator[tuple[str, Grid]]:
    """Yield what explains the change of each figure that changed."""
    for name, total in compared.totals.items():
        if total.difference:
            frame = compared.causes(name)
            show = figure_text(name)
            yield name, grid(
                f"changes.{name}", frame,
                [("module", "module", None), ("modules", "modules", str), ("op", "op", None),
                 ("stage", "stage", None), ("difference", "difference", show),
                 ("share", "share", share_text),
                 ("reason", "reason", None)],
                _MOST_CHANGES,
            )  # fmt: skip


def coverage(report: Report) -> Grid:
    """Return op by op how it was counted."""
    return grid(
        "coverage", report.counts.coverage.frame,
        [("op", "op", None), ("how", "how", None), ("family", "family", None),
         ("calls", "calls", count_text), ("bytes", "bytes", bytes_text),
         ("unmeasured", "without a counter", count_text)],
    )  # fmt: skip


def warnings(report: Report) -> Sequence[str]:
    """Return what a reader has to know, each once; estimates say their own beside them."""
    found: list[str] = [*report.counts.warnings]
    if report.rates is not None:
        found += report.rates.warnings
    for manifest in report.trace.manifests:
        found += [f"not seen: {each.what}: {each.why} ({number(each.calls, 'call')})"
                  for each in manifest.hidden]  # fmt: skip
        found += [f"not bit-equal: {each.what}: {each.why}" for each in manifest.inexact]
        found += manifest.notes
    if report.trace.left_out:
        found.append(report.trace.left_out)
    return [plain(text) for text in dict.fromkeys(found)]


def unit(report: Report) -> str:
    """Return what the figures of the page speak of."""
    if report.counts.sampled is None:
        return "Figures of the whole recording: how many samples there are is not known."
    return f"Figures {per_text(report.counts.sampled, report.counts.per)}."


def environment(report: Report) -> Sequence[tuple[str, Cell]]:
    """Return how the trace was made."""
    manifest = report.trace.manifest
    made, code = manifest.environment, manifest.revision
    dirty = ", with uncommitted changes" if code.dirty else ""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(made.packages.items()))
    facts = {
        "trace": f"{report.trace.path.name}, format {manifest.format_version}, {manifest.status}",
        "recorded": f"{manifest.started} to {manifest.ended} by opjoule {manifest.opjoule_version}",
        "command": " ".join(manifest.command),
        "code": f"commit {code.commit}{dirty}" if code.commit else "no git revision",
        "with": f"Python {made.python} on {made.platform}",
        "packages": packages,
        "devices": ", ".join(f"{each.name} ({each.model})" for each in made.devices),
        "seed": "" if manifest.seed is None else str(manifest.seed),
        "steps": str(manifest.steps),
        "ranks": f"{len(report.trace.manifests)} of {manifest.world_size}",
        "statistics": manifest.statistics,
        "inputs": manifest.fingerprint.inputs or "",
        "weights": manifest.fingerprint.parameters or "",
        "narrowed by": ", ".join(report.trace.filters),
    }
    return [(name, said(text)) for name, text in facts.items() if text]
