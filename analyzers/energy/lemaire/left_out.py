"""What Lemaire's model does not cover of a trace, by name, calls and MACs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...workload.products import product_macs, products_of
from .scope import listed

if TYPE_CHECKING:
    from ...trace.trace import Trace

FREE = frozenset("Flatten Unflatten Identity Dropout Dropout1d Dropout2d Dropout3d ReLU".split())
"""Leaf modules that are free: without work in inference, or folded into a layer."""

_QUIET = frozenset(
    f"aten.{name}"
    for name in (
        "clone copy_ copy _to_copy repeat cat stack split_with_sizes_copy constant_pad_nd fill_ "
        "zero_ empty empty_like empty_strided new_empty new_empty_strided new_zeros new_ones "
        "new_full zeros zeros_like ones ones_like full full_like arange linspace scalar_tensor "
        "lift_fresh _local_scalar_dense resize_ set_ index_select gather relu relu_ _unsafe_view"
    ).split()
)
"""Ops that make or move values and compute nothing, and those of `FREE` modules."""

_LEAVES = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "class": pl.String,
    "owner": pl.Int32,
    "leaf": pl.Boolean,
}


def owners_of(trace: Trace, layers: pl.DataFrame) -> pl.DataFrame:
    """Return whom the work of each module belongs to.

    Args:
        trace: the trace.
        layers: what `layers_of` returns.

    Returns:
        `rank`, `module_id`, `module` (path), `class` (without its package), `owner` (module id of
        the neuron, weight layer or module without children that it is, or is inside; null for a
        container) and `leaf` (it is that owner).
    """
    whole = set(layers.select("rank", "module_id").rows())
    parents = set(trace.modules.select("rank", "parent_id").drop_nulls().rows())
    owners: dict[tuple[int, int], int | None] = {}
    data = []
    columns = ("rank", "module_id", "parent_id", "path", "class", "neuron")
    for rank, number, parent, path, name, neuron in (
        trace.modules.sort("rank", "module_id").select(columns).iter_rows()
    ):
        owner = owners.get((rank, parent))
        itself = (rank, number)
        if owner is None and (neuron or itself in whole or itself not in parents):
            owner = number
        owners[itself] = owner
        data.append((rank, number, path, name.rsplit(".", 1)[-1], owner, owner == number))
    return pl.DataFrame(data, schema=_LEAVES, orient="row")


def left_out(
    trace: Trace, owners: pl.DataFrame, covered: pl.DataFrame, sums: pl.DataFrame | None
) -> tuple[pl.DataFrame, float]:
    """Return what the model does not cover, and the share of the products' MACs that it does.

    Args:
        trace: the trace.
        owners: what `owners_of` returns.
        covered: `rank` and `module_id` of the layers and neurons that are.
        sums: what `Charged.sums` says of functional work; None: only calls of the revision source
            are covered in eval mode alone, lose nothing with `FREE` modules, and something with
            functional work.

    Returns:
        `what`, `calls`, `macs_share` as in `EnergyReport`, with `kind`: module, product, op or
        training.
    """
    source = sums is not None
    known = owners.join(
        covered.select("rank", owner="module_id", covered=pl.lit(True)).unique(),
        on=["rank", "owner"], how="left", maintain_order="left",
    ).with_columns(pl.col("covered").fill_null(False))  # fmt: skip
    training = pl.col("training").fill_null(False) & pl.lit(source)
    products = products_of(trace).join(
        known, on=["rank", "module_id"], how="left", maintain_order="left"
    )
    total = int(products["macs"].sum()) or 1
    meant = products.filter(~training)
    inside = meant.filter(pl.col("covered").fill_null(False))
    rest = pl.concat(
        [
            _modules(trace, known, meant, source=source),
            _loose(meant.filter(pl.col("owner").is_null()), "product"),
            _in_training(products.filter(training)),
            *([] if sums is None else [_loose(_functional(trace, known, sums), "op")]),
        ]
    )
    share = int(inside["macs"].sum()) / total if products.height else 1.0
    return rest.with_columns(macs_share=pl.col("macs") / total).drop("macs"), share


_REST = pl.Schema({"what": pl.String, "kind": pl.String, "calls": pl.Int64, "macs": pl.Int64})


def _modules(
    trace: Trace, known: pl.DataFrame, products: pl.DataFrame, *, source: bool
) -> pl.DataFrame:
    """Return modules that are not covered, by class, with the MACs of the products inside."""
    missing = known.filter(pl.col("leaf") & ~pl.col("covered"))
    if source:
        missing = missing.filter(~pl.col("class").is_in(list(FREE)))
    calls = (
        trace.module_calls.filter(
            (pl.col("stage").cast(pl.String) == "forward")
            & (~pl.col("training") | pl.lit(not source))
        )
        .group_by("rank", "module_id")
        .agg(calls=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
    )
    macs = products.group_by("rank", module_id="owner").agg(pl.col("macs").sum())
    key = ["rank", "module_id"]
    found = missing.join(calls, on=key, maintain_order="left").join(
        macs, on=key, how="left", maintain_order="left"
    )
    return (
        found.group_by("class", maintain_order=True)
        .agg(pl.col("calls").sum(), pl.col("macs").fill_null(0).sum())
        .select(what="class", kind=pl.lit("module"), calls="calls", macs="macs")
        .cast(_REST)
    )


def _loose(work: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return work in no layer, neuron or leaf module, by op, with the modules that it is in."""
    found = work.group_by("op", maintain_order=True).agg(
        pl.col("module").fill_null("no module").unique(maintain_order=True),
        pl.col("calls", "macs").sum(),
    )
    what = [f"{op} ({listed(modules)})" for op, modules in found.select("op", "module").iter_rows()]
    return found.select(
        what=pl.Series(what, dtype=pl.String), kind=pl.lit(kind), calls="calls", macs="macs"
    ).cast(_REST)


def _in_training(products: pl.DataFrame) -> pl.DataFrame:
    if products.is_empty():
        return pl.DataFrame(schema=_REST)
    names = listed(list(dict.fromkeys(products["module"])))
    return products.select(
        what=pl.lit(f"layers in training mode ({names})"),
        kind=pl.lit("training"),
        calls=pl.col("calls").sum(),
        macs=pl.col("macs").sum(),
    ).cast(_REST)


def _without(calls: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    """Return grouped calls less the sums that are charged, or free."""
    key = [name for name in sums.columns if name != "charged"]
    if "charged" not in sums.columns:
        return calls.join(sums, on=key, how="anti", maintain_order="left")
    rest = calls.join(sums, on=key, how="left", maintain_order="left").with_columns(
        pl.col("calls") - pl.col("charged").fill_null(0)
    )
    return rest.filter(pl.col("calls") > 0).drop("charged")


def _functional(trace: Trace, known: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    """Return the forward calls of containers that compute; outside modules is no network."""
    computing = ~pl.col("is_view").fill_null(False) & ~pl.col("packet").is_in(list(_QUIET))
    products = [product_macs(row) is not None for row in trace.signatures.iter_rows(named=True)]
    signatures = trace.signatures.filter(computing & ~pl.Series(products, dtype=pl.Boolean)).select(
        "rank", "signature_id", "op"
    )
    calls = (
        trace.calls.filter(
            (pl.col("stage").cast(pl.String) == "forward") & ~pl.col("training").fill_null(False)
        )
        .group_by("rank", "module_id", "signature_id")
        .agg(calls=pl.len().cast(pl.Int64), first=pl.col("seq").min())
        .collect(engine="streaming")
        .sort("rank", "first")
        .join(signatures, on=["rank", "signature_id"], maintain_order="left")
        .pipe(_without, sums)
        .join(known, on=["rank", "module_id"], maintain_order="left")
    )
    return calls.filter(pl.col("owner").is_null()).with_columns(macs=pl.lit(0, pl.Int64))
