"""What figures are divided by, so that they speak of one sample or one step, and their spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError, TraceError
from ..frames import added_up, at_once
from ..text import number as noun
from .samples import OWN, SAMPLE, numbers_of

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from .samples import Samples

_NOISE = 1e-12
"""A deviation below this share of the mean is what floating point leaves of none."""

PER = ("total", "sample", "step")
"""What a figure may speak of: the whole recording, one sample, one step."""


def check_per(per: str) -> None:
    """Refuse a setting of `per` that there is not.

    Raises:
        ConfigError: it is not one of `PER`.
    """
    if per not in PER:
        raise ConfigError(f"unknown per={per!r}: expected one of {', '.join(PER)}")


def number_of(samples: Samples, per: str) -> int | None:
    """Return how many samples or steps there are; 1 for the total; None if it is not known."""
    check_per(per)
    if per == "total":
        return 1
    if per == "sample":
        return samples.samples or None
    return samples.places["step"].n_unique() or None


def known_number(trace: Trace, samples: Samples, per: str) -> int:
    """Return how many samples or steps there are; 1 for the total.

    Raises:
        TraceError: it is not known; says how to tell it.
    """
    number = number_of(samples, per)
    if number is None:
        raise TraceError(
            f"{trace.path}: it is not known how many {per}s there are: give --samples N or "
            "--batch N (samples=, batch=), or ask for --per total"
        )
    return number


def whole_text(samples: Samples) -> str:
    """Return what totals speak of, in words: "of the whole recording (200 samples)"."""
    if not samples.samples:
        return "of the whole recording"
    guessed = samples.told is None and samples.batch_from == "guessed"
    doubt = ", a guess" if guessed else ""
    return f"of the whole recording ({noun(samples.samples, 'sample')}{doubt})"


def per_text(samples: Samples, per: str, keys: Iterable[str] = ()) -> str:
    """Return what figures speak of, in words: "per sample: the whole divided by 200 samples"."""
    number = number_of(samples, per)
    if per == "total" or number is None:
        return "of the whole recording"
    own = any(key in OWN for key in keys)
    whole = f"each row divided by its own of {noun(number, per)}"
    text = f"per {per}: " + (whole if own else f"the whole divided by {noun(number, per)}")
    if per == "sample" and samples.told is None and samples.batch_from == "guessed":
        told = "--batch, --samples correct" if samples.batch else "--samples corrects"
        text += f" (a guess: {told} it)"
    return text


def both_modes(samples: Samples, per: str, keys: Iterable[str] = ()) -> list[str]:
    """Return one sentence if rows with these keys are of evaluation and training together.

    Args:
        samples: what `samples_of` returned.
        per: of `PER`; a total is of everything, and divided by nothing.
        keys: of the rows.
    """
    if per == "total":
        return []
    own = [key for key in dict.fromkeys(keys) if key in OWN]
    return samples.both_modes(f"figures of one {per} are", own)


def spread_text(samples: Samples, per: str) -> str:
    """Return what a deviation is taken over, in words."""
    if per == "step":
        return f"± is the standard deviation over {noun(number_of(samples, per) or 0, per)}"
    runs = samples.completed.height
    batch = samples.batch
    if batch == 1:
        return f"± is the standard deviation over {noun(runs, 'sample')}"
    of = f" of {batch}" if batch else ""
    if runs == 1:
        return f"there is one batch{of}, and so no standard deviation"
    weighted = "" if batch else ", weighted by their sizes"
    return f"± is the standard deviation over the means of {runs} batches{of}{weighted}"


def divisors(samples: Samples, per: str, keys: Iterable[str]) -> pl.DataFrame:
    """Return the samples or steps of rows with these keys.

    A row of a step, label, rank or sample is divided by the samples (steps) that ran there; all
    other rows by those of the whole.

    Args:
        samples: what `samples_of` returned.
        per: "sample" or "step".
        keys: of the rows; keys that samples do not have (module, op, stage) change nothing.

    Returns:
        Those of `keys` that samples have, and `units` (float; null: not known).
    """
    own = [key for key in dict.fromkeys(keys) if key in OWN]
    number = number_of(samples, per)
    if not own:
        return pl.DataFrame({"units": [number]}, schema={"units": pl.Float64})
    if per == "step":
        units = pl.col("step").n_unique()
        of_row = samples.places.lazy().group_by(own).agg(units=units.cast(pl.Float64))
        return at_once(of_row.sort(own))
    each = samples.places.lazy().unique([*SAMPLE, *own])
    known = pl.col("batch").null_count() == 0
    units = pl.when(known & pl.lit(samples.told is None)).then(pl.col("batch").sum())
    if "sample" in own:
        each = each.with_columns(sample="number")
    return at_once(each.group_by(own).agg(units=units.cast(pl.Float64)).sort(own))


def divided(rows: pl.DataFrame, units: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """Return rows with figures divided by their samples or steps, null where these are unknown.

    Args:
        rows: the rows.
        units: what `divisors` returned for the keys of the rows.
        names: figure -> name of the column that holds it divided.
    """
    own = [name for name in units.columns if name != "units"]
    if own:
        kinds = [pl.col(name).cast(rows.schema[name]) for name in own]
        joined = rows.join(
            units.with_columns(kinds), on=own, how="left", nulls_equal=True, maintain_order="left"
        )
    else:
        joined = rows.with_columns(units=pl.lit(units["units"][0], pl.Float64))
    return joined.with_columns(
        (pl.col(figure) / pl.col("units")).alias(name) for figure, name in names.items()
    ).drop("units")


def deviations(
    rows: pl.DataFrame,
    samples: Samples,
    per: str,
    keys: Sequence[str],
    names: Mapping[str, str],
    *,
    of: str | None = None,
    shares: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return the standard deviation of figures over samples or steps.

    Samples of one batch ran together: what is known of each is the mean of its batch. The
    deviation is that of these means, each weighted by its batch, with n - 1 of n in its divisor;
    a row that did not run in a sample has 0 there, and of `shares` nothing at all. A share is of
    something (a rate: of outputs), and has the weight of that, as in the share of everything.

    Args:
        rows: `keys`, the sample or step (null: in none) and the figures.
        samples: what `samples_of` returned.
        per: "sample" or "step".
        keys: what is kept apart.
        names: figure -> name of the column of its deviation.
        of: the column that tells samples or steps apart; by default the one named `per`.
        shares: figures of which the share deviates that they are of another column, such as spikes
            of outputs: figure -> that column. Only samples have one in which the row ran.

    Returns:
        `keys` and the deviations; null where there are fewer than two samples or steps, or where a
        figure is not known.
    """
    of = of or per
    own = [key for key in keys if key in OWN and key != of]
    weights = divisors(samples, per, [*own, of]).lazy()
    weights = weights.cast({name: rows.schema[name] for name in (*own, of)})
    sums = [pl.col("units").sum().alias("all_units"), pl.len().alias("many")]
    found = (
        rows.lazy()
        .filter(pl.col(of).is_not_null())
        .join(weights, on=[*own, of], how="left", nulls_equal=True)
    )
    found = (
        found.join(weights.group_by(own).agg(sums), on=own, how="left", nulls_equal=True)
        if own
        else found.join(weights.select(sums), how="cross")
    ).sort(*keys, of, nulls_last=True)
    if not keys and rows[of].null_count() == rows.height:
        return _nothing(names)
    parts = {figure: (shares or {}).get(figure) for figure in names}
    columns = [_deviation(figure, parts[figure]).alias(name) for figure, name in names.items()]
    means = [_mean(figure, parts[figure]).alias(f"{name}:mean") for figure, name in names.items()]
    spread = (
        found.group_by(list(keys), maintain_order=True).agg(*columns, *means)
        if keys
        else found.select(*columns, *means)
    )
    return at_once(spread.select(*keys, *map(_without_noise, names.values())))


def _without_noise(name: str) -> pl.Expr:
    noise = pl.col(name) <= _NOISE * pl.col(f"{name}:mean").abs()
    return pl.when(noise).then(0.0).otherwise(name).alias(name)


def _units(share_of: str | None) -> pl.Expr:
    """Return what a figure is divided by: all samples, or the column that it is a share of."""
    return pl.col("all_units").first() if share_of is None else added_up(pl.col(share_of))


def _mean(figure: str, share_of: str | None) -> pl.Expr:
    return added_up(pl.col(figure)) / _units(share_of)


@cache
def _deviation(figure: str, share_of: str | None) -> pl.Expr:
    weight, whole, mean = pl.col(share_of or "units"), _units(share_of), _mean(figure, share_of)
    many = (pl.col("many").first() if share_of is None else pl.len()).cast(pl.Float64)
    present = added_up(weight * (pl.col(figure) / weight - mean).pow(2))
    absent = (whole - added_up(weight)).clip(lower_bound=0) * mean.pow(2)
    known = (pl.col(figure).null_count() == 0) & (pl.col("units").null_count() == 0)
    found = ((present + absent) / whole * many / (many - 1)).sqrt()
    return pl.when(known & (many > 1)).then(found)


def _nothing(names: Mapping[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: [None] for name in names.values()},
        schema_overrides=dict.fromkeys(names.values(), pl.Float64),
    )


def with_samples(trace: Trace) -> Trace:
    """Return the trace with `sample` in `calls`: the number of the sample that each is part of.

    Samples of all ranks are numbered from 0. A call inside a module belongs to the sample of the
    module's call, backward work to that of its forward call. What ran outside every module belongs
    to the only sample of its step; if the step has several, or none, to no sample (null).
    """
    numbers = numbers_of(trace)
    each = numbers.lazy().select(*SAMPLE, "number").unique()
    inside = trace.sample_calls.select("rank", "module_call_id", "sample").join(
        each, on=list(SAMPLE)
    )
    alone = _alone(numbers).lazy()
    names = [name for name in trace.calls.collect_schema().names() if name != "sample"]
    calls = (
        trace.calls.select(names)
        .join(inside.drop("sample"), on=["rank", "module_call_id"], how="left")
        .join(alone, on=["rank", "step"], how="left")
        .select(*names, sample=pl.coalesce("number", "only"))
    )
    return trace.with_tables(calls=calls)


def stepped_by_sample(trace: Trace) -> Trace:
    """Return a trace whose steps are its samples: what is told by step is then told by sample."""
    if "stepped by sample" not in trace.own:
        trace.own["stepped by sample"] = _stepped_by_sample(trace)
    found: Trace = trace.own["stepped by sample"]
    return found


def _stepped_by_sample(trace: Trace) -> Trace:
    told = with_samples(trace)
    numbers = numbers_of(trace).select(*SAMPLE, "number").unique().lazy()

    def by_sample(calls: pl.LazyFrame) -> pl.LazyFrame:
        names = calls.collect_schema().names()
        joined = calls.join(numbers, on=list(SAMPLE), how="left")
        return joined.with_columns(step="number").select(names)

    return told.with_tables(
        calls=told.calls.with_columns(step="sample").drop("sample"),
        module_calls=by_sample(trace.module_calls),
        sample_calls=by_sample(trace.sample_calls),
        optimizer_steps=_told_apart(trace),
        wide=trace.wide and stepped_by_sample(trace.wide),
    )


def _told_apart(trace: Trace) -> pl.DataFrame:
    steps = trace.optimizer_steps
    alone = _alone(numbers_of(trace))
    joined = steps.join(alone, on=["rank", "step"], how="left", maintain_order="left")
    return joined.with_columns(step="only").select(steps.columns)


def _alone(numbers: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `step` and `only`: the sample of each step that has one alone."""
    return (
        numbers.lazy()
        .group_by("rank", "step")
        .agg(only=pl.col("number").first(), many=pl.len())
        .filter(pl.col("many") == 1)
        .select("rank", "step", "only")
        .sort("rank", "step")
        .pipe(at_once)
    )
