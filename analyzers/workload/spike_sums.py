"""Values that are sums of spikes: what residual connections between spiking layers hand on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import SpikeClass
from ..rules import family_of
from ..trace.signatures import of_each_signature
from .pieces import make_up_whole, pieces_of, roots_of
from .whole_numbers import VALUE, Origins, origins, proved

if TYPE_CHECKING:
    from ..trace.trace import Trace

_SUMS = {
    "op": pl.String,
    "alpha": pl.Float64,
    "numel": pl.Int64,
    "first": pl.Int64,
    "channels": pl.Int64,
    "sizes": pl.Int64,
}
_ADDS = ("add", "add_")


def spike_sums(
    trace: Trace, taken: pl.DataFrame, together: Sequence[str], *, by_values_only: bool = False
) -> pl.DataFrame:
    """Return which values came out of adding spikes, and how many spikes are in each.

    A sum of spikes holds nothing but spikes that were added up, and zeros, however it was copied,
    cut, pooled or put together since. Its elements are added up where the trace tells them: by what
    was measured of them, or by the values that it is made of. Of parts that make up a whole and are
    asked about together, only the sum over all of them may be known.

    Args:
        trace: the trace.
        taken: a row for each time that a value is taken: `rank`, `value_id`, `class`, `nonzero`,
            and other columns.
        together: columns of `taken`; totals of rows that agree in them are added up.
        by_values_only: see `spike_expr`.

    Returns:
        `taken` with `from_spikes` (whole numbers, not only 0 and 1, that came out of adding spikes)
        and `total` (the sum of the elements, if these are a sum of spikes and it is known; of
        parts of a whole, right only in the sum of rows that agree in `together`).
    """
    whole = (pl.col("class") & int(SpikeClass.WHOLE)) != 0
    binary = (pl.col("class") & int(SpikeClass.BINARY)) != 0
    asked = taken.filter(whole & ~binary).select(VALUE).drop_nulls().unique()
    if asked.is_empty():
        nothing = {"from_spikes": pl.lit(False), "total": pl.lit(None, pl.Int64)}
        return taken.with_columns(**nothing)
    found = origins(trace, asked, by_values_only=by_values_only)
    totals = _totals(trace, found)
    loosely, sums = (
        asked.join(proved(found.made, carried=carried), on=list(VALUE), how="semi").with_columns(
            pl.lit(True).alias(name)
        )
        for name, carried in (("from_spikes", False), ("sums", True))
    )
    rows = taken
    for facts in (loosely, sums, totals):
        rows = rows.join(facts, on=list(VALUE), how="left", maintain_order="left")
    rows = rows.with_columns(
        pl.col("from_spikes").fill_null(False), total=pl.when("sums").then("total")
    )
    lost = pl.col("sums").fill_null(False) & pl.col("total").is_null()
    if rows.filter(lost).is_empty():
        return rows.drop("sums")
    rows = rows.with_row_index("row")
    added = rows.filter(binary | pl.col("sums")).select(
        "row",
        *dict.fromkeys((*VALUE, *together)),
        total=pl.when(binary).then("nonzero").otherwise("total"),
    )
    completed = _completed(trace, added, together, totals)
    return (
        rows.join(completed, on="row", how="left", maintain_order="left")
        .with_columns(total=pl.when(lost).then("rest").otherwise("total"))
        .drop("row", "sums", "rest")
    )


def _totals(trace: Trace, found: Origins) -> pl.DataFrame:
    """Return `VALUE` and `total` of the values whose elements can be added up."""
    known = found.values.select(*VALUE, total=_measured_total()).drop_nulls()
    most = found.values.select(*VALUE, "max")
    rest = found.made.join(known, on=list(VALUE), how="anti").join(most, on=list(VALUE), how="left")
    # Beyond what its dtype holds exactly, the elements of a value may have been rounded.
    follows = pl.col("share").is_not_null() & (pl.col("max") < pl.col("below")).fill_null(False)
    rest = rest.filter(follows.all().over(VALUE))
    while rest.height:
        of_operand = known.select("rank", operand="value_id", of_operand="total")
        told = rest.join(of_operand, on=["rank", "operand"], how="left").with_columns(
            added=pl.when("spikes").then("nonzero").when("zeros").then(0).otherwise("of_operand")
        )
        new = _added(told)
        if new.is_empty():
            new = _added(_with_parts(trace, told, known))
        if new.is_empty():
            break
        known = pl.concat([known, new])
        rest = rest.join(new, on=list(VALUE), how="anti")
    return known


def _with_parts(trace: Trace, told: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return operands with what is added up of parts that make up a whole in one value."""
    rows = told.filter(pl.len().over(VALUE) > 1).with_row_index("row")
    parts = rows.select("row", "rank", value_id="operand", total="added", of="value_id", by="share")
    completed = _completed(trace, parts, ("of", "by"), known)
    return rows.join(completed, on="row", how="left").with_columns(pl.coalesce("added", "rest"))


def _added(told: pl.DataFrame) -> pl.DataFrame:
    """Return `VALUE` and `total` of values all of whose operands are added up in `added`."""
    return (
        told.group_by(VALUE)
        .agg(
            total=(pl.col("added") * pl.col("share")).sum(), all=pl.col("added").is_not_null().all()
        )
        .filter("all")
        .drop("all")
    )


def _measured_total() -> pl.Expr:
    """Return the sum of a value's elements by what was measured of them; null: not known by it.

    Known are how many are 0 and 1. The others are 2 if the largest is, all equal if only one number
    occurs beside 0, and the largest if there is but one of them.
    """
    ones, most = pl.col("ones"), pl.col("max").cast(pl.Int64, strict=False)
    others = pl.col("nonzero") - ones
    whole = (pl.col("class") & int(SpikeClass.WHOLE)) != 0
    scaled = (pl.col("class") & int(SpikeClass.SCALED)) != 0
    known = whole & (pl.col("min") >= 0) & (scaled | (most <= 2) | (others <= 1))
    return pl.when(known).then(ones + others * pl.when(others > 0).then(most).otherwise(0))


def _completed(
    trace: Trace, rows: pl.DataFrame, together: Sequence[str], totals: pl.DataFrame
) -> pl.DataFrame:
    """Return totals that are known only together with those of other rows.

    Where rows that agree in `together` are the parts of a value whose total is known, each taken
    once, those without a total have what the others leave of it: the first one all of it.

    Args:
        trace: the trace.
        rows: `row` (a number), `rank`, `value_id`, `total` (null: not known) and `together`.
        together: columns.
        totals: `VALUE` and `total` of values.

    Returns:
        `row` and `rest` of those without a total.
    """
    rows = rows.filter(pl.col("total").is_null().any().over(together))
    roots = roots_of(trace, rows.select(VALUE).drop_nulls().unique())
    pieces = pieces_of(trace, roots.select("rank", value_id="root").unique())
    sets = [*dict.fromkeys((*together, "rank")), "base"]
    placed = (
        rows.join(roots, on=list(VALUE))
        .join(pieces.rename({"value_id": "root"}), on=["rank", "root"])
        .join(totals.select("rank", base="value_id", of_base="total"), on=["rank", "base"])
    )
    return (
        placed.group_by(*sets, "cut")
        .agg(
            whole=make_up_whole(),
            row=pl.col("row").filter(pl.col("total").is_null()).sort(),
            rest=pl.col("of_base").first() - pl.col("total").sum(),
        )
        .filter("whole")
        .sort("cut")
        .unique(sets, keep="first", maintain_order=True)
        .explode("row")
        .drop_nulls("row")
        .with_columns(first=pl.col("row") == pl.col("row").min().over(sets))
        .with_columns(rest=pl.when("first").then("rest").otherwise(0))
        .select("row", "rest")
        .filter(pl.len().over("row") == 1)  # in two wholes at once it is not known
    )


def sum_signatures(trace: Trace) -> pl.DataFrame:
    """Return the signatures of sums of two tensors of one shape.

    Returns:
        `rank`, `signature_id`, `op`, `alpha` (what the second is multiplied by), and of an operand
        `numel`, `first` (size of its first dimension), `channels` (of its second) and `sizes` (of
        all after the first added up).
    """
    if "sum signatures" not in trace.facts:
        trace.facts["sum signatures"] = of_each_signature(trace, _sum, _SUMS)
    found: pl.DataFrame = trace.facts["sum signatures"]
    return found


def _sum(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if family_of(row["op"]) != "addition" or row["packet"].rpartition(".")[2] not in _ADDS:
        return None
    ins = [o for o in row["operands"] if o["role"] == "in"]
    if len(ins) != 2 or ins[0]["shape"] != ins[1]["shape"] or not ins[0]["shape"]:
        return None
    shape = ins[0]["shape"]
    return {
        "op": row["op"],
        "alpha": float(json.loads(row["arguments"]).get("alpha", 1)),
        "numel": ins[0]["numel"],
        "first": shape[0],
        "channels": sum(shape[1:2]),
        "sizes": sum(shape[1:]),
    }
