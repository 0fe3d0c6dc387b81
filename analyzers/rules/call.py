"""A call as a rule sees it: layouts, arguments, and which operands are spike tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from .amount import Amount, of

FLAGGED = ("in0", "in1", "in2", "in3", "out0")
"""Operands of which spikes are known; the fourth for the backward passes of attention only."""


class Operand(NamedTuple):
    """A tensor that a call reads or writes.

    Attributes:
        slot: its place among the tensor arguments or results.
        name: of the argument in the op's schema.
        list_index: place in a list of tensors, else None.
        shape: sizes; empty for a scalar tensor.
        dtype: "float32".
        numel: elements.
        bytes: dense size.
        spikes: whether it is a spike tensor; None: not measured.
        nonzero: its nonzero elements as an amount; None past the fourth operand.
        layout: "strided", "sparse_coo", ...
        parts: real numbers in an element: 2 if it is complex.
        stored: elements that a sparse tensor stores; None: it is none, or that was not recorded.
        stored_bytes: bytes of these elements and of their indices.
    """

    slot: int
    name: str
    list_index: int | None
    shape: tuple[int, ...]
    dtype: str
    numel: int
    bytes: int
    requires_grad: bool = False
    spikes: bool | None = None
    nonzero: Amount | None = None
    layout: str = "strided"
    parts: int = 1
    stored: int | None = None
    stored_bytes: int = 0

    @property
    def is_complex(self) -> bool:
        """Whether its elements are complex numbers."""
        return self.parts > 1

    @property
    def numbers(self) -> int:
        """Real numbers in all elements."""
        return self.numel * self.parts

    def dim(self, index: int) -> int:
        """Return a size; 1 where the tensor has no such dimension."""
        return self.shape[index] if -len(self.shape) <= index < len(self.shape) else 1


@dataclass(frozen=True)
class Call:
    """All calls of one signature whose operands are spike tensors alike.

    Attributes:
        op: `aten.mm.default`.
        packet: `aten.mm`.
        ins: operands read (and, for `out=` arguments, only written), present ones, by slot.
        outs: results by slot.
        arguments: the other arguments by schema name, defaults filled in.
        tags: what PyTorch says of the op: pointwise, reduction, ...
        is_view: the result aliases an operand and nothing is written.
        mutates: names of the arguments that the op writes.
    """

    op: str
    packet: str
    ins: Mapping[int, Operand]
    outs: Mapping[int, Operand]
    arguments: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    is_view: bool = False
    mutates: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The op's name alone: `mm`."""
        return self.packet.rpartition(".")[2]

    @property
    def in_place(self) -> bool:
        """Whether the first operand is written and handed back: `add_`."""
        return self.base.endswith("_") and not self.base.endswith("__")

    @cached_property
    def out(self) -> Operand:
        """The first result; where nothing is handed back, the first operand."""
        return self.outs.get(0) or self.ins.get(0) or _NOTHING

    def named(self, name: str) -> Operand | None:
        """Return the operand of a name; None if it is absent or a list."""
        return next((o for o in self.ins.values() if o.name == name and o.list_index is None), None)

    def listed(self, name: str) -> list[Operand]:
        """Return the operands of a list of tensors, in order."""
        return [o for o in self.ins.values() if o.name == name and o.list_index is not None]

    def has(self, slot: int) -> bool:
        """Tell whether there is a tensor in an input slot."""
        return slot in self.ins

    def arg(self, name: str, default: Any = None) -> Any:
        """Return an argument by its schema name, `default` if it is absent or None."""
        found = self.arguments.get(name)
        return default if found is None else found

    def is_number(self, name: str, number: float, default: float) -> bool:
        """Tell whether an argument is a number.

        The recorder leaves out (None) numbers that change too often to be told, as a learning rate
        does; such a one is neither 0 nor 1.
        """
        found = self.arguments.get(name, default)
        if isinstance(found, list):
            return bool(found) and all(each == number for each in found)
        return bool(found == number)

    def is_complex(self, name: str) -> bool:
        """Tell whether the number, or an operand, of a name is complex."""
        if _is_complex_number(self.arguments.get(name)):
            return True
        return any(o.is_complex for o in self.ins.values() if o.name == name)

    @cached_property
    def has_complex(self) -> bool:
        """Whether an operand or a result holds complex numbers."""
        return any(o.is_complex for o in (*self.ins.values(), *self.outs.values()))

    def of_numbers(self) -> Call:
        """Return the call with no complex operand being spikes."""
        if not self.has_complex:
            return self
        held = self.ins.items()
        ins = {slot: o._replace(spikes=False) if o.is_complex else o for slot, o in held}
        return replace(self, ins=ins)

    def of_elements(self) -> Call:
        """Return the call with each complex number taken for one number."""
        if not self.has_complex:
            return self
        ins = {slot: operand._replace(parts=1) for slot, operand in self.ins.items()}
        outs = {slot: operand._replace(parts=1) for slot, operand in self.outs.items()}
        found = self.arguments.items()
        others = {name: None if _is_complex_number(each) else each for name, each in found}
        return replace(self, ins=ins, outs=outs, arguments=others)

    def as_strided(self) -> Call:
        """Return the call with sparse operands taken for dense ones."""
        ins = {
            slot: o if o.stored is None else o._replace(layout="strided")
            for slot, o in self.ins.items()
        }
        return replace(self, ins=ins)

    def dense(self) -> Call:
        """Return the call with no operand being spikes."""
        ins = {slot: operand._replace(spikes=False) for slot, operand in self.ins.items()}
        return replace(self, ins=ins)

    @cached_property
    def only_written(self) -> frozenset[str]:
        """Names of arguments that are written without being read.

        These are the results that a caller provides (`out=`, `grad_input=`, ...), and what is
        overwritten in place (`copy_`, `fill_`, ...).
        """
        if self.in_place:
            return frozenset({"self"}) if self.base in _OVERWRITES else frozenset()
        return frozenset(n for n in self.mutates if n not in _STATES)

    @cached_property
    def opaque(self) -> bool:
        """Whether the shape or the number of elements of an operand is unknown: nested, sparse."""
        operands = (*self.ins.values(), *self.outs.values())
        return any(o.layout not in _DENSE_LAYOUTS for o in operands)

    @cached_property
    def read(self) -> int:
        """Bytes of all operands that are read."""
        return sum(o.bytes for o in self.ins.values() if o.name not in self.only_written)

    @cached_property
    def written(self) -> int:
        """Bytes of all results; of ops that hand nothing back, of what they write."""
        if self.outs:
            return sum(o.bytes for o in self.outs.values())
        return sum(o.bytes for o in self.ins.values() if o.name in self.mutates)

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.read + self.written


def parts_of(dtype: str) -> int:
    """Return the real numbers in an element: 2 of complex dtypes."""
    return 2 if dtype.startswith("complex") else 1


def _is_complex_number(argument: Any) -> bool:
    """Tell whether an argument is a complex number: JSON has it as text, "(1+2j)"."""
    try:
        return isinstance(argument, str) and complex(argument).imag != 0
    except ValueError:
        return False


_OVERWRITES = frozenset(
    "copy_ fill_ zero_ normal_ uniform_ bernoulli_ random_ exponential_ geometric_ log_normal_ "
    "cauchy_ set_ resize_ _foreach_zero_ _foreach_copy_".split()
)
"""Ops that write their first operand without reading it."""

_STATES = frozenset("running_mean running_var running_min running_max scale zero_point".split())
"""Operands that ops out of place update: they read them too."""

_DENSE_LAYOUTS = frozenset({"strided", "_mkldnn"})
"""Layouts whose elements all exist."""

_NOTHING = Operand(0, "", None, (), "", 0, 0)


def call_of(signature: Mapping[str, Any], spikes: Mapping[str, bool | None]) -> Call:
    """Return a row of `signatures` as a call.

    Args:
        signature: the row.
        spikes: which of `FLAGGED` are spike tensors.
    """
    ins: dict[int, Operand] = {}
    outs: dict[int, Operand] = {}
    stored = {(each["role"], each["slot"]): each for each in signature.get("stored") or ()}
    for o in signature["operands"]:
        key = f"{o['role']}{o['slot']}"
        held = stored.get((o["role"], o["slot"]))
        shape = tuple(o["shape"] or ())
        numel = o["numel"] if o["numel"] is not None else prod(shape)
        operand = Operand(
            slot=o["slot"],
            name=o["name"],
            list_index=o["list_index"],
            shape=shape,
            dtype=o["dtype"],
            numel=numel,
            bytes=o["bytes"] or 0,
            requires_grad=bool(o["requires_grad"]),
            spikes=spikes.get(key),
            nonzero=of(f"{key}_nonzero") if key in FLAGGED else None,
            layout=o["layout"] if o["shape"] is not None else "unknown",
            parts=parts_of(o["dtype"]),
            stored=held["numel"] if held else None,
            stored_bytes=held["bytes"] if held else 0,
        )
        (ins if o["role"] == "in" else outs)[o["slot"]] = operand
    return Call(
        op=signature["op"],
        packet=signature["packet"],
        ins=ins,
        outs=outs,
        arguments=json.loads(signature["arguments"] or "{}"),
        tags=tuple(signature["tags"] or ()),
        is_view=bool(signature["is_view"]),
        mutates=tuple(signature["mutates"] or ()),
    )
