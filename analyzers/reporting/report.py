"""All answers to one trace, collected for a page: the objects that the functions return."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError, TraceError
from ...schemas.several import texts
from ..answers.page import Column, Page, Sheet
from ..answers.result import Result
from ..comparing.profiles import sampled_side
from ..counting.count import Counts, count
from ..counting.rates import Rates, rates
from ..energy.estimators import ESTIMATORS, Energies, check_estimators, estimate
from ..progress import tracked
from ..trace.trace import Trace, narrowed
from ..units import figure_text, share_text
from ..workload.module_facts import modules_of
from ..workload.samples import Samples
from .page import page as html_page
from .tree import TITLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...schemas.costs import CostConfig, Machine
    from ...schemas.roofs import Roof
    from ..comparing.compare import Comparison
    from ..timing.roofline import Roofline


@dataclass(frozen=True, repr=False, eq=False)
class Report(Result):
    """What is known of a trace.

    Attributes:
        trace: the trace, narrowed.
        sampled: its samples.
        modules: its module tree, see `workload.module_facts.modules_of`.
        counts: by module; of one sample too, if the trace tells how many there are.
        stages: the same by stage.
        energies: the estimates that apply, and why the others do not.
        rates: firing rates and effective operations; None: see `without["rates"]`.
        roofline: by module, if a device was told; else None.
        compared: the comparison with a base, if there is one; else None.
        without: what is not there, and why.
    """

    trace: Trace
    sampled: Samples
    modules: pl.DataFrame
    counts: Counts
    stages: Counts
    energies: Energies
    rates: Rates | None
    roofline: Roofline | None
    compared: Comparison | None
    without: Mapping[str, str]

    def to_html(self) -> str:
        """Return the page: one HTML document that asks for nothing from outside itself."""
        return html_page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file; returns its path."""
        file = Path(path)
        file.write_text(self.to_html(), encoding="utf-8")
        return file

    @property
    def total(self) -> dict[str, float | None]:
        """The headline figures: counters, mean firing rate, energies; of a sample if known."""
        each = self.counts.each
        found: dict[str, float | None] = {name: each[name] for name in TITLES}
        if self.rates is not None:
            found["rate"] = self.rates.totals["rate"]
        for name, of in self.energies.items():
            whole = self.counts.per == "total"
            found[f"energy.{name}"] = of.total_pj if whole else of.per_sample_pj
        return found

    @property
    def frame(self) -> pl.DataFrame:
        """A row for each headline figure: `figure`, and `value` in its unit (energies: pJ)."""
        schema = {"figure": pl.String, "value": pl.Float64}
        rows = [(name, None if v is None else float(v)) for name, v in self.total.items()]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def page(self) -> Page:
        """Return the headline figures; everything stands in `to_html`."""
        texts = [
            (name, (share_text if name == "rate" else figure_text(name))(value))
            for name, value in self.total.items()
        ]
        frame = pl.DataFrame(texts, schema=["figure", "value"], orient="row")
        of = "the whole recording" if self.counts.per == "total" else "one sample"
        return Page(
            (Sheet(frame, [Column("figure", "figure", left=True), Column("value", "value")]),),
            title=f"report on {self.trace.path}, {of}",
            notes=(self.counts.coverage.line(), 'save the page: .save("report.html")'),
            warnings=self.counts.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return every part as plain data, ready for JSON; None: it is not there."""
        parts = ("counts", "stages", "energies", "rates", "roofline", "compared")
        found = {name: getattr(self, name) for name in parts}
        made = {name: None if each is None else each.to_dict() for name, each in found.items()}
        assumed = list(self.counts.assumed)
        return {
            "per": self.counts.per,
            "total": self.total,
            "assumed": assumed,
            **made,
            "without": dict(self.without),
        }

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, for a notebook."""
        return (
            f'<iframe srcdoc="{escape(self.to_html())}" sandbox="allow-scripts" '
            'style="width:100%;height:40rem;border:0"></iframe>'
        )


def report(
    trace: Trace | str | os.PathLike[str],
    base: Trace | str | os.PathLike[str] | None = None,
    *,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    device: str | os.PathLike[str] | Roof | None = None,
    peak: str | float | None = None,
    bandwidth: str | float | None = None,
    precision: str | None = None,
    configs: Mapping[str, CostConfig] | None = None,
    revisions: Mapping[str, str] | None = None,
    machines: str | os.PathLike[str] | Machine | Sequence[str | os.PathLike[str] | Machine] = (),
    spikes: str = "binary",
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Report:
    """Collect all answers to a trace, for one page.

    Args:
        trace: the trace, or its directory.
        base: a trace to compare it with.
        where: filters, see `where.parse_filters`; of both traces.
        assume: what is assumed of data that was not measured, in both; see `Trace.assuming`.
        device: for a roofline: of `schemas.roofs.roof_names`, a TOML file, or a `Roof`.
        peak: instead of a device, FLOP a second.
        bandwidth: instead of a device, bytes a second.
        precision: what the device computes in; by default the types of the operands.
        configs: estimator -> its hardware; by default the estimator's.
        revisions: estimator -> its revision; by default "source".
        machines: machines to estimate on too: names, TOML files, or what `load_machine` gave.
        spikes: what a spike tensor may hold.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: a setting that means nothing.
        TraceError: a trace cannot be read.
    """
    first = narrowed(trace, assume=assume)
    # Of two traces one may have nothing that fits: `compare` says so.
    opened = narrowed(first, where) if base is None else first.where(*texts(where))
    told: dict[str, Any] = {"samples": samples, "batch": batch, "time_steps": time_steps}
    sampled = sampled_side(opened, **told)
    per = "sample" if sampled.samples else "total"
    known = told if sampled.samples else {}
    without: dict[str, str] = {}
    try:
        rated = rates(opened, **told)
    except TraceError as error:
        rated, without["rates"] = None, str(error)
    roof: dict[str, Any] = {"device": device, "peak": peak, "bandwidth": bandwidth}
    asked = any(value is not None for value in roof.values())
    check_estimators(configs, revisions)
    chosen = {**(configs or {}), **_named(machines)}
    energies = _energies(opened, chosen, revisions or {}, spikes=spikes, **told)
    return Report(
        trace=opened,
        sampled=sampled,
        modules=modules_of(opened.whole),
        counts=count(opened, "module", spikes=spikes, per=per, **known),
        stages=count(opened, "stage", spikes=spikes, per=per, **known),
        energies=energies,
        rates=rated,
        roofline=_roofline(opened, **roof, precision=precision) if asked else None,
        compared=None if base is None else _compared(
            narrowed(base, assume=assume), first, where, energies, chosen, revisions or {},
            spikes, **told,
        ),
        without=without,
    )  # fmt: skip


def _roofline(trace: Trace, **asked: Any) -> Roofline:
    from ..timing.roofline import roofline  # loaded where a device is asked for

    return roofline(trace, **asked)


def _named(
    machines: str | os.PathLike[str] | Machine | Sequence[str | os.PathLike[str] | Machine],
) -> dict[str, CostConfig]:
    """Return machines by the names of their estimates.

    Raises:
        ConfigError: one that means nothing, or two of the same name.
    """
    found: dict[str, CostConfig] = {}
    if isinstance(machines, (list, tuple)) and not machines:
        return found
    from ...schemas.costs import load_machines  # loaded where one is asked for

    for made in load_machines(machines):
        name = f"machine.{made.machine.name}"
        if name in found:
            raise ConfigError(f"two machines are named {made.machine.name!r}")
        found[name] = made
    return found


def _energies(
    trace: Trace,
    configs: Mapping[str, CostConfig],
    revisions: Mapping[str, str],
    **options: Any,
) -> Energies:
    """Return the estimates by every estimator that applies, and on the machines among configs."""
    reports, refused = {}, {}
    for name in tracked([*dict.fromkeys((*ESTIMATORS, *configs))]):
        revision = {"revision": revisions[name]} if name in revisions else {}
        try:
            reports[name] = estimate(trace, name, configs.get(name), **revision, **options)
        except TraceError as error:
            refused[name] = str(error)
        except ConfigError as error:
            if options["spikes"] == "binary":
                raise
            refused[name] = str(error)  # its model knows no such spikes
    return Energies(reports, refused)


def _compared(
    base: Trace,
    head: Trace,
    where: str | Sequence[str] | None,
    energies: Energies,
    configs: Mapping[str, CostConfig],
    revisions: Mapping[str, str],
    spikes: str,
    **told: Any,
) -> Comparison:
    """Compare with a base by every estimator that applies to both; if one can, of one sample."""
    from ..comparing.compare import compare  # loaded where there is a base

    try:
        other = _energies(narrowed(base, where), configs, revisions, spikes=spikes, **told)
    except ConfigError:  # it has no module that fits: `compare` says so
        other = Energies({}, {})
    both = {name: configs.get(name) for name in energies if name in other}
    sampled = [sampled_side(trace, **told) for trace in (base, head)]
    sampled += [found[name].sampled for found in (energies, other) for name in both]
    known = all(each.samples for each in sampled)
    return compare(
        base, head, energies=both, where=where, revision=dict(revisions),
        per="sample" if known else "total", spikes=spikes, **told,
    )  # fmt: skip
