"""What the demo shows of its two traces: firing rates, and spiking beside ReLU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..analyzers.answers.page import Column, Page, Sheet
from ..analyzers.text import plain
from ..analyzers.units import bar, count_text, energy_text, ratio_text, share_text
from . import tables, terminal

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Trace
    from ..analyzers.energy.report import EnergyReport

REGIMES = ("fp32", "fp16", "int8")
OTHERS = {
    "simple": "label=inference",
    "lemaire": "label=inference",
    "neuromc": "label=training",
    "spikesim": "label=inference",
}
"""The other estimators, and the part of the demo's traces that each speaks of."""


def firing(spiking: Trace, relu: Trace) -> str:
    """Return a table of each neuron layer's firing rate beside what ReLU lets through.

    The rate is spikes by neuron and time step: nonzero elements over elements of the layer's
    outputs, as the trace has them.
    """
    import polars as pl

    neurons = spiking.modules.filter(pl.col("neuron").is_not_null())["path"].to_list()
    rates = outputs(spiking, neurons)
    let_through = outputs(relu, neurons).select("path", through="rate")
    frame = rates.join(let_through, on="path", how="left", maintain_order="left").with_columns(
        bar=pl.col("rate").map_elements(bar, return_dtype=pl.String)
    )
    columns = (
        Column("path", "layer", left=True, style="bold"),
        Column("neurons", "neurons", count_text),
        Column("spikes", "spikes an image", count_text),
        Column("rate", "firing rate", share_text),
        Column("bar", "", left=True, style="cyan", optional=1),
        Column("through", "ReLU: not zero", share_text),
    )
    return tables.written(Page((Sheet(frame, columns),)), "table")


def outputs(trace: Trace, paths: list[str]) -> pl.DataFrame:
    """Return how full the outputs of some modules are, from the trace alone.

    Args:
        trace: modules' calls with inputs of shape (time, batch, ...).
        paths: the modules.

    Returns:
        `path`, `neurons` (elements of one picture and time step), `spikes` (nonzero elements of
        one picture over all time steps) and `rate` (nonzero share of all elements), in the order
        of the calls.
    """
    import polars as pl

    from ..analyzers.trace.files import collected

    calls = collected(
        trace.module_calls.join(trace.modules.lazy().select("module_id", "path"), on="module_id")
        .filter(pl.col("path").is_in(paths))
        .select("module_call_id", "path", out=pl.col("outputs").list.first())
        .unnest("out")
        .join(trace.values.select("value_id", "numel", "nonzero"), on="value_id")
        .sort("module_call_id"),
        trace,
        engine="auto",
    )
    time, batch = pl.col("shape").list.get(0), pl.col("shape").list.get(1)
    return calls.select(
        "path",
        neurons=pl.col("numel") // (time * batch),
        spikes=pl.col("nonzero") / batch,
        rate=pl.col("nonzero") / pl.col("numel"),
    )


def energies(spiking: Trace, relu: Trace, accuracy: dict[str, float]) -> str:
    """Return one image's counts and compute energy in three regimes, spiking beside ReLU."""
    from ..analyzers import count
    from ..analyzers.energy import estimate_compute
    from ..schemas.costs import load_config

    pair = (spiking, relu)
    images = [batch(trace) for trace in pair]
    totals = [count(trace, by="total").total for trace in pair]
    rows = [_row("accuracy", [accuracy["spiking"], accuracy["relu"]], share_text)]
    for name, title in (("flops", "FLOP"), ("macs", "MAC"), ("acs", "AC"), ("synops", "SynOp")):
        figures = [_each(total[name], n) for total, n in zip(totals, images, strict=True)]
        rows.append(_row(f"{title} an image", figures, count_text))
    told = ""
    for regime in REGIMES:
        config: Any = load_config("compute", preset=regime)
        reports = [estimate_compute(trace, config) for trace in pair]
        figures = [r.total_pj / n for r, n in zip(reports, images, strict=True)]
        title = f"compute energy, {regime} ({config.e_mac_pj} pJ a MAC, {config.e_ac_pj} an AC)"
        rows.append(_row(title, figures, energy_text))
        coverage = f"\n{plain(reports[0].coverage)}\n" if reports[0].coverage else ""
        told = coverage + _warnings(reports)  # the same in every regime
    head = "\nOne image: the spiking network beside the same network with ReLU\n\n"
    return head + _beside(rows, "") + told


def others(spiking: Trace, relu: Trace) -> str:
    """Return a table for every other estimator, each on its own: they speak of other machines."""
    from ..analyzers import energy
    from ..schemas.errors import OpjouleError

    parts = []
    for name, part in OTHERS.items():
        estimate = getattr(energy, f"estimate_{name}", None)
        if estimate is None:
            continue
        try:
            reports = [estimate(trace.where(part)) for trace in (spiking, relu)]
        except OpjouleError as error:
            parts.append(f"\n{name}: {plain(str(error))}\n")
            continue
        parts.append(_estimate(reports))
    return "".join(parts)


def batch(trace: Trace) -> int:
    """Return the number of samples of the largest root call of a trace; 1 if it does not tell."""
    import polars as pl

    from ..analyzers.trace.files import collected

    roots = trace.module_calls.filter(pl.col("parent_call_id").is_null())
    found = collected(roots.select(pl.col("batch").max()), trace, engine="auto").item()
    return int(found or 1)


def _estimate(reports: list[EnergyReport]) -> str:
    scope = reports[0].scope
    each = [report.samples or 1 for report in reports]
    rows = []
    for part in dict.fromkeys(name for report in reports for name in report.breakdown_pj):
        figures = [r.breakdown_pj.get(part, 0.0) / n for r, n in zip(reports, each, strict=True)]
        rows.append(_row(part.removesuffix("_pj").replace("_", " "), figures, energy_text))
    totals = [r.total_pj / n for r, n in zip(reports, each, strict=True)]
    rows.append(_row("total", totals, energy_text))
    what = "an image" if reports[0].samples else "the recorded run"
    return (
        f"\n{scope.title}, revision {reports[0].revision}: {', '.join(scope.stages)}, {what}\n"
        f"{scope.technology}; leaves out {scope.leaves_out}\n\n"
        + _beside(rows, "")
        + _warnings(reports)
    )


def _warnings(reports: list[EnergyReport]) -> str:
    """Return what a reader of two estimates has to know, each once, under a blank line."""
    spiking, relu = (report.warnings for report in reports)
    lines = []
    for text in dict.fromkeys((*spiking, *relu)):
        whose = (
            ""
            if text in spiking and text in relu
            else ("the spiking network: " if text in spiking else "the ReLU network: ")
        )
        lines.append(terminal.wrapped(f"warning: {whose}{plain(text)}"))
    return "".join(["\n", *lines]) if lines else ""


def _each(total: int | None, samples: int) -> float | None:
    """Return a total by sample; None if it is not known."""
    return None if total is None else total / samples


def _row(
    what: str, figures: Sequence[float | None], show: Callable[[Any], str]
) -> tuple[str, str, str, str]:
    spiking, relu = figures
    ratio = ratio_text(spiking / relu) if relu and spiking is not None else ""
    return what, show(spiking), show(relu), ratio


def _beside(rows: list[tuple[str, str, str, str]], title: str) -> str:
    import polars as pl

    frame = pl.DataFrame(rows, schema=["what", "spiking", "relu", "ratio"], orient="row")
    columns = (
        Column("what", title, left=True, style="bold"),
        Column("spiking", "spiking"),
        Column("relu", "ReLU"),
        Column("ratio", "spiking / ReLU"),
    )
    return tables.written(Page((Sheet(frame, columns),)), "table")
