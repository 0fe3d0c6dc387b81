"""What Lemaire's model does not cover of a trace, by name, calls and dense MACs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...rules import RULE_SETS
from ...rules.call import call_of
from ...text import listed
from ...workload.layers import MODULE, layers_of
from ...workload.products import SIGNATURE, product_signatures, products_of, uncharged
from .actions import Counted

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from .variant import Variant

_OWNERS = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "class": pl.String,
    "owner": pl.Int32,
    "leaf": pl.Boolean,
}
_REST = pl.Schema({"what": pl.String, "kind": pl.String, "calls": pl.Int64, "macs": pl.Int64})


def owners_of(trace: Trace) -> pl.DataFrame:
    """Return whom the work of each module belongs to.

    Returns:
        `rank`, `module_id`, `module` (path), `class` (without its package), `owner` (module id of
        the neuron, weight layer or module without children that it is, or is inside; null for a
        container) and `leaf` (it is that owner).
    """
    whole = set(layers_of(trace).select(MODULE).rows())
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
    return pl.DataFrame(data, schema=_OWNERS, orient="row")


def left_out(trace: Trace, counted: Counted, variant: Variant) -> tuple[pl.DataFrame, int]:
    """Return what the model does not cover, and the dense MACs of the products that it charges.

    Args:
        trace: the part that is estimated.
        counted: what the variant counts.
        variant: what is free, and whether calls in training mode are none of inference.

    Returns:
        `what`, `calls`, `macs` (null: a size was not recorded) and `kind`: module, product, op or
        training.
    """
    owners = owners_of(trace)
    covered = counted.covered.select("rank", owner="module_id", covered=pl.lit(True)).unique()
    owners = owners.join(covered, on=["rank", "owner"], how="left", maintain_order="left")
    products = products_of(trace)
    rest = uncharged(products, counted.products).join(
        owners, on=MODULE, how="left", maintain_order="left"
    )
    training = pl.col("training").fill_null(False) & variant.eval_only
    inside = pl.col("owner").is_not_null() & pl.col("covered").is_null()
    meant = rest.filter(~training)
    parts = [
        _modules(trace, owners, meant.filter(inside), variant),
        _loose(meant.filter(~inside), "product"),
        _in_training(rest.filter(training)),
    ]
    if counted.sums is not None:
        parts.append(_loose(_functional(trace, owners, counted.sums, variant), "op"))
    return pl.concat(parts), int(products["macs"].sum()) - int(rest["macs"].sum())


def _summed(name: str) -> pl.Expr:
    """Return a sum; null if one of the numbers is not known."""
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name)


def _modules(
    trace: Trace, owners: pl.DataFrame, products: pl.DataFrame, variant: Variant
) -> pl.DataFrame:
    """Return modules that are not covered, by class, with the MACs of the products inside."""
    eval_mode = ~pl.col("training") | (not variant.eval_only)
    calls = (
        trace.module_calls.filter((pl.col("stage") == "forward") & eval_mode)
        .group_by(MODULE)
        .agg(calls=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
    )
    ran = products.group_by("rank", module_id="owner").agg(
        _summed("macs"), products=pl.col("calls").sum()
    )
    found = (
        owners.filter(pl.col("leaf") & pl.col("covered").is_null())
        .join(calls, on=MODULE, how="left", maintain_order="left")
        .join(ran, on=MODULE, how="left", maintain_order="left")
        .filter(
            pl.col("products").is_not_null()
            | (pl.col("calls").is_not_null() & ~pl.col("class").is_in(list(variant.free)))
        )
        .with_columns(
            calls=pl.coalesce("calls", "products"),
            macs=pl.when(pl.col("products").is_null()).then(0).otherwise("macs"),
        )
    )
    return (
        found.group_by(what="class", maintain_order=True)
        .agg(pl.col("calls").sum(), _summed("macs"))
        .select("what", kind=pl.lit("module"), calls="calls", macs="macs")
        .cast(_REST)
    )


def _loose(work: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return work that no module stands for, by op, with the modules that it is in."""
    found = work.group_by("op", maintain_order=True).agg(
        pl.col("module").fill_null("no module").unique(maintain_order=True),
        pl.col("calls").sum(),
        _summed("macs"),
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
        macs=_summed("macs"),
    ).cast(_REST)


def _functional(
    trace: Trace, owners: pl.DataFrame, sums: pl.DataFrame, variant: Variant
) -> pl.DataFrame:
    """Return the forward calls in eval mode that compute in containers, without their products.

    What ran outside every module belongs to no network.
    """
    containers = owners.filter(pl.col("owner").is_null()).select(*MODULE, "module")
    calls = (
        trace.calls.filter((pl.col("stage") == "forward") & ~pl.col("training").fill_null(False))
        .join(containers.lazy(), on=MODULE)
        .group_by(*MODULE, "module", "signature_id")
        .agg(calls=pl.len().cast(pl.Int64), first=pl.col("seq").min())
        .collect(engine="streaming")
        .sort("rank", "first")
        .join(product_signatures(trace), on=SIGNATURE, how="anti", maintain_order="left")
        .with_columns(each=pl.lit(0, pl.Int64), macs=pl.lit(0, pl.Int64))
    )
    if "calls" in sums.columns:
        calls = uncharged(calls, sums)
    else:
        calls = calls.join(sums, on=sums.columns, how="anti", maintain_order="left")
    free = {name.lower() for name in variant.free}
    return calls.join(_computing(trace, calls, free), on=SIGNATURE, maintain_order="left")


def _computing(trace: Trace, calls: pl.DataFrame, free: set[str]) -> pl.DataFrame:
    """Return `rank`, `signature_id` and `op` of calls that do more than move or make values.

    Args:
        trace: the trace.
        calls: the calls.
        free: names of functions that count for nothing.
    """
    rows = []
    asked = trace.signatures.join(calls, on=SIGNATURE, how="semi")
    for row in asked.iter_rows(named=True):
        _, _, figures = RULE_SETS["full"].figures(call_of(row, {}))
        name = row["packet"].rpartition(".")[2].rstrip("_")
        if figures.flops != 0 and name not in free:
            rows.append((row["rank"], row["signature_id"], row["op"]))
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "op": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
