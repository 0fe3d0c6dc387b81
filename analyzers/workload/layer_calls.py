"""Tables of the calls that energy models charge by layer: weight layers and spiking neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from ..trace.trace import Trace

ID = ("rank", "module_call_id")
"""What names a module call."""

MODULE = ("rank", "module_id")
"""What names a module."""

MOST_DIMS = 8
"""Dimensions of a tensor that its elements are counted over; no layer takes more."""

MAIN_OPS = {
    "aten.convolution": 0,
    "aten._convolution": 0,
    "aten.cudnn_convolution": 0,
    "aten.mm": 0,
    "aten.bmm": 0,
    "aten.addmm": 1,
    "aten.baddbmm": 1,
}
"""Packet -> input slot of the activations."""

BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32", "complex32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
"""Dtype -> bytes of an element."""

HOW_CALLED = ("stage", "label", "step", "sample", "training", "step_mode", "batch", "time_steps")
"""How a module was called; columns of `module_calls`."""

WHAT_CALLED = ("op", "in_numel", "out_numel")


def layer_calls(trace: Trace, layers: pl.DataFrame, *, outputs: bool = False) -> pl.DataFrame:
    """Return one row for each call of a layer.

    Args:
        trace: the trace.
        layers: what `layers_of` returns, or some of it.
        outputs: also return what the outputs hold.

    Returns:
        The columns of `_called`, and of the product or convolution inside: `op`, `in_class` and
        `in_nonzero`; with `outputs` also `out_class` and `out_nonzero`. Null: not recorded.
    """
    calls = _called(trace, layers)
    calls = calls.join(_main_ops(trace, calls), on=ID, how="left", maintain_order="left")
    sides = [("in", calls["in_class"].is_null())]
    if outputs:
        sides.append(("out", calls["out_class"].is_null()))
    return _with_values(trace, calls, sides)


def neuron_calls(trace: Trace, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each call of a spiking neuron.

    Args:
        trace: the trace.
        neurons: what `neurons_of` returns, or some of it.

    Returns:
        The columns of `_called`, and `out_class` and `out_nonzero` (its spikes).
    """
    calls = _called(trace, neurons).with_columns(
        out_class=pl.lit(None, pl.Int16), out_nonzero=pl.lit(None, pl.Int64)
    )
    return _with_values(trace, calls, [("out", calls["out_class"].is_null())])


def grouped(calls: pl.DataFrame, keys: Sequence[str], sums: Sequence[str]) -> pl.DataFrame:
    """Sum calls that are charged alike.

    Args:
        calls: rows of `layer_calls` or `neuron_calls`.
        keys: what is kept apart.
        sums: columns to add up.

    Returns:
        `keys`, `calls` (how many) and `sums`; null sums where a call's figure is unknown.
    """
    known = [
        pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name)
        for name in sums
    ]
    return calls.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("calls"), *known
    )


def _called(trace: Trace, modules: pl.DataFrame) -> pl.DataFrame:
    """Return the forward calls of some modules.

    Returns:
        `rank`, `module_call_id`, `module_id`, `first_seq`, how they were called (`HOW_CALLED`), and
        of the first input and output (`in_`, `out_`): `value`, `numel`, `bytes`, `dims`, and the
        sizes of the first two dimensions, `first` and `second`.
    """
    columns = []
    for side in ("in", "out"):
        tensor = pl.col(f"{side}puts").list.first().struct
        shape, dtype = tensor.field("shape"), tensor.field("dtype")
        size = [shape.list.get(d, null_on_oob=True).fill_null(1) for d in range(MOST_DIMS)]
        numel = pl.when(shape.is_not_null()).then(pl.reduce(lambda a, b: a * b, size))
        columns += [
            tensor.field("value_id").alias(f"{side}_value"),
            numel.alias(f"{side}_numel"),
            (numel * dtype.replace_strict(BYTES, default=None)).alias(f"{side}_bytes"),
            shape.list.len().cast(pl.Int64).alias(f"{side}_dims"),
            shape.list.get(0, null_on_oob=True).alias(f"{side}_first"),
            shape.list.get(1, null_on_oob=True).alias(f"{side}_second"),
        ]
    return (
        trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(modules.lazy().select(MODULE), on=MODULE, how="semi")
        .select(*ID, "module_id", "first_seq", *HOW_CALLED, *columns)
        .collect(engine="streaming")
        .sort(ID)
    )


def _main_ops(trace: Trace, layers: pl.DataFrame) -> pl.DataFrame:
    """Return, for each layer call, the first product or convolution inside it."""
    ops = trace.signatures.filter(pl.col("packet").is_in(list(MAIN_OPS))).select(
        "rank", "signature_id", "op", slot=pl.col("packet").replace_strict(MAIN_OPS, default=0)
    )
    second = pl.col("slot") == 1
    return (
        trace.calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(ops.lazy(), on=["rank", "signature_id"])
        .join(layers.lazy().select(ID), on=ID, how="semi")
        .select(
            *ID,
            "seq",
            "op",
            in_class=pl.when(second).then("in1_class").otherwise("in0_class"),
            in_nonzero=pl.when(second).then("in1_nonzero").otherwise("in0_nonzero"),
            out_class="out0_class",
            out_nonzero="out0_nonzero",
        )
        .collect(engine="streaming")
        .sort("rank", "seq")
        .unique(ID, keep="first", maintain_order=True)
        .drop("seq")
    )


def _with_values(
    trace: Trace, calls: pl.DataFrame, sides: Sequence[tuple[str, pl.Series]]
) -> pl.DataFrame:
    """Fill in the class and nonzero elements of inputs or outputs from the values, where asked."""
    wanted = pl.concat(
        [calls.filter(open_).select("rank", value_id=f"{side}_value") for side, open_ in sides]
    ).drop_nulls()
    if wanted.is_empty():
        return calls
    known = (
        trace.values.select("rank", "value_id", "class", "nonzero")
        .join(wanted.unique().lazy(), on=["rank", "value_id"], how="semi")
        .collect(engine="streaming")
        .unique(["rank", "value_id"])
    )
    for side, _ in sides:
        names = {"value_id": f"{side}_value", "class": "new_class", "nonzero": "new_nonzero"}
        calls = calls.join(
            known.rename(names), on=["rank", f"{side}_value"], how="left", maintain_order="left"
        ).with_columns(
            pl.coalesce(f"{side}_class", "new_class").alias(f"{side}_class"),
            pl.coalesce(f"{side}_nonzero", "new_nonzero").alias(f"{side}_nonzero"),
        )
        calls = calls.drop("new_class", "new_nonzero")
    return calls
