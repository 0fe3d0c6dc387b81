"""What no fragment is for: what is free, what is outside the model, what is left out by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl

from ...frames import at_once
from ...rules.geometry import Convolution, Norm, Product
from ...rules.rule import Counted
from ...trace.signatures import SIGNATURE, of_each_signature
from ...workload.account import Account, account_of
from ...workload.gradients import inside_neurons
from ...workload.layers import MODULE
from ...workload.products import figures_of, product_signatures, uncharged
from ...workload.ran import ran_of
from .addons import refused_optimizers

if TYPE_CHECKING:
    from .fragments import Fragments
    from .run import Run
    from .variant import Variant

Fate = Literal["charged", "free", "element-wise", "loss", "left out"]
"""What becomes of an op: there are fragments for it, nothing is charged for it because it computes
nothing, because it is arithmetic outside neurons, because it computes a loss; or it is named."""

_MOVES = ("view", "copy", "indexing", "factory", "random", "metadata", "allocation")
"""Families of ops that make, move or test values; those that also compute are named."""

_ARITHMETIC = ("addition", "arithmetic", "sum", "mean")

_MORE: Mapping[str, Fate] = {
    **dict.fromkeys(("sqrt", "rsqrt", "sigmoid"), "element-wise"),
    **dict.fromkeys(("all", "any", "equal", "native_dropout"), "free"),
}
"""Ops of other families."""

_REST = {"what": pl.String, "calls": pl.Int64, "macs": pl.Int64, "uncovered": pl.Boolean}


class LeftOut(NamedTuple):
    """What is not charged.

    Attributes:
        account: what of the products is charged and what is left out.
        refused: `what`, `calls` and `macs` of what strict refuses, optimizers first.
        outside: `what` and `calls` of losses and of what runs outside every module.
        element_wise: `what` and `calls` of arithmetic outside neurons and batch norms.
        recomputed: calls that ran again inside the backward pass and count nothing.
    """

    account: Account
    refused: pl.DataFrame
    outside: pl.DataFrame
    element_wise: pl.DataFrame
    recomputed: int


def fate_of(signature: Mapping[str, Any], one: Product | None, counted: Counted) -> Fate:
    """Return what becomes of the calls of a signature.

    Args:
        signature: the signature.
        one: its sizes.
        counted: how it is counted, see `products.figures_of`.
    """
    if one is not None and (isinstance(one, Norm) or spatial_of(one) <= 2):
        return "charged"
    how, family, figures = counted
    base = signature["packet"].rpartition(".")[2]
    if how == "free" or family == "comparison" or (family in _MOVES and figures.flops == 0):
        return "free"
    if family == "loss" or "log_softmax" in base or "_loss" in base:
        return "loss"
    if family in _ARITHMETIC:
        return "element-wise"
    return _MORE.get(base.removesuffix("_"), "left out")


def spatial_of(one: Product | None) -> int:
    """Return the dimensions in space of a convolution or batch norm; 0 for anything else."""
    return one.spatial if isinstance(one, Convolution | Norm) else 0


def left_out_of(run: Run, fragments: Fragments, variant: Variant) -> LeftOut:
    """Return what of a run its fragments do not charge."""
    ran = _ran(run, variant)
    made = fragments.products().lazy()
    charged = (
        run.calls.lazy()
        .join(made, on=["rank", "seq"], how="semi")
        .group_by(_KEYS)
        .agg(calls=pl.col("seq").n_unique().cast(pl.Int64))
        .pipe(at_once)
    )
    products = ran.filter("product")
    rest = uncharged(products, charged, complex_as_one=True)
    charged_macs = int(products["macs"].sum()) - int(rest["macs"].sum())
    others = ran.filter(~pl.col("product") & (pl.col("stage") != "optimizer"))
    fate, named = pl.col("fate"), pl.col("fate") == "left out"
    outside = others.clear()
    if variant.only_fragments:
        refused = pl.concat([rest.filter(named), others.filter(named)])
        rest = rest.filter(~named).with_columns(what=pl.format("{} (not counted)", "what"))
    else:
        others = others.join(
            inside_neurons(run.trace, run.neurons), on=MODULE, how="anti", nulls_equal=True
        )
        nowhere = pl.lit(run.trace.modules.height > 0) & pl.col("module_id").is_null()
        outside = others.filter((fate == "loss") | (nowhere & named))
        refused, rest = pl.concat([rest, others.filter(named & ~nowhere)]), rest.clear()
    steps = [(what, n, 0, False) for what, n in refused_optimizers(run).items()]
    named_steps = pl.DataFrame(steps, schema=_REST, orient="row")
    refused = pl.concat([named_steps, _summed(refused)])
    return LeftOut(
        account=account_of(charged_macs, pl.concat([refused, _summed(rest)])),
        refused=refused,
        outside=_summed(outside),
        element_wise=_summed(others.filter(fate == "element-wise")),
        recomputed=int(ran.filter(stage="recompute")["calls"].sum()),
    )


_KEYS = ["rank", "signature_id", "stage", "module_id"]


def _ran(run: Run, variant: Variant) -> pl.DataFrame:
    """Return all that ran.

    Returns:
        `_KEYS`, `calls`, `what`, `fate`, `product`, `uncovered` (no rule covers the op, which may
        be a product), `each`, `each_as_one` and `macs`.
    """
    trace, figures = run.trace, figures_of(run.trace)

    def told(row: Mapping[str, Any]) -> dict[str, Any]:
        one = run.geometries.get((row["rank"], row["signature_id"]))
        what = f"{row['op']} (3-d)" if spatial_of(one) > 2 else row["op"]
        return {"what": what, "fate": variant.fate(row, one, figures[row["content"]])}

    fates = of_each_signature(trace, told, {"what": pl.String, "fate": pl.String})
    dense = (
        product_signatures(trace)
        .lazy()
        .select(
            *SIGNATURE,
            "each",
            "each_as_one",
            product=pl.lit(True),
            uncovered=pl.col("family") == "",
        )
    )
    return (
        ran_of(trace)
        .lazy()
        .group_by(_KEYS)
        .agg(pl.col("calls").sum())
        .sort(_KEYS)
        .join(fates.lazy(), on=SIGNATURE, maintain_order="left")
        .join(dense, on=SIGNATURE, how="left", maintain_order="left")
        .with_columns(
            pl.col("product", "uncovered").fill_null(False),
            each=pl.when(pl.col("product").is_null()).then(0).otherwise("each"),
        )
        .with_columns(macs=pl.col("each") * pl.col("calls"))
        .pipe(at_once)
    )


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `what`, `calls`, `macs` (null: not known) and `uncovered`, most first."""
    macs = pl.when(pl.col("macs").null_count() == 0).then(pl.col("macs").sum())
    sums = rows.lazy().group_by("what").agg(pl.col("calls").sum(), macs, pl.col("uncovered").all())
    found = sums.cast(pl.Schema(_REST))
    return at_once(found.sort("macs", "calls", "what", descending=[True, True, False]))
