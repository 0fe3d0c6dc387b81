"""Which products are a layer's: its forward product, and the gradients of that.

The forward product multiplies weights of the layer's size (see `layers`). A backward call says by
the forward call that it belongs to whether it is of that product: the factors of the gradient of
the weights are as large as its input and output, so that their sizes do not tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..frames import at_once
from ..rules.geometry import Convolution, Matmul
from .gradients import geometries_of, product_calls
from .layers import MODULE, layers_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

GRADIENT = "gradient"
"""Column of calls that `with_gradients` adds."""

_ROLES = {
    "grad_input": "input",
    "grad_weight": "weights",
    "grad_input grad_weight": "both",
    "": "unknown",
}
"""What `product_calls` says of one call -> what `GRADIENT` says."""


def with_gradients(trace: Trace) -> Trace:
    """Return a trace whose calls say which gradients of a product they compute.

    Args:
        trace: the trace; forward calls are looked up in all of it, however it was narrowed.

    Returns:
        The trace, whose `calls` have `GRADIENT`: of a layer's product "input", "weights", "both" or
        "unknown" (one of them); "other" of another product; null of what is no gradient.
    """
    calls = product_calls(trace, "none").lazy()
    sizes = {
        pair: one.weight.numel if isinstance(one, Convolution) else one.second.numel
        for pair, one in geometries_of(trace).items()
        if isinstance(one, Convolution | Matmul)
    }
    numbers = pl.DataFrame(
        [(*pair, numel) for pair, numel in sizes.items()],
        schema={"rank": pl.Int32, "of_signature": pl.Int32, "second_numel": pl.Int64},
        orient="row",
    )
    own = layers_of(trace).lazy().select(*MODULE, "weight_numel")
    # a convolution's backward has the weights as an operand of its own, a matmul's in its forward
    of = pl.when(pl.col("sort") == "convolution").then("signature_id").otherwise("of_signature")
    of_layer = (pl.col("weight_numel") == pl.col("second_numel")).fill_null(False)
    role = pl.col("role").sort().str.join(" ").replace_strict(_ROLES, default="unknown")
    found = (
        calls.filter((pl.col("stage") == "backward") & (pl.col("sort") != "norm"))
        .with_columns(of_signature=of)
        .filter(pl.col("of_signature").is_not_null())
        .group_by("rank", "seq")
        .agg(pl.col("module_id", "of_signature").first(), role=role)
        .join(numbers.lazy(), on=["rank", "of_signature"], how="left")
        .join(own, on=list(MODULE), how="left")
        .select(
            "rank", "seq",
            pl.when(of_layer).then("role").otherwise(pl.lit("other")).alias(GRADIENT),
        )
        .pipe(at_once)
    )  # fmt: skip
    calls_with = trace.calls.join(found.lazy(), on=["rank", "seq"], how="left")
    return trace.with_tables(calls=calls_with)


def of_layer(weights: str = "second_numel", own: str = "weight_numel") -> pl.Expr:
    """Return whether a row is of a layer's product.

    Args:
        weights: column of the second factor's size, of `layers.weight_products`.
        own: column of the size of the weights of the row's module, if it is a layer.

    Returns:
        An expression of rows that have `GRADIENT`.
    """
    forward = pl.col(GRADIENT).is_null() & (pl.col(own) == pl.col(weights))
    backward = pl.col(GRADIENT).is_not_null() & (pl.col(GRADIENT) != "other")
    return (forward | backward).fill_null(False)


def told(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with `GRADIENT`: where it was not asked for, none of them is a gradient."""
    if GRADIENT in rows.columns:
        return rows
    return rows.with_columns(pl.lit(None, pl.String).alias(GRADIENT))
