"""Matmuls, convolutions and batch norms call by call: which gradient each one is, and of what.

The backward of a convolution says which gradients it gives. Of a matmul, the factor that a backward
product reads says it: the gradient of the first factor (a layer's input) reads the second (its
weights), the gradient of the second reads the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..frames import at_once
from ..rules.geometry import Matmul, Norm, Product, product_of
from ..trace.files import collected
from ..trace.filters import of_signatures
from ..trace.signatures import (
    SIGNATURE,
    distinct_signatures,
    of_each_signature,
    signature_rows,
)
from .layers import ID, MODULE
from .products import product_signatures
from .spikes import SLOTS, with_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

Geometries = Mapping[tuple[int, int], Product]
"""(rank, signature) -> what it is."""

WHERE = ("rank", "module_id", "stage", "label", "step")
"""What a call belongs to."""

_CALL = ("seq", "signature_id", *WHERE, "module_call_id", "forward_seq")

_LAYOUTS: dict[str, Any] = {
    "sort": pl.String,
    "slot": pl.Int32,
    "role": pl.List(pl.String),
}


def geometries_of(trace: Trace) -> Geometries:
    """Return the matmuls, convolutions and batch norms among the signatures, if of known size."""
    if "geometries" not in trace.facts:
        distinct = _distinct_geometries(trace)
        _, places = distinct_signatures(trace)
        of_size = places.filter(pl.col("content").is_in([*distinct]))
        trace.facts["geometries"] = {
            (rank, number): distinct[content] for rank, number, content in of_size.rows()
        }
    geometries: Geometries = trace.facts["geometries"]
    return geometries


def _distinct_geometries(trace: Trace) -> Mapping[int, Product]:
    """Return the same by `content` of the distinct signatures."""
    if "distinct geometries" not in trace.facts:
        _, places = distinct_signatures(trace)
        unknown = product_signatures(trace).filter(pl.col("each").is_null())
        left_out = set(places.join(unknown, on=SIGNATURE, how="semi")["content"])
        trace.facts["distinct geometries"] = {
            row["content"]: one
            for row in signature_rows(trace)
            if (one := product_of(row)) is not None and row["content"] not in left_out
        }
    found: Mapping[int, Product] = trace.facts["distinct geometries"]
    return found


def product_calls(
    trace: Trace, mode: str = "binary", *, by_values_only: bool = False
) -> pl.DataFrame:
    """Return matmuls, convolutions and batch norms outside optimizers, a row for each gradient.

    Args:
        trace: the trace; forward calls are looked up in all of it, however it was narrowed.
        mode: what a spike tensor may hold, of `spikes.SPIKE_MODES`.
        by_values_only: see `spikes.with_spikes`.

    Returns:
        The columns of a call in the order of execution, `sort` (matmul, convolution, norm), `role`
        (forward, grad_input, grad_weight; of batch norms forward, backward; null: a gradient of
        which the trace does not tell whose), `of_signature` (of a gradient's forward matmul),
        `first_spikes` (the first operand is spikes) and `input_spikes` (the forward's input is;
        both null: not measured).
    """
    geometries, distinct = geometries_of(trace), _distinct_geometries(trace)

    def layout(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        one = distinct.get(row["content"])
        return None if one is None else _layout(one)

    layouts = of_each_signature(trace, layout, _LAYOUTS)
    roles = layouts.lazy().select(*SIGNATURE, "role").filter(pl.col("role").list.len() > 0)

    def calls_among(calls: pl.LazyFrame) -> pl.DataFrame:
        calls = of_signatures(calls, layouts.drop("role"))
        spiking = with_spikes(trace, SLOTS[:3], mode, by_values_only=by_values_only, calls=calls)
        found = spiking.select(
            *_CALL, "sort",
            first=_at_slot("value"), second=_at_slot("value", 1),
            first_spikes=_at_slot("spikes"), second_spikes=_at_slot("spikes", 1),
        )  # fmt: skip
        return collected(found, trace).sort("rank", "seq")

    calls = calls_among(trace.calls.filter(pl.col("stage") != "optimizer"))
    known = calls
    if trace.opened is not None:
        of = calls.lazy().select("rank", seq="forward_seq").drop_nulls().unique()
        known = calls_among(trace.whole.calls.join(of, on=["rank", "seq"], how="semi"))
    by_role = calls.lazy().join(
        roles.explode("role"), on=list(SIGNATURE), maintain_order="left_right"
    )
    return _with_forward(by_role, known, trace, geometries).select(
        *_CALL, "sort", "role", "of_signature", "first_spikes", "input_spikes"
    )


def _layout(one: Product) -> dict[str, Any]:
    """Return the columns of `_LAYOUTS`: slot of the first factor or input, and roles."""
    if isinstance(one, Matmul):
        return {"sort": "matmul", "slot": one.slots[0], "role": ["forward"]}
    if isinstance(one, Norm):
        role = "backward" if one.backward else "forward"
        return {"sort": "norm", "slot": one.slot, "role": [role]}
    wanted = zip(("grad_input", "grad_weight"), one.wanted, strict=True)
    given = [role for role, asked in wanted if asked] if one.backward else ["forward"]
    return {"sort": "convolution", "slot": one.slots[0], "role": given}


def _at_slot(what: str, later: int = 0) -> pl.Expr:
    at_one = pl.col("slot") == 1
    return pl.when(at_one).then(f"in{1 + later}_{what}").otherwise(f"in{later}_{what}")


def _with_forward(
    by_role: pl.LazyFrame, known: pl.DataFrame, trace: Trace, geometries: Geometries
) -> pl.DataFrame:
    """Return calls with the forward matmul that backward ones are a gradient of, and the role."""
    forward = (
        known.lazy()
        .filter(pl.col("sort") == "matmul")
        .select(
            "rank",
            forward_seq="seq",
            of_signature="signature_id",
            of_first="first",
            of_second="second",
            of_spikes="first_spikes",
        )
    )
    backward = (pl.col("sort") == "matmul") & (pl.col("stage") == "backward")
    calls = (
        by_role.join(forward, on=["rank", "forward_seq"], how="left", maintain_order="left")
        .with_columns(role=pl.when(backward).then(_role("first", "second")).otherwise("role"))
        .pipe(at_once)
    )
    open_ones = calls.filter(pl.col("role").is_null() & pl.col("of_signature").is_not_null())
    if open_ones.height:
        found = _by_storage_or_size(open_ones, trace, geometries)
        calls = calls.join(
            found, on=["rank", "seq"], how="left", maintain_order="left"
        ).with_columns(role=pl.coalesce("role", "found"))
        calls = calls.with_columns(role=pl.coalesce("role", pl.when(backward).then(_other())))
    spikes = (
        pl.when(~backward)
        .then("first_spikes")
        .when(pl.col("role").is_null())
        .then(pl.col("first_spikes") | pl.col("second_spikes"))
        .otherwise("of_spikes")
    )
    return calls.with_columns(input_spikes=spikes)


def _role(
    first: str, second: str, first_of: str = "of_first", second_of: str = "of_second"
) -> pl.Expr:
    """Return which gradient a matmul is, by what it reads; null if it reads neither factor.

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


def _other() -> pl.Expr:
    """Return which gradient a matmul is, if it is known that all others of its product are one.

    Where a checkpoint ran the forward again, the gradient of the weights reads an input that is
    another value than the forward's.
    """
    known = pl.col("role").unique().drop_nulls().implode().over("rank", "forward_seq")
    names = {"grad_input": "grad_weight", "grad_weight": "grad_input"}
    one = pl.when(known.list.len() == 1).then(known.list.first())
    return one.replace_strict(names, default=None, return_dtype=pl.String)


def _by_storage_or_size(calls: pl.DataFrame, trace: Trace, geometries: Geometries) -> pl.DataFrame:
    """Return `rank`, `seq` and `found`, the role of matmuls whose factors have new value ids.

    After a pause in the recording values are new, their storages are not. Where both factors lie
    in one storage, the length of the sums tells: an input's gradient sums over columns of the
    result, a weight's over its rows.
    """
    names = ("first", "second", "of_first", "of_second")
    wanted = pl.concat([calls.select("rank", value_id=name) for name in names]).unique()
    storages = collected(
        trace.whole.values.select("rank", "value_id", "storage_id")
        .join(wanted.lazy(), on=["rank", "value_id"], how="semi")
        .unique(["rank", "value_id"]),
        trace,
    )
    for name in names:
        calls = calls.join(
            storages.rename({"value_id": name, "storage_id": f"{name}_storage"}),
            on=["rank", name], how="left", maintain_order="left",
        )  # fmt: skip
    stored = [f"{name}_storage" for name in names]
    alone = (pl.col(stored[2]) != pl.col(stored[3])).fill_null(False)
    pairs = calls.select("rank", "signature_id", "of_signature").unique()
    sizes = [_by_size(geometries, *pair) for pair in pairs.iter_rows()]
    sized = pairs.with_columns(by_size=pl.Series(sizes, dtype=pl.String))
    return calls.join(
        sized, on=["rank", "signature_id", "of_signature"], maintain_order="left"
    ).select("rank", "seq", found=pl.coalesce(pl.when(alone).then(_role(*stored)), "by_size"))


def _by_size(geometries: Geometries, rank: int, signature: int, of: int) -> str | None:
    one, forward = geometries[rank, signature], geometries[rank, of]
    if not isinstance(one, Matmul) or not isinstance(forward, Matmul):
        return None
    rows = forward.first.shape[-2] if len(forward.first.shape) > 1 else 1
    if forward.n == rows:
        return None
    return {forward.n: "grad_input", rows: "grad_weight"}.get(one.k)


def shaped_calls(trace: Trace, modules: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of some modules in every stage, with the shapes of what goes in and out.

    Args:
        trace: the trace.
        modules: `rank` and `module_id` of those modules.

    Returns:
        `rank`, `module_call_id`, `WHERE`, `sample`, `last_seq`, `grad_enabled`, `multi_step` (the
        first dimension is time), `in_shape` and `out_shape` (lists; null without a tensor), in the
        order of their ends.
    """
    found = trace.module_calls.join(modules.lazy().select(MODULE), on=MODULE, how="semi").select(
        "module_call_id",
        *WHERE,
        "sample",
        "last_seq",
        "grad_enabled",
        multi_step=pl.col("step_mode").eq("m").fill_null(False),
        in_shape=pl.col("inputs").list.first().struct.field("shape"),
        out_shape=pl.col("outputs").list.first().struct.field("shape"),
    )
    return collected(found, trace).sort("rank", "last_seq", "module_call_id")


def inside_neurons(trace: Trace, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return `rank` and `module_id` of neurons and of the modules below them.

    Args:
        trace: the trace.
        neurons: what `layers.neurons_of` returns.
    """
    found = set(neurons.select(MODULE).iter_rows())
    for rank, module, parent in trace.modules.select(*MODULE, "parent_id").iter_rows():
        if (rank, parent) in found:
            found.add((rank, module))
    return pl.DataFrame(sorted(found), dict.fromkeys(MODULE, pl.Int32), orient="row")


def neuron_backwards(trace: Trace, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each backward pass through a call of a neuron.

    Backward work belongs to the outermost neuron on the stack of its forward call, whatever the
    path under which a surrogate function that several neurons share is known.

    Args:
        trace: the trace.
        neurons: what `layers.neurons_of` returns.

    Returns:
        `rank`, `module_call_id` and `module_id` of the neuron, `stage`, `label`, `step` and `seq`
        (of the first call of that pass).
    """
    inside = inside_neurons(trace, neurons)
    backward = trace.calls.filter(pl.col("stage") == "backward")
    passes = collected(
        backward.join(inside.lazy(), on=MODULE, how="semi")
        .group_by(*ID, "stage", "label", "step")
        .agg(pl.col("seq").min()),
        trace,
    )
    of = _outermost(trace, passes.select(ID).unique(), neurons)
    found = passes.rename({"module_call_id": "inner"}).join(of, on=["rank", "inner"])
    keys = [*ID, "module_id", "stage", "label", "step"]
    return found.group_by(keys).agg(pl.col("seq").min()).sort("rank", "seq", "module_call_id")


def _outermost(trace: Trace, inner: pl.DataFrame, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return for module calls (`inner`) the outermost neuron call that they are part of."""
    marked = neurons.select(*MODULE, neuron_call=pl.lit(True)).lazy()
    stacks = trace.whole.module_calls.select(*ID, "module_id", "parent_call_id")
    above = collected(stacks.join(marked, on=MODULE, how="left"), trace)
    at = inner.select(*ID, inner="module_call_id")
    found = [pl.DataFrame(schema={**at.schema, "module_id": pl.Int32, "height": pl.Int32})]
    height = 0
    while at.height:
        at = above.join(at, on=ID)
        known = at.filter("neuron_call").select(*ID, "inner", "module_id")
        found.append(known.with_columns(height=pl.lit(height, pl.Int32)))
        at = (
            at.drop_nulls("parent_call_id")
            .select("rank", "inner", module_call_id="parent_call_id")
            .select(*ID, "inner")
        )
        height += 1
    return (
        pl.concat(found, how="diagonal_relaxed")
        .sort("rank", "inner", "height")
        .unique(["rank", "inner"], keep="last", maintain_order=True)
        .drop("height")
    )
