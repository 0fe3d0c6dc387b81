"""Memory that the simple estimator charges: weights and biases in use, states of neurons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas import TraceError
from ...workload.geometry import layers_of, neurons_of
from ...workload.layer_calls import BYTES, MAIN_OPS, MODULE, MOST_DIMS
from ...workload.spikes import spike_expr
from ..lemaire.charges import NEURON_OP

if TYPE_CHECKING:
    from ...trace.trace import Trace

KINDS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
"""Layers whose weights and biases are charged."""

CALL_KEYS = ("stage", "label", "step")
"""What is kept apart besides module and op."""

_SIGNATURE = {
    "rank": pl.Int32,
    "signature_id": pl.Int32,
    "op": pl.String,
    "second": pl.Boolean,
    "out_numel": pl.Int64,
}


def parameter_uses(
    trace: Trace, keys: Iterable[str], *, by_values_only: bool, spikes: str = "binary"
) -> pl.DataFrame:
    """Return what the layers' products read of their parameters, calls that are alike together.

    A spike reads the weights of all outputs that it meets, a dense input one weight for each
    multiply-accumulate; each output reads a bias.

    Args:
        trace: the part that is charged.
        keys: of `CALL_KEYS`: what is kept apart.
        by_values_only: whether constants are spikes if their values are.
        spikes: what a spike tensor may hold.

    Returns:
        `module`, `op`, `keys`, `calls`, `weight_read_bytes` and `bias_read_bytes` (null weights:
        the input was not measured), and `fanout_sums`: the additions with which SpikingJelly adds
        up the fan-out of convolutions with a spike input.
    """
    layers = layers_of(trace).filter(pl.col("kind").is_in(KINDS))
    flags = [spike_expr(slot, spikes, by_values_only) for slot in ("in0", "in1")]
    products = _products(trace, layers, [k for k in CALL_KEYS if k in keys], flags)
    convolution = pl.col("kind") != "Linear"
    outputs = pl.col("out_numel") * pl.col("calls")
    groups = pl.col("groups")
    driven = (
        pl.when(convolution).then("fanout").otherwise(pl.col("nonzero") * pl.col("out_channels"))
    )
    dense = outputs * (pl.col("in_channels") // groups) * pl.col("kernel_numel")
    positions = outputs // pl.col("out_channels")
    return (
        products.join(layers, on=MODULE, how="left", maintain_order="left")
        .with_columns(
            uses=pl.when("spikes").then(driven).when(~pl.col("spikes")).then(dense),
            spike_convolution=(pl.col("spikes") & convolution).fill_null(False),
        )
        .select(
            *("module", "op", *(k for k in CALL_KEYS if k in keys), "calls"),
            weight_read_bytes=pl.col("uses") * _each("weight"),
            bias_read_bytes=outputs * _each("bias"),
            fanout_sums=pl.when("spike_convolution")
            .then(positions * groups - pl.col("calls"))
            .otherwise(0),
        )
    )


def _each(name: str) -> pl.Expr:
    """Return the bytes of one element of a parameter, 0 for one that is not there."""
    return pl.col(f"{name}_bytes") // pl.max_horizontal(f"{name}_numel", 1)


def _products(
    trace: Trace, layers: pl.DataFrame, keys: Sequence[str], flags: Sequence[pl.Expr]
) -> pl.DataFrame:
    """Return the first product of each layer call, calls of one signature and input class added.

    Returns:
        `rank`, `module_id`, `signature_id`, `keys`, `spikes` (null: not measured), `calls`, the
        sums `nonzero` and `fanout` (null where one is not known), `op` and `out_numel` (of a call).
    """
    ops = _main_ops(trace)
    second = pl.col("second")
    call = ("rank", "module_call_id")
    chosen = (
        trace.calls.join(ops.lazy().select("rank", "signature_id", "second"),
                         on=["rank", "signature_id"])
        .join(layers.lazy().select(MODULE), on=MODULE, how="semi")
        .filter(pl.col("seq") == pl.col("seq").min().over(call))
        .select(
            *MODULE, "signature_id", *keys,
            spikes=pl.when(second).then(flags[1]).otherwise(flags[0]),
            nonzero=pl.when(second).then("in1_nonzero").otherwise("in0_nonzero"),
            fanout="x_fanout",
        )
        .group_by(*MODULE, "signature_id", *keys, "spikes")
        .agg(
            calls=pl.len().cast(pl.Int64),
            nonzero=_known_sum("nonzero"),
            fanout=_known_sum("fanout"),
        )
        .collect(engine="streaming")
    )  # fmt: skip
    return chosen.join(ops.drop("second"), on=["rank", "signature_id"]).sort(
        *MODULE, "signature_id", *keys, "spikes"
    )


def _known_sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum())


def _main_ops(trace: Trace) -> pl.DataFrame:
    """Return the signatures of products and convolutions, and where their activations stand."""
    rows: list[dict[str, Any]] = []
    for row in trace.signatures.filter(pl.col("packet").is_in(list(MAIN_OPS))).iter_rows(
        named=True
    ):
        out = next((o["numel"] for o in row["operands"] if o["role"] == "out"), None)
        if out is not None:
            second = MAIN_OPS[row["packet"]] == 1
            rows.append({**{k: row[k] for k in ("rank", "signature_id", "op")},
                         "second": second, "out_numel": out})  # fmt: skip
    return pl.DataFrame(rows, schema=_SIGNATURE)


def state_accesses(
    trace: Trace, keys: Iterable[str], *, time_steps: int | None, library: bool
) -> pl.DataFrame:
    """Return the bytes of state that neurons read, and write, once a time step.

    Args:
        trace: the part that is charged.
        keys: of `CALL_KEYS`: what is kept apart.
        time_steps: steps of a call of which the trace does not know them.
        library: take the steps as SpikingJelly does: the first dimension in multi-step mode, else
            one.

    Returns:
        `module`, `op`, `keys` and `bytes`.

    Raises:
        TraceError: the steps of a call are not known.
    """
    neurons, kept = neurons_of(trace), [k for k in CALL_KEYS if k in keys]
    given = pl.lit(time_steps, pl.Int64)
    multi = pl.col("step_mode").cast(pl.String) == "m"
    first = pl.col("inputs").list.first().struct.field("shape").list.get(0, null_on_oob=True)
    one = pl.when(pl.col("step_mode").cast(pl.String) == "s").then(1)
    by_library = pl.when(multi).then(first).otherwise(1)
    steps = by_library if library else pl.coalesce("time_steps", given, one)
    found = (
        trace.module_calls.join(neurons.lazy().select(MODULE), on=MODULE, how="semi")
        .select(*MODULE, *kept, steps=steps, state="state_after")
        .explode("state")
        .filter(pl.col("state").is_not_null())
        .with_columns(bytes=_bytes(pl.col("state")))
        .group_by(*MODULE, *kept, "steps")
        .agg(pl.col("bytes").sum())
        .collect(engine="streaming")
        .join(neurons.select(*MODULE, "module"), on=MODULE)
        .sort(*MODULE, *kept, "steps")
    )
    for module in found.filter(pl.col("steps").is_null())["module"]:
        raise TraceError(
            f"{module}: the trace does not tell its time steps: give time_steps (--time-steps)"
        )
    return found.select(
        "module", *kept, op=pl.lit(NEURON_OP), bytes=pl.col("bytes") * pl.col("steps")
    )


def _bytes(tensor: pl.Expr) -> pl.Expr:
    """Return the bytes of a tensor of which a struct tells shape and dtype."""
    shape = tensor.struct.field("shape")
    sizes = [shape.list.get(d, null_on_oob=True).fill_null(1) for d in range(MOST_DIMS)]
    numel = pl.reduce(lambda a, b: a * b, sizes)
    return numel * tensor.struct.field("dtype").replace_strict(BYTES, default=None)
