"""Where the elements of a result come from: which ops hand on spikes and sums, or cut a part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf
from typing import Any

from .sets import carries_spikes, factors_of, family_of

_ADDS = frozenset("add add_ sum cumsum cumsum_".split())
_PLACES = frozenset("index indices mask".split())
"""Names of operands that say where elements go, and hold none."""

_ALL = frozenset(
    "clone copy copy_ _to_copy _unsafe_view view_copy _reshape_copy _reshape_alias_copy alias_copy "
    "detach_copy t_copy transpose_copy permute_copy unsqueeze_copy squeeze_copy expand_copy "
    "lift_fresh_copy _pin_memory _lazy_clone flip roll rot90 repeat pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle relu relu_ add add_ mul mul_ div div_ "
    "native_dropout".split()
)
"""What hands on each element of an operand equally often: once, or to each copy of it."""

_ONCE = frozenset("cat stack _stack sum constant_pad_nd".split())
"""What hands on each element once, among others or in a sum of several."""

_CHOOSE = frozenset(
    "index _unsafe_index index_select gather take masked_select select_copy slice_copy narrow_copy "
    "diagonal_copy unfold_copy as_strided_copy maximum amax max cumsum cumsum_".split()
)
"""What makes other elements of them, each of which is spikes or a sum of spikes too."""

_NEUTRAL = {"add": 0, "mul": 1, "div": 1}
"""The number with which an op changes nothing."""

_PUT_IN = ("value", "other", "self", "fill_value", "padding_value")
"""Names of numbers that an op puts in the place of elements."""

_WHOLE_BELOW = {
    "float8_e5m2": 8, "float8_e5m2fnuz": 8, "float8_e4m3fn": 16, "float8_e4m3fnuz": 16,
    "bfloat16": 1 << 8, "float16": 1 << 11, "float32": 1 << 24, "float64": 1 << 53,
    "uint8": 1 << 8, "int8": 1 << 7, "int16": 1 << 15, "uint16": 1 << 16,
    "int32": 1 << 31, "uint32": 1 << 32, "int64": inf, "uint64": inf, "bool": 2,
}  # fmt: skip
"""Dtype -> whole numbers below it are exact, and so are sums of them that stay below."""

_VIEWS_OF_ALL = frozenset(
    "view permute t transpose unsqueeze squeeze alias detach _reshape_alias".split()
)


def elements_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the elements of an op's first result come from.

    Args:
        row: a row of `signatures`.

    Returns:
        `slots` of the operands whose elements it takes; `adds` (it adds elements up); `carries` (of
        spikes, sums of them and zeros the result holds nothing else); `shares`, how often the
        result holds the elements of each of these operands (null: not all of them equally often);
        and `below`: whole numbers below it are exact in the result's dtype.
    """
    operands = row["operands"] or ()
    library, _, base = row["packet"].rpartition(".")
    ins = [o for o in operands if o["role"] == "in" and o["name"] not in _PLACES]
    if family_of(row["op"]) == "factory":
        ins = []
    elif base == "copy_":
        ins = ins[1:]  # what was there before is gone
    sums = base in _ADDS and (len(ins) > 1 or family_of(row["op"]) != "addition")
    out = next((o for o in operands if o["role"] == "out" and o["slot"] == 0), None)
    arguments = json.loads(row["arguments"] or "{}")
    carries = out is not None and library == "aten" and _carries(row["op"], base, ins, arguments)
    return {
        "slots": [o["slot"] for o in ins],
        "adds": sums or factors_of(row["op"]) is not None,
        "carries": carries,
        "shares": [_share(base, o, out, arguments) if carries else None for o in ins],
        "below": _WHOLE_BELOW.get(out["dtype"], 0) if out else 0,
    }


def _carries(
    op: str, base: str, ins: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> bool:
    """Return whether the result of spikes and sums holds nothing but such numbers and zeros."""
    plain = base.rstrip("_")
    if plain == "native_dropout":
        return arguments.get("train") is False
    if plain in _NEUTRAL:
        if arguments.get("alpha", 1) != 1:
            return False
        if len(ins) == 1:
            return bool(arguments.get("other") == _NEUTRAL[plain])
        return plain == "add" and len(ins) == 2
    if any(arguments.get(name) not in (None, 0) for name in _PUT_IN):
        return False
    return base in _ALL | _ONCE | _CHOOSE or carries_spikes(op)


def _share(base: str, operand: Mapping[str, Any], out: Any, arguments: Any) -> int | None:
    """Return how often the result holds each element of an operand; None: not equally often."""
    if base in _ONCE:
        return 1 if min(arguments.get("pad") or [0]) >= 0 else None
    kernel = arguments.get("kernel_size")
    one_by_one = isinstance(kernel, list) and {*kernel} == {1} and out["numel"] == operand["numel"]
    if not (base in _ALL or one_by_one) or not operand["numel"]:
        return None
    copies, rest = divmod(out["numel"], operand["numel"])
    return None if rest else int(copies)


def views_all(row: Mapping[str, Any]) -> bool:
    """Return whether an op is a view of each element of its operand, once."""
    numel = [o["numel"] for o in row["operands"] or () if o["slot"] == 0]
    base = row["packet"].removeprefix("aten.")
    return base in _VIEWS_OF_ALL and len(numel) == 2 and numel[0] == numel[1]


def cut_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return where a view cuts its operand along one dimension.

    Args:
        row: a row of `signatures`.

    Returns:
        `cut` (how the operand lies, and the dimension), `size` of the dimension, and for each
        result the places from `low` to `high` (without it) that it takes; None: it is no such view.
    """
    how = _CUTS.get(row["packet"].removeprefix("aten.").removeprefix("unsafe_"))
    ins = [o for o in row["operands"] or () if o["role"] == "in"]
    if how is None or len(ins) != 1 or not ins[0]["shape"] or ins[0]["stride"] is None:
        return None
    arguments, shape = json.loads(row["arguments"] or "{}"), ins[0]["shape"]
    dim = int(arguments.get("dim", 0)) % len(shape)
    bounds = how(arguments, int(shape[dim])) if shape[dim] else []
    if not bounds or any(low >= high for low, high in bounds):
        return None
    low, high = zip(*bounds, strict=True)
    return {
        "cut": f"{shape} {ins[0]['stride']} {dim}",
        "size": shape[dim],
        "low": low,
        "high": high,
    }


_Bounds = list[tuple[int, int]]


def _selected(arguments: Mapping[str, Any], size: int) -> _Bounds:
    place = int(arguments["index"]) % size
    return [(place, place + 1)]


def _sliced(arguments: Mapping[str, Any], size: int) -> _Bounds:
    if arguments.get("step", 1) != 1:
        return []
    low, high, _ = slice(arguments.get("start"), arguments.get("end")).indices(size)
    return [(low, high)]


def _unbound(arguments: Mapping[str, Any], size: int) -> _Bounds:
    return [(place, place + 1) for place in range(size)]


def _split(arguments: Mapping[str, Any], size: int) -> _Bounds:
    each = int(arguments["split_size"])
    return [(low, min(low + each, size)) for low in range(0, size, max(each, 1))]


def _split_as_told(arguments: Mapping[str, Any], size: int) -> _Bounds:
    ends = [0, *accumulate(int(each) for each in arguments["split_sizes"])]
    return list(pairwise(ends))


_CUTS: dict[str, Callable[[Mapping[str, Any], int], _Bounds]] = {
    "select": _selected,
    "slice": _sliced,
    "unbind": _unbound,
    "split": _split,
    "split_with_sizes": _split_as_told,
}
"""Views that cut along one dimension: the bounds of each result."""
