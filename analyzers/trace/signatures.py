"""Signatures of several ranks: equal ones are asked about once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..frames import at_once

if TYPE_CHECKING:
    from .trace import Trace

SIGNATURE = ("rank", "signature_id")
"""What names a signature: ids are unique in a rank only."""


def distinct_signatures(trace: Trace) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the signatures of a trace once each, and which of them stands for which.

    Ranks run the same program, so most of what a rank tells the others tell too.

    Returns:
        The first of equal signatures with `content`, a number; and `SIGNATURE` with `content`, a
        row for each row of `trace.signatures`, in its order.
    """
    if "distinct signatures" not in trace.facts:
        trace.facts["distinct signatures"] = _distinct(trace.whole)
    found: tuple[pl.DataFrame, pl.DataFrame] = trace.facts["distinct signatures"]
    return found


def _distinct(trace: Trace) -> tuple[pl.DataFrame, pl.DataFrame]:
    number = pl.int_range(pl.len(), dtype=pl.UInt32).alias("content")
    once = trace.signatures.filter(pl.col("rank").is_in(trace.alike["signatures"].values()))
    if once["rank"].n_unique() <= 1:
        distinct = once.with_columns(number)
        places = distinct.select(*SIGNATURE, "content")
    else:
        told = [name for name in once.columns if name not in SIGNATURE]
        first = [pl.col(name).first() for name in SIGNATURE]
        of = pl.struct(SIGNATURE).alias("of")
        groups = once.group_by(told, maintain_order=True).agg(*first, of).with_columns(number)
        places = groups.select("content", "of").explode("of").unnest("of")
        distinct = groups.drop("of")
    first_of = pl.col("rank").replace(trace.alike["signatures"])
    order = trace.signatures.select(*SIGNATURE, first=first_of)
    on = ["first", "signature_id"]
    places = order.join(places.rename({"rank": "first"}), on=on, maintain_order="left")
    return distinct, places.drop("first")


_MOST_ROWS = 5_000
"""Signatures whose rows are kept; one is a few thousand bytes, and a model has some hundred."""


def signature_rows(trace: Trace) -> Iterable[Mapping[str, Any]]:
    """Return the rows of the distinct signatures of a trace, with `content`."""
    distinct, _ = distinct_signatures(trace)
    if distinct.height > _MOST_ROWS:
        return distinct.iter_rows(named=True)
    if "signature rows" not in trace.facts:
        trace.facts["signature rows"] = distinct.rows(named=True)
    found: list[dict[str, Any]] = trace.facts["signature rows"]
    return found


def of_each_signature(
    trace: Trace,
    told: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
    schema: Mapping[str, Any],
) -> pl.DataFrame:
    """Return what a function says of each signature; it is asked once for equal ones.

    Args:
        trace: the trace.
        told: takes a row of `signatures`, the first of equal ones; returns the columns, or None to
            leave the signature out.
        schema: the columns and their types.

    Returns:
        `SIGNATURE` and the columns, in the order of `trace.signatures`.
    """
    _, places = distinct_signatures(trace)
    found = [
        {"content": row["content"], **columns}
        for row in signature_rows(trace)
        if (columns := told(row)) is not None
    ]
    frame = pl.DataFrame(found, schema={"content": pl.UInt32, **schema})
    named = places.lazy().join(frame.lazy(), on="content", maintain_order="left")
    return at_once(named.drop("content"))
