"""Time at the roof: of each call its FLOPs at the peak or its bytes at the bandwidth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.roofs import Roof, load_roof
from ...schemas.several import texts
from ...schemas.spelling import meant
from ..answers.page import Page
from ..answers.result import Result
from ..answers.rows import Words, asked, no_words
from ..checking.figures import rate
from ..counting.count import BY, columns_of
from ..counting.coverage import Coverage, covered
from ..counting.evaluate import tally
from ..frames import added_up
from ..rules import OpRule, rule_set
from ..text import number
from ..trace.trace import Trace, narrowed
from ..units import count_text
from ..workload.divisors import whole_text
from ..workload.module_facts import in_words, with_classes
from ..workload.modules import rolled_up, scopes_of, with_paths
from ..workload.precisions import precisions_of
from ..workload.samples import Samples, samples_of, unknown_samples
from .page import roofline_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8")
"""What `precision` may be."""

_SUMS = ("calls", "flops", "bytes", "compute_s", "memory_s", "time_s", "memory_bound_s", "unknown")


@dataclass(frozen=True, repr=False, eq=False)
class Roofline(Result):
    """What a device needs at least for a trace.

    Attributes:
        frame: the key columns, `calls`, `flops`, `bytes`, `intensity` (FLOP by byte), `compute_s`
            (FLOPs at the peak), `memory_s` (bytes at the bandwidth), `time_s` (of each call the
            longer of the two, added up), `bound` (compute or memory: where most of this time is),
            `bound_share` (how much of it), `share` (of the whole time) and `unknown` (calls whose
            time is not known). Times are in seconds; null: not known.
        total: the same of everything.
        roof: the device.
        precisions: what the calls compute in.
        coverage: how far the counts reach.
        notes: what is not in the times.
        modules: tells what stands beside a module, see `module_facts.in_words`.
        filters: what narrowed the trace.
        samples_of_trace: finds the samples that the times are of.
    """

    frame: pl.DataFrame
    total: Mapping[str, Any]
    roof: Roof
    precisions: tuple[str, ...]
    coverage: Coverage
    notes: tuple[str, ...]
    modules: Words = field(default=no_words, compare=False)
    filters: tuple[str, ...] = ()
    samples_of_trace: Callable[[], Samples] = field(default=unknown_samples, compare=False)

    def span(self) -> str:
        """Return what the times are of, in words: never of one sample, all calls are added up."""
        narrowed_by = f", narrowed by {', '.join(self.filters)}" if self.filters else ""
        return f"times {whole_text(self.samples_of_trace())}{narrowed_by}"

    @property
    def device(self) -> str:
        """The device in one line: the peaks that are used, its bandwidth, and their source."""
        peaks = ", ".join(
            f"{name} {count_text(peak, 'FLOP/s')} (compute bound from "
            f"{peak / self.roof.bytes_per_s:.3g} FLOP/B)"
            for name in self.precisions
            if (peak := self.roof.peak_per_s(name)) is not None
        )
        bandwidth = count_text(self.roof.bytes_per_s, "B/s")
        return f"{self.roof.title}: {bandwidth}; {peaks}; {self.roof.source}"

    def to_dict(self) -> dict[str, Any]:
        """Return the roofline as plain data, ready for JSON."""
        return {
            "roof": self.roof.model_dump(),
            "precisions": list(self.precisions),
            "samples": self.samples_of_trace().samples,
            "total": dict(self.total),
            "rows": self.frame.to_dicts(),
            "coverage": self.coverage.line(),
            "assumed": [],
            "warnings": list(self.warnings),
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not in the times."""
        return self.notes

    def page(self, **rows: Any) -> Page:
        """Return what is shown.

        Args:
            **rows: `wide`, `depth`, `sort` and `top`, see `answers.rows.Rows`.
        """
        return roofline_page(self, asked(**rows))

    def plot(self, *, labels: int = 6, width: float | None = None) -> Figure:
        """Return a picture: points under the roofs of the device, as large as their share of time.

        A point is a row; of modules, one without others below it.

        Args:
            labels: so many points carry their names, those that take longest.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed.
            ConfigError: no such width.
        """
        from ..plotting.rooflines import roofline_figure

        return roofline_figure(self, labels=labels, width=width)


def roofline(
    trace: Trace | str | os.PathLike[str],
    by: str | Sequence[str] = "module",
    *,
    device: str | os.PathLike[str] | Roof | None = None,
    peak: str | float | None = None,
    bandwidth: str | float | None = None,
    precision: str | None = None,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    rules: str = "full",
    extra_rules: Iterable[OpRule] = (),
    exclusive: bool = False,
) -> Roofline:
    """Return the time that a device needs at least for the calls of a trace.

    Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
    multicore architectures", CACM 52(4), 2009: of each call max(FLOP / peak, bytes / bandwidth).

    Args:
        trace: the trace, or its directory.
        by: of `counting.count.BY`: one or several.
        device: one of `schemas.roofs.roof_names`, a TOML file, or a `Roof`.
        peak: instead of a device, FLOP a second: 989e12 or "989T".
        bandwidth: instead of a device, bytes a second: 3.35e12 or "3.35T".
        precision: of `PRECISIONS`, what everything is to compute in; None: the types of the
            operands. Bytes stay those of the types that were recorded.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured; times follow from shapes alone.
        rules: the rule set.
        extra_rules: rules of your own, asked before the built-in ones.
        exclusive: by module: each module's own calls.

    Raises:
        ConfigError: a device, rate, precision, key, rule set or filter that means nothing.
        TraceError: the trace cannot be read.
    """
    roof = _roof(device, peak, bandwidth)
    _check_precision(precision, roof)
    keys = _keys(by)
    trace = narrowed(trace, where, assume)
    counted = tally(trace, rule_set(rules, extra_rules), columns_of(keys))
    timed = _timed(counted, precisions_of(trace), roof, precision)
    whole = _summed(timed, ()).row(0, named=True)
    rows = with_classes(trace, timed) if "class" in keys else timed
    if "module" in keys:
        rows = rolled_up(with_paths(trace, rows), scopes_of(trace), exclusive=exclusive)
    share = pl.col("time_s") / (whole["time_s"] or None)
    frame = _summed(rows, keys).with_columns(share=share).select(pl.exclude("unknown"), "unknown")
    return Roofline(
        frame=frame,
        total=whole,
        roof=roof,
        precisions=tuple(timed.filter(pl.col("flops") > 0)["precision"].unique().sort()),
        coverage=covered(trace, counted),
        notes=(*filter(None, [trace.left_out]), *_unmoved(trace), *_notes(timed, roof)),
        modules=partial(in_words, trace.whole),
        filters=trace.filters,
        samples_of_trace=partial(samples_of, trace),
    )


def _roof(
    device: str | os.PathLike[str] | Roof | None,
    peak: str | float | None,
    bandwidth: str | float | None,
) -> Roof:
    if device is not None and (peak is not None or bandwidth is not None):
        raise ConfigError("a device has its peak and bandwidth: tell the device, or these two")
    if isinstance(device, Roof):
        return device
    if device is not None:
        return load_roof(device)
    if peak is None or bandwidth is None:
        raise ConfigError(
            'a roofline needs a device ("h100"), or peak and bandwidth: --device, or --peak and '
            "--bandwidth (device=, peak=, bandwidth=)"
        )
    return Roof(
        title="a device",
        source="peak and bandwidth as told",
        bytes_per_s=rate("bandwidth", bandwidth, "B/s"),
        peaks_per_s={"any": rate("peak", peak, "FLOP/s")},
    )


def _check_precision(precision: str | None, roof: Roof) -> None:
    if precision is None:
        return
    if precision not in PRECISIONS:
        raise ConfigError(
            f"unknown precision {precision!r}: {meant(precision, PRECISIONS)}choose from "
            f"{', '.join(PRECISIONS)}"
        )
    if roof.peak_per_s(precision) is None:
        known = ", ".join(roof.peaks_per_s)
        raise ConfigError(f"{roof.title} has no peak for {precision}: there are {known}")


def _keys(by: str | Sequence[str]) -> list[str]:
    keys = texts(by)
    for key in keys:
        if key not in BY:
            hint = f"{meant(key, BY)}expected some of {', '.join(BY)}"
            raise ConfigError(f"unknown by={key!r}: {hint}")
    return [key for key in dict.fromkeys(keys) if key != "total"]


def _timed(
    counted: pl.DataFrame, precisions: pl.DataFrame, roof: Roof, precision: str | None
) -> pl.DataFrame:
    """Add the times of rows of equal calls; null where a count or the peak is not known."""
    rows = counted.join(precisions, on=["rank", "signature_id"], how="left", maintain_order="left")
    if precision is not None:
        rows = rows.with_columns(precision=pl.lit(precision))
    peaks = {name: roof.peak_per_s(name) for name in rows["precision"].unique()}
    peak = pl.col("precision").replace_strict(peaks, return_dtype=pl.Float64)
    compute = pl.when(pl.col("flops") == 0).then(0.0).otherwise(pl.col("flops") / peak)
    longer = pl.max_horizontal("compute_s", "memory_s")
    both = pl.col("compute_s").is_not_null() & pl.col("memory_s").is_not_null()
    return (
        rows.sort("rank", "first_seq", maintain_order=True)  # floats are added up in one order
        .with_columns(compute_s=compute, memory_s=pl.col("bytes") / roof.bytes_per_s)
        .with_columns(time_s=pl.when(both).then(longer))
        .with_columns(
            memory_bound_s=pl.when(pl.col("memory_s") > pl.col("compute_s")).then("time_s"),
            unknown=pl.when(pl.col("time_s").is_null()).then("calls").otherwise(pl.lit(0)),
        )
    )


def _summed(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Add up by the keys: modules as in the tree, else what takes longest first."""
    sums = [
        pl.when(pl.col(name).count() > 0).then(total).alias(name)
        if name not in ("calls", "memory_bound_s", "unknown")
        else total
        for name in _SUMS
        for total in [added_up(pl.col(name)) if name.endswith("_s") else pl.col(name).sum()]
    ]
    if keys:
        place = [pl.col("place").first()] if "module" in keys else []
        grouped = rows.group_by(keys, maintain_order=True).agg(*sums, *place)
        order = ["place"] if "module" in keys else []
        frame = grouped.sort(*order, -pl.col("time_s"), *keys, nulls_last=True)
    else:
        frame = rows.select(sums)
    # Beside calls of unknown time, free ones alone tell no time.
    known = (pl.col("time_s") > 0) | (pl.col("unknown") == 0)
    share = pl.col("memory_bound_s") / pl.col("time_s")
    return (
        frame.with_columns(time_s=pl.when(known).then("time_s"))
        .with_columns(
            intensity=pl.when(pl.col("bytes") > 0).then(pl.col("flops") / pl.col("bytes")),
            share_of_memory=pl.when(pl.col("time_s") > 0).then(share),
        )
        .select(
            *keys,
            *("calls", "flops", "bytes", "intensity", "compute_s", "memory_s", "time_s"),
            bound=pl.when(pl.col("share_of_memory") > 0.5)
            .then(pl.lit("memory"))
            .when(pl.col("share_of_memory").is_not_null())
            .then(pl.lit("compute")),
            bound_share=pl.max_horizontal(pl.col("share_of_memory"), 1 - pl.col("share_of_memory")),
            unknown="unknown",
        )
    )


def _unmoved(trace: Trace) -> Iterable[str]:
    if trace.assumed:
        yield "times follow from shapes: what is assumed of the data changes none of them"


def _notes(timed: pl.DataFrame, roof: Roof) -> Iterable[str]:
    """Yield what is not in the times."""
    lost = timed.filter(pl.col("unknown") > 0)
    without_peak = lost.filter(pl.col("flops").is_not_null() & pl.col("bytes").is_not_null())
    groups = without_peak.group_by("precision").agg(pl.col("unknown").sum()).sort("precision")
    for precision, calls in groups.iter_rows():
        yield (
            f"{number(calls, 'call')} in {precision} without time: {roof.title} has no peak for it"
        )
    rest = int(lost["unknown"].sum()) - int(without_peak["unknown"].sum())
    if rest:
        yield f"{number(rest, 'call')} without time: their FLOPs or bytes are not known"
