"""What neurons do with their state, op by op: reads, writes, additions, multiplications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import SpikeClass

if TYPE_CHECKING:
    from ..trace import Trace

_CLASSES = {
    "add": ("add", "sub", "rsub"),
    "mul": ("mul", "div"),
    "compare": ("eq", "ne", "lt", "le", "gt", "ge"),
    "non_linear": ("sigmoid", "sqrt", "rsqrt", "exp", "tanh"),
    "select": ("where",),
    "copy": ("clone", "copy", "_to_copy"),
}
_CLASS_OF = {name: kind for kind, names in _CLASSES.items() for name in names}
_ADDITIONS = ("add", "compare", "non_linear", "select")
_WRITES = ("add", "mul", "select", "copy")
_VIEWS = frozenset(
    (
        "detach view alias _unsafe_view as_strided expand slice select unsqueeze squeeze transpose"
        " permute lift_fresh"
    ).split()
)
_STARTS = frozenset(("full_like", "zeros_like"))

SCHEMA = {
    "rank": pl.Int32,
    "module_call_id": pl.Int64,
    "op": pl.String,
    "additions": pl.Int64,
    "multiplications": pl.Int64,
    "read_bytes": pl.Int64,
    "written_bytes": pl.Int64,
    "largest": pl.Int64,
}


@dataclass(frozen=True)
class Operand:
    """A tensor of a call: where it lies and how much of it is not zero."""

    storage: tuple[int | None, str]
    numel: int
    bytes: int
    sparse: bool
    nonzero: int


@dataclass(frozen=True)
class Op:
    """A call inside a neuron; `name` is the op without namespace, overload and trailing _."""

    op: str
    name: str
    in_place: bool
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]


@dataclass
class States:
    """The storages that hold state, as SpikingJelly's revision of August 2026 follows them.

    Attributes:
        storages: (storage, dtype) of every state so far.
    """

    storages: set[tuple[int | None, str]] = field(default_factory=set)

    def charge(self, op: Op) -> dict[str, int] | None:
        """Return what an op does to state and take in what it makes of it; None: nothing.

        A view moves nothing. An op with a state operand reads it; sums, products, selections and
        copies are state again, comparisons and non-linearities are not.
        """
        if op.name in _VIEWS:
            return None
        states = [o for o in op.inputs if o.storage in self.storages]
        if not states:
            return None
        kind = _CLASS_OF.get(op.name, "other")
        others = [o for o in op.inputs if o.storage not in self.storages]
        limit = max((o.nonzero for o in others if o.sparse), default=None)
        writes = kind in _WRITES or (kind == "non_linear" and op.in_place)
        written = list(op.outputs) if writes else []
        read = states
        if op.name == "copy":
            read, limit = [o for o in op.inputs[1:] if o.storage in self.storages], None
            written = list(op.inputs[:1])
        self.storages.update(o.storage for o in written)
        elements = sum(o.numel for o in op.outputs)
        return {
            "additions": elements if kind in _ADDITIONS else 0,
            "multiplications": elements if kind == "mul" else 0,
            "read_bytes": sum(_limited(o, limit) for o in read),
            "written_bytes": sum(_limited(o, limit) for o in written),
            "largest": max(o.bytes for o in [*states, *written]),
        }


def _limited(operand: Operand, limit: int | None) -> int:
    """Return the bytes of an operand, at most those of `limit` elements."""
    if limit is None or operand.numel == 0:
        return operand.bytes
    return min(limit, operand.numel) * (operand.bytes // operand.numel)


def state_operations(trace: Trace, neurons: pl.DataFrame, share: float) -> pl.DataFrame:
    """Return what each call inside a neuron does to neuron state.

    Args:
        trace: the trace.
        neurons: rows of `neuron_calls`.
        share: share of zeros from which an operand is sparse, if it is no spike tensor.

    Returns:
        Columns of `SCHEMA`; calls that touch no state are left out.
    """
    neurons = neurons.select("rank", "module_call_id").join(
        trace.module_calls.select(
            "rank", "module_call_id", "first_seq", "last_seq", "state_before"
        ).collect(),
        on=["rank", "module_call_id"],
        maintain_order="left",
    )
    rows = []
    states = States()
    held = _held(trace, neurons)
    inside = _ops_inside(trace, neurons, share)
    for call in neurons.select("rank", "module_call_id").rows():
        own = set(held.get(call, ()))
        states.storages |= own
        has_state = bool(own)
        for op in inside.get(call, ()):
            if not has_state and op.name in _STARTS:
                states.storages.update(o.storage for o in op.outputs)
                has_state = True
                continue
            done = states.charge(op)
            if done is not None:
                rows.append((*call, op.op, *done.values()))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _held(trace: Trace, neurons: pl.DataFrame) -> dict[Any, list[tuple[int | None, str]]]:
    """Return the storages of the states that each neuron call begins with."""
    before = (
        neurons.select("rank", "module_call_id", "state_before")
        .explode("state_before", empty_as_null=True)
        .unnest("state_before")
        .drop_nulls("value_id")
        .select("rank", "module_call_id", "value_id", "dtype")
    )
    found = before.join(
        trace.values.select("rank", "value_id", "storage_id").collect(),
        on=["rank", "value_id"],
    )
    held: dict[Any, list[tuple[int | None, str]]] = {}
    for rank, call, storage, dtype in found.select(
        "rank", "module_call_id", "storage_id", "dtype"
    ).rows():
        held.setdefault((rank, call), []).append((storage, dtype))
    return held


def _ops_inside(trace: Trace, neurons: pl.DataFrame, share: float) -> dict[Any, list[Op]]:
    """Return the calls inside each neuron call, in the order of execution."""
    spans = neurons.select("rank", "first_seq", "last_seq", call="module_call_id").sort("first_seq")
    calls = (
        trace.calls.sort("seq")
        .join_asof(
            spans.lazy(), left_on="seq", right_on="first_seq", by="rank", check_sortedness=False
        )
        .filter(pl.col("seq") <= pl.col("last_seq"))
        .collect()
    )
    operands = _operands(trace, calls, share)
    ops = {
        (rank, number): (op, mutates)
        for rank, number, op, mutates in trace.signatures.select(
            "rank", "signature_id", "op", "mutates"
        ).rows()
    }
    inside: dict[Any, list[Op]] = {}
    for rank, seq, signature, call in calls.select("rank", "seq", "signature_id", "call").rows():
        op, mutates = ops[rank, signature]
        ins, outs = operands.get((rank, seq), ((), ()))
        name = op.split(".")[1]
        plain = name if name == "_to_copy" else name.rstrip("_")
        inside.setdefault((rank, call), []).append(Op(op, plain, bool(mutates), ins, outs))
    return inside


def _operands(
    trace: Trace, calls: pl.DataFrame, share: float
) -> dict[Any, tuple[tuple[Operand, ...], tuple[Operand, ...]]]:
    """Return the (inputs, outputs) of calls by (rank, seq), in the order of their slots."""
    flat = pl.concat(
        calls.select(
            "rank",
            "seq",
            "signature_id",
            role=pl.lit(role),
            slot=pl.lit(slot, pl.Int32),
            value_id=f"{role}{slot}_value",
            **{"class": f"{role}{slot}_class", "nonzero": f"{role}{slot}_nonzero"},
        )
        for role, slot in (("in", 0), ("in", 1), ("in", 2), ("out", 0))
    )
    more = (
        trace.call_operands.join(
            calls.select("rank", "seq", "signature_id").lazy(), on=["rank", "seq"]
        )
        .with_columns(pl.col("role").cast(pl.String))
        .select(flat.columns)
        .collect()
    )
    layouts = (
        trace.signatures.select("rank", "signature_id", "operands")
        .explode("operands", empty_as_null=True)
        .unnest("operands")
        .select("rank", "signature_id", "role", "slot", "dtype", "numel", "bytes")
    )
    rows = (
        pl.concat([flat, more])
        .join(layouts, on=["rank", "signature_id", "role", "slot"])
        .join(
            trace.values.select("rank", "value_id", "storage_id").collect(),
            on=["rank", "value_id"],
            how="left",
        )
        .sort("rank", "seq", "role", "slot")
        .with_columns(
            sparse=(
                ((pl.col("class") & int(SpikeClass.BINARY)) != 0)
                | (pl.col("numel") - pl.col("nonzero") >= share * pl.col("numel"))
            ).fill_null(False),
            nonzero=pl.col("nonzero").fill_null(pl.col("numel")),
        )
        .select("rank", "seq", "role", "storage_id", "dtype", "numel", "bytes", "sparse", "nonzero")
    )
    return _grouped(rows.iter_rows())


def _grouped(
    rows: Iterator[tuple[Any, ...]],
) -> dict[Any, tuple[tuple[Operand, ...], tuple[Operand, ...]]]:
    found: dict[Any, tuple[list[Operand], list[Operand]]] = {}
    for rank, seq, role, storage, dtype, numel, size, is_sparse, nonzero in rows:
        sides = found.setdefault((rank, seq), ([], []))
        sides[role == "out"].append(Operand((storage, dtype), numel, size, is_sparse, nonzero))
    return {key: (tuple(ins), tuple(outs)) for key, (ins, outs) in found.items()}
