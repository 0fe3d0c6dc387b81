"""Does spiking win? A spiking network beside its quantized twin, and the rate at which they meet.

Z. Yan, Z. Bai, K. Tang and W.-F. Wong, "Reconsidering the Energy Efficiency of Spiking Neural
Networks" (arXiv 2409.08290). The energy of a spiking network is B + A · rate: what its spikes drive
grows with the rate, the rest does not. It breaks even where that equals the energy of the twin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError, TraceError
from ...schemas.costs import Machine, load_machine
from ...schemas.quantities import QUANTITIES
from ..answers.page import Column, Page, Sheet
from ..answers.result import Result
from ..checking.figures import TWIN_MACHINE
from ..energy.machine.actions import CAPACITY, Actions, asked_of
from ..energy.machine.energies import price_pj
from ..energy.machine.report import counted_of, report_of
from ..energy.machine.scope import account
from ..energy.machine.tables import Tables
from ..energy.machine.twin import TwinTables, twin_bits, twin_of
from ..energy.pages import left_out_sheets
from ..energy.revisions import SOURCE
from ..frames import added_up
from ..text import listed, number, percent
from ..trace.trace import narrowed
from ..units import energy_text, rate_text, ratio_text, share_text
from ..workload.dataflow import neurons_behind
from ..workload.layer_calls import layer_calls, neuron_calls
from ..workload.layers import MODULE, layers_of, neurons_of
from ..workload.modules import GLOBAL

if TYPE_CHECKING:
    from ..energy.report import EnergyReport
    from ..trace.trace import Trace
    from ..workload.account import Account

OTHERS = "(no layer)"
"""The row of what belongs to no layer: norms, pooling, neurons behind no layer."""

_COLUMNS = (
    Column("layer", "layer", left=True, style="bold"),
    Column("energy_pj", "spiking", energy_text),
    Column("twin_pj", "twin", energy_text),
    Column("ratio", "ratio", ratio_text),
    Column("rate", "rate", share_text),
    Column("breakeven_rate", "breaks even at", rate_text),
)

_PARTS = {"layer": pl.String, "spikes": pl.Boolean, "energy_pj": pl.Float64}


@dataclass(frozen=True, repr=False, eq=False)
class Breakeven(Result):
    """A spiking network and its quantized twin on one machine.

    Attributes:
        frame: a row for the whole (`Global`), each layer with the neurons behind it, and what
            belongs to no layer: `layer`, `energy_pj` and `twin_pj` of one sample, `ratio`, `rate`
            (spikes an input element and step; of the whole: the layers' mean, weighted by their
            dense MACs), `breakeven_rate` and `verdict`. Null: it has no spikes as input.
        machine: the machine's name.
        time_steps: of the spiking network.
        bits: of the twin's activations.
        account: what of the spiking network's products the machine charges, and what it leaves out.
        twin_account: the same of the twin.
        ann_pj: energy of one sample of the network that was recorded to compare with.
        ann_account: the same of that network.
        notes: what the figures do not hold.
        warnings: what a reader of them has to know, as of the machine's estimate.
        assumed: what is assumed of data that was not measured; among the warnings too.
    """

    frame: pl.DataFrame
    machine: str
    time_steps: int
    bits: int
    account: Account
    twin_account: Account
    ann_pj: float | None
    ann_account: Account | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    assumed: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Energy of the spiking network by that of its twin; None: it has no spikes, so no twin."""
        return None if self.rate is None else self._whole["ratio"]

    @property
    def rate(self) -> float | None:
        """Spike rate of the whole; None: none of its layers has spikes as input."""
        return self._whole["rate"]  # type: ignore[no-any-return]

    @property
    def breakeven_rate(self) -> float | None:
        """Spike rate below which the spiking network needs less than its twin.

        0: there is none, it never wins. None: the network or its input has no spikes.
        """
        return self._whole["breakeven_rate"]  # type: ignore[no-any-return]

    @property
    def wins(self) -> bool:
        """Whether the spiking network needs less energy than its twin."""
        return self.ratio is not None and self.ratio < 1

    @property
    def _whole(self) -> dict[str, Any]:
        return self.frame.row(0, named=True)

    @property
    def total(self) -> dict[str, Any]:
        """The row of the whole."""
        return {name: value for name, value in self._whole.items() if name != "layer"}

    def lines(self) -> list[str]:
        """Return what the figures speak of, and what a reader has to know."""
        steps, bits = number(self.time_steps, "time step"), number(self.bits, "bit")
        found = [
            f"one sample of {steps} beside its twin with activations of {bits}, on the machine "
            f"{self.machine}: {self._whole['verdict']}"
        ]
        if self.ann_pj is not None:
            spiking = self._whole["energy_pj"]
            found.append(
                f"the network that was recorded to compare with, at the twin's widths: "
                f"{energy_text(self.ann_pj)}, spiking by it "
                f"{ratio_text(spiking / self.ann_pj if self.ann_pj else None)}"
            )
        return [*found, *self.notes]

    @property
    def left_out(self) -> pl.DataFrame:
        """What is not charged of the spiking network, see `Account`."""
        return self.account.left_out

    @property
    def coverage(self) -> str:
        """How much of the products is charged; of the twin too, where that is another share."""
        told = self.account.line()
        if percent(self.twin_account.share) != percent(self.account.share):
            told += f"; of the twin: {self.twin_account.line()}"
        if self.ann_account is not None:
            told += f"; of the network to compare with: {self.ann_account.line()}"
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data, ready for JSON."""
        names = ("machine", "time_steps", "bits", "ann_pj", "ratio", "rate", "breakeven_rate")
        return {
            **{name: getattr(self, name) for name in (*names, "wins")},
            "rows": self.frame.to_dicts(),
            **self.account.to_dict(),
            "twin_account": self.twin_account.to_dict(),
            "ann_account": None if self.ann_account is None else self.ann_account.to_dict(),
            "coverage": self.coverage,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "assumed": list(self.assumed),
        }

    def page(self) -> Page:
        """Return what is shown: a row for each layer, what is left out, and the lines of it."""
        title = "a spiking network and its quantized twin"
        sheets = (Sheet(self.frame, _COLUMNS), *left_out_sheets(self.account))
        return Page(sheets, title, notes=(*self.lines(), self.coverage), warnings=self.warnings)


def breakeven(
    snn: Trace | str | os.PathLike[str],
    ann: Trace | str | os.PathLike[str] | None = None,
    *,
    machine: str | os.PathLike[str] | Machine = TWIN_MACHINE,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    spikes: str = "binary",
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Breakeven:
    """Compare a spiking network with its quantized twin, layer by layer and as a whole.

    The twin has the same layers, runs them once a sample on dense activations of ceil(log2(T + 1))
    bits, and has no neurons with a state.

    Args:
        snn: the trace of the spiking network, or its directory: inference in eval mode.
        ann: the trace of another network, whose energy on the machine stands beside.
        machine: a machine that charges both, see `load_machine`.
        where: filters of both, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, in both; see `Trace.assuming`.
        spikes: what a spike tensor may hold, in both.
        samples: how many samples of the spiking network there are in all, or "per-call"; by default
            as recorded.
        batch: samples in a batch of it; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: the machine charges nothing of the twin, or only trains.
        TraceError: samples or time steps are not known, or spikes were not measured.
    """
    made = load_machine(machine)
    if made.machine.scope != "forward":
        raise ConfigError("a comparison with the twin is of inference: the machine's is training")
    snn = narrowed(snn, assume=assume)
    asked: dict[str, Any] = {"where": where, "spikes": spikes}
    actions = counted_of(snn, [made], samples=samples, batch=batch, time_steps=time_steps, **asked)
    path, sampled = actions.part.path, actions.tables.samples
    steps = sampled.time_steps
    if not sampled.samples or not steps:
        unknown = [
            *([] if sampled.samples else ["samples (--samples or --batch, samples=)"]),
            *([] if steps else ["time steps (--time-steps, time_steps=)"]),
        ]
        no_neurons = "" if neurons_of(actions.part).height else " No neurons are known in it."
        raise TraceError(f"{path}: unknown, so tell them: {listed(unknown)}.{no_neurons}")
    bits = twin_bits(steps)
    told = _by_module(actions)
    lower = twin_of(made, bits)
    twin = Actions(told.part, TwinTables(told.tables, steps), told.part)
    behind = _behind(told.part)
    energies = _energies(told, made, behind)
    others = _energies(twin, lower, behind)
    if not others["energy_pj"].sum():
        raise ConfigError(
            f"machine {made.machine.name} charges nothing of the quantized twin: it has no price "
            "of multiply-accumulates or of the weights they read"
        )
    frame = _frame(energies, others, _rates(told.tables, behind), sampled.samples)
    beside = None if ann is None else _of_ann(narrowed(ann, assume=assume), lower, asked)
    report = _report(told, made).of(snn)
    return Breakeven(
        frame=frame,
        machine=made.machine.name,
        time_steps=steps,
        bits=bits,
        account=report.account,
        twin_account=account(twin, lower, twin.on(lower)),
        ann_pj=beside.per_sample_pj if beside else None,
        ann_account=beside.account if beside else None,
        notes=tuple(_notes(made, steps)),
        warnings=(*report.warnings, *(_beside(beside, report) if beside else ())),
        assumed=tuple(dict.fromkeys((*report.assumed, *(beside.assumed if beside else ())))),
    )


def _by_module(actions: Actions) -> Actions:
    """Return the actions with modules and what filters name told apart, and not steps."""
    return actions.by(())


def _of_ann(ann: Trace, machine: Machine, asked: Mapping[str, Any]) -> EnergyReport:
    """Return the estimate of a network at the widths of the twin."""
    actions = counted_of(ann, [machine], **asked)
    actions.tables.network = "twin"  # it is charged as one
    if not actions.tables.samples.samples:
        raise TraceError(f"{actions.part.path}: the number of samples is not known")
    return _report(actions, machine).of(ann)


def _report(actions: Actions, machine: Machine) -> EnergyReport:
    """Return the estimate of a network on a machine."""
    charged = account(actions, machine, actions.on(machine))
    return report_of(actions, machine, charged, revision=SOURCE)


def _beside(ann: EnergyReport, snn: EnergyReport) -> Iterator[str]:
    """Yield the warnings of the network to compare with that are not of the spiking one too."""
    for text in ann.warnings:
        if text in ann.assumed and text not in snn.warnings:
            yield text
        elif text not in snn.warnings:
            yield f"the network to compare with: {text}"


def _behind(part: Trace) -> pl.DataFrame:
    """Return `MODULE` and `layer` (path): of each layer, and of each neuron that it feeds."""
    layers, neurons = layers_of(part), neurons_of(part)
    own = layers.select(*MODULE, layer="module")
    if neurons.is_empty() or layers.is_empty():
        return own
    pairs = neurons_behind(part, layer_calls(part, layers), neuron_calls(part, neurons))
    fed = (
        pairs.filter("last")
        .join(layers.select("rank", layer="module_id", path="module"), on=["rank", "layer"])
        .select("rank", module_id="neuron", layer="path")
    )
    return pl.concat([own, fed]).unique(MODULE, keep="first", maintain_order=True)


def _energies(actions: Actions, machine: Machine, behind: pl.DataFrame) -> pl.DataFrame:
    """Return `layer`, `spikes` (whether it grows with them) and `energy_pj`, of all samples."""
    tables = [pl.DataFrame(schema=_PARTS)]
    for name, counted in actions.on(machine).items():
        term = machine.term[name]
        if counted.unknown:
            needs = listed([QUANTITIES[each].needs for each in term.quantity])
            raise TraceError(
                f"{actions.part.path}: {' and '.join(term.quantity)} of term {name!r} was not "
                f"recorded: it needs {needs}"
            )
        for quantity in term.quantity:
            rows = actions.rows(quantity, asked_of(term, machine)).filter(pl.col("count") > 0)
            prices = [price_pj(term, machine, at) for at in rows[CAPACITY]]
            energy = pl.Series(prices, dtype=pl.Float64) * rows["count"]
            placed = rows.with_columns(
                energy_pj=energy, spikes=_grows(quantity, rows.columns)
            ).join(behind, on=list(MODULE), how="left", nulls_equal=True, maintain_order="left")
            tables.append(placed.select(pl.col(n).cast(kind) for n, kind in _PARTS.items()))
    return pl.concat(tables).with_columns(pl.col("layer").fill_null(OTHERS))


def _grows(quantity: str, columns: Sequence[str]) -> pl.Expr:
    """Return whether rows of a quantity are driven by spikes."""
    each = QUANTITIES[quantity]
    if not each.spikes or each.source not in ("calls", "layers"):
        return pl.lit(each.spikes)
    return pl.col("driven") if "driven" in columns else pl.lit(False)


def _rates(tables: Tables, behind: pl.DataFrame) -> pl.DataFrame:
    """Return `layer`, `rate` and `dense` (MACs) of the layers with spikes as input, in order."""
    rows = tables.of("layers").filter("driven")
    return (
        rows.join(behind, on=list(MODULE), maintain_order="left")
        .group_by("layer", maintain_order=True)
        .agg(
            rate=pl.col("spikes_in").sum() / pl.col("activation_reads").sum(),
            dense=pl.col("weight_reads_dense").sum(),
        )
    )


def _frame(
    energies: pl.DataFrame, others: pl.DataFrame, rates: pl.DataFrame, samples: int
) -> pl.DataFrame:
    """Return the rows of a comparison, per sample."""
    grown = added_up(pl.col("energy_pj").filter(pl.col("spikes")))
    own = energies.group_by("layer", maintain_order=True).agg(
        added_up(pl.col("energy_pj")), grown=grown
    )
    twin = others.group_by("layer", maintain_order=True).agg(twin_pj=added_up(pl.col("energy_pj")))
    rows = own.join(twin, on="layer", how="full", coalesce=True, maintain_order="left_right")
    rows = rows.join(rates, on="layer", how="left", maintain_order="left").with_columns(
        pl.col("energy_pj", "grown", "twin_pj").fill_null(0.0) / samples
    )
    dense = float(rates["dense"].sum())
    mean = float((rates["rate"] * rates["dense"]).sum()) / dense if dense else None
    sums = rows.select(pl.col("energy_pj", "grown", "twin_pj").sum())
    whole = sums.with_columns(layer=pl.lit(GLOBAL), rate=pl.lit(mean, pl.Float64))
    names = ("layer", "energy_pj", "twin_pj", "grown", "rate")
    ordered = rows.sort(pl.col("layer") == OTHERS, maintain_order=True)
    both = pl.concat([whole.select(names), ordered.select(names)])
    meet = pl.col("rate") * (pl.col("twin_pj") - pl.col("energy_pj") + pl.col("grown"))
    lowest = (meet / pl.col("grown")).clip(lower_bound=0)  # no rate is below 0: it never wins
    found = both.with_columns(
        ratio=pl.when(pl.col("twin_pj") > 0).then(pl.col("energy_pj") / pl.col("twin_pj")),
        breakeven_rate=pl.when((pl.col("grown") > 0) & (pl.col("rate") > 0)).then(lowest),
    )
    verdicts = [_verdict(row) for row in found.iter_rows(named=True)]
    if mean is None:
        verdicts[0] = "none of its layers takes spikes, so there is nothing to compare"
    return found.select(
        "layer", "energy_pj", "twin_pj", "ratio", "rate", "breakeven_rate",
        verdict=pl.Series(verdicts, dtype=pl.String),
    )  # fmt: skip


def _verdict(row: Mapping[str, Any]) -> str:
    rate, meet, ratio = row["rate"], row["breakeven_rate"], row["ratio"]
    if ratio is None:
        return "the twin has no such work"
    told = (
        f"{'wins' if ratio < 1 else 'loses' if ratio > 1 else 'breaks even'}: {ratio_text(ratio)}"
    )
    told += " times the twin's energy"
    if rate is None:
        return f"{told}; its input is no spikes"
    if meet is None:
        return f"{told}; no spike entered it"
    if not meet:
        return f"{told} at {share_text(rate)}; there is no rate at which it wins"
    bound = "" if meet <= 1 else ", which is at any rate"
    return f"{told} at {share_text(rate)}; it wins below {share_text(meet)}{bound}"


def _notes(machine: Machine, steps: int) -> list[str]:
    found = []
    flat = [
        term.name
        for term in machine.term.values()
        if term.bits is None
        and term.network != "recorded"
        and {"macs", "flops", "dense_macs", "effective_macs"} & set(term.quantity)
    ]
    if flat:
        found.append(
            f"{listed(flat)} of machine {machine.machine.name} does not know its bits: the twin is "
            "charged at full width"
        )
    if steps == 1:
        found.append("one time step: the twin's activations have one bit")
    if machine.machine.leaves_out:
        found.append(f"not in these energies: {', '.join(machine.machine.leaves_out)}")
    return found
