"""Values: regions of storages at versions, and who wrote them.

A storage's number is never reused, unlike its address: a weak reference keeps the address taken
until the storage is forgotten. The version is the recorder's own; PyTorch's can only raise it.
"""

from __future__ import annotations

from typing import Any

import torch

from .layouts import Layout, Layouts

_FORGET_AFTER = 4096


class Storage:
    """A storage that the recorder has seen.

    Attributes:
        number: id in the trace.
        version: writes so far, as the recorder counts.
        written_seq: call that wrote it last; -1 if none did.
        epoch: root call in which what it holds was last taken for known.
        counter: PyTorch's version counter when last seen; -1 unknown, -2 there is none.
        kind: index into VALUE_KINDS.
        values: the values at the present version, by (layout, offset).
    """

    __slots__ = ("base", "cdata", "counter", "device", "epoch", "kind", "number", "readable", "values", "version", "written_seq")

    def __init__(self, number: int, cdata: int, epoch: int) -> None:
        self.number = number
        self.cdata = cdata
        self.version = 0
        self.written_seq = -1
        self.epoch = epoch
        self.counter = -1
        self.kind = 5
        self.device = "cpu"
        self.readable = True
        self.base: Value | None = None
        self.values: dict[Any, Value] = {}


class Value:
    """A region of a storage at a version; facts about its elements once measured.

    Attributes:
        bits: SpikeClass bits without provenance; -1 not measured.
        events: provenance is spikes.
        measured: 0 no, 1 yes, 2 never will be.
        row: written to the trace.
    """

    __slots__ = (
        "base", "bits", "events", "high", "kind", "layout", "low", "measured", "minus_ones",
        "nonzero", "number", "offset", "ones", "slot", "storage", "synapses", "version", "written", "written_seq",
    )  # fmt: skip

    def __init__(self, number: int, storage: Storage, layout: Layout, offset: int) -> None:
        self.number = number
        self.storage = storage
        self.version = storage.version
        self.written_seq = storage.written_seq
        self.kind = storage.kind
        self.layout = layout
        self.offset = offset
        self.base: Value | None = None
        self.bits = -1
        self.nonzero = -1
        self.ones: int | None = None
        self.minus_ones: int | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.events = False
        self.measured = 0
        self.written = False
        self.slot = -1
        self.synapses: dict[Any, Any] | None = None


class OpaqueLayout:
    """The layout of a tensor without strided elements: sparse, nested, quantized, ..."""

    __slots__ = ("dtype_name", "layout_name", "nbytes", "numel", "shape")

    def __init__(self, tensor: torch.Tensor) -> None:
        try:
            self.shape: tuple[int, ...] | None = tuple(int(n) for n in tensor.shape)
            self.numel = int(tensor.numel())
        except Exception:  # nested tensors have no shape; nothing may stop a recording
            self.shape, self.numel = None, 0
        self.dtype_name = str(tensor.dtype).removeprefix("torch.")
        self.layout_name = str(tensor.layout).removeprefix("torch.")
        self.nbytes = self.numel * tensor.dtype.itemsize

    def key(self) -> tuple[Any, ...]:
        """Return what two equal opaque layouts share."""
        return (self.shape, self.dtype_name, self.layout_name)


class Values:
    """All storages and values of a recording."""

    def __init__(self) -> None:
        self.layouts = Layouts()
        self.layout: Any = None
        self.storages: dict[int, Storage] = {}
        self.fresh: list[Value] = []
        self.epoch = 1
        self.distrust = 0
        self._next_value = 0
        self._next_storage = 0
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
        if storage.epoch != self.epoch:
            if storage.written_seq < 0 or storage.epoch < self.distrust:
                self._renew(storage)
            storage.epoch = self.epoch
        counter = storage.counter
        if counter != -2:
            now = tensor._version
            if counter == -1:
                storage.counter = now
            elif now > counter:
                storage.counter = now
                self._renew(storage)
        return storage

    def _adopt(self, handle: Any, cdata: int, tensor: torch.Tensor) -> Storage:
        if len(self.storages) >= self._forget_at:
            self.forget()
        storage = Storage(self._next_storage, cdata, self.epoch)
        self._next_storage += 1
        handle._weak_ref()
        device = tensor.device
        if device.type != "cpu":
            storage.device = str(device)
            storage.readable = device.type not in ("meta",)
        storage.counter = -2 if tensor.is_inference() else tensor._version
        self.storages[cdata] = storage
        return storage

    def _renew(self, storage: Storage) -> None:
        """What the storage holds is no longer known: somebody outside may have written it."""
        storage.version += 1
        storage.written_seq = -1
        storage.values.clear()

    def wrote(self, storage: Storage, seq: int) -> None:
        """Note that call `seq` wrote to the storage."""
        storage.version += 1
        storage.written_seq = seq
        if storage.counter != -2:
            storage.counter = -1
        storage.values.clear()

    def of(self, tensor: torch.Tensor) -> Value:
        """Return the value that a tensor holds now; `layout` is then how the tensor lies.

        (A value's own layout is that of the tensor that showed it first.)

        Raises:
            RuntimeError: the tensor has no strided elements.
        """
        storage = self.storage_of(tensor)
        layout = self.layout = self.layouts.of(tensor)
        offset = tensor.storage_offset()
        value = storage.values.get((layout, offset))
        return value if value is not None else self._new(storage, layout, offset)

    def _new(self, storage: Storage, layout: Layout, offset: int) -> Value:
        known = storage.values
        if layout.dense and known:
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
        expired, free = torch.UntypedStorage._expired, torch.UntypedStorage._free_weak_ref
        for cdata in [c for c in self.storages if expired(c)]:
            del self.storages[cdata]
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
        if value.offset <= offset and value.layout.numel >= layout.numel and (
            best is None or value.layout.numel > best.layout.numel
        ):
            best = value
    return best
