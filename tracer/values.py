"""Values: regions of storages at versions, and who wrote them.

A storage's number is never reused, unlike its address: a weak reference keeps the address taken
until the storage is forgotten. The version is the recorder's own; PyTorch's can only raise it.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import torch

from .columns import NULL
from .layouts import Layout
from .mapped import mapped_sizes
from .statistics import Statistics

PARAMETER, BUFFER, ACTIVATION = 0, 1, 5
"""Indices into VALUE_KINDS."""

_FORGET_AFTER = 4096
_FORGET_BYTES, _EACH = 32 << 20, 16 << 10
"""Bytes of new storages after which those that are gone are dropped; so many more for each known
one. A weak reference keeps no data, but what it keeps lies beside the data's hole in the heap: the
C library cannot give the hole back, nor put the next tensor of that size into it."""
_MOST_PARTS = 4096
_WHOLLY, _SPOTS = 4096, 64
"""Bytes up to which a storage is looked at as a whole; places where a larger one is."""


class Storage:
    """A storage that the recorder has seen.

    Attributes:
        number: id in the trace.
        version: writes so far, as the recorder counts.
        written_seq: call that wrote it last; -1 if none did.
        epoch: root call in which what it holds was last taken for known.
        counter: PyTorch's version counter when last seen; -2 there is none.
        most: what it may have become by the call that wrote last: PyTorch counts a write, if at
            all, after the recorder has seen it.
        kind: index into VALUE_KINDS.
        value: the value at the present version that was seen first, None without.
        whole: the largest one.
        more: values by (layout, offset), once one look does not do.
        data: what that which it holds descends from, see `descent`.
        declared: parts that the user has declared to hold spikes, until they are written again.
        nbytes: its size; -1: storages are not followed.
        watched: tells when it is let go; None: nobody asks.
        spots: of a parameter or buffer, its elements at some places as they were last seen.
    """

    __slots__ = (
        "cdata", "counter", "data", "declared", "device", "epoch", "kind", "more", "most", "nbytes",
        "number", "readable", "spots", "value", "version", "watched", "whole", "written_seq",
    )  # fmt: skip

    def __init__(self, number: int, cdata: int, epoch: int) -> None:
        self.number = number
        self.cdata = cdata
        self.epoch = epoch
        self.version = 0
        self.written_seq = -1
        self.counter = self.most = -2
        self.kind = ACTIVATION
        self.device = "cpu"
        self.readable = True
        self.value: Value | None = None
        self.whole: Value | None = None
        self.more: dict[Any, Value] | None = None
        self.data = 1
        self.declared: list[Value] | None = None
        self.spots: Any = None
        self.nbytes = -1
        self.watched: Any = None

    def values(self) -> list[Value]:
        """Return the values at the present version, some perhaps twice."""
        if self.value is None:
            return []
        return [self.value] if self.more is None else [self.value, *self.more.values()]

    def clear(self) -> None:
        """Forget the values: what is in the storage has changed."""
        self.value = self.whole = self.more = None


class Value:
    """A region of a storage at a version; facts about its elements once measured.

    Attributes:
        bits: SpikeClass bits without provenance; -1 not measured.
        events: provenance is spikes.
        measured: 0 no, 1 yes, 2 never will be, 3 a device is at it.
        device: that of its storage.
        synapses: what was measured of it as an input of convolutions, by geometry.
    """

    __slots__ = (
        "base", "bits", "device", "events", "high", "kind", "layout", "low", "measured",
        "minus_ones", "nonzero", "number", "offset", "ones", "storage", "synapses", "version",
        "written_seq",
    )  # fmt: skip

    def __init__(self, number: int, storage: Storage, layout: Layout, offset: int) -> None:
        self.number = number
        self.storage = storage
        self.version = storage.version
        self.written_seq = storage.written_seq
        self.kind = storage.kind
        self.device = storage.device
        self.layout = layout
        self.offset = offset
        self.measured = 0
        self.events = False
        self.bits = self.nonzero = -1
        self.base: Value | None = None
        self.ones: int | None = None
        self.minus_ones: int | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.synapses: dict[Any, Any] | None = None

    def told(self, found: Statistics) -> None:
        """Note facts about all elements."""
        self.measured = 1
        self.bits, self.nonzero, ones, minus, low, high = found
        if self.bits:
            self.ones, self.minus_ones, self.low, self.high = ones, minus, low, high


_SCALAR = Layout((), (), torch.float32)


class OpaqueLayout:
    """The layout, and in its place the value, of a tensor without strided elements: sparse, ...

    The dimensions that `torch.vmap` hides come first in its shape.

    Attributes:
        stored: elements that a sparse tensor stores, and bytes of these and of their indices; None
            of anything else.
    """

    __slots__ = ("device", "dtype_name", "layout_name", "nbytes", "numel", "shape", "stored")
    number = NULL
    measured = 2
    bits = -1
    events = False
    base = None
    storage = Storage(-1, 0, 0)
    """Stands for whatever it holds: what came from outside."""

    def __init__(self, tensor: torch.Tensor) -> None:
        mapped = mapped_sizes(tensor)
        try:
            self.shape: tuple[int, ...] | None = (*mapped, *(int(n) for n in tensor.shape))
        except Exception:  # nested tensors have no shape; nothing may stop a recording
            self.shape = None
        try:
            self.numel = prod(mapped) * int(tensor.numel())
        except Exception:
            self.numel = 0
        self.dtype_name = str(tensor.dtype).removeprefix("torch.")
        layout = str(tensor.layout).removeprefix("torch.")
        self.layout_name = "nested" if tensor.is_nested else layout
        self.nbytes = self.numel * tensor.dtype.itemsize
        self.device = str(tensor.device)
        self.stored = _stored(tensor)

    def key(self) -> tuple[Any, ...]:
        """Return what two equal opaque layouts share."""
        kind = (self.dtype_name, self.layout_name, self.device)
        return (self.shape, self.numel, *kind, self.stored)


_HELD: dict[Any, tuple[str, ...]] = {
    torch.sparse_coo: ("_values", "_indices"),
    torch.sparse_csr: ("values", "crow_indices", "col_indices"),
    torch.sparse_bsr: ("values", "crow_indices", "col_indices"),
    torch.sparse_csc: ("values", "ccol_indices", "row_indices"),
    torch.sparse_bsc: ("values", "ccol_indices", "row_indices"),
}
"""Sparse layout -> methods that hand out the tensors which it consists of, the values first."""


def _stored(tensor: torch.Tensor) -> tuple[int, int] | None:
    """Return the elements that a sparse tensor stores, and bytes of these and of their indices.

    Only shapes are asked, so a device need not have computed them. No recorder and no autograd
    sees it.
    """
    try:
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            parts = [getattr(tensor, name)() for name in _HELD.get(tensor.layout, ())]
        if not parts:
            return None
        return parts[0].numel(), sum(part.numel() * part.element_size() for part in parts)
    except Exception:  # no data behind it; nothing may stop a recording
        return None


class Values:
    """All storages and values of a recording.

    Attributes:
        hollow: how many of the storages that were seen have no elements.
        written: values there were as the last ones came into the tables; 0: none has.
        let_go: called with the number of each storage as it is let go; None: they are not followed.
    """

    def __init__(self) -> None:
        self.layouts: dict[Any, Layout] = {}
        self.layout: Any = None
        self._last = _SCALAR
        self.storages: dict[int, Storage] = {}
        self.fresh: list[Value] = []
        self.retired: list[Value] = []
        self.epoch = 1
        self.distrust = 0
        self._next_value = 0
        self.written = 0
        self.storages_seen = 0
        self.hollow = 0
        self.let_go: Callable[[int], None] | None = None
        self._forget_at = _FORGET_AFTER
        self._bytes_left = _FORGET_BYTES

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
            unsure = storage.written_seq < 0 and not _as_before(storage, tensor)
            if unsure or storage.epoch < self.distrust:
                self._renew(storage)
            storage.epoch = self.epoch
        counter = storage.counter
        if counter != -2:
            now = tensor._version
            if now > counter:
                storage.counter = now
                if now > storage.most:
                    storage.data = 0 if storage.kind in (PARAMETER, BUFFER) else 1
                    storage.declared = None
                    self._renew(storage)

    def _adopt(self, handle: Any, cdata: int, tensor: torch.Tensor) -> Storage:
        self._bytes_left -= handle.nbytes()
        if self._bytes_left < 0 or len(self.storages) >= self._forget_at:
            self.forget()
        storage = Storage(self.storages_seen, cdata, self.epoch)
        self.storages_seen += 1
        handle._weak_ref()
        if self.let_go is not None:
            self._watch(storage, handle)
        if not tensor.is_cpu or type(tensor) is not torch.Tensor:
            storage.device = str(tensor.device)
            storage.readable = handle.device.type != "meta"  # where FakeTensors are, too
            self.hollow += not storage.readable
        try:
            storage.counter = tensor._version
        except RuntimeError:  # a tensor of inference mode has none
            storage.counter = -2
        self.storages[cdata] = storage
        return storage

    def _watch(self, storage: Storage, handle: Any) -> None:
        """Have it told when a storage is let go: PyTorch keeps its Python object until then."""
        number, told = storage.number, self.let_go
        storage.nbytes = handle.nbytes()
        storage.watched = weakref.ref(handle, lambda _: told and told(number))

    def _renew(self, storage: Storage) -> None:
        """What the storage holds is no longer known: somebody outside may have written it."""
        storage.version += 1
        storage.written_seq = -1
        self._retire(storage)

    def _retire(self, storage: Storage) -> None:
        """Forget values, but for those in the tables that unwritten calls may name."""
        if storage.value is not None and storage.value.number < self.written:
            self.retired += storage.values()
        elif storage.more is not None:
            self.retired += [v for v in storage.more.values() if v.number < self.written]
        storage.clear()

    @property
    def seen(self) -> int:
        """How many values there were so far."""
        return self._next_value

    def waits(self, value: Value) -> bool:
        """Tell whether a value may still be measured: it is what its storage holds."""
        storage = value.storage
        return (
            not value.measured
            and storage.version == value.version
            and storage.cdata in self.storages
        )

    def flushed(self, written: list[Value], seen: int, retired: int) -> None:
        """Note that values are in the tables, and all calls that could name them until then.

        Args:
            written: what is in the tables now.
            seen: how many values there were then; all but the written ones are in `fresh`.
            retired: how many of the retired ones there were then.
        """
        fresh = self.fresh
        if len(fresh) == len(written) > 0 and {fresh[0], fresh[-1]} == {written[0], written[-1]}:
            self.fresh = []  # all of them, as is the rule
        else:
            done = {value.number for value in written}
            self.fresh = [value for value in fresh if value.number not in done]
        if seen == self._next_value:  # else calls that are not written yet may name them
            del self.retired[:retired]
        self.written = seen

    def wrote(self, storage: Storage, seq: int, counted: int) -> None:
        """Note that call `seq` wrote to the storage; `counted`: PyTorch will count it so often."""
        before = storage.most if storage.written_seq == seq else storage.counter
        storage.most = before + counted
        storage.version += 1
        storage.written_seq = seq
        storage.declared = None
        self._retire(storage)

    def of(self, tensor: torch.Tensor) -> Value:
        """Return the value that a tensor holds now; `layout` is then how the tensor lies.

        (A value's own layout is that of the tensor that showed it first.)

        Raises:
            RuntimeError: the tensor has no strided elements.
        """
        # The same as storage_of, written out: this runs for every operand of every call.
        handle = tensor.untyped_storage()
        cdata = handle._cdata
        storage = self.storages.get(cdata)
        if storage is None:
            storage = self._adopt(handle, cdata, tensor)
        elif storage.epoch != self.epoch or (
            storage.counter != -2 and storage.counter != tensor._version
        ):
            self._check(storage, tensor)
        shape, stride, dtype = tensor.shape, tensor.stride(), tensor.dtype
        value = storage.value
        # It mostly lies as its storage was seen, or as the tensor before: hashing takes longer.
        layout = self._last if value is None else value.layout
        if layout.shape != shape or layout.stride != stride or layout.dtype is not dtype:
            layout = self._laid(shape, stride, dtype)
        self.layout = self._last = layout
        offset: Any = tensor.storage_offset()
        if value is None:
            storage.value = storage.whole = value = self._new(storage, layout, offset)
        elif value.layout is not layout or value.offset != offset:
            return self._other(storage, value, layout, offset)
        return value

    def _laid(self, *key: Any) -> Layout:
        """Return the layout of a shape, stride and dtype."""
        layout = self.layouts.get(key)
        if layout is None:
            layout = self.layouts[key] = Layout(*key)
        return layout

    def _other(self, storage: Storage, first: Value, layout: Layout, offset: int) -> Value:
        """Return a value that is not the first of its storage."""
        more = storage.more
        if more is None or len(more) > _MOST_PARTS:
            if more is not None:
                self.retired += more.values()
            more = storage.more = {_run(first.layout, first.offset): first}
        known = more.get((layout, offset))
        if known is None:
            # Dense tensors over the same run are views of the same elements: one value.
            run = _run(layout, offset)
            known = more.get(run)
            if known is None:
                known = more[run] = self._new(storage, layout, offset)
                self._base(storage, known)
            more[(layout, offset)] = known
        return known

    def _new(self, storage: Storage, layout: Layout, offset: int) -> Value:
        value = Value(self._next_value, storage, layout, offset)
        self._next_value += 1
        if not layout.readable or not storage.readable:
            value.measured = 2
        if layout.dtype is torch.bool or (
            storage.declared is not None and any(_holds(v, value) for v in storage.declared)
        ):
            value.events = True
        self.fresh.append(value)
        return value

    @staticmethod
    def _base(storage: Storage, value: Value) -> None:
        """Say of which value another one is a part: of the largest that holds it."""
        whole: Any = storage.whole
        if value.layout.span > whole.layout.span:
            storage.whole = value
        elif _holds(whole, value):
            value.base = whole
            value.events |= whole.events

    def declare(self, tensor: torch.Tensor) -> None:
        """Take a tensor for spikes until it is written again."""
        storage, value = self.storage_of(tensor), self.of(tensor)
        declared = storage.declared or []
        if not any(_holds(known, value) for known in declared):
            storage.declared = [*declared, value]
        for known in storage.values():
            known.events = known.events or _holds(value, known)

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
        self._bytes_left = max(_FORGET_BYTES, _EACH * len(self.storages))

    def close(self) -> None:
        """Give every storage back."""
        for cdata in self.storages:
            torch.UntypedStorage._free_weak_ref(cdata)
        self.storages.clear()


def _as_before(storage: Storage, tensor: torch.Tensor) -> bool:
    """Tell whether a parameter or buffer holds at some places what it held when last seen."""
    if storage.kind > BUFFER or storage.device != "cpu" or not storage.readable:
        return False
    before, storage.spots = storage.spots, _spots(tensor.untyped_storage())
    return before is not None and before == storage.spots


def _spots(handle: torch.UntypedStorage) -> Any:
    """Return all that a small storage holds, else words of 8 bytes from all over it."""
    size = handle.nbytes()
    if size <= _WHOLLY:
        return ctypes.string_at(handle.data_ptr(), size)
    words = (ctypes.c_uint64 * (size // 8)).from_address(handle.data_ptr())
    return words[:: (size // 8 // _SPOTS) | 1]


def _holds(whole: Value, part: Value) -> bool:
    """Tell whether a value lies within another one of its storage."""
    return (
        whole.offset <= part.offset
        and part.offset + part.layout.span <= whole.offset + whole.layout.span
        and part.layout.dtype is whole.layout.dtype
    )


def _run(layout: Layout, offset: int) -> tuple[Any, ...]:
    """Return what dense tensors over the same elements share."""
    if layout.dense:
        return (offset, layout.numel, layout.dtype)
    return (layout, offset)
