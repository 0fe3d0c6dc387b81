"""What Lemaire's model does not cover of a trace, by name, calls and dense MACs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...text import listed
from ...trace.files import collected
from ...trace.signatures import SIGNATURE, of_each_signature
from ...workload.layers import MODULE, layers_of
from ...workload.products import figures_of, product_signatures, products_of, uncharged
from ...workload.ran import ran_of
from .actions import Counted

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from .variant import Variant

_OWNERS = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "owner": pl.Int32,
    "class": pl.String,
}
_WORK = ("kind", "what", "module", "calls", "macs", "uncovered")


def owners_of(trace: Trace) -> pl.DataFrame:
    """Return whom the work of each module belongs to.

    Returns:
        `rank`, `module_id`, `module` (path), `owner` (module id of the neuron, weight layer or
        module without children that it is, or is inside; null for a container) and the owner's
        `class` (without its package).
    """
    whole = set(layers_of(trace).select(MODULE).rows())
    parents = set(trace.modules.select("rank", "parent_id").drop_nulls().rows())
    owners: dict[tuple[int, int | None], tuple[int | None, str | None]] = {}
    data = []
    columns = ("rank", "module_id", "parent_id", "path", "class", "neuron")
    for rank, number, parent, path, name, neuron in (
        trace.modules.sort("rank", "module_id").select(columns).iter_rows()
    ):
        owner = owners.get((rank, parent), (None, None))
        itself = (rank, number)
        if owner[0] is None and (neuron or itself in whole or itself not in parents):
            owner = number, name.rsplit(".", 1)[-1]
        owners[itself] = owner
        data.append((*itself, path, *owner))
    return pl.DataFrame(data, schema=_OWNERS, orient="row")


def left_out(trace: Trace, counted: Counted, variant: Variant) -> tuple[pl.DataFrame, int]:
    """Return what the model does not cover, and the dense MACs of the products that it charges.

    Args:
        trace: the part that is estimated.
        counted: what the variant counts.
        variant: what is free.

    Returns:
        `kind` (module, product or op), `what` (the class of modules that are not covered;
        else the op, and the modules that it ran in), `calls`, `macs` (null: a size was not
        recorded) and `uncovered` (no rule covers the op, which may be a product).
    """
    covered = counted.covered.select("rank", owner="module_id", covered=pl.lit(True)).unique()
    owners = owners_of(trace).join(covered, on=["rank", "owner"], how="left", maintain_order="left")
    products = products_of(trace)
    rest = uncharged(products, counted.products, complex_as_one=True)
    charged = int(products["macs"].sum()) - int(rest["macs"].sum())
    rest = rest.join(owners, on=MODULE, how="left", maintain_order="left")
    parts = [_modules(trace, owners, variant), _products(rest)]
    if counted.sums is not None:
        parts.append(_functional(trace, owners, counted.sums, variant))
    macs = pl.when(pl.col("macs").null_count() == 0).then(pl.col("macs").sum())
    found = (
        pl.concat(part.select(_WORK) for part in parts)
        .group_by("kind", "what", maintain_order=True)
        .agg(
            pl.col("module").unique(maintain_order=True),
            pl.col("calls").sum(),
            macs,
            uncovered=pl.col("uncovered").filter(pl.col("macs").fill_null(1) > 0).all(),
        )
    )
    named = [
        what if kind == "module" else f"{what} ({listed(modules)})"
        for kind, what, modules in found.select("kind", "what", "module").iter_rows()
    ]
    return found.with_columns(what=pl.Series(named, dtype=pl.String)).drop("module"), charged


def _modules(trace: Trace, owners: pl.DataFrame, variant: Variant) -> pl.DataFrame:
    """Return the calls of modules that are not covered, and do something."""
    leaves = owners.filter(
        (pl.col("module_id") == pl.col("owner"))
        & pl.col("covered").is_null()
        & ~pl.col("class").is_in(list(variant.free))
    )
    calls = (
        trace.module_calls.filter(pl.col("stage") == "forward")
        .group_by(MODULE)
        .agg(calls=pl.len().cast(pl.Int64))
        .pipe(collected, trace)
    )
    return leaves.join(calls, on=MODULE, maintain_order="left").with_columns(
        kind=pl.lit("module"), what="class", macs=pl.lit(0, pl.Int64), uncovered=pl.lit(False)
    )


def _products(rest: pl.DataFrame) -> pl.DataFrame:
    """Return the products that are not charged; the calls of modules stand for those inside."""
    inside = pl.col("owner").is_not_null() & pl.col("covered").is_null()
    return rest.with_columns(
        pl.col("module").fill_null("no module"),
        calls=pl.when(~inside).then("calls").otherwise(0),
        kind=pl.when(inside).then(pl.lit("module")).otherwise(pl.lit("product")),
        what=pl.when(inside).then("class").otherwise("op"),
        uncovered=pl.col("family") == "",
    )


def _functional(
    trace: Trace, owners: pl.DataFrame, sums: pl.DataFrame, variant: Variant
) -> pl.DataFrame:
    """Return the forward calls that compute in containers, without their products.

    What ran outside every module belongs to no network.
    """
    containers = owners.filter(pl.col("owner").is_null()).select(*MODULE, "module")
    calls = (
        ran_of(trace)
        .filter(pl.col("stage") == "forward")
        .group_by(*MODULE, "signature_id")
        .agg(pl.col("calls").sum(), pl.col("first").min())
        .join(containers, on=MODULE)
        .sort("rank", "first")
        .join(product_signatures(trace), on=SIGNATURE, how="anti", maintain_order="left")
        .with_columns(kind=pl.lit("op"), each=pl.lit(0, pl.Int64))
    )
    if "calls" in sums.columns:
        calls = uncharged(calls, sums)
    else:
        calls = calls.join(sums, on=sums.columns, how="anti", maintain_order="left")
    free = {name.lower() for name in variant.free}
    return calls.join(
        _computing(trace, calls, free), on=SIGNATURE, maintain_order="left"
    ).with_columns(macs="each", uncovered=pl.lit(False))


def _computing(trace: Trace, calls: pl.DataFrame, free: set[str]) -> pl.DataFrame:
    """Return `rank`, `signature_id` and `what` (the op) of what does more than move or make values.

    Args:
        trace: the trace.
        calls: the calls.
        free: names of functions that count for nothing.
    """
    figures = figures_of(trace)

    def told(row: Mapping[str, Any]) -> dict[str, Any] | None:
        name = row["packet"].rpartition(".")[2].rstrip("_")
        computes = figures[row["content"]][2].flops != 0 and name not in free
        return {"what": row["op"]} if computes else None

    return of_each_signature(trace, told, {"what": pl.String})
