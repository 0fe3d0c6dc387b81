"""Why a figure of a module's op changed, in words: calls, shapes, arguments, spikes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .call_groups import Kind, Operands

_TELLING = 0.01
"""Rates that differ by a smaller share are a reason only where there is no other."""

_MOST = 2
"""So many operands or arguments that differ are named one by one."""


def reasons(
    base: Sequence[Kind], head: Sequence[Kind], *, data: bool, units: tuple[int, int] = (1, 1)
) -> list[str]:
    """Tell how the calls of one module's op differ between two sides.

    Args:
        base: the kinds of its calls on one side, weightiest first.
        head: on the other.
        data: whether what the operands held may be a reason.
        units: samples or steps of the two sides, if figures speak of one of them.

    Returns:
        Reasons in words, none if the calls are alike.
    """
    found = [*_calls(base, head, units), *_forms(base, head)]
    if not data:
        return found
    least = _TELLING if found else 0.0
    return found + (_spikes(base, head) or _rates(base, head, least))


def _calls(base: Sequence[Kind], head: Sequence[Kind], units: tuple[int, int]) -> list[str]:
    before, after = (sum(kind.calls for kind in side) for side in (base, head))
    if before * units[1] == after * units[0]:
        return []
    one, two = (f"{calls / n:.4g}" if n > 1 else f"{calls}"
                for calls, n in zip((before, after), units, strict=True))  # fmt: skip
    return [f"calls {one} -> {two}"]


def _forms(base: Sequence[Kind], head: Sequence[Kind]) -> list[str]:
    """Tell how shapes, types and arguments differ, by the weightiest kinds that one side lacks."""
    known = {kind.form for kind in base}, {kind.form for kind in head}
    ours = [kind for kind in base if kind.form not in known[1]]
    theirs = [kind for kind in head if kind.form not in known[0]]
    if not ours or not theirs:
        alone, word = (theirs, "also with") if theirs else (ours, "no longer with")
        return [f"{word} {_described(alone[0])}", *_others(len(alone))] if alone else []
    after = theirs[0]
    before = min(ours, key=lambda kind: _distance(kind, after))
    differences = [
        *(_shapes(before.reads, after.reads) or _shapes(before.writes, after.writes)),
        *_types(before.reads | before.writes, after.reads | after.writes),
        *_arguments(before, after),
    ]
    return [*differences, *_others(max(len(ours), len(theirs)))]


def _distance(one: Kind, other: Kind) -> int:
    """Return in how many operands and results two kinds differ."""
    return sum(
        before.get(name) != after.get(name)
        for before, after in ((one.reads, other.reads), (one.writes, other.writes))
        for name in {**before, **after}
    )


def _described(kind: Kind) -> str:
    operands = list((kind.reads or kind.writes).values())
    return ", ".join(f"{each.name} {each.text()}" for each in operands[:_MOST]) or "no operands"


def _others(kinds: int) -> list[str]:
    return [f"and {kinds - 1} more kind{'s' * (kinds > 2)} of calls"] if kinds > 1 else []


def _shapes(before: Mapping[str, Operands], after: Mapping[str, Operands]) -> list[str]:
    found = []
    for name in {**before, **after}:
        one, two = before.get(name), after.get(name)
        if one is None or two is None:
            found.append(f"{'without' if two is None else 'with'} {name}")
        elif one.shapes != two.shapes:
            found.append(f"{name} shape {one.text()} -> {two.text()}")
    more = len(found) - _MOST
    return [*found[:_MOST], *([f"and {more} more shape{'s' * (more > 1)}"] if more > 0 else [])]


def _types(before: Mapping[str, Operands], after: Mapping[str, Operands]) -> list[str]:
    return sorted(
        {
            f"{'/'.join(before[name].dtypes)} -> {'/'.join(after[name].dtypes)}"
            for name in before.keys() & after.keys()
            if before[name].dtypes != after[name].dtypes
        }
    )


def _arguments(before: Kind, after: Kind) -> list[str]:
    one, two = json.loads(before.arguments), json.loads(after.arguments)
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return [f"{n} {' -> '.join(_texts(one.get(n), two.get(n)))}" for n in names[:_MOST]]


def _texts(one: Any, two: Any) -> tuple[str, str]:
    """Return two values that differ; of numbers six digits, if these tell them apart."""
    short = [f"{each:.6g}" if isinstance(each, float) else _plain(each) for each in (one, two)]
    found = short if short[0] != short[1] else [_plain(one), _plain(two)]
    return found[0], found[1]


def _plain(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, int) for each in value):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _spikes(base: Sequence[Kind], head: Sequence[Kind]) -> list[str]:
    """Tell which operands became spikes, or are spikes no longer."""
    found = []
    before, after = _spiking(base), _spiking(head)
    for name in before.keys() & after.keys():
        (was, was_not), (now, now_not) = before[name], after[name]
        if was * (now + now_not) == now * (was + was_not):
            continue
        if not now:
            found.append(f"{name} is no longer spikes")
        elif not was and not now_not:
            found.append(f"{name} is now spikes")
        else:
            counts = f"{was} of {was + was_not} -> {now} of {now + now_not}"
            found.append(f"{name} is spikes in {counts} calls")
    return sorted(found)


def _rates(base: Sequence[Kind], head: Sequence[Kind], least: float) -> list[str]:
    """Tell how spike rates differ; if there are none, what share of the elements is not zero."""
    before, after = _nonzero(base), _nonzero(head)
    spiking = {name for side in (base, head) for name, (yes, _) in _spiking(side).items() if yes}
    changed = {
        name for name in before.keys() & after.keys() if _differ(before[name], after[name], least)
    }
    chosen = sorted(spiking & changed or changed)
    return [
        f"{'spike rate' if name in spiking else 'nonzero share'} of {name} "
        f"{_percents(before[name], after[name])}"
        for name in chosen[:_MOST]
    ]


def _differ(before: tuple[int, int], after: tuple[int, int], least: float) -> bool:
    one, two = before[0] * after[1], after[0] * before[1]
    return abs(one - two) > least * max(one, two)


def _spiking(kinds: Sequence[Kind]) -> dict[str, tuple[int, int]]:
    return _reads_first(_added([kind.spikes for kind in kinds]), kinds)


def _nonzero(kinds: Sequence[Kind]) -> dict[str, tuple[int, int]]:
    return _reads_first(_added([kind.nonzero for kind in kinds]), kinds)


def _added(parts: Sequence[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for part in parts:
        for name, (one, two) in part.items():
            known = found.get(name, (0, 0))
            found[name] = known[0] + one, known[1] + two
    return found


def _reads_first(
    facts: dict[str, tuple[int, int]], kinds: Sequence[Kind]
) -> dict[str, tuple[int, int]]:
    """Leave results out where operands are known: they follow from them."""
    read = {name for kind in kinds for name in kind.reads}
    return {name: fact for name, fact in facts.items() if name in read} or facts


def _percents(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Return two different shares in percent, with as many digits as tell them apart."""
    shares = 100 * before[0] / before[1], 100 * after[0] / after[1]
    for digits in (1, 2, 3, 5, 8):
        one, two = (f"{share:.{digits}f}" for share in shares)
        if one != two:
            break
    return f"{one} % -> {two} %"
