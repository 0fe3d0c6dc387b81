"""Which pooling follows a convolution, and how many positions it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas import ConfigError
from ...rules import PRODUCTS, family_of
from ...trace.files import collected
from ...workload.modules import scopes_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

_DEEPEST = 64
"""At most so many calls are followed back from a pooling to its convolution."""

_POOLS = "pool2d"
_POOL_MODULES = r"Pool2d$"

_VALUE = {"rank": pl.Int32, "value": pl.Int64, "before": pl.Int64, "pooled": pl.Int64}


def pooled_sites(trace: Trace) -> pl.DataFrame:
    """Return how many output positions a convolution has after the pooling that follows it.

    Goes back from the input of each pooling, call by call and across neurons as a whole, to the
    convolution that ran last before it; another pooling, convolution or product on the way ends
    the search. The first call of each pooling speaks for all of its calls of that shape.

    Returns:
        `rank`, `module_id`, `signature_id` (of the convolution's call) and `pooled`.
    """
    front = _pools(trace)
    key = ("rank", "module_id", "signature_id")
    found = []
    edges = _edges(trace, front["before"].max())
    front = front.with_columns(pool=pl.int_range(pl.len()))
    for _ in range(_DEEPEST):
        made = edges.join(front, on=["rank", "value"]).filter(pl.col("seq") < pl.col("before"))
        ends = made.filter(pl.col("end") == "convolution")
        found.append(ends.select(*key, "seq", "pool", "pooled"))
        front = (
            made.filter(pl.col("end").is_null())
            .select("rank", "pooled", "pool", value="source", before="seq")
            .drop_nulls("value")
            .unique()
        )
        if front.is_empty():
            break
    return (
        pl.concat(found)
        .sort("seq", descending=True)
        .unique(["rank", "pool"], keep="first", maintain_order=True)
        .sort("seq")
        .unique(key, keep="first", maintain_order=True)
        .select(*key, "pooled")
    )


def at_pooled_size(trace: Trace, inside: pl.DataFrame) -> pl.DataFrame:
    """Return calls with the positions that the pooling behind a convolution leaves, if one is.

    Args:
        trace: the trace, narrowed.
        inside: rows of `conv_calls` that the model covers.

    Raises:
        ConfigError: the trace was narrowed by module or op, so that poolings may be left out.
    """
    hiding = [text for text in trace.filters if text.strip().startswith(("module", "op"))]
    if hiding:
        raise ConfigError(
            f"sites = 'pooled' looks for the pooling behind a convolution, which {hiding[0]!r} may "
            "leave out: filter by stage, label, step or rank"
        )
    key = ["rank", "module_id", "signature_id"]
    return inside.join(pooled_sites(trace), on=key, how="left", maintain_order="left").with_columns(
        sites=pl.coalesce("pooled", "sites")
    )


def _families(trace: Trace) -> pl.Expr:
    """Return the family of each signature's op."""
    families = {op: family_of(op) for op in trace.signatures["op"].unique()}
    return pl.col("op").replace_strict(families, default="", return_dtype=pl.String)


def _pools(trace: Trace) -> pl.DataFrame:
    """Return the inputs of poolings and the positions of their outputs (`_VALUE`)."""
    modules = trace.modules.filter(pl.col("class").str.contains(_POOL_MODULES))
    modules = modules.select("rank", "module_id")
    calls = (
        trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(modules.lazy(), on=["rank", "module_id"])
        .select(
            "rank",
            "module_id",
            value=pl.col("inputs").list.first().struct.field("value_id"),
            before="first_seq",
            shape=pl.col("outputs").list.first().struct.field("shape"),
        )
    )
    signatures = trace.signatures.filter(
        (_families(trace) == "pooling") & pl.col("packet").str.contains(_POOLS)
    ).select(
        "rank",
        "signature_id",
        shape=pl.col("operands")
        .list.filter(pl.element().struct.field("role") == "out")
        .list.first()
        .struct.field("shape"),
    )
    ops = (
        trace.calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(signatures.lazy(), on=["rank", "signature_id"])
        .join(modules.lazy(), on=["rank", "module_id"], how="anti")
        .select("rank", "module_id", value="in0_value", before="seq", shape="shape")
    )
    return (
        pl.concat([calls, ops])
        .drop_nulls(["value", "shape"])
        .sort("before")
        .unique(["rank", "module_id", "shape"], keep="first", maintain_order=True)
        .with_columns(
            pooled=pl.col("shape").list.get(-1, null_on_oob=True)
            * pl.col("shape").list.get(-2, null_on_oob=True)
        )
        .select(list(_VALUE))
        .pipe(collected, trace)
    )


def _edges(trace: Trace, until: Any) -> pl.DataFrame:
    """Return what each forward call up to a seq took and made, a neuron being one call.

    Returns:
        `rank`, `seq`, `module_id`, `signature_id`, `value` (made), `source` (taken) and `end`
        (convolution, other or null: the search goes on).
    """
    family = _families(trace)
    ends = trace.signatures.select(
        "rank",
        "signature_id",
        end=pl.when(family == "convolution")
        .then(pl.lit("convolution"))
        .when(family.is_in([*PRODUCTS, "pooling"]))
        .then(pl.lit("other")),
    )
    calls = (
        trace.calls.filter(
            (pl.col("stage").cast(pl.String) == "forward") & (pl.col("seq") <= (until or -1))
        )
        .join(_in_neurons(trace).lazy(), on=["rank", "module_id"], how="anti")
        .join(ends.lazy(), on=["rank", "signature_id"])
    )
    key = ("rank", "seq", "module_id", "signature_id", "end")
    taken = pl.concat(calls.select(*key, source=f"in{slot}_value") for slot in range(3))
    more = trace.call_operands.filter(pl.col("role").cast(pl.String) == "in")
    lists = calls.select(key).join(
        more.select("rank", "seq", source="value_id"), on=["rank", "seq"]
    )
    made = calls.select("rank", "seq", value="out0_value")
    ops = pl.concat([taken, lists]).drop_nulls("source").join(made, on=["rank", "seq"])
    columns = (*key, "source", "value")
    edges = pl.concat([ops.select(columns), _neuron_edges(trace, until).select(columns)])
    return collected(edges, trace)


def _in_neurons(trace: Trace) -> pl.DataFrame:
    """Return the ids of neurons and of all modules below them."""
    neurons = trace.modules.filter(pl.col("neuron").is_not_null()).select(scope="path")
    inside = scopes_of(trace).join(neurons, on="scope", how="semi").select(path="module")
    return trace.modules.join(inside, on="path", how="semi").select("rank", "module_id")


def _neuron_edges(trace: Trace, until: Any) -> pl.LazyFrame:
    neurons = trace.modules.filter(pl.col("neuron").is_not_null()).select("rank", "module_id")
    return (
        trace.module_calls.filter(
            (pl.col("stage").cast(pl.String) == "forward") & (pl.col("first_seq") <= (until or -1))
        )
        .join(neurons.lazy(), on=["rank", "module_id"])
        .select(
            "rank",
            pl.col("last_seq").alias("seq"),
            "module_id",
            signature_id=pl.lit(None, pl.Int32),
            end=pl.lit(None, pl.String),
            source=pl.col("inputs").list.first().struct.field("value_id"),
            value=pl.col("outputs").list.first().struct.field("value_id"),
        )
    )
