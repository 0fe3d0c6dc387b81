"""The modules that NeuroMC knows, and their calls: layers, batch norms, neurons."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ...workload.sample_shares import with_shares

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from ...workload.samples import Samples

ID = ("rank", "module_call_id")
"""What names a module call."""

WHERE = ("rank", "module_id", "stage", "label", "step")
"""What a call is charged to."""

_MODULES: dict[str, Any] = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "kind": pl.String,
    "c_in": pl.Int64,
    "c_out": pl.Int64,
    "kernel": pl.List(pl.Int64),
    "weights": pl.Int64,
}


def known_modules(trace: Trace) -> pl.DataFrame:
    """Return the modules that fragments come from.

    Returns:
        `rank`, `module_id`, `kind` (linear, conv1d, conv2d, conv3d, conv_transpose, norm or
        neuron), `c_in`, `c_out`, `kernel` (of convolutions) and `weights` (elements).
    """
    rows = [
        {"rank": row["rank"], "module_id": row["module_id"], **found}
        for row in trace.modules.iter_rows(named=True)
        if (found := _known(row)) is not None
    ]
    return pl.DataFrame(rows, schema=_MODULES)


def _known(row: dict[str, Any]) -> dict[str, Any] | None:
    a = json.loads(row["attributes"] or "{}")
    name: str = row["class"].rpartition(".")[2]
    if row["neuron"] is not None:
        return {"kind": "neuron"}
    if "num_features" in a and "track_running_stats" in a and "InstanceNorm" not in name:
        return {"kind": "norm"}
    weight = _weight(row)
    if "in_features" in a and "out_features" in a and len(weight) == 2:
        sizes = (a["in_features"], a["out_features"])
        kind, kernel = "linear", []
    elif "in_channels" in a and "kernel_size" in a and len(weight) >= 3:
        sizes, kernel = (a["in_channels"], a["out_channels"]), weight[2:]
        kind = "conv_transpose" if a.get("transposed") else f"conv{len(kernel)}d"
    else:
        return None
    return {
        "kind": kind, "c_in": sizes[0], "c_out": sizes[1], "kernel": kernel,
        "weights": prod(weight),
    }  # fmt: skip


def _weight(row: dict[str, Any]) -> list[int]:
    shapes = {p["name"]: p["shape"] for p in row["parameters"] or ()}
    return shapes.get("weight") or shapes.get("parametrizations.weight.original") or []


def inside(trace: Trace, modules: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the modules of a kind and all below them.

    Returns:
        `rank`, `module_id` and `owner`, the outermost module of that kind.
    """
    own = {tuple(row) for row in modules.filter(pl.col("kind") == kind)[:, :2].iter_rows()}
    owners: dict[tuple[int, int], int] = {}
    for rank, module, parent in trace.modules.select("rank", "module_id", "parent_id").iter_rows():
        above = owners.get((rank, parent)) if parent is not None else None
        if above is not None:
            owners[rank, module] = above
        elif (rank, module) in own:
            owners[rank, module] = module
    rows = [(*key, owner) for key, owner in owners.items()]
    schema = dict.fromkeys(("rank", "module_id", "owner"), pl.Int32)
    return pl.DataFrame(rows, schema=schema, orient="row")


def calls_of(trace: Trace, modules: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of some modules.

    Returns:
        `rank`, `module_call_id`, `WHERE`, `sample`, `first_seq`, `last_seq`, `multi_step`,
        `grad_enabled`, and as text `in_shape` and `out_shape` ("2x16"; null without a tensor), in
        the order of their ends.
    """
    return (
        trace.module_calls.join(
            modules.lazy().select("rank", "module_id"), on=["rank", "module_id"], how="semi"
        )
        .select(
            "module_call_id",
            *WHERE,
            "sample",
            "first_seq",
            "last_seq",
            "grad_enabled",
            multi_step=pl.col("step_mode").cast(pl.String).eq("m").fill_null(False),
            in_shape=_shape("inputs"),
            out_shape=_shape("outputs"),
        )
        .with_columns(pl.col("stage", "label").cast(pl.String))
        .sort("rank", "last_seq", "module_call_id")
        .collect()
    )


def linear_shares(trace: Trace, modules: pl.DataFrame, samples: Samples) -> pl.DataFrame:
    """Return `ID` and `parts`, the samples times time steps in it, of calls of linear layers."""
    kinds = modules.filter(pl.col("kind") == "linear").with_columns(kind=pl.lit("Linear"))
    paths = trace.modules.select("rank", "module_id", module="path")
    sizes = pl.col("in_shape").str.split("x")
    calls = (
        calls_of(trace, kinds)
        .join(kinds, on=["rank", "module_id"], maintain_order="left")
        .join(paths, on=["rank", "module_id"], maintain_order="left")
        .with_columns(
            calls=pl.lit(1, pl.Int64),
            in_dims=sizes.list.len().cast(pl.Int64),
            in_first=sizes.list.get(0, null_on_oob=True).cast(pl.Int64),
            in_second=sizes.list.get(1, null_on_oob=True).cast(pl.Int64),
        )
    )
    shared = with_shares(calls, samples.frame, spiking=False)
    return shared.select(*ID, parts=pl.col("batch") * pl.col("time_steps"))


def _shape(of: str) -> pl.Expr:
    shape = pl.col(of).list.first().struct.field("shape")
    return pl.when(shape.is_not_null()).then(
        shape.list.eval(pl.element().cast(pl.String)).list.join("x")
    )


def shape_of(text: str | None) -> tuple[int, ...]:
    """Return a shape from `calls_of`'s text."""
    return tuple(int(size) for size in text.split("x")) if text else ()
