"""A machine as a file: what it counts, at which price, and where its figures come from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..quantities import OF_OPS, QUANTITIES, Quantity
from ..spelling import meant
from .base import CostConfig, CostPart, Count, PicoJoule, Positive

_JOULES = {"aJ": 1e-6, "fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "mJ": 1e9, "J": 1e12}
_WATTS = {"pW": 1.0, "nW": 1e3, "uW": 1e6, "mW": 1e9, "W": 1e12}
_PER = {"": "one", "op": "one", "bit": "bit", "byte": "byte", "B": "byte"}
_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER = r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)"
_LONGEST = 40
_MOST_TERMS = 256

Text = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(pattern=r"^[^.=\n]{1,80}$", strip_whitespace=True)]
"""The name of a term or memory: without dots, so that `term.NAME.price` leads to its price."""

Width = Annotated[int, Field(ge=1, le=4096, strict=True)]
"""A width in bits."""

Per = Literal["one", "bit", "byte", "second"]


def price_of(text: str) -> tuple[float, Per]:
    """Return a price in pJ and what it is the price of.

    Args:
        text: "23.6 pJ", "0.9 pJ/op", "0.25 pJ/bit", "25 pJ/byte"; or "30 mW", in pJ a second.

    Raises:
        ValueError: it is no price; says why.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([^\s0-9./]+)\s*(?:/\s*(\S+))?", text.strip()[:_LONGEST])
    if match is None:
        raise ValueError(f"{text[:_LONGEST]!r} is no price: write a number and a unit, as 23.6 pJ")
    number, unit, per = float(match[1]), match[2].replace("µ", "u").replace("μ", "u"), match[3]
    if unit not in _JOULES and unit not in _WATTS:
        known = (*_JOULES, *_WATTS)
        raise ValueError(
            f"{match[2]!r} is no unit of a price: {meant(match[2], known)}choose from "
            f"{', '.join(known)}"
        )
    if unit in _WATTS and per:
        raise ValueError(f"{text!r}: a power has no /{per}: it is priced by the second")
    if (per or "") not in _PER:
        raise ValueError(f"/{per} is unknown: {meant(per, _PER)}choose from /op, /bit, /byte")
    if number < 0 or not math.isfinite(number * 1e12):
        raise ValueError(f"{text!r}: a price is finite and not negative")
    if unit in _WATTS:
        return number * _WATTS[unit], "second"
    kind: Any = _PER[per or ""]
    return number * _JOULES[unit], kind


def bytes_of(text: str) -> int:
    """Return a size in bytes: "64 KiB" is 65,536.

    Raises:
        ValueError: it is no size.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([A-Za-z]+)", text.strip()[:_LONGEST])
    if match is None or match[2] not in _SIZES or not 0 < float(match[1]) < 1e15:
        raise ValueError(
            f'{text[:_LONGEST]!r} is no size: write "weights" (of the layer) or a number and one '
            f"of {', '.join(_SIZES)}, as 64 KiB"
        )
    return round(float(match[1]) * _SIZES[match[2]])


class Curve(CostPart):
    """A price that depends on a size: straight lines between points, held at both ends."""

    at_bytes: tuple[Positive, ...] = Field(min_length=1, max_length=64)
    """Sizes of a memory, in bytes, rising."""
    pj: tuple[PicoJoule, ...] = Field(min_length=1, max_length=64)
    """Energy of a bit at each size."""

    @model_validator(mode="after")
    def _fits(self) -> Curve:
        _rising(self.at_bytes, self.pj, "at_bytes")
        return self


class ByBits(CostPart):
    """A price that depends on a width: straight lines between points, held at both ends."""

    at_bits: tuple[Positive, ...] = Field(min_length=1, max_length=64)
    """Widths in bits, rising."""
    pj: tuple[PicoJoule, ...] = Field(min_length=1, max_length=64)
    """Energy of one at each width."""

    @model_validator(mode="after")
    def _fits(self) -> ByBits:
        _rising(self.at_bits, self.pj, "at_bits")
        return self


def _rising(at: tuple[float, ...], pj: tuple[float, ...], name: str) -> None:
    if len(at) != len(pj):
        raise ValueError(f"{name} has {len(at)} points and pj {len(pj)}: give as many")
    if any(after <= before for before, after in pairwise(at)):
        raise ValueError(f"{name} has to rise from point to point")


def _priced(data: Any) -> Any:
    """Return fields with a price as text taken apart into `price` (pJ) and `per`."""
    if isinstance(data, Mapping) and isinstance(data.get("price"), str):
        price, per = price_of(data["price"])
        told = data.get("per", per)
        # "20 pJ" over a price by the bit stays by the bit: a sweep writes the number alone
        return {**data, "price": price, "per": told if per == "one" else per}
    return data


class Memory(CostPart):
    """A memory: the energy of a bit, flat or by its size."""

    name: Name
    """What terms call it."""
    price: PicoJoule | None = Field(default=None, json_schema_extra={"type": "string"})
    """Energy, such as "0.25 pJ/bit" or "25 pJ/byte"."""
    per: Per = "bit"
    """What `price` is of; told by its unit."""
    price_per_bit: Curve | None = None
    """Energy of a bit by the size of the memory."""

    @model_validator(mode="before")
    @classmethod
    def _unit(cls, data: Any) -> Any:
        return _priced(data)

    @model_validator(mode="after")
    def _whole(self) -> Memory:
        if (self.price is None) == (self.price_per_bit is None):
            raise ValueError("give one of price and price_per_bit")
        if self.price is not None and self.per not in ("bit", "byte"):
            raise ValueError("the price of a memory is by /bit or /byte")
        return self


class Term(CostPart):
    """So many of something, at a price."""

    name: Name
    """What reports call it; by default its quantity."""
    quantity: tuple[str, ...] = Field(min_length=1, max_length=8)
    """What is counted: one of the quantities, or several that have the same price."""
    price: PicoJoule | None = Field(default=None, json_schema_extra={"type": "string"})
    """Energy of one, such as "23.6 pJ", "0.25 pJ/bit", "25 pJ/byte"; of `seconds` "3 W"."""
    per: Per = "one"
    """What `price` is of; told by its unit."""
    price_by_bits: ByBits | None = None
    """Energy of one by its width, in place of `price`."""
    memory: str | None = None
    """The memory whose price a bit of it has, in place of `price`."""
    capacity: str | None = None
    """How large that memory is: "weights" of the layer, or a size such as "64 KiB"."""
    bits: Width | None = None
    """Width of one element; by default that of the recorded dtype."""
    twin_bits: Width | Literal["activation"] | None = None
    """Width in the quantized twin of `breakeven`: by default `bits`; "activation": of its T+1
    levels."""
    network: Literal["both", "recorded", "twin"] = "both"
    """Where the term counts: in what was recorded, in its quantized twin, or in both."""
    where: tuple[Text, ...] = Field(default=(), max_length=16)
    """Filters as of --where: every one has to hold."""
    of: Literal["all", "layers", "neurons", "others"] = "all"
    """Calls that count: of Linear and convolutions, inside neurons, of neither, or all."""
    kind: (
        Literal["parameter", "buffer", "gradient", "neuron_state", "model_input", "activation"]
        | None
    ) = None
    """Of bytes_read and bytes_written: of one kind of value."""

    @model_validator(mode="before")
    @classmethod
    def _unit(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        for name in ("quantity", "where"):
            if isinstance(data.get(name), str):
                data[name] = (data[name],)
        if "name" not in data and data.get("quantity"):
            data["name"] = " and ".join(map(str, data["quantity"]))
        return _priced(data)

    @field_validator("quantity")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in QUANTITIES:
                raise ValueError(
                    f"unknown quantity {name!r}: {meant(name, QUANTITIES)}choose from "
                    f"{', '.join(QUANTITIES)}"
                )
        return names

    @field_validator("capacity")
    @classmethod
    def _size(cls, text: str | None) -> str | None:
        if text is not None and text != "weights":
            bytes_of(text)
        return text

    @model_validator(mode="after")
    def _whole(self) -> Term:
        if problem := _problem(self):
            raise ValueError(problem)
        return self

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities that are counted."""
        return tuple(QUANTITIES[name] for name in self.quantity)


def _problem(term: Term) -> str:
    """Return why the fields of a term do not go together, "" if they do."""
    units = {each.unit for each in term.quantities}
    sources = {each.source for each in term.quantities}
    wide = all(each.has_width for each in term.quantities)
    one = term.quantity[0]
    priced = [term.price is not None, term.price_by_bits is not None, term.memory is not None]
    if sum(priced) != 1:
        return "give one of price, price_by_bits and memory"
    if len(units) > 1:
        return f"quantities of one term have one unit, not {' and '.join(sorted(units))}"
    if (term.per == "second") != (units == {"second"}):
        return "a price in W goes with the quantity seconds, and with no other"
    if (term.per in ("bit", "byte") or term.memory) and not wide:
        return f"{one} has no width: a price by the bit or byte is of elements and bytes"
    if term.price_by_bits and (term.bits is None or units & {"byte", "second"}):
        return "price_by_bits needs bits, of a quantity that is no bytes"
    if (term.bits or term.twin_bits) and "byte" in units:
        return f"{one} is in bytes as recorded: without bits"
    if term.twin_bits and not term.bits:
        return "twin_bits goes with bits"
    if term.capacity and not term.memory:
        return "capacity is the size of a memory: name it"
    if term.capacity == "weights" and sources != {"layers"}:
        return f"{one} belongs to no layer: its memory's capacity is a size, as 64 KiB"
    if term.kind and sources != {"traffic"}:
        return "kind is of bytes_read and bytes_written"
    if term.of != "all" and sources & {"optimizer", "samples"}:
        return f"{one} belongs to no module: without of"
    if any(text.startswith("op=") for text in term.where) and not sources <= set(OF_OPS):
        return f"{one} belongs to no op: without a filter on ops"
    return ""


class Head(CostPart):
    """What a machine is, and where its figures stand."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w-]{1,64}$")]
    """Letters, digits, - and _."""
    title: Text | None = None
    """What reports call it; by default its name."""
    technology: Text = "not stated"
    """Node, voltage, precision."""
    source: Text
    """Where the prices stand: a paper with its table, a datasheet."""
    scope: Literal["forward", "training"] = "forward"
    """Inference (forward passes in eval mode), or everything that was recorded."""
    leaves_out: tuple[Text, ...] = ()
    """What the machine does and this file does not charge."""
    neurons_per_core: Count | None = None
    """Outputs that one core holds, for input_events; by default one core holds a layer."""
    seconds_per_sample: Positive | None = None
    """Time of one sample, for terms priced in W: the recording does not know it."""


def by_name(entries: Any) -> Any:
    """Return a list of tables as a table by their names."""
    if not isinstance(entries, list | tuple):
        return entries
    if len(entries) > _MOST_TERMS:
        raise ValueError(f"{len(entries)} entries: at most {_MOST_TERMS}")
    found: dict[str, Any] = {}
    for entry in entries:
        data = entry if isinstance(entry, Mapping) else {}
        names = data.get("quantity")
        told = data.get("name", names if isinstance(names, str) else " and ".join(names or ()))
        if told in found:
            raise ValueError(f"two have the name {told!r}: give each its own")
        found[str(told)] = entry
    return found


class Machine(CostConfig):
    """A machine: its terms, memories and where they stand. Read it with `load_machine`."""

    machine: Head
    """What it is."""
    term: Annotated[
        Mapping[str, Term], BeforeValidator(by_name, json_schema_input_type=list[Term])
    ] = Field(min_length=1, max_length=_MOST_TERMS)
    """What is counted at which price, by name."""
    memory: Annotated[
        Mapping[str, Memory], BeforeValidator(by_name, json_schema_input_type=list[Memory])
    ] = Field(default={}, max_length=_MOST_TERMS)
    """The memories, by name."""

    @field_validator("memory")
    @classmethod
    def _consistent(
        cls, memory: Mapping[str, Memory], info: ValidationInfo
    ) -> Mapping[str, Memory]:
        for term in info.data.get("term", {}).values() if "machine" in info.data else ():
            if problem := _misfit(term, info.data["machine"], memory):
                raise ValueError(f"term {term.name!r}: {problem}")
        return memory


def _misfit(term: Term, head: Head, memories: Mapping[str, Memory]) -> str:
    """Return why a term does not fit its machine, "" if it does."""
    if term.memory is not None:
        memory = memories.get(term.memory)
        if memory is None:
            near = meant(term.memory, memories)
            return f"no memory {term.memory!r}: {near}there is {' and '.join(memories) or 'none'}"
        if memory.price_per_bit is not None and term.capacity is None:
            return f"memory {term.memory!r} is priced by its size: give capacity"
    for each in term.quantities:
        if each.training and head.scope != "training":
            return f'{each.name} needs a machine of scope = "training"'
    if term.per == "second" and head.seconds_per_sample is None:
        return (
            "a price in W needs a time: tell seconds_per_sample in [machine], or "
            "--set machine.seconds_per_sample=0.001"
        )
    return ""
