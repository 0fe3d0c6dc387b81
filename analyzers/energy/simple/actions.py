"""What the simple energy charges: operations and bytes, before anything is priced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import TraceError
from ...trace.files import collected
from ...workload.layer_calls import MOST_DIMS
from ...workload.layers import BYTES, MODULE, layers_of, weight_products
from ..arithmetic import Operations
from ..row_keys import KEYS, KINDS, NEURON_OP, keyed
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace

LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
"""Layers whose weights and biases are charged."""

TOOL_OP = "sum of the fan-out"
"""Stands for the op of the additions that SpikingJelly's tool adds."""

COMPONENTS = {
    "mac": "mac",
    "ac": "ac",
    "weight_read_bytes": "parameter_memory",
    "bias_read_bytes": "parameter_memory",
    "neuron_state_read_bytes": "neuron_state_memory",
    "neuron_state_write_bytes": "neuron_state_memory",
}
"""What is charged, by name, and the component that it is part of."""

_SCHEMA = {**KINDS, "component": pl.String, "what": pl.String, "count": pl.Int64}


@dataclass(frozen=True)
class Actions:
    """What is charged of a trace.

    Attributes:
        rows: `module`, `stage`, `op`, `label`, `step`, `component`, `what` (of `COMPONENTS`) and
            `count`: operations or bytes.
        unread: calls of layers whose weights are not charged, since their input was not measured.
    """

    rows: pl.DataFrame
    unread: int

    @property
    def tool_acs(self) -> int:
        """Accumulations that SpikingJelly's tool adds; among `rows`."""
        return int(self.rows.filter(op=TOOL_OP)["count"].sum())

    def sums(self) -> dict[str, int]:
        """Return operations and bytes by the names of `COMPONENTS`."""
        sums = dict(self.rows.group_by("what").agg(pl.col("count").sum()).iter_rows())
        return {what: int(sums.get(what, 0)) for what in COMPONENTS}


def actions_of(operations: Operations, variant: Variant, time_steps: int | None) -> Actions:
    """Return what is charged of counted operations.

    Args:
        operations: what `operations_of` returned.
        variant: the revision's.
        time_steps: steps of a neuron's call of which the trace does not know them.

    Raises:
        TraceError: the time steps of a call are not known.
    """
    uses = parameter_uses(operations)
    kept = [key for key in ("stage", "label", "step") if key in operations.counted.columns]
    states = state_accesses(operations.part, kept, variant, time_steps)
    tables = [
        operations.rows().with_columns(what="component"),
        *([_rows(_tool(uses), "ac")] if variant.tool_additions else []),
        *(_rows(uses.rename({what: "count"}), what) for what in _PARAMETERS),
        *(_rows(states, what) for what in ("neuron_state_read_bytes", "neuron_state_write_bytes")),
    ]
    unread = int(uses.filter(pl.col("weight_read_bytes").is_null())["calls"].sum())
    return Actions(pl.concat(each.select(list(_SCHEMA)) for each in tables), unread)


_PARAMETERS = ("weight_read_bytes", "bias_read_bytes")


def _rows(counted: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return one column of counts as rows."""
    return (
        keyed(counted.filter(pl.col("count") > 0))
        .group_by(KEYS, maintain_order=True)
        .agg(pl.col("count").sum())
        .with_columns(component=pl.lit(COMPONENTS[what]), what=pl.lit(what))
    )


def parameter_uses(operations: Operations) -> pl.DataFrame:
    """Return what the layers' products read of their parameters.

    A spike reads the weights of all outputs that it meets, a dense input one weight for each
    multiply-accumulate; each output reads a bias, of a layer that adds it in one of its products
    only there.

    Returns:
        The rows of `operations.counted` that multiply a layer's weights, with the layer's columns,
        `outputs` (elements), `spikes` (the layer's input; null: not measured),
        `weight_read_bytes` (null: the input was not measured) and `bias_read_bytes`.
    """
    part = operations.part
    layers = layers_of(part).filter(pl.col("kind").is_in(LAYERS)).drop("module")
    linear = pl.col("kind") == "Linear"
    fanout = pl.when(pl.col("x_fanout_unknown") == 0).then("x_fanout")
    driven = pl.when(linear).then(_input("nonzero") * pl.col("out_channels")).otherwise(fanout)
    biased = pl.col("adds") | ~pl.col("adds").any().over(MODULE)
    known = pl.when("spikes").then(driven).when(~pl.col("spikes")).then("dense_macs")
    return (
        operations.counted.join(
            weight_products(part), on=["rank", "signature_id"], maintain_order="left"
        )
        .join(layers, on=MODULE, maintain_order="left")
        .filter(pl.col("weight_numel") == pl.col("second_numel"))
        .with_columns(spikes=_input("spikes"), outputs=pl.col("out_numel") * pl.col("calls"))
        .with_columns(
            weight_read_bytes=known * _each("weight"),
            bias_read_bytes=pl.when(biased).then(pl.col("outputs") * _each("bias")).otherwise(0),
        )
    )


def _input(what: str) -> pl.Expr:
    """Return what is known of a layer's input, in the slot that the product has it in."""
    slots = [
        (pl.col("slot") == slot)
        & ((pl.col(f"in{slot}_nonzero_unknown") == 0) if what == "nonzero" else pl.lit(True))
        for slot in (0, 1)
    ]
    return pl.when(slots[0]).then(f"in0_{what}").when(slots[1]).then(f"in1_{what}")


def _each(name: str) -> pl.Expr:
    """Return the bytes of one element of a parameter, 0 for one that is not there."""
    return pl.col(f"{name}_bytes") // pl.max_horizontal(f"{name}_numel", 1)


def _tool(uses: pl.DataFrame) -> pl.DataFrame:
    """Return SpikingJelly's additions: batch·groups·positions - 1 a call of a convolution."""
    positions = pl.col("outputs") // pl.col("out_channels")
    return uses.filter((pl.col("kind") != "Linear") & pl.col("spikes")).with_columns(
        op=pl.lit(TOOL_OP), count=positions * pl.col("groups") - pl.col("calls")
    )


def state_accesses(
    trace: Trace, keys: Sequence[str], variant: Variant, time_steps: int | None
) -> pl.DataFrame:
    """Return the bytes of state that neurons read, and write, once a time step.

    Args:
        trace: the part that is charged.
        keys: of `stage`, `label` and `step`: what is kept apart.
        variant: the revision's.
        time_steps: steps of a call of which the trace does not know them.

    Returns:
        `module`, `op`, `keys` and `count`.

    Raises:
        TraceError: the steps of a call are not known.
    """
    neurons, mode = variant.neurons(trace), pl.col("step_mode").cast(pl.String)
    first = pl.col("inputs").list.first().struct.field("shape").list.get(0, null_on_oob=True)
    by_shape = pl.when(mode == "m").then(first).otherwise(1)
    told = pl.coalesce("time_steps", pl.lit(time_steps, pl.Int64), pl.when(mode == "s").then(1))
    found = (
        trace.module_calls.join(neurons.lazy().select(MODULE), on=MODULE, how="semi")
        .select(*MODULE, *keys, steps=by_shape if variant.steps_by_shape else told,
                state="state_after")
        .explode("state")
        .filter(pl.col("state").is_not_null())
        .group_by(*MODULE, *keys, "steps")
        .agg(bytes=_bytes(pl.col("state")).sum())
        .pipe(collected, trace)
        .join(neurons.select(*MODULE, "module"), on=MODULE)
        .sort(*MODULE, *keys, "steps")
    )  # fmt: skip
    for module in found.filter(pl.col("steps").is_null())["module"]:
        raise TraceError(
            f"{module}: its time steps were not recorded: give time_steps (--time-steps)"
        )
    return found.select(
        "module", *keys, op=pl.lit(NEURON_OP), count=pl.col("bytes") * pl.col("steps")
    )


def _bytes(tensor: pl.Expr) -> pl.Expr:
    """Return the bytes of a tensor, given as a struct of shape and dtype."""
    shape = tensor.struct.field("shape")
    sizes = [shape.list.get(d, null_on_oob=True).fill_null(1) for d in range(MOST_DIMS)]
    numel = pl.reduce(lambda a, b: a * b, sizes)
    return numel * tensor.struct.field("dtype").replace_strict(BYTES, default=None)
