"""Which layers are given the same values at every time step, as direct encoding gives them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE
from .layers import MODULE
from .operands import operands_of
from .whole_numbers import VALUE, elements

if TYPE_CHECKING:
    from ..trace.trace import Trace

_DEEPEST = 8
"""Ops between a repeated value and the layer that takes it, beyond which the search stops."""

_CONSTANT = ("parameter", "buffer")

_Made = Mapping[tuple[int, int], Mapping[str, Any]]


def unlike_steps(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    """Return the layers whose inputs at the time steps of a sample are not seen to be the same.

    They are the same if all calls of the sample take one value, or values that the same ops made of
    one value and of parameters; and, in a call of several steps, if the value was repeated so many
    times (`repeat`, `expand`, a stack of one tensor). Looked at is the first sample of each layer.

    Args:
        trace: the trace.
        calls: `MODULE`, `sample`, `in_value` and `time_steps` (in the call) of layer calls.

    Returns:
        `MODULE`.
    """
    first = pl.col("sample") == pl.col("sample").min().over(MODULE)
    asked = calls.filter(first).select(*MODULE, "in_value", "time_steps").unique()
    several = (pl.len().over(MODULE) > 1) | (pl.col("time_steps") > 1)
    asked = asked.filter(several).sort(*MODULE, "in_value", "time_steps")
    if asked.is_empty():
        return asked.select(MODULE)
    made = _made(trace.whole, asked.select("rank", value_id="in_value").unique())
    found = [
        key
        for key, rows in asked.group_by(MODULE, maintain_order=True)
        if not _alike(rows.select("rank", "in_value", "time_steps").iter_rows(), made)
    ]
    schema = {name: asked.schema[name] for name in MODULE}
    return pl.DataFrame(found, schema=schema, orient="row")


def _alike(inputs: Iterable[tuple[int, int, int]], made: _Made) -> bool:
    sources: set[Hashable] = set()
    for rank, value, steps in inputs:
        if steps is None or (steps > 1 and not _repeated(rank, value, steps, made)):
            return False
        sources.add(_source(rank, value, made))
    return len(sources) == 1


def _repeated(rank: int, value: int | None, steps: int, made: _Made) -> bool:
    """Tell whether a value holds another one once for each time step."""
    row = made.get((rank, value)) if value is not None else None
    if row is None:
        return False
    times = row["times"]
    if times is not None and times > 1:
        return bool(times % steps == 0)
    return _repeated(rank, row["of"], steps, made)


def _source(rank: int, value: int | None, made: _Made) -> Hashable:
    """Return what a value was made of, and by which ops."""
    row = made.get((rank, value)) if value is not None else None
    if row is None:
        return value
    if row["part"] and (row["times"] or 0) <= 1:
        # Parts of one value are the same if it is one that was repeated.
        whole = made.get((rank, row["of"]))
        return ("part", row["of"]) if whole and (whole["times"] or 0) > 1 else value
    return row["signature_id"], _source(rank, row["of"], made)


def _made(trace: Trace, asked: pl.DataFrame) -> _Made:
    """Return by (rank, value) the one value `of` which it was made, and how.

    `signature_id` is of the op, null of a `part` of a larger value or of a view of one that is
    repeated; `times` is how often it holds that value. Values that were made of several, drawn at
    random or given from outside are not among them.
    """
    found: dict[tuple[int, int], Mapping[str, Any]] = {}
    front = asked.select(VALUE)
    for _ in range(_DEEPEST):
        rows = _of_one(trace, front)
        for row in rows.iter_rows(named=True):
            found[row["rank"], row["value_id"]] = row
        further = rows.select("rank", value_id="of").unique()
        front = further.filter(
            [key not in found for key in further.select(VALUE).iter_rows()]
        )  # fmt: skip
        if front.is_empty():
            break
    return found


def _of_one(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `_made` of some values."""
    numbers = values["value_id"].implode()
    known = collected(
        trace.values.filter(pl.col("value_id").is_in(numbers)).select(
            *VALUE, "numel", of="base_value_id", seq="written_seq"
        ),
        trace,
    ).join(values, on=list(VALUE), how="semi")
    sizes = _sizes(trace, known.select("rank", value_id="of").drop_nulls())
    parts = (
        known.drop_nulls("of")
        .join(sizes.rename({"value_id": "of", "numel": "whole"}), on=["rank", "of"])
        .select(
            *VALUE, "of",
            part=pl.lit(True), signature_id=pl.lit(None, pl.Int32),
            times=pl.col("numel") // pl.col("whole"),
        )
    )  # fmt: skip
    written = known.filter(pl.col("of").is_null()).drop_nulls("seq").select(*VALUE, "seq")
    return pl.concat([parts, _of_calls(trace, written).select(parts.columns)])


def _of_calls(trace: Trace, written: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `_made` of values that calls wrote, from one value and constants."""
    drawn = trace.signatures.filter(pl.col("tags").list.contains("nondeterministic_seeded"))
    calls = collected(
        of_numbers(
            trace.calls.filter(pl.col("stage") == "forward"), written.select("rank", "seq").unique()
        ).select("rank", "seq", "signature_id"),
        trace,
    ).join(drawn.select(SIGNATURE), on=list(SIGNATURE), how="anti")
    taken = operands_of(trace, calls.select("rank", "seq")).rename({"value_id": "operand"})
    kinds = _sizes(trace, taken.select("rank", value_id="operand"), "kind")
    shares = elements(trace).explode("slots", "shares").drop_nulls("slots")
    return (
        taken.join(kinds.rename({"value_id": "operand"}), on=["rank", "operand"])
        .filter(~pl.col("kind").is_in(_CONSTANT))
        .join(calls.select("rank", "seq", "signature_id"), on=["rank", "seq"])
        .join(
            shares.select(*SIGNATURE, "shares", slot="slots"), on=[*SIGNATURE, "slot"], how="left"
        )
        .group_by("rank", "seq", "signature_id")
        .agg(
            of=pl.col("operand").first(),
            one=pl.col("operand").n_unique() == 1,
            times=pl.when(pl.col("shares").null_count() == 0).then(pl.col("shares").sum()),
        )
        .filter("one")
        .join(written, on=["rank", "seq"])
        .with_columns(part=pl.lit(False))
    )


def _sizes(trace: Trace, values: pl.DataFrame, what: str = "numel") -> pl.DataFrame:
    """Return `VALUE` and what is known of values."""
    asked = values.unique()
    column = pl.col(what).cast(pl.String) if what == "kind" else pl.col(what)
    rows = trace.values.filter(pl.col("value_id").is_in(asked["value_id"].implode()))
    return collected(rows.select(*VALUE, column), trace).join(asked, on=list(VALUE), how="semi")
