"""What whole numbers are made of: which came out of adding spikes, however they came on since."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...schemas import SpikeClass
from ..rules import elements_of
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE, of_each_signature
from .spikes import spike_expr, with_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

VALUE = ("rank", "value_id")
"""What names a value."""

_SLOTS = ("in0", "in1", "in2")
_ELEMENTS = {
    "adds": pl.Boolean,
    "carries": pl.Boolean,
    "below": pl.Float64,
    "slots": pl.List(pl.Int32),
    "shares": pl.List(pl.Int64),
}
_MEASURED = ("class", "nonzero", "ones", "min", "max")


class Origins(NamedTuple):
    """What values are made of, back to spikes and to what is no whole number.

    Attributes:
        made: `VALUE`, `operand` (a value), `adds`, `carries`, `below` and `share` (see `elements`;
            `carries` also asks that the op wrote all of the value), `nonzero` elements of the
            operand, and whether it is `spikes`, `zeros`, or `open`: whole numbers that may come
            from spikes themselves.
        values: `VALUE`, and what was measured of the values: columns of `values`.
    """

    made: pl.DataFrame
    values: pl.DataFrame


def from_spikes(trace: Trace, asked: pl.DataFrame) -> pl.DataFrame:
    """Return those values that came out of adding spikes.

    A sum or a product of nothing but spikes, zeros and such sums is one. So is what any other op
    made of such a sum, spikes and zeros: a view, a copy, a maximum, a concatenation, a padding.

    Args:
        trace: the trace; operands are followed through all forward calls of it.
        asked: `rank` and `value_id` of values that are whole numbers.
    """
    return asked.join(proved(origins(trace, asked).made), on=list(VALUE), how="semi")


def origins(trace: Trace, asked: pl.DataFrame, *, by_values_only: bool = False) -> Origins:
    """Return what values are made of.

    Args:
        trace: the trace; operands are followed through all forward calls of it.
        asked: `rank` and `value_id` of values that are whole numbers.
        by_values_only: see `spike_expr`.
    """
    trace = trace.whole
    made: list[pl.DataFrame] = []
    values: list[pl.DataFrame] = []
    front = seen = asked.select(VALUE).unique()
    while front.height or not made:
        values.append(written(trace, front))
        made.append(_operands(trace, values[-1], by_values_only))
        front = made[-1].filter("open").select("rank", value_id="operand").unique()
        front = front.join(seen, on=list(VALUE), how="anti")
        seen = pl.concat([seen, front])
    return Origins(pl.concat(made), pl.concat(values).select(*VALUE, *_MEASURED))


def written(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return where values come from, and what was measured of them.

    Returns:
        `VALUE`, the call (`seq`) that wrote it or the larger value (`base`) of which it is a part,
        and columns of `values`.
    """
    numbers = values["value_id"].implode()
    found = trace.values.filter(pl.col("value_id").is_in(numbers)).select(
        *VALUE, *_MEASURED, base="base_value_id", seq="written_seq"
    )
    return collected(found, trace).join(values, on=list(VALUE), how="semi")


def elements(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id` and where an op's elements come from, see `elements_of`."""
    if "elements" not in trace.facts:
        trace.facts["elements"] = of_each_signature(trace, elements_of, _ELEMENTS)
    found: pl.DataFrame = trace.facts["elements"]
    return found


def _operands(trace: Trace, written: pl.DataFrame, by_values_only: bool) -> pl.DataFrame:
    """Return `Origins.made` of values."""
    ops = elements(trace)
    parts = written.filter(pl.col("base").is_not_null()).select(
        *VALUE, operand="base", adds=pl.lit(False), carries=pl.lit(True),
        below=pl.lit(None, pl.Float64), share=pl.lit(None, pl.Int64),
        nonzero=pl.lit(None, pl.Int64), spikes=pl.lit(False), zeros=pl.lit(False),
        open=pl.lit(True),
    )  # fmt: skip
    made = written.filter(pl.col("base").is_null()).drop_nulls("seq").select(*VALUE, "seq")
    numbers = made.select("rank", "seq").unique()
    forward = of_numbers(trace.calls.filter(pl.col("stage") == "forward"), numbers)
    told = with_spikes(trace, _SLOTS, by_values_only=by_values_only, calls=forward)
    calls = collected(
        told.select(
            "rank", "seq", "signature_id",
            *(f"{slot}_{what}" for slot in _SLOTS
              for what in ("value", "class", "nonzero", "spikes")),
            result="out0_value",
        ),
        trace,
    )  # fmt: skip
    rows = [
        calls.select(
            "rank", "seq", "signature_id", "result", slot=pl.lit(place, pl.Int32),
            **{what: pl.col(f"{slot}_{what}") for what in ("value", "class", "nonzero", "spikes")},
        )
        for place, slot in enumerate(_SLOTS)
    ]  # fmt: skip
    many = ops.filter(pl.col("slots").list.max() > 2)
    more = calls.join(many, on=list(SIGNATURE), how="semi").select(
        "rank", "seq", "signature_id", "result"
    )
    if more.height:
        further = trace.call_operands.filter(pl.col("role").cast(pl.String) == "in")
        rows.append(
            collected(of_numbers(further, more), trace).select(
                "rank", "seq", "signature_id", "result", "slot", "class", "nonzero",
                value="value_id", spikes=spike_expr("", by_values_only=by_values_only),
            ).select(rows[0].columns)
        )  # fmt: skip
    whole = (pl.col("class") & int(SpikeClass.WHOLE)) != 0
    taken = (
        pl.concat(rows)
        .drop_nulls("value")
        .join(ops.explode("slots", "shares").drop_nulls("slots").rename({"slots": "slot"}),
              on=[*SIGNATURE, "slot"])
        .with_columns(pl.col("spikes").fill_null(False), zeros=pl.col("nonzero") == 0)
        .with_columns(zeros=pl.col("zeros").fill_null(False) & ~pl.col("spikes"))
        .with_columns(open=whole.fill_null(True) & ~pl.col("spikes") & ~pl.col("zeros"))
    )  # fmt: skip
    # A call that wrote another part of the storage does not tell what the whole is made of.
    all_of_it = pl.col("result").eq_missing(pl.col("value_id"))
    of_calls = made.join(taken, on=["rank", "seq"]).with_columns(
        pl.col("carries") & all_of_it, share=pl.when(all_of_it).then("shares"), operand="value"
    )
    return pl.concat([parts, of_calls.select(parts.columns)])


def proved(made: pl.DataFrame, *, carried: bool = False) -> pl.DataFrame:
    """Return the values that came out of adding spikes, from those without open operands on.

    Args:
        made: `Origins.made`.
        carried: only those that hold nothing but spikes, sums of them and zeros.
    """
    rest = made.with_columns(proved=pl.lit(False))
    found = pl.DataFrame(schema={name: rest.schema[name] for name in VALUE})
    fits = pl.col("carries") if carried else pl.lit(True)
    while True:
        known = pl.col("spikes") | pl.col("zeros") | pl.col("proved")
        proof = pl.when("adds").then(pl.col("spikes") | pl.col("proved")).otherwise("proved")
        new = (
            rest.group_by(VALUE)
            .agg(holds=(known & fits).all() & proof.any())
            .filter("holds")
            .select(VALUE)
            .join(found, on=list(VALUE), how="anti")
        )
        if new.is_empty():
            return found
        found = pl.concat([found, new])
        of_new = new.rename({"value_id": "operand"}).with_columns(new=pl.lit(True))
        rest = (
            rest.join(of_new, on=["rank", "operand"], how="left")
            .with_columns(proved=pl.col("proved") | pl.col("new").fill_null(False))
            .drop("new")
        )
