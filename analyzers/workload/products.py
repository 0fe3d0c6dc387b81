"""The products of a trace: matrices, convolutions, attention, recurrent and fused layers.

What is a product, and how many multiply-accumulates it has if no operand is a spike tensor, is
what the rules say (`dense_macs`), the same for every estimator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..frames import at_once
from ..rules import RULE_SETS, family_of
from ..rules.call import call_of
from ..rules.geometry import CONVOLUTIONS, Convolution, product_of
from ..rules.rule import Counted
from ..trace.signatures import SIGNATURE, of_each_signature, signature_rows
from .kinds import kinds_of
from .ran import ran_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

_STATIC = {"op": pl.String, "family": pl.String, "each": pl.Int64, "each_as_one": pl.Int64}


def product_signatures(trace: Trace) -> pl.DataFrame:
    """Return the signatures that are products, and those of ops of which that is not known.

    Returns:
        `rank`, `signature_id`, `op`, `family` (of `rules.PRODUCTS`, or another whose ops multiply
        matrices; "": no rule covers the op, which may be a product), `each`, the dense MACs of a
        call (null: a size is not known), and `each_as_one`, those with a complex number as one.
    """
    if "product signatures" not in trace.facts:
        figures = figures_of(trace)

        def product(row: Mapping[str, Any]) -> dict[str, Any] | None:
            as_one = macs = figures[row["content"]][2].dense_macs
            if macs == 0:
                return None
            if macs is not None and (call := call_of(row, {})).has_complex:
                as_one = RULE_SETS["full"].figures(call.of_elements())[2].dense_macs
            family = family_of(row["op"])
            return {"op": row["op"], "family": family, "each": macs, "each_as_one": as_one}

        trace.facts["product signatures"] = of_each_signature(trace, product, _STATIC)
    found: pl.DataFrame = trace.facts["product signatures"]
    return found


def figures_of(trace: Trace) -> Mapping[int, Counted]:
    """Return how opjoule's rules count a call of each distinct signature, by its `content`.

    Whatever its operands hold: it is not asked which are spikes. See `RuleSet.figures`.
    """
    if "figures" not in trace.facts:
        full = RULE_SETS["full"]
        trace.facts["figures"] = {
            row["content"]: full.figures(call_of(row, {})) for row in signature_rows(trace)
        }
    found: Mapping[int, Counted] = trace.facts["figures"]
    return found


def products_of(
    trace: Trace, keys: Sequence[str] = ("training",), *, stages: Sequence[str] = ("forward",)
) -> pl.DataFrame:
    """Return the product calls of a trace, equal ones together.

    Args:
        trace: the trace.
        keys: columns of `RAN` to keep apart besides module and stage.
        stages: stages that are looked at.

    Returns:
        `rank`, `module_id` (innermost; null outside), `signature_id`, `stage`, `keys`, `op`,
        `family`, `calls`, `each` and `macs` (dense, of one and of all calls; null: a size is not
        known), `each_as_one` and `first` (seq of the first call).
    """
    asked = ("products", *keys, "of", *stages)
    if asked not in trace.own:
        trace.own[asked] = _products_of(trace, keys, stages)
    found: pl.DataFrame = trace.own[asked]
    return found


def _products_of(trace: Trace, keys: Sequence[str], stages: Sequence[str]) -> pl.DataFrame:
    kept = ["rank", "module_id", "signature_id", "stage", *keys]
    signatures = product_signatures(trace)
    return (
        ran_of(trace)
        .lazy()
        .filter(pl.col("stage").is_in(list(stages)))
        .group_by(kept)
        .agg(pl.col("calls").sum(), pl.col("first").min())
        .join(signatures.lazy(), on=SIGNATURE)
        .select(
            *(*kept, "op", "family", "each", "each_as_one", "calls", "first"),
            macs=pl.col("each") * pl.col("calls"),
        )
        .sort("rank", "first")
        .pipe(at_once)
    )


def pads(trace: Trace) -> bool:
    """Tell whether a convolution ran that pads its input: its MACs count that, its ACs do not."""
    ran = kinds_of(trace).select(SIGNATURE).unique()
    asked = trace.signatures.filter(pl.col("packet").is_in(CONVOLUTIONS))
    rows = asked.join(ran, on=list(SIGNATURE), how="semi").iter_rows(named=True)
    return any(isinstance(one := product_of(row), Convolution) and any(one.padding) for row in rows)


def uncharged(
    products: pl.DataFrame, charged: pl.DataFrame, *, complex_as_one: bool = False
) -> pl.DataFrame:
    """Return the product calls that are left once those that are charged are taken away.

    Args:
        products: what `products_of` returns.
        charged: some of the columns that name a product there, and `calls`, how many are charged.
        complex_as_one: a complex number is charged as one: of its products the rest is left.

    Returns:
        The rows of `products` with fewer `calls` and `macs`, without those of which none is left.
    """
    keys = [name for name in charged.columns if name != "calls"]
    done = charged.lazy().group_by(keys).agg(done=pl.col("calls").sum())
    done_calls = pl.col("done").fill_null(0)
    left = pl.col("calls") - done_calls
    rest = (pl.col("each") - pl.col("each_as_one")) * done_calls if complex_as_one else pl.lit(0)
    return (
        products.lazy()
        .join(done, on=keys, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(rest=rest)
        .with_columns(
            calls=pl.when(pl.col("rest") > 0).then("calls").otherwise(left),
            macs=pl.col("each") * left + pl.col("rest"),
        )
        .filter(pl.col("calls") > 0)
        .drop("done", "rest")
        .pipe(at_once)
    )
