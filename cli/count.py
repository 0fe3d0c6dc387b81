"""`opjoule count` and `opjoule coverage`: the five counters, and how far they reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import bar, bytes_text, count_text, ratio_text, share_text
from . import reading, tables, terminal, tree
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Counts, Coverage, Trace

KEYS = ("total", "module", "op", "stage", "label", "step", "sample", "rank")
COUNTERS = ("flops", "bytes", "synops", "macs", "acs")
RULES = ("full", "torch", "spikingjelly-2.0", "spikingjelly-2026-08")
SPIKES = ("binary", "ternary", "scaled", "graded", "none")

_FIGURES = (
    Column("calls", "calls", count_text, optional=5),
    Column("flops", "FLOP", count_text),
    Column("bytes", "bytes", bytes_text, optional=3),
    Column("synops", "SynOp", count_text),
    Column("macs", "MAC", count_text, optional=2),
    Column("acs", "AC", count_text, optional=1),
    Column("intensity", "FLOP/B", ratio_text, optional=6),
)


@click.command(short_help="FLOPs, bytes, SynOps, MACs and ACs, by module or otherwise.")
@reading.reads_trace
@reading.groups(
    *KEYS,
    default=("module",),
    show_default="module",
    help="One row for each; several keys together give one row for each combination.",
)
@reading.rolls_up
@reading.narrows
@click.option(
    "--rules",
    type=click.Choice(RULES),
    default="full",
    show_default=True,
    help="Counting rules to use.",
)
@click.option(
    "--spikes",
    type=click.Choice(SPIKES),
    default="binary",
    show_default=True,
    help="What a spike tensor may hold: {0,1}, {-1,0,1}, {0,a}, whole numbers, or none at all.",
)
@click.option("--strict", is_flag=True, help="Refuse a trace with ops that no rule covers.")
@click.option(
    "--share",
    type=click.Choice(COUNTERS),
    default="flops",
    show_default=True,
    help="The counter that shares and bars speak of.",
)
@reading.divides()
@reading.samples
@reading.answers(*tables.FORMATS)
def count(
    trace: Path,
    by: tuple[str, ...],
    rules: str,
    spikes: str,
    strict: bool,
    share: str,
    kind: str,
    output: Path | None,
    exclusive: bool,
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
    per: str | None,
    **options: Any,
) -> None:
    """Count the calls of TRACE.

    A module's figures include its submodules'; Global is everything. FLOP counts a multiplication
    and an addition as one each, bytes what is read and written, SynOp and AC the additions that
    spikes trigger, MAC the products without spikes.
    """
    from ..analyzers import count as counted

    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    content: str | bytes
    with reading.working("counting"):
        counts = counted(
            opened,
            list(by),
            rules=rules,
            spikes=spikes,
            strict=strict,
            exclusive=exclusive,
            per=per or "total",
            **options,
        )
    for warning in counts.warnings:
        click.echo(f"opjoule: warning: {clean(warning)}", err=True)
    if kind == "json":
        content = tables.as_json(_counts_data(counts, opened, options))
    elif kind in ("csv", "parquet"):
        content = tables.as_data(kind, counts.frame)
    else:
        content = _drawn(counts, by, share, kind)
    _answered(content, kind, counts.coverage.line(), output)


@click.command(short_help="Op by op: counted by rule, by class, free, or not at all.")
@reading.reads_trace
@reading.narrows
@click.option(
    "--rules",
    type=click.Choice(RULES),
    default="full",
    show_default=True,
    help="Counting rules to use.",
)
@reading.answers(*tables.FORMATS)
def coverage(
    trace: Path,
    rules: str,
    kind: str,
    output: Path | None,
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
) -> None:
    """Tell for each op of TRACE how it was counted: how far the figures can be trusted.

    "operands + results" is their size, dense, whatever the rules say: of views too, which move
    none of it. What the rules count as bytes: opjoule count TRACE --by op.
    """
    from ..analyzers import coverage as covered

    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    found = covered(opened, rules=rules)
    columns = (
        Column("op", "op", left=True),
        Column("how", "counted", left=True),
        Column("calls", "calls", count_text),
        Column("bytes", "operands + results", bytes_text),
    )
    content: str | bytes
    if kind == "json":
        content = tables.as_json(coverage_data(found) | {"rules": rules, "rows": found.frame})
    elif kind in ("csv", "parquet"):
        content = tables.as_data(kind, found.frame)
    else:
        content = tables.as_text(kind, found.frame, columns)
    _answered(content, kind, found.line(), output)


def coverage_data(found: Coverage) -> dict[str, Any]:
    """Return a coverage as plain data: its line, its shares, and that of the products."""
    return {"line": found.line(), "shares": found.shares, "macs_share": found.macs_share}


def _answered(content: str | bytes, kind: str, line: str, output: Path | None) -> None:
    """Write a result with its coverage line: under a table, inside JSON, else on stderr."""
    if kind == "table" and isinstance(content, str):
        content += f"\n{terminal.wrapped(clean(line))}"
    elif kind != "json":
        terminal.say(line)
    tables.answer(content, output)


def _counts_data(counts: Counts, trace: Trace, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts as plain data: of everything, and of one sample as far as that is known."""
    from ..analyzers.workload.divisors import number_of
    from ..analyzers.workload.samples import regrouped, samples_of

    given = {name: options[name] for name in ("samples", "batch", "time_steps")}
    sampled = counts.sampled or samples_of(regrouped(trace, given["samples"]), **given)
    samples, steps = number_of(sampled, "sample"), number_of(sampled, "step")
    return {
        "rules": counts.rules,
        "spikes": counts.spikes,
        "coverage": coverage_data(counts.coverage),
        "per": counts.per,
        "samples": samples,
        "steps": steps,
        "batch_from": sampled.batch_from,
        "total": counts.total,
        "per_sample": {
            name: value / samples if samples and value is not None else None
            for name, value in counts.total.items()
        },
        "rows": counts.frame,
    }


def _drawn(counts: Counts, by: tuple[str, ...], share: str, kind: str) -> str:
    """Return counts as people read them: with shares, and modules as a tree."""
    keys = tuple(key for key in by if key != "total")
    frame = with_shares(counts.frame, share, counts.total[share])
    if keys == ("module",):
        frame = as_tree(frame)
    (unit,) = (column.title for column in _FIGURES if column.name == share)
    columns = [
        *(Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys),
        *(replace(column, show=str) for column in _FIGURES),
        Column("share", f"of {unit}", share_text, optional=4),
        *([Column("bar", "", left=True, style="cyan", optional=7)] if kind == "table" else []),
    ]
    return _lead(counts, keys, kind) + tables.as_text(kind, as_texts(frame, counts.per), columns)


def _lead(counts: Counts, keys: tuple[str, ...], kind: str) -> str:
    """Return the lines over a table that say what its figures speak of; none for the total."""
    if counts.sampled is None:
        return ""
    from ..analyzers.workload.divisors import per_text, spread_text

    lines = [per_text(counts.sampled, counts.per, keys)]
    if "flops_std" in counts.frame.columns:
        lines.append(spread_text(counts.sampled, counts.per))
    return tables.lines(lines, kind) + "\n"


def as_texts(frame: pl.DataFrame, per: str = "total") -> pl.DataFrame:
    """Return the figures of counts as people read them, lower bounds with a sign.

    Of one sample or step, where they are divided; with their deviation, where there is one.

    FLOP by byte is a lower bound if FLOP is one, an upper bound if bytes are, and of what is known
    only if both are.
    """
    import polars as pl

    bounds = [set((text or "").split()) for text in frame["at_least"]]
    texts = {}
    for column in _FIGURES:
        name = f"{column.name}_per_{per}"
        values = frame[name if name in frame.columns else column.name]
        deviation = f"{column.name}_std"
        spread = frame[deviation] if deviation in frame.columns else [None] * frame.height
        texts[column.name] = [
            column.show(value)
            if value is None
            else _sign(column.name, bound)
            + column.show(value)
            + ("" if std is None else f" ± {column.show(std)}")
            for value, bound, std in zip(values, bounds, spread, strict=True)
        ]
    return frame.with_columns(pl.Series(n, t, dtype=pl.String) for n, t in texts.items())


def _sign(figure: str, at_least: set[str]) -> str:
    if figure == "intensity":
        ratio = {(True, False): "≥ ", (False, True): "≤ ", (True, True): "~ "}
        return ratio.get(("flops" in at_least, "bytes" in at_least), "")
    return "≥ " if figure in at_least else ""


def with_shares(frame: pl.DataFrame, figure: str, whole: float | None) -> pl.DataFrame:
    """Add each row's share of `whole`, null if either is unknown, and a bar that shows it."""
    import polars as pl

    shares = [
        None if value is None or whole is None else value / whole if whole else 0.0
        for value in frame[figure]
    ]

    return frame.with_columns(
        pl.Series("share", shares, dtype=pl.Float64),
        pl.Series("bar", [bar(each) for each in shares], dtype=pl.String),
    )


def as_tree(frame: pl.DataFrame) -> pl.DataFrame:
    """Order the rows of distinct modules as a tree and draw it in the column `module`."""
    import polars as pl

    names = ["(no module)" if name is None else name for name in frame["module"]]
    order, texts = tree.drawn(names)
    return frame[order].with_columns(pl.Series("module", texts, dtype=pl.String))
