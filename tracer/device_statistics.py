"""Statistics of tensors on a device, without waiting for it: what a flush reads is computed before.

Whatever depends on the data is decided at the flush; so every count that may be wanted is taken.
What it then says equals what `statistics` and `synapses_of_calls` say of the same data on a CPU.
What a call reads and makes is counted together, as it ends: one launch for all of its values, one
for what its spikes meet.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import Any

import torch

from .device_cells import Cells, Run, unseen
from .device_reductions import Reductions
from .device_synapses import DeviceSynapses
from .statistics import EMPTY
from .values import Value

VALUE_CELLS = 8


class Tally:
    """A value that a device is to count.

    Attributes:
        value: the value.
        tensor: a tensor that holds it, until it is counted.
        run: where its counts go.
    """

    __slots__ = ("run", "tensor", "value")

    def __init__(self, value: Value, tensor: torch.Tensor, run: Run) -> None:
        self.value, self.run = value, run
        self.tensor: Any = tensor


class DeviceMeasurer:
    """Measures values and calls whose tensors are on devices.

    Args:
        session: the recording.

    Attributes:
        counts: what counts on each type of device: Triton's kernels, or PyTorch's reductions.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._cells: dict[tuple[torch.device, int], Cells] = {}
        self._values: list[tuple[Value, Run, Any]] = []
        self._runs: dict[int, Run] = {}
        self._neurons: list[Value] = []
        self._local = _Waiting()
        self.counts: dict[str, Any] = {}
        self._synapses = DeviceSynapses(
            session.synapses.reach, self._take, self._facts_of, self._counts_on
        )

    def measure(self, value: Value, tensor: torch.Tensor) -> None:
        """Have the device count a value when the call ends; `collect` fills the value in."""
        if value.layout.numel == 0:
            self._session.keep(value, EMPTY)
            return
        value.measured = 2
        # A graph's replays would count again what is measured once.
        if self._session.device_failed is not None or _captured(tensor):
            return
        try:
            run = self._take(tensor.device, VALUE_CELLS)
        except Exception:  # out of memory: nothing may stop a recording
            return
        value.measured = 3
        self._runs[id(value)] = run
        self._local.tallies.append(Tally(value, tensor, run))
        self._session.waiting = True

    def claim(self, value: Value) -> None:
        """A neuron handed the value on: spikes, if it has a spike class."""
        value.events = True
        self._neurons.append(value)

    def synapses(self, op: Any, ins: list[Any], others: list[Any]) -> Any:
        """Have the device measure the operands of a call when it ends; return its row, unfilled."""
        if self._session.device_failed is not None:
            return None
        if any(_captured(tensor) for value, tensor, _ in ins if value is not None):
            return None
        row, jobs = self._synapses.before(op, ins, others)
        for job in jobs:
            job.name = op.name
        if jobs:
            self._local.jobs += jobs
            self._session.waiting = True
        return row

    def launch(self) -> None:
        """Have everything counted that waits in this thread; its tensors are let go."""
        self._session.waiting = False
        tallies, jobs = self._local.take()
        by_device: dict[torch.device, list[Tally]] = {}
        for tally in tallies:
            by_device.setdefault(tally.tensor.device, []).append(tally)
        for device, some in by_device.items():
            self._count(device, some)
        for job in jobs:
            try:
                job.count()
            except Exception:  # an odd shape may cost its statistics, never the run
                job.fails()
                unread = self._session.unread
                unread[job.name] = unread.get(job.name, 0) + 1

    def forget(self) -> None:
        """Let go of what waits: its call has failed, and may have written what it reads."""
        self._session.waiting = False
        tallies, jobs = self._local.take()
        for tally in tallies:
            tally.value.measured = 0
            self._runs.pop(id(tally.value), None)
        for job in jobs:
            job.fails()

    def collect(self) -> None:
        """Fill in all that was measured since the last time; waits for the devices.

        An error of a device does not leave it: what was not read stays unknown, and the session's
        `device_failed` is the error.
        """
        self.launch()
        read: dict[Cells, Any] = {}
        try:
            with unseen():
                for cells in self._cells.values():
                    read[cells] = cells.collect()
        except Exception as error:
            self._session.device_failed = error
            self._session.device_note = (
                f"the recording ended early: a device could not say what it had counted "
                f"({type(error).__name__}: {_line(error)})"
            )
            self._cells.clear()
        for value, run, counts in self._values:
            found = None
            try:
                if run.cells in read:
                    found = counts.statistics(run.read(read), value.layout)
            except Exception:  # nothing may stop a recording
                found = None
            if found is None:
                value.measured = 2
            else:
                self._session.keep(value, found)
        for value in self._neurons:
            value.events = value.bits > 0
        self._synapses.collect(read)
        self._values.clear()
        self._runs.clear()
        self._neurons.clear()

    def _count(self, device: torch.device, tallies: list[Tally]) -> None:
        counts = self._counts_on(device)
        try:
            counts.values(tallies)
        except Exception as error:
            if not counts.replaceable:  # out of memory, a dtype without kernels
                for tally in tallies:
                    tally.value.measured = 2
                return
            self._replace(device, error)
            self._count(device, tallies)
            return
        self._values += [(tally.value, tally.run, counts) for tally in tallies]

    def _counts_on(self, device: torch.device) -> Any:
        found = self.counts.get(device.type)
        if found is None:
            found = self.counts[device.type] = _counts(device)
        return found

    def _replace(self, device: torch.device, error: Exception) -> None:
        """Triton is there and does not work, without a compiler, say: PyTorch counts from now."""
        self.counts[device.type] = Reductions()
        self._session.device_note = (
            f"Triton could not count on {device.type} ({type(error).__name__}: {_line(error)}): "
            "PyTorch's reductions did, with more launches"
        )

    def _take(self, device: torch.device, count: int) -> Run:
        """Return cells of the stream that is current on a device."""
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        cells = self._cells.get((device, stream))
        if cells is None:
            cells = self._cells[(device, stream)] = Cells(device)
        return cells.take(count)

    def _facts_of(self, value: Value) -> int:
        """Return the address of a value's cells; 0 if the host knows what is in them."""
        return self._runs[id(value)].address if value.measured == 3 else 0


class _Waiting(threading.local):
    """What a thread has to have counted when its call ends."""

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self.jobs: list[Any] = []

    def take(self) -> tuple[list[Tally], list[Any]]:
        """Return it and forget it."""
        taken = self.tallies, self.jobs
        self.tallies, self.jobs = [], []
        return taken


def _counts(device: torch.device) -> Any:
    """Return what counts on a device: Triton's kernels where they run, else PyTorch's ops."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # reads the host's memory
    able = device.type == "cpu" if interpreted else device.type in ("cuda", "xpu")
    if able and importlib.util.find_spec("triton") is not None:
        from .device_kernels import Kernels

        return Kernels(interpreted=interpreted)
    return Reductions()


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _captured(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()
