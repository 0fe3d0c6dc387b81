"""What is asked of a device about products and convolutions, and what its answers mean.

What is worth telling depends on the operands' classes, which only the flush knows: all of it is
counted, in one launch for a call, and what the CPU would not have told is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..schemas import TILE_WIDTHS
from .device_cells import Run
from .synapses import Reach
from .synapses_of_calls import (
    SynapticRow,
    both_spike,
    factors_of,
    geometry_arguments,
    sparse_enough,
)
from .values import Value

_PENDING = (1, 3)
_TILES = len(TILE_WIDTHS)
PAIRS, SITES, OVERLAP, PATCHES = 1, 2, 3, 4
"""Places in a meeting's cells; the first cell counts the programs that ran."""
MET = PATCHES + _TILES
"""By how many programs the overlap was counted."""
ROWS = MET + 1
ACTIVE, SHARED, COUNTED = 1, 2, 3
"""Places in a product's cells: rows with a nonzero element, pairs of nonzeros that meet, and how
many programs counted those."""


@dataclass(frozen=True, slots=True)
class Mask:
    """An operand whose nonzero elements are asked for.

    Attributes:
        tensor: the operand.
        elements: how many it has, without repeats.
        facts: address of its value's cells, 0 if the host knows that it is worth counting.
    """

    tensor: torch.Tensor
    elements: int
    facts: int


@dataclass(frozen=True, slots=True)
class Meeting:
    """A convolution's question.

    Attributes:
        reach: its geometry.
        mask: the input, or the output gradient.
        forward: it is the input.
        whole: sites and, where a crossbar could run it, patches and rows are asked for too.
        weights: what the nonzero weights are met with, None if that is not asked for.
    """

    reach: Reach
    mask: Mask
    forward: bool
    whole: bool
    weights: Mask | None

    @property
    def crossbar(self) -> bool:
        """Tell whether patches and rows are asked for."""
        return self.whole and _flat(self.reach)


@dataclass(frozen=True, slots=True)
class Multiplied:
    """A product's question.

    Attributes:
        x: what is multiplied.
        w: by what.
    """

    x: Mask
    w: Mask


class Job:
    """A question until it is answered.

    Attributes:
        question: what a device is to count; None once it does.
        name: of the op.
        run: where the answer goes.
        programs: how many programs must have counted for the answer to be one; -1 none will.
    """

    __slots__ = ("_counts_on", "_fill", "name", "programs", "question", "run")

    def __init__(
        self, question: Any, run: Run, fill: Callable[[Any], None], counts_on: Callable[..., Any]
    ) -> None:
        self.question, self.run, self.programs = question, run, -1
        self._fill, self._counts_on = fill, counts_on
        self.name = ""

    def count(self) -> None:
        """Have the device answer."""
        question, self.question = self.question, None
        if isinstance(question, Meeting):
            counts = self._counts_on(question.mask.tensor.device)
            self.programs = counts.meeting(question, self.run)
        else:
            counts = self._counts_on(question.x.tensor.device)
            self.programs = counts.multiplied(question, self.run)

    def fails(self) -> None:
        """No answer will come."""
        self.question, self.programs = None, -1

    def answer(self, collected: dict[Any, Any]) -> None:
        """Pass on what was counted, None if the device has not."""
        cells = self.run.read(collected) if self.run.cells in collected else None
        if cells is None or int(cells[0]) != self.programs:
            cells = None
        self._fill(cells)


class DeviceSynapses:
    """Measures synaptic calls on devices.

    Args:
        reach_of: returns the reach of a convolution's shapes and arguments, None if not understood.
        take: returns cells of a device, so many.
        facts_of: returns the address of a value's cells, 0 if the host knows what is in them.
        counts_on: returns what counts on a device.
    """

    def __init__(
        self,
        reach_of: Callable[[Any, Any, Any], Reach | None],
        take: Callable[[torch.device, int], Run],
        facts_of: Callable[[Value], int],
        counts_on: Callable[[torch.device], Any],
    ) -> None:
        self._reach_of, self._take = reach_of, take
        self._facts_of, self._counts_on = facts_of, counts_on
        self._waiting: list[Callable[[dict[Any, Any]], None]] = []

    def collect(self, read: dict[Any, Any]) -> None:
        """Fill the rows in; the values that they are of are known."""
        for answer in self._waiting:
            answer(read)
        self._waiting.clear()

    def before(
        self, op: Any, ins: list[Any], others: list[Any]
    ) -> tuple[SynapticRow | None, list[Job]]:
        """Return a call's row, to be filled at the flush, and what is to be counted for it."""
        jobs: list[Job] = []
        if op.synaptic == "product":
            row = self._product(op, ins, jobs)
        else:
            forward = op.synaptic == "convolution"
            x, w = (ins[0], ins[1]) if forward else (ins[1], ins[2])
            reach = self._reach_of(x[2].shape, w[2].shape, geometry_arguments(op, others))
            if reach is None:
                return None, jobs
            if forward:
                row = self._convolution(reach, x, w, jobs)
            else:
                row = self._backward(reach, ins[0], x, jobs)
        self._waiting += [job.answer for job in jobs]
        return row, jobs

    def _job(self, jobs: list[Job], question: Any, count: int, fill: Callable[[Any], None]) -> None:
        convolved = isinstance(question, Meeting)
        asked = question.mask if convolved else question.x
        if not asked.elements or not (convolved or question.w.elements):
            self._waiting.append(lambda read: fill([0] * count))
            return
        run = self._take(asked.tensor.device, count)
        jobs.append(Job(question, run, fill, self._counts_on))

    def _mask(self, operand: Any) -> Mask:
        value, tensor, layout = operand
        return Mask(tensor.detach(), layout.distinct, self._facts_of(value))

    def _product(self, op: Any, ins: list[Any], jobs: list[Job]) -> SynapticRow | None:
        x, w = factors_of(op, ins)
        value, other = x[0], w[0]  # no tensor may be kept alive until the flush
        if value.measured not in _PENDING or other.measured not in _PENDING:
            return None
        if value.measured == 1 and not sparse_enough(value):
            return None
        row = SynapticRow()
        matrices = len(x[2].shape) >= 2 and len(w[2].shape) >= 2
        columns = int(w[2].shape[-1]) if matrices else 0

        def fill(cells: Any) -> None:
            if cells is None or value.measured != 1 or other.measured != 1:
                return
            both = both_spike(value, other)
            if both or sparse_enough(value):
                row.active_outputs = int(cells[ACTIVE]) * columns if matrices else None
                known = both and cells[COUNTED] == cells[0]
                row.overlap = int(cells[SHARED]) if known else None

        self._job(jobs, Multiplied(self._mask(x), self._mask(w)), COUNTED + 1, fill)
        return row

    def _convolution(self, reach: Reach, x: Any, w: Any, jobs: list[Job]) -> SynapticRow:
        value, weight = x[0], w[0]
        if value.measured not in _PENDING:
            return SynapticRow()
        if value.synapses is None:
            value.synapses = {}
        weights = None
        if _may_spike(weight) and _may_spike(value):
            weights = self._mask(w)
        known = value.synapses.get(reach)
        first = known is None
        if known is None:
            known = value.synapses[reach] = SynapticRow()
        if not first and weights is None:
            return known  # type: ignore[no-any-return]
        batch = int(x[2].shape[0])
        if first and value.measured == 1 and _tells_nothing(value):
            known.x_fanout = reach.dense_fanout(batch)
            return known  # type: ignore[no-any-return]
        row = SynapticRow() if weights is not None else known

        def fill(cells: Any) -> None:
            if first and value.measured == 1:
                _fill_input(known, reach, value, batch, cells)
            if row is not known:
                row.take_over(known)
                if cells is None or row.x_fanout is None or not both_spike(weight, value):
                    return
                if cells[MET] == cells[0]:
                    row.overlap = int(cells[OVERLAP])

        tiles = -(-reach.geometry.c_in // TILE_WIDTHS[0])
        question = Meeting(reach, self._mask(x), True, first, weights)
        self._job(jobs, question, ROWS + (tiles if question.crossbar else 0), fill)
        return row

    def _backward(self, reach: Reach, grad: Any, x: Any, jobs: list[Job]) -> SynapticRow:
        row = SynapticRow()
        g = reach.geometry
        batch = int(grad[2].shape[0])
        value = x[0]
        known = (value.synapses or {}).get(reach) if type(value) is Value else None
        if known is not None:
            source: SynapticRow = known

            def take_over(read: dict[Any, Any]) -> None:
                row.x_fanout = source.x_fanout

            self._waiting.append(take_over)
        else:
            dense = reach.dense_fanout(batch)
            self._side(row, "x_fanout", reach, x, dense, g.c_out // g.groups, jobs)
        dense = reach.dense_grad_fanout(batch)
        self._side(row, "grad_fanout", reach, grad, dense, g.c_in // g.groups, jobs)
        return row

    def _side(
        self, row: SynapticRow, name: str, reach: Reach, operand: Any, dense: int, fan: int,
        jobs: list[Job],
    ) -> None:  # fmt: skip
        """Ask what one operand of a backward call meets, the input or the output gradient."""
        value, forward = operand[0], name == "x_fanout"
        if type(value) is not Value or value.measured not in _PENDING:
            return

        def fill(cells: Any) -> None:
            if value.measured != 1:
                return
            if value.nonzero == value.layout.numel:
                setattr(row, name, dense)
            elif cells is not None and (forward or value.bits):
                setattr(row, name, int(cells[PAIRS]) * fan)

        if value.measured == 1 and (
            value.nonzero == value.layout.numel or not (forward or value.bits)
        ):
            fill(None)
            return
        question = Meeting(reach, self._mask(operand), forward, False, None)
        self._job(jobs, question, ROWS, fill)


def _flat(reach: Reach) -> bool:
    """Tell whether a crossbar could run it: two dimensions, no groups, not transposed."""
    g = reach.geometry
    return len(g.kernel) == 2 and g.groups == 1 and not g.transposed


def _may_spike(value: Value) -> bool:
    """Tell whether a value has a spike class, or may turn out to have one."""
    return value.measured == 3 or (value.measured == 1 and value.bits > 0)


def _tells_nothing(value: Value) -> bool:
    """Tell whether a value has neither zeros nor a class: all that it meets is in its shape."""
    return value.nonzero == value.layout.numel and not value.bits


def _fill_input(row: SynapticRow, reach: Reach, value: Value, batch: int, cells: Any) -> None:
    """Fill in what an input meets; `cells` is None if the device has not counted it."""
    g = reach.geometry
    fan = g.c_out // g.groups
    if value.nonzero == value.layout.numel:
        row.x_fanout = reach.dense_fanout(batch)
    elif cells is not None:
        row.x_fanout = int(cells[PAIRS]) * fan
    if cells is None or _tells_nothing(value) or not sparse_enough(value):
        return
    row.active_outputs = int(cells[SITES]) * fan
    if _flat(reach):
        row.active_sites = int(cells[SITES])
        row.active_patches = [int(n) for n in cells[PATCHES:MET]]
        row.tile_rows = [int(n) for n in cells[ROWS:]]
