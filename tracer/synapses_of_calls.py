"""The statistics of products and convolutions, from the calls as they are dispatched."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..schemas import VALUE_BITS
from .crossbars import crossbar, no_crossbar
from .geometries import geometry_of
from .layouts import Layout
from .operands import Op
from .statistics import decode
from .synapses import Reach, active_outputs, reach_of
from .values import Value

_BITS = int(VALUE_BITS)
# Slots of the two factors of each product.
_FACTORS = {
    "addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2), "addbmm": (1, 2),
}  # fmt: skip


class SynapticRow:
    """What a synaptic call's row gets beside the rest; None is null."""

    __slots__ = (
        "active_outputs",
        "active_patches",
        "active_sites",
        "grad_fanout",
        "overlap",
        "tile_rows",
        "x_fanout",
        "zero_pairs",
    )

    def __init__(self) -> None:
        self.x_fanout: int | None = None
        self.grad_fanout: int | None = None
        self.overlap: int | None = None
        self.zero_pairs: int | None = None
        self.active_outputs: int | None = None
        self.active_sites: int | None = None
        self.active_patches: list[int] | None = None
        self.tile_rows: list[int] | None = None

    def take_over(self, other: SynapticRow) -> None:
        """Become a copy of another row."""
        for name in SynapticRow.__slots__:
            setattr(self, name, getattr(other, name))


def sparse_enough(value: Value) -> bool:
    """Tell whether a value has a spike class or at least a quarter zeros."""
    return bool(value.bits) or 4 * (value.layout.numel - value.nonzero) >= value.layout.numel


def both_spike(first: Value, second: Value) -> bool:
    """Tell whether both values have a spike class."""
    return (
        first.measured == second.measured == 1
        and bool(first.bits & _BITS)
        and bool(second.bits & _BITS)
    )


def has_zeros(value: Value) -> bool:
    """Tell whether a measured value holds zeros."""
    return value.measured == 1 and value.nonzero < value.layout.numel


def factors_of(op: Op, ins: list[Any]) -> tuple[Any, Any]:
    """Return the operands that a product multiplies."""
    first, second = _FACTORS.get(op.packet.split(".")[1], (0, 1))
    return ins[first], ins[second]


def geometry_arguments(op: Op, others: list[Any]) -> dict[str, Any]:
    """Return the non-tensor arguments of a convolution by name."""
    return {name: value for (_, name, _, _), value in zip(op.others, others, strict=True)}


def mask_of(tensor: Any, layout: Layout) -> Any:
    """Return the nonzero mask of a CPU tensor as uint8 of its logical shape."""
    if layout.bits or not layout.dense or not tensor.is_contiguous():
        array = tensor.detach().contiguous()
        small = layout.bits.startswith("float8")
        flat = array.view(-1).view(_uint8()) if small else None
        if flat is not None:
            decoded = decode(flat.numpy(), layout.bits)
            return (decoded != 0).view(np.uint8).reshape(layout.shape)
        return (array != 0).numpy().view(np.uint8).reshape(layout.shape)
    flat = layout.flat(tensor.data_ptr())
    return np.not_equal(flat, 0).view(np.uint8).reshape(layout.shape)


def _uint8() -> Any:
    import torch

    return torch.uint8


class Synapses:
    """Measures synaptic calls; geometries are kept."""

    def __init__(self) -> None:
        self._reaches: dict[Any, Reach] = {}

    def before(
        self, session: Any, op: Op, ins: list[Any], others: list[Any], *, forward: bool = True
    ) -> SynapticRow | None:
        """Measure the operands of a call before it runs; None if there is nothing to tell.

        Args:
            session: the recording.
            op: the op.
            ins: its operands.
            others: its other arguments.
            forward: whether it is part of a forward pass: zeros of weights are met there, on CPUs.
        """
        try:
            if any(v is not None and v.device != "cpu" for v, _, _ in ins):
                measurer = session.device_measurer
                if measurer is None:
                    return None
                found: SynapticRow | None = measurer.synapses(op, ins, others)
                return found
            return self._measure(op, ins, others, forward)
        except Exception:  # an odd shape may cost its statistics, never the run
            session.unread[op.name] = session.unread.get(op.name, 0) + 1
            return None

    def _measure(
        self, op: Op, ins: list[Any], others: list[Any], forward: bool
    ) -> SynapticRow | None:
        if op.synaptic == "product":
            return _product(op, ins, forward)
        arguments = geometry_arguments(op, others)
        if op.synaptic == "convolution":
            x, w = ins[0], ins[1]
            reach = self.reach(x[2].shape, w[2].shape, arguments)
            if reach is None:
                return None
            return self._convolution(reach, x, w, arguments, forward)
        grad, x, w = ins[0], ins[1], ins[2]
        reach = self.reach(x[2].shape, w[2].shape, arguments)
        return self._backward(reach, grad, x) if reach is not None else None

    def reach(
        self, x: tuple[int, ...], w: tuple[int, ...], arguments: dict[str, Any]
    ) -> Reach | None:
        """Return the vectors of a convolution's geometry; None where it is not understood."""
        spatial = len(w) - 2
        if len(x) != len(w) or spatial < 1 or "stride" not in arguments:
            return None
        key = (
            x[1:],
            w,
            *(
                arguments.get(n)
                for n in ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
            ),
        )
        reach = self._reaches.get(key)
        if reach is None:
            reach = self._reaches[key] = reach_of(geometry_of(x, w, arguments))
        return reach

    def _convolution(
        self, reach: Reach, x: Any, w: Any, arguments: dict[str, Any], forward: bool
    ) -> SynapticRow:
        value, tensor, layout = x
        if value.synapses is None:
            value.synapses = {}
        row: SynapticRow | None = value.synapses.get(reach)
        if row is None:
            row = value.synapses[reach] = self._input(reach, value, tensor, layout)
        weight = w[0]
        pruned = forward and has_zeros(weight)
        both = both_spike(weight, value)
        if row.x_fanout is not None and (both or pruned):
            known, row = row, SynapticRow()
            row.take_over(known)
            overlap = _overlap(mask_of(tensor, layout), mask_of(w[1], w[2]), arguments)
            row.overlap = overlap if both else None
            row.zero_pairs = known.x_fanout - overlap if pruned else None  # type: ignore[operator]
        return row

    def _input(self, reach: Reach, value: Value, tensor: Any, layout: Layout) -> SynapticRow:
        row = SynapticRow()
        g = reach.geometry
        if value.measured != 1:
            return row
        if value.nonzero == value.layout.numel:
            row.x_fanout = reach.dense_fanout(layout.shape[0])
            if not value.bits:
                return row
        flat = len(g.kernel) == 2 and g.groups == 1 and not g.transposed
        sparse = sparse_enough(value)
        mask = mask_of(tensor, layout) if value.nonzero else None
        if sparse and flat:
            seen = no_crossbar(reach) if mask is None else crossbar(reach, mask)
            row.active_sites = seen.sites
            row.active_patches = seen.patches
            row.tile_rows = seen.rows
            row.active_outputs = seen.sites * g.c_out
            row.x_fanout = sum(seen.rows) * g.c_out
            return row
        row.x_fanout = 0 if mask is None else reach.fanout(mask)
        if sparse:
            row.active_outputs = 0 if mask is None else active_outputs(reach, mask)
        return row

    def _backward(self, reach: Reach, grad: Any, x: Any) -> SynapticRow:
        row = SynapticRow()
        value, tensor, layout = x
        if value.measured == 1:
            known = (value.synapses or {}).get(reach)
            row.x_fanout = (
                known.x_fanout if known is not None else self._fanout(reach, value, tensor, layout)
            )
        value, tensor, layout = grad
        if value.measured == 1:
            if value.nonzero == value.layout.numel:
                row.grad_fanout = reach.dense_grad_fanout(layout.shape[0])
            elif not value.nonzero:
                row.grad_fanout = 0
            elif value.bits & _BITS:
                row.grad_fanout = reach.grad_fanout(mask_of(tensor, layout))
        return row

    @staticmethod
    def _fanout(reach: Reach, value: Value, tensor: Any, layout: Layout) -> int:
        if value.nonzero == value.layout.numel:
            return reach.dense_fanout(layout.shape[0])
        return reach.fanout(mask_of(tensor, layout)) if value.nonzero else 0


def _product(op: Op, ins: list[Any], forward: bool) -> SynapticRow | None:
    (x, x_tensor, x_layout), (w, w_tensor, w_layout) = factors_of(op, ins)
    if x.measured != 1 or w.measured != 1:
        return None
    row = SynapticRow()
    both, pruned = both_spike(x, w), forward and has_zeros(w)
    if not both and not pruned and not sparse_enough(x):
        return None
    mask = mask_of(x_tensor, x_layout)
    matrices = len(x_layout.shape) >= 2 and len(w_layout.shape) >= 2
    columns = w_layout.shape[-1] if len(w_layout.shape) >= 2 else 1
    if matrices and (both or sparse_enough(x)):
        row.active_outputs = int(np.count_nonzero(np.bitwise_or.reduce(mask, axis=-1))) * columns
    if both or pruned:
        overlap = _product_overlap(mask, mask_of(w_tensor, w_layout))
        row.overlap = overlap if both else None
        row.zero_pairs = x.nonzero * columns - overlap if pruned else None
    return row


def _product_overlap(x: Any, w: Any) -> int:
    """Count pairs of nonzeros that meet: over k, nonzeros of column k times nonzeros of row k."""
    if x.ndim == 1:
        x = x[None]
    if w.ndim == 1:
        w = w[:, None]
    columns = x.sum(axis=-2, dtype=np.int64)
    rows = w.sum(axis=-1, dtype=np.int64)
    return int((columns * rows).sum())


def _overlap(x: Any, w: Any, arguments: dict[str, Any]) -> int:
    """Count pairs of nonzeros that meet in a convolution: the convolution of both masks.

    A convolution is linear: the batch is added up first.
    """
    import torch

    counts = x.sum(axis=0, keepdims=True, dtype=np.int64)
    first, second = (torch.from_numpy(each).to(torch.float64) for each in (counts, w))
    spatial = w.ndim - 2
    done = torch.convolution(
        first, second, None, list(arguments["stride"]), list(arguments["padding"]),
        list(arguments["dilation"]), bool(arguments.get("transposed", False)),
        list(arguments.get("output_padding") or (0,) * spatial), int(arguments["groups"]),
    )  # fmt: skip
    return int(done.sum(dtype=torch.float64).item())
