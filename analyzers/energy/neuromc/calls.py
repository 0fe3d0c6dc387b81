"""Calls of products, convolutions and batch norms, and what backward ones are the gradient of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ...workload.spikes import spike_expr
from .modules import WHERE
from .operands import (
    CONVOLUTION_BACKWARDS,
    MATMULS,
    NORM_BACKWARDS,
    Convolution,
    Matmul,
    Norm,
    Product,
    product_of,
)

if TYPE_CHECKING:
    from ...trace.trace import Trace

Products = Mapping[tuple[int, int], Product]
"""(rank, signature) -> what it is."""

_CALLS = ("seq", "signature_id", *WHERE, "module_call_id", "forward_seq")


def products_in(trace: Trace) -> Products:
    """Return the signatures that are products, convolutions or batch norms."""
    return {
        (row["rank"], row["signature_id"]): found
        for row in trace.signatures.iter_rows(named=True)
        if (found := product_of(row)) is not None
    }


def product_calls(trace: Trace, products: Products, *, by_values_only: bool) -> pl.DataFrame:
    """Return the calls of the given signatures, in the order of execution.

    Returns:
        The columns of a call and `sort` (matmul, conv, conv_backward, norm, norm_backward),
        `first` and `second` (values of the factors; of an activation and the weights), and
        whether these are spikes (`first_spikes`, `second_spikes`; null: not measured).
    """
    packets = {
        (row["rank"], row["signature_id"]): row["packet"]
        for row in trace.signatures.select("rank", "signature_id", "packet").iter_rows(named=True)
    }
    rows = [(*key, *_layout(packets[key], one)) for key, one in products.items()]
    layouts = pl.LazyFrame(
        rows,
        schema={"rank": pl.Int32, "signature_id": pl.Int32, "sort": pl.String, "slot": pl.Int32},
        orient="row",
    )
    spikes = {slot: spike_expr(f"in{slot}", by_values_only=by_values_only) for slot in range(3)}
    later = pl.col("slot") == 1
    return (
        trace.calls.join(layouts, on=["rank", "signature_id"])
        .select(
            *_CALLS,
            "sort",
            first=pl.when(later).then("in1_value").otherwise("in0_value"),
            second=pl.when(later).then("in2_value").otherwise("in1_value"),
            first_spikes=pl.when(later).then(spikes[1]).otherwise(spikes[0]),
            second_spikes=pl.when(later).then(spikes[2]).otherwise(spikes[1]),
        )
        .with_columns(pl.col("stage", "label").cast(pl.String))
        .collect()
        .sort("rank", "seq")
    )


def _layout(packet: str, one: Product) -> tuple[str, int]:
    """Return the sort of a product, and the slot of its first factor or activation."""
    if isinstance(one, Matmul):
        return "matmul", MATMULS[packet]
    if isinstance(one, Norm):
        backward = packet in NORM_BACKWARDS
        return ("norm_backward", NORM_BACKWARDS[packet]) if backward else ("norm", 0)
    assert isinstance(one, Convolution)
    return ("conv_backward", 1) if packet in CONVOLUTION_BACKWARDS else ("conv", 0)


def with_forward(
    calls: pl.DataFrame, known: pl.DataFrame, trace: Trace, products: Products
) -> pl.DataFrame:
    """Return calls with the forward product that backward products of matrices are a gradient of.

    Which factor's gradient a call is, is told by the other factor, which it reads: the gradient of
    the first factor reads the second (weights), the gradient of the second reads the first.

    Args:
        calls: rows of `product_calls`.
        known: rows of `product_calls` to look the forward calls up in.
        trace: the trace that holds their values.
        products: what the signatures are.

    Returns:
        The calls with `role`: forward (no backward product of matrices), grad_input or grad_weight
        (null: the trace does not tell), and of the forward product `of_signature`, `of_module`,
        `of_call` and `of_spikes` (its first factor is spikes).
    """
    forward = known.filter(pl.col("sort") == "matmul").select(
        "rank",
        forward_seq="seq",
        of_signature="signature_id",
        of_module="module_id",
        of_call="module_call_id",
        of_first="first",
        of_second="second",
        of_spikes="first_spikes",
    )
    joined = calls.join(forward, on=["rank", "forward_seq"], how="left", maintain_order="left")
    backward = (pl.col("sort") == "matmul") & (pl.col("stage") == "backward")
    role = pl.when(backward).then(_role("first", "second")).otherwise(pl.lit("forward"))
    joined = joined.with_columns(role=role)
    open_ones = joined.filter(pl.col("role").is_null() & pl.col("of_signature").is_not_null())
    if open_ones.height:
        found = _by_storage_or_size(open_ones, trace, products)
        joined = joined.join(
            found, on=["rank", "seq"], how="left", maintain_order="left"
        ).with_columns(role=pl.coalesce("role", "found"))
    return joined.select(
        *calls.columns, "role", "of_signature", "of_module", "of_call", "of_spikes"
    )


def _role(
    first: str, second: str, first_of: str = "of_first", second_of: str = "of_second"
) -> pl.Expr:
    """Return which gradient a product is, by what it reads; null if it reads neither factor.

    x · xᵀ reads one value in both places: the gradient of the first factor has it on the right.
    """
    left, right = pl.col(first), pl.col(second)
    reads_second = ((left == pl.col(second_of)) | (right == pl.col(second_of))).fill_null(False)
    reads_first = ((left == pl.col(first_of)) | (right == pl.col(first_of))).fill_null(False)
    on_the_right = (right == pl.col(second_of)).fill_null(False)
    of_input = pl.when(reads_first).then(on_the_right).otherwise(reads_second)
    return (
        pl.when(of_input).then(pl.lit("grad_input")).when(reads_first).then(pl.lit("grad_weight"))
    )


def _by_storage_or_size(calls: pl.DataFrame, trace: Trace, products: Products) -> pl.DataFrame:
    """Return `rank`, `seq` and `found`, the role of products whose factors have new value ids.

    After a pause in the recording values are new, their storages are not. Where both factors lie
    in one storage, the length of the sums tells: an input's gradient sums over columns of the
    result, a weight's over its rows.
    """
    names = ("first", "second", "of_first", "of_second")
    wanted = pl.concat([calls.select("rank", value_id=name) for name in names]).unique()
    storages = (
        trace.values.select("rank", "value_id", "storage_id")
        .join(wanted.lazy(), on=["rank", "value_id"], how="semi")
        .unique(["rank", "value_id"])
        .collect()
    )
    for name in names:
        calls = calls.join(
            storages.rename({"value_id": name, "storage_id": f"{name}_storage"}),
            on=["rank", name], how="left", maintain_order="left",
        )  # fmt: skip
    stored = [f"{name}_storage" for name in names]
    alone = (pl.col(stored[2]) != pl.col(stored[3])).fill_null(False)
    pairs = calls.select("rank", "signature_id", "of_signature").unique()
    sizes = [_by_size(products, *pair) for pair in pairs.iter_rows()]
    sized = pairs.with_columns(by_size=pl.Series(sizes, dtype=pl.String))
    return calls.join(
        sized, on=["rank", "signature_id", "of_signature"], maintain_order="left"
    ).select("rank", "seq", found=pl.coalesce(pl.when(alone).then(_role(*stored)), "by_size"))


def _by_size(products: Products, rank: int, signature: int, of: int) -> str | None:
    one, forward = products[rank, signature], products[rank, of]
    if not isinstance(one, Matmul) or not isinstance(forward, Matmul):
        return None
    rows = forward.first.shape[-2] if len(forward.first.shape) > 1 else 1
    if forward.n == rows:
        return None
    return {forward.n: "grad_input", rows: "grad_weight"}.get(one.k)
