"""What layers read of their parameters, and neurons read and write of their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError
from ..frames import at_once
from ..text import percent
from ..trace.files import collected
from ..workload.layer_calls import MOST_DIMS
from ..workload.layer_products import GRADIENT, of_layer, told
from ..workload.layers import BYTES, MODULE, layers_of, weight_products
from ..workload.weight_values import weighted

if TYPE_CHECKING:
    from ..trace.trace import Trace

_MOST = 3
"""So many modules are named."""


def parameter_uses(
    part: Trace, counted: pl.DataFrame, kinds: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return what the layers' products read of their parameters.

    A spike reads the weights of all outputs that it meets, a dense input one weight for each pair
    that meets (a multiply-accumulate, of complex numbers four); each output reads a bias, of a
    layer that adds it in one of its products only there. A gradient of the input reads weights as
    the forward pass does, with the output's gradient in the place of the input; a gradient of the
    weights reads none, and no gradient reads a bias.

    Args:
        part: the trace.
        counted: what `tally` returned of it, with facts; of calls `with_gradients`, if backward
            passes are among them.
        kinds: of layers, see `layers_of`; None: all.

    Returns:
        The rows of `counted` that are a layer's product or its gradients, with the layer's columns,
        `GRADIENT`, `slot` (of the input; of a gradient that of the output's), `pairs` (of an
        element there and a weight that meet if none were spikes), `outputs` (elements of results),
        `spikes` (what is in the slot; null: not measured), `weight_reads` and `bias_reads`
        (elements) and `weight_read_bytes`, `bias_read_bytes`. Reads of weights are null where what
        is in the slot was not measured, or it is not known which gradient it is.
    """
    layers = layers_of(part).lazy().drop("module")
    if kinds is not None:
        layers = layers.filter(pl.col("kind").is_in(kinds))
    linear = pl.col("kind") == "Linear"
    gradient, forward = pl.col(GRADIENT), pl.col(GRADIENT).is_null()
    far = pl.when(forward).then("out_channels").otherwise("in_channels")
    fanout = pl.when(forward).then(_fanout("x")).otherwise(_fanout("grad"))
    spread = first_factor("nonzero") * far
    slot = (
        pl.when(forward)
        .then("slot")
        .when(~linear | (pl.col("second_numel") == pl.col("weight_numel")))
        .then(0)
        .otherwise(1)
    )
    # a convolution computes both of its gradients in one call
    pairs = pl.col("dense_macs") // pl.col("pair_macs").fill_null(1)
    pairs = (
        pl.when(gradient == "weights").then(0)
        .when(gradient == "both").then(pairs // 2)
        .when(forward | (gradient == "input")).then(pairs)
    )  # fmt: skip
    driven = pl.when(linear).then(spread).otherwise(fanout)
    biased = pl.col("adds") | ~pl.col("adds").any().over(MODULE)
    has_bias = pl.col("bias_numel") > 0
    return (
        told(counted)
        .lazy()
        .join(
            weight_products(part).lazy(),
            on=["rank", "signature_id"],
            how="left",
            maintain_order="left",
        )
        .join(layers, on=MODULE, maintain_order="left")
        .filter(of_layer())
        .with_columns(slot=slot)
        .with_columns(spikes=first_factor("spikes"), outputs=pl.col("out_numel") * pl.col("calls"))
        .with_columns(pairs=pairs)
        .with_columns(
            weight_reads=pl.when(gradient == "weights")
            .then(0)
            .when(gradient == "unknown")
            .then(None)
            .when("spikes")
            .then(driven)
            .when(~pl.col("spikes"))
            .then("pairs"),
            bias_reads=pl.when(forward & biased & has_bias).then("outputs").otherwise(0),
        )
        .with_columns(
            weight_read_bytes=pl.col("weight_reads") * _each("weight"),
            bias_read_bytes=pl.col("bias_reads") * _each("bias"),
        )
        .pipe(at_once)
    )


def first_factor(what: str) -> pl.Expr:
    """Return a fact of a layer's input, in the slot that the product has it in."""
    slots = [
        (pl.col("slot") == slot)
        & ((pl.col(f"in{slot}_nonzero_unknown") == 0) if what == "nonzero" else pl.lit(True))
        for slot in (0, 1)
    ]
    return pl.when(slots[0]).then(f"in0_{what}").when(slots[1]).then(f"in1_{what}")


def _fanout(of: str) -> pl.Expr:
    return pl.when(pl.col(f"{of}_fanout_unknown") == 0).then(f"{of}_fanout")


def _each(name: str) -> pl.Expr:
    """Return the bytes of one element of a parameter, 0 for one that is not there."""
    return pl.col(f"{name}_bytes") // pl.max_horizontal(f"{name}_numel", 1)


def state_accesses(
    trace: Trace,
    keys: Sequence[str],
    neurons: pl.DataFrame,
    time_steps: int | None,
    *,
    steps_by_shape: bool = False,
) -> pl.DataFrame:
    """Return the state that neurons read, and write, once a time step.

    Args:
        trace: the part that is charged.
        keys: columns of `module_calls` that are kept apart.
        neurons: rows of `neurons_of`.
        time_steps: steps of a call of which the trace does not know them.
        steps_by_shape: take the steps from the input: the first dimension in multi-step mode.

    Returns:
        `MODULE`, `module`, `keys`, `elements` and `bytes`, of all steps.

    Raises:
        TraceError: the steps of a call are not known.
    """
    mode = pl.col("step_mode").cast(pl.String)
    first = pl.col("inputs").list.first().struct.field("shape").list.get(0, null_on_oob=True)
    by_shape = pl.when(mode == "m").then(first).otherwise(1)
    told = pl.coalesce("time_steps", pl.lit(time_steps, pl.Int64), pl.when(mode == "s").then(1))
    numel = _numel(pl.col("state"))
    width = pl.col("state").struct.field("dtype").replace_strict(BYTES, default=None)
    found = (
        trace.module_calls.join(neurons.lazy().select(MODULE), on=MODULE, how="semi")
        .select(*MODULE, *keys, steps=by_shape if steps_by_shape else told, state="state_after")
        .explode("state")
        .filter(pl.col("state").is_not_null())
        .select(*MODULE, *keys, "steps", elements=numel, bytes=numel * width)
        .group_by(*MODULE, *keys, "steps")
        .agg(pl.col("elements", "bytes").sum())
        .pipe(collected, trace)
        .lazy()
        .join(neurons.lazy().select(*MODULE, "module"), on=MODULE)
        .sort(*MODULE, *keys, "steps")
        .pipe(at_once)
    )
    for module in found.filter(pl.col("steps").is_null())["module"]:
        raise TraceError(
            f"{module}: its time steps were not recorded: give time_steps (--time-steps)"
        )
    return found.with_columns(
        pl.col("elements", "bytes") * pl.col("steps"),
    ).drop("steps")


def _numel(tensor: pl.Expr) -> pl.Expr:
    """Return the elements of a tensor, given as a struct of shape and dtype."""
    shape = tensor.struct.field("shape")
    sizes = [shape.list.get(d, null_on_oob=True).fill_null(1) for d in range(MOST_DIMS)]
    return pl.reduce(lambda a, b: a * b, sizes)


def free_weights(part: Trace, counted: pl.DataFrame) -> list[str]:
    """Return one sentence on weights whose reads nobody charges: those of no layer's own products.

    Args:
        part: the trace.
        counted: what `tally` returned of it, with facts and `module`.
    """
    key = [*MODULE, "signature_id"]
    others = (
        told(counted)
        .lazy()
        .filter((pl.col("dense_macs") > 0) & pl.col(GRADIENT).fill_null("other").eq("other"))
        .join(_of_layers(part), on=key, how="anti", nulls_equal=True, maintain_order="left")
        .pipe(at_once)
    )
    firsts = others.group_by(key, maintain_order=True).agg(seq=pl.col("first_seq").min())
    if firsts.is_empty():
        return []
    reading = firsts.join(weighted(part, firsts.drop("module_id")), on=["rank", "seq"], how="semi")
    ran = others.join(reading, on=key, how="semi", nulls_equal=True, maintain_order="left")
    if ran.is_empty():
        return []
    classes = part.modules.select(*MODULE, "class")
    named = ran.join(classes, on=list(MODULE), how="left", maintain_order="left")["class"]
    kinds = named.str.split(".").list.last().fill_null("functions").unique().sort()
    share = percent(int(ran["dense_macs"].sum()) / int(counted["dense_macs"].sum()))
    paths = ran["module"].fill_null("no module").unique(maintain_order=True).to_list()
    more = f" and {len(paths) - _MOST} more" if len(paths) > _MOST else ""
    return [
        f"the model has no memory of {', '.join(kinds)}: weights of {', '.join(paths[:_MOST])}"
        f"{more} left out, where {share} of the MACs run"
    ]


def _of_layers(part: Trace) -> pl.LazyFrame:
    """Return `MODULE` and `signature_id` of the products that multiply a layer's own weights."""
    layers = layers_of(part).lazy().select(*MODULE, "weight_numel")
    return (
        weight_products(part)
        .lazy()
        .join(layers, on="rank")
        .filter(pl.col("weight_numel") == pl.col("second_numel"))
        .select(*MODULE, "signature_id")
    )
