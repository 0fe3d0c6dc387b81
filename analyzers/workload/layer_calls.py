"""Tables of the calls that energy models charge by layer: weight layers and spiking neurons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from ..frames import at_once
from ..trace.files import collected
from ..trace.filters import of_signatures
from .layers import BYTES, ID, MODULE, weight_products
from .populations import with_populations
from .spikes import spike_expr, with_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

MOST_DIMS = 8
"""Dimensions of a tensor that its elements are counted over; no layer takes more."""

HOW_CALLED = ("stage", "label", "step", "sample", "training", "step_mode", "batch", "time_steps")
"""How a module was called; columns of `module_calls`."""


def layer_calls(
    trace: Trace,
    layers: pl.DataFrame,
    *,
    outputs: bool = False,
    at_module: bool = False,
    by_values_only: bool = False,
    known: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return one row for each call of a layer.

    Args:
        trace: the trace.
        layers: what `layers_of` returns, or some of it.
        outputs: also return what the outputs hold.
        at_module: the input is what went into the module; else what went into the product or
            convolution inside, which may be a padded copy.
        by_values_only: take constants for what their values are.
        known: what `called` returned of these modules and others; by default it is asked.

    Returns:
        The columns of `called`, and of the layer's product in the call (the first with weights of
        its size; null: it ran none): `signature_id`, `op`, `in_class`, `in_nonzero`, `in_spikes`
        and `in_decided` (see `spikes.with_spikes`); with `outputs` also `out_class` and
        `out_nonzero`. Null: not recorded.
    """
    calls = called(trace, layers) if known is None else _of(known, layers)
    products = _main_products(trace, layers, by_values_only=by_values_only)
    inside = {name: f"{name} inside" for name in ("in_class", "in_nonzero", "in_spikes")}
    own = ~(pl.col("op_value") != pl.col("in_value")) if at_module else pl.lit(True)
    calls = (
        calls.lazy()
        .join(products.lazy(), on=ID, how="left", maintain_order="left")
        .with_columns(pl.col(name).alias(kept) for name, kept in inside.items())
        .with_columns(pl.when(own).then(name).alias(name) for name in inside)
        .pipe(at_once)
    )
    sides = [("in", calls["in_class"].is_null())]
    if outputs:
        sides.append(("out", calls["out_class"].is_null()))
    fits = spike_expr("in", by_values_only=by_values_only)
    return (
        _with_values(trace, calls, sides)
        .with_columns(
            pl.coalesce("in_spikes", fits).alias("in_spikes"),
            pl.coalesce("in_decided", pl.lit(False)).alias("in_decided"),
        )
        .with_columns(pl.coalesce(name, kept).alias(name) for name, kept in inside.items())
        .drop("op_value", *inside.values())
        .pipe(at_once)
    )


def as_run(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    """Return layer calls with the sizes of what ran.

    Under `torch.vmap` a module is given one of many inputs, and its product runs on all of them:
    what is mapped over is then the first dimension of the call's input and output.

    Args:
        trace: the trace.
        calls: rows of `layer_calls`.
    """
    ran = weight_products(trace).select(
        "rank", "signature_id", ran_in="first_numel", ran_out="out_numel"
    )
    times = pl.col("ran_out") // pl.col("out_numel")
    whole = [pl.col(f"ran_{side}") == times * pl.col(f"{side}_numel") for side in ("in", "out")]
    mapped = ((times > 1) & whole[0] & whole[1]).fill_null(False)
    sizes = [f"{side}_{what}" for side in ("in", "out") for what in ("numel", "bytes")]
    sides = {
        f"{side}_{what}": pl.when("mapped").then(value)
        for side in ("in", "out")
        for what, value in (("first", times), ("second", pl.col(f"{side}_first")))
    }
    return (
        calls.lazy()
        .join(ran.lazy(), on=["rank", "signature_id"], how="left", maintain_order="left")
        .with_columns(mapped=mapped)
        .with_columns(
            *(pl.when("mapped").then(pl.col(n) * times).otherwise(n).alias(n) for n in sizes),
            *(value.otherwise(name).alias(name) for name, value in sides.items()),
            *(pl.col(f"{side}_dims") + pl.col("mapped") for side in ("in", "out")),
        )
        .drop("ran_in", "ran_out", "mapped")
        .pipe(at_once)
    )


def products_run(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the products of layer calls, as columns of `products_of`, and `calls`."""
    ran = calls.filter(pl.col("signature_id").is_not_null())
    keys = (*MODULE, "signature_id", "stage", "training")
    return ran.group_by(keys, maintain_order=True).agg(calls=pl.len().cast(pl.Int64))


def neuron_calls(
    trace: Trace, neurons: pl.DataFrame, *, known: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return one row for each call of a spiking neuron.

    Args:
        trace: the trace.
        neurons: what `neurons_of` returns, or some of it.
        known: what `called` returned of these modules and others; by default it is asked.

    Returns:
        The columns of `called`, `population` (see `populations`), and `out_class` and
        `out_nonzero` (its spikes).
    """
    calls = called(trace, neurons) if known is None else _of(known, neurons)
    calls = calls.with_columns(out_class=pl.lit(None, pl.Int16), out_nonzero=pl.lit(None, pl.Int64))
    known_values = _with_values(trace, calls, [("out", calls["out_class"].is_null())])
    return at_once(with_populations(trace, known_values))


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


def _of(calls: pl.DataFrame, modules: pl.DataFrame) -> pl.DataFrame:
    return calls.join(modules.select(MODULE), on=MODULE, how="semi", maintain_order="left")


def called(trace: Trace, modules: pl.DataFrame) -> pl.DataFrame:
    """Return the forward calls of some modules.

    Returns:
        `rank`, `module_call_id`, `module_id`, `first_seq`, how they were called (`HOW_CALLED`), and
        of the first input and output (`in_`, `out_`): `value`, `numel`, `bytes`, `dims`, and the
        sizes of the first two dimensions, `first` and `second`.
    """
    return (
        trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(modules.lazy().select(MODULE), on=MODULE, how="semi")
        .select(*ID, "module_id", "first_seq", *HOW_CALLED, *_first_tensors())
        .pipe(collected, trace)
        .sort(ID)
    )


@cache
def _first_tensors() -> tuple[pl.Expr, ...]:
    """Return what `called` tells of the first input and output."""
    columns: list[pl.Expr] = []
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
    return tuple(columns)


def _main_products(trace: Trace, layers: pl.DataFrame, *, by_values_only: bool) -> pl.DataFrame:
    """Return, for each layer call, the first product inside it with the layer's weights."""
    ops = trace.signatures.select("rank", "signature_id", "op").join(
        weight_products(trace).select("rank", "signature_id", "slot", "second_numel"),
        on=["rank", "signature_id"],
    )
    own = layers.lazy().select(*MODULE, second_numel="weight_numel")
    second = pl.col("slot") == 1
    calls = of_signatures(trace.calls.filter(pl.col("stage") == "forward"), ops).join(
        own, on=[*MODULE, "second_numel"], how="semi"
    )
    return (
        with_spikes(trace, ("in0", "in1"), by_values_only=by_values_only, calls=calls)
        .select(
            *ID,
            "seq",
            "signature_id",
            "op",
            op_value=pl.when(second).then("in1_value").otherwise("in0_value"),
            **{
                f"in_{what}": pl.when(second).then(f"in1_{what}").otherwise(f"in0_{what}")
                for what in ("class", "nonzero", "spikes", "decided")
            },
            out_class="out0_class",
            out_nonzero="out0_nonzero",
        )
        .pipe(collected, trace)
        .sort("rank", "seq")
        .unique(ID, keep="first", maintain_order=True)
        .drop("seq")
    )


def _with_values(
    trace: Trace, calls: pl.DataFrame, sides: Sequence[tuple[str, pl.Series]]
) -> pl.LazyFrame:
    """Fill in the class and nonzero elements of inputs or outputs from the values, where asked."""
    wanted = pl.concat(
        [calls.filter(open_).select("rank", value_id=f"{side}_value") for side, open_ in sides]
    ).drop_nulls()
    filled = calls.lazy()
    if wanted.is_empty():
        return filled
    known = (
        trace.values.filter(pl.col("value_id").is_in(wanted["value_id"].unique().implode()))
        .select("rank", "value_id", "class", "nonzero")
        .join(wanted.unique().lazy(), on=["rank", "value_id"], how="semi")
        .pipe(collected, trace)
        .unique(["rank", "value_id"])
        .lazy()
    )
    for side, _ in sides:
        names = {"value_id": f"{side}_value", "class": "new_class", "nonzero": "new_nonzero"}
        filled = filled.join(
            known.rename(names), on=["rank", f"{side}_value"], how="left", maintain_order="left"
        ).with_columns(
            pl.coalesce(f"{side}_class", "new_class").alias(f"{side}_class"),
            pl.coalesce(f"{side}_nonzero", "new_nonzero").alias(f"{side}_nonzero"),
        )
        filled = filled.drop("new_class", "new_nonzero")
    return filled
