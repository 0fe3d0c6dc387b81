"""What the simple energy charges: operations and bytes, before anything is priced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...frames import at_once
from ..arithmetic import Operations
from ..memory_accesses import parameter_uses, state_accesses
from ..row_keys import KEYS, KINDS, NEURON_OP, key_columns
from .variant import Variant

if TYPE_CHECKING:
    from ...workload.account import Account

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


class Actions(NamedTuple):
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

    def account(self, found: Account) -> Account:
        """Return an account of products that knows of weights whose reads are not known too."""
        lost = ("weights of layers (input not measured)",) if self.unread else ()
        return replace(found, unknown=(*found.unknown, *lost))

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
    part = operations.part
    uses = parameter_uses(part, operations.counted, LAYERS)
    kept = [key for key in ("stage", "label", "step") if key in operations.counted.columns]
    neurons = variant.neurons(part)
    if not part.of_every_op:
        neurons = neurons.clear()
    states = state_accesses(
        part, kept, neurons, time_steps, steps_by_shape=variant.steps_by_shape
    ).select("module", *kept, op=pl.lit(NEURON_OP), count="bytes")
    tables = [
        operations.rows().with_columns(what="component").select(list(_SCHEMA)),
        *([_rows(_tool(uses), "ac")] if variant.tool_additions else []),
        *(_rows(uses.rename({what: "count"}), what) for what in _PARAMETERS),
        *(_rows(states, what) for what in ("neuron_state_read_bytes", "neuron_state_write_bytes")),
    ]
    unread = int(uses.filter(pl.col("weight_read_bytes").is_null())["calls"].sum())
    return Actions(pl.concat(tables), unread)


_PARAMETERS = ("weight_read_bytes", "bias_read_bytes")


def _rows(counted: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return one column of counts as rows."""
    return (
        counted.lazy()
        .filter(pl.col("count") > 0)
        .with_columns(key_columns(counted))
        .group_by(KEYS, maintain_order=True)
        .agg(pl.col("count").sum())
        .with_columns(component=pl.lit(COMPONENTS[what]), what=pl.lit(what))
        .select(list(_SCHEMA))
        .pipe(at_once)
    )


def _tool(uses: pl.DataFrame) -> pl.DataFrame:
    """Return SpikingJelly's additions: batch·groups·positions - 1 a call of a convolution."""
    positions = pl.col("outputs") // pl.col("out_channels")
    return uses.filter((pl.col("kind") != "Linear") & pl.col("spikes")).with_columns(
        op=pl.lit(TOOL_OP), count=positions * pl.col("groups") - pl.col("calls")
    )
