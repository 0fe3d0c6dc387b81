"""What Lemaire's model covers of a trace, and the words for what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .products import product_macs, products_of
from .report import Scope

if TYPE_CHECKING:
    from ..trace import Trace

SCOPE = Scope(
    title="Lemaire et al. 2022",
    source=(
        "E. Lemaire et al., An analytical estimation of spiking neural networks energy efficiency, "
        "ICONIP 2022 (arXiv 2210.13107); counts and constants of its authors' code, Qualia plugin "
        "SNN 2.6.0"
    ),
    stages=("forward",),
    technology="45 nm CMOS, integer arithmetic, static RAM, one memory for each tensor of a layer",
    covers="operations, addressing and memory of linear layers, convolutions and their neurons",
    leaves_out="pooling, normalisation, attention, transposed convolutions, training",
)

FREE = frozenset("Flatten Unflatten Identity Dropout Dropout1d Dropout2d Dropout3d ReLU".split())
"""Leaf modules that are free: without work in inference, or folded into a layer."""

_QUIET = frozenset(
    f"aten.{name}"
    for name in (
        "clone copy_ copy _to_copy repeat cat stack split_with_sizes_copy constant_pad_nd fill_ "
        "zero_ empty empty_like empty_strided new_empty new_empty_strided new_zeros new_ones "
        "new_full zeros zeros_like ones ones_like full full_like arange linspace scalar_tensor "
        "lift_fresh _local_scalar_dense resize_ set_ index_select gather"
    ).split()
)
"""Ops that make or move values and compute nothing."""

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
    trace: Trace, owners: pl.DataFrame, covered: pl.DataFrame, *, source: bool
) -> tuple[pl.DataFrame, float]:
    """Return what the model does not cover, and the share of the products' MACs that it does.

    Args:
        trace: the trace.
        owners: what `owners_of` returns.
        covered: `rank` and `module_id` of the layers and neurons that are.
        source: whether only calls in eval mode are covered, `FREE` modules are no loss and
            functional work is one.

    Returns:
        `what`, `calls`, `macs_share` as in `EnergyReport`, with `kind`: module, product, op or
        training.
    """
    known = owners.join(
        covered.select("rank", owner="module_id", covered=pl.lit(True)).unique(),
        on=["rank", "owner"], how="left", maintain_order="left",
    ).with_columns(pl.col("covered").fill_null(False))  # fmt: skip
    training = pl.col("training").fill_null(False) & pl.lit(source)
    products = products_of(trace).join(
        known, on=["rank", "module_id"], how="left", maintain_order="left"
    )
    total = int(products["macs"].sum()) or 1
    inside = products.filter(pl.col("covered").fill_null(False) & ~training)
    rest = pl.concat(
        [
            _modules(trace, known, products, source=source),
            _loose(products.filter(pl.col("owner").is_null()), "product"),
            _in_training(products.filter(pl.col("covered").fill_null(False) & training)),
            *([_loose(_functional(trace, known), "op")] if source else []),
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
        trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
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
    """Return work in no layer, neuron or leaf module, by op and module."""
    return (
        work.group_by("op", "module", maintain_order=True)
        .agg(pl.col("calls", "macs").sum())
        .select(
            what=pl.format("{} ({})", "op", pl.col("module").fill_null("no module")),
            kind=pl.lit(kind),
            calls="calls",
            macs="macs",
        )
        .cast(_REST)
    )


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


def _functional(trace: Trace, known: pl.DataFrame) -> pl.DataFrame:
    """Return the forward calls that compute in no layer, neuron or leaf module."""
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
        .join(known, on=["rank", "module_id"], how="left", maintain_order="left")
    )
    return calls.filter(pl.col("owner").is_null()).with_columns(macs=pl.lit(0, pl.Int64))


def warnings_of(
    rest: pl.DataFrame, layers: pl.DataFrame, revision: str, filters: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what a reader of the figure has to know; under strict the first one is refused.

    Args:
        rest: what `left_out` returns.
        layers: what `layers_of` returns, of the modules that ran.
        revision: SpikingJelly 2.0 names modules, August 2026 transposed convolutions only.
        filters: those that the trace was narrowed by before.
    """
    if revision == "spikingjelly-2026-08":
        transposed = layers.filter(pl.col("kind").str.starts_with("ConvTranspose"))
        return tuple(
            f"Lemaire takes {kind} as dense, which is a lower bound of its memory"
            for kind in transposed["kind"].unique(maintain_order=True)
        )
    found = []
    for what, kind in rest.select("what", "kind").iter_rows():
        if kind == "training":
            found.append(f"Lemaire leaves out {what}: call model.eval() before recording")
        elif kind == "module" or revision == "source":
            found.append(f"Lemaire does not cover {what}; its energy is left out")
    hiding = [text for text in filters if text.strip().startswith(("module", "op"))]
    if hiding and revision == "source":
        found.append(
            f"the trace was narrowed by {hiding[0]!r}: neurons that this left out are not charged, "
            "and layers that feed them count as layers without; use where= instead"
        )
    return tuple(found)


def coverage_line(share: float) -> str:
    """Return the share of MACs that is covered, in words."""
    return f"{share:.1%} of the MACs of convolutions and products in the forward pass"


def input_types(inputs: pl.DataFrame) -> str:
    """Return which layers took spikes, how sparse they were, and which did not.

    Args:
        inputs: see `lemaire_tables.Charged`.
    """
    spiking, other = inputs.filter("spikes"), inputs.filter(~pl.col("spikes"))
    elements = int((spiking["in_numel"] * spiking["calls"]).sum())
    told = []
    if elements:
        rate = int(spiking["in_nonzero"].sum()) / elements
        told.append(f"spikes into {_named(spiking)} ({rate:.1%} of the elements)")
    if other.height:
        told.append(f"other values into {_named(other)}")
    by_origin = inputs.filter("decided")
    for rows, words in (
        (by_origin.filter("spikes"), "spikes"),
        (by_origin.filter(~pl.col("spikes")), "no spikes"),
    ):
        if rows.height:
            told.append(
                f"constant inputs of {_named(rows)} taken for {words}, by where they come from"
            )
    return "; ".join(told)


def _named(rows: pl.DataFrame) -> str:
    return listed(rows["module"].unique(maintain_order=True).to_list())


def listed(names: list[str], most: int = 8) -> str:
    """Return names with commas, cut off after `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
