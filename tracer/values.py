"""Values: regions of storages at versions, and who wrote them.

A storage's number is never reused, unlike its address: a weak reference keeps the address taken
until the storage is forgotten. The version is the recorder's own; PyTorch's can only raise it.
"""

from __future__ import annotations

from typing import Any

import torch

from .columns import NULL
from .layouts import Layout
from .statistics import Statistics

_FORGET_AFTER = 4096


class Storage:
    """A storage that the recorder has seen; defaults are on the class: most instances keep them.

    Attributes:
        number: id in the trace.
        version: writes so far, as the recorder counts.
        written_seq: call that wrote it last; -1 if none did.
        epoch: root call in which what it holds was last taken for known.
        counter: PyTorch's version counter when last seen; -2 there is none.
        most: what it may have become by the call that wrote last: PyTorch counts a write, if at
            all, after the recorder has seen it.
        kind: index into VALUE_KINDS.
        values: the values at the present version, by (layout, offset).
    """

    version = 0
    written_seq = -1
    counter = -2
    most = -2
    kind = 5
    device = "cpu"
    readable = True

    def __init__(self, number: int, cdata: int, epoch: int) -> None:
        self.number = number
        self.cdata = cdata
        self.epoch = epoch
        self.values: dict[Any, Value] = {}


class Value:
    """A region of a storage at a version; facts about its elements once measured.

    Attributes:
        bits: SpikeClass bits without provenance; -1 not measured.
        events: provenance is spikes.
        measured: 0 no, 1 yes, 2 never will be, 3 a device is at it.
        device: that of its storage.
        synapses: what was measured of it as an input of convolutions, by geometry.
    """

    base: Value | None = None
    bits = -1
    nonzero = -1
    ones: int | None = None
    minus_ones: int | None = None
    low: float | None = None
    high: float | None = None
    events = False
    measured = 0
    device = "cpu"
    synapses: dict[Any, Any] | None = None

    def __init__(self, number: int, storage: Storage, layout: Layout, offset: int) -> None:
        self.number = number
        self.storage = storage
        self.version = storage.version
        self.written_seq = storage.written_seq
        self.kind = storage.kind
        self.layout = layout
        self.offset = offset
        if storage.device != "cpu":
            self.device = storage.device

    def told(self, found: Statistics) -> None:
        """Note facts about all elements."""
        self.measured = 1
        self.bits, self.nonzero, ones, minus, low, high = found
        if self.bits:
            self.ones, self.minus_ones, self.low, self.high = ones, minus, low, high


class OpaqueLayout:
    """The layout, and in its place the value, of a tensor without strided elements: sparse, ..."""

    __slots__ = ("device", "dtype_name", "layout_name", "nbytes", "numel", "shape")
    number = NULL
    measured = 2
    bits = -1
    events = False

    def __init__(self, tensor: torch.Tensor) -> None:
        try:
            self.shape: tuple[int, ...] | None = tuple(int(n) for n in tensor.shape)
            self.numel = int(tensor.numel())
        except Exception:  # nested tensors have no shape; nothing may stop a recording
            self.shape, self.numel = None, 0
        self.dtype_name = str(tensor.dtype).removeprefix("torch.")
        self.layout_name = str(tensor.layout).removeprefix("torch.")
        self.nbytes = self.numel * tensor.dtype.itemsize
        self.device = str(tensor.device)

    def key(self) -> tuple[Any, ...]:
        """Return what two equal opaque layouts share."""
        return (self.shape, self.dtype_name, self.layout_name, self.device)


class Values:
    """All storages and values of a recording."""

    def __init__(self) -> None:
        self.layouts: dict[Any, Layout] = {}
        self.layout: Any = None
        self.storages: dict[int, Storage] = {}
        self.fresh: list[Value] = []
        self.retired: list[Value] = []
        self.epoch = 1
        self.distrust = 0
        self._next_value = 0
        self._written = 0
        self.storages_seen = 0
        self._forget_at = _FORGET_AFTER

    def storage_of(self, tensor: torch.Tensor) -> Storage:
        """Return the storage of a tensor.

        Raises:
            RuntimeError: the tensor has none.
        """
        handle = tensor.untyped_storage()
        cdata = handle._cdata
        storage = self.storages.get(cdata)
        if storage is None:
            return self._adopt(handle, cdata, tensor)
        self._check(storage, tensor)
        return storage

    def _check(self, storage: Storage, tensor: torch.Tensor) -> None:
        """Take what a storage holds for unknown if somebody outside may have written it."""
        if storage.epoch != self.epoch:
            if storage.written_seq < 0 or storage.epoch < self.distrust:
                self._renew(storage)
            storage.epoch = self.epoch
        counter = storage.counter
        if counter != -2:
            now = tensor._version
            if now > counter:
                storage.counter = now
                if now > storage.most:
                    self._renew(storage)

    def _adopt(self, handle: Any, cdata: int, tensor: torch.Tensor) -> Storage:
        if len(self.storages) >= self._forget_at:
            self.forget()
        storage = Storage(self.storages_seen, cdata, self.epoch)
        self.storages_seen += 1
        handle._weak_ref()
        if not tensor.is_cpu:
            storage.device = str(tensor.device)
            storage.readable = not tensor.is_meta
        try:
            storage.counter = tensor._version
        except RuntimeError:  # a tensor of inference mode has none
            storage.counter = -2
        self.storages[cdata] = storage
        return storage

    def _renew(self, storage: Storage) -> None:
        """What the storage holds is no longer known: somebody outside may have written it."""
        storage.version += 1
        storage.written_seq = -1
        self._retire(storage)
        storage.values.clear()

    def _retire(self, storage: Storage) -> None:
        """Keep values that the tables hold until the calls that may name them are written."""
        for value in storage.values.values():
            if value.number < self._written:
                self.retired.append(value)

    def flushed(self) -> None:
        """Note that all values so far are in the tables or in `fresh`, all calls in the tables."""
        self.retired.clear()
        self._written = self._next_value
        self.forget()

    def wrote(self, storage: Storage, seq: int, counted: int) -> None:
        """Note that call `seq` wrote to the storage; `counted`: PyTorch will count it so often."""
        before = storage.most if storage.written_seq == seq else storage.counter
        storage.most = before + counted
        storage.version += 1
        storage.written_seq = seq
        self._retire(storage)
        storage.values.clear()

    def of(self, tensor: torch.Tensor) -> Value:
        """Return the value that a tensor holds now; `layout` is then how the tensor lies.

        (A value's own layout is that of the tensor that showed it first.)

        Raises:
            RuntimeError: the tensor has no strided elements.
        """
        # The same as storage_of, written out: this runs for every operand of every call.
        handle = tensor.untyped_storage()
        storage = self.storages.get(handle._cdata)
        if storage is None:
            storage = self._adopt(handle, handle._cdata, tensor)
        elif storage.epoch != self.epoch or (
            storage.counter != -2 and storage.counter != tensor._version
        ):
            self._check(storage, tensor)
        key = (tensor.shape, tensor.stride(), tensor.dtype)
        layout = self.layouts.get(key)
        if layout is None:
            layout = self.layouts[key] = Layout(*key)
        self.layout = layout
        offset: Any = tensor.storage_offset()
        value = storage.values.get((layout, offset))
        return value if value is not None else self._new(storage, layout, offset)

    def _new(self, storage: Storage, layout: Layout, offset: int) -> Value:
        known = storage.values
        if known and layout.dense:
            # Dense tensors over the same run are views of the same elements: one value.
            for (other, start), value in known.items():
                if (
                    start == offset
                    and other.dense
                    and other.numel == layout.numel
                    and other.dtype is layout.dtype
                ):
                    known[(layout, offset)] = value
                    return value
        value = Value(self._next_value, storage, layout, offset)
        self._next_value += 1
        if known:
            base = _covering(known, layout, offset)
            if base is not None:
                value.base = base
                value.events = base.events
        if not layout.readable or not storage.readable:
            value.measured = 2
        known[(layout, offset)] = value
        self.fresh.append(value)
        return value

    def trust_nothing(self) -> None:
        """After a pause: anything may have been written meanwhile."""
        self.epoch += 1
        self.distrust = self.epoch

    def root_call(self) -> None:
        """A new root call: what no recorded call wrote is to be measured anew."""
        self.epoch += 1

    def forget(self) -> None:
        """Drop the storages that are gone."""
        kind: Any = torch.UntypedStorage
        expired, free = kind._expired, kind._free_weak_ref
        for cdata in [c for c in self.storages if expired(c)]:
            self._retire(self.storages.pop(cdata))
            free(cdata)
        self._forget_at = max(_FORGET_AFTER, 2 * len(self.storages))

    def close(self) -> None:
        """Give every storage back."""
        for cdata in self.storages:
            torch.UntypedStorage._free_weak_ref(cdata)
        self.storages.clear()


def _covering(known: dict[Any, Value], layout: Layout, offset: int) -> Value | None:
    """Return the largest known value of the storage that starts no later."""
    best = None
    for value in known.values():
        if (
            value.offset <= offset
            and value.layout.distinct >= layout.distinct
            and (best is None or value.layout.distinct > best.layout.distinct)
        ):
            best = value
    return best
