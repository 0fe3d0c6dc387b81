"""By which attribute a module holds another one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice
from types import MethodType
from typing import Any

from torch import nn

_DEPTH, _MOST = 3, 10_000
_OWN = frozenset(vars(nn.Module()))
"""Attributes of every module: its parameters, children and hooks."""


def child_of(holder: nn.Module, module: nn.Module) -> str | None:
    """Return the name by which a module is registered in another one."""
    return next((name for name, child in holder._modules.items() if child is module), None)


def path_below(holder: nn.Module, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the way from a module to one that is registered somewhere below it.

    Returns:
        (name, module) of each on the shortest way, the module itself last; none if it is not below.
    """
    level: list[list[tuple[str, nn.Module]]] = [[("", holder)]]
    seen = {id(holder)}
    while level:
        following = []
        for way in level:
            for name, child in way[-1][1]._modules.items():
                if child is module:
                    return [*way[1:], (name, child)]
                if child is not None and id(child) not in seen:
                    seen.add(id(child))
                    following.append([*way, (name, child)])
        level = following
    return []


def attribute_of(holder: nn.Module, module: nn.Module) -> str | None:
    """Return the plain attribute that is or holds a module: `act`, `layers.2`, `heads.text`.

    Lists, tuples, sets, dicts, bound methods and `functools.partial` are looked into.
    """
    for name, value in list(vars(holder).items()):
        if name not in _OWN and (found := _inside(value, module, 0)) is not None:
            return ".".join([name, *found])
    return None


def _inside(thing: Any, module: nn.Module, depth: int) -> list[str] | None:
    """Return the keys that lead from a thing to a module; None if it does not hold it."""
    if thing is module:
        return []
    if depth < _DEPTH:
        for key, item in islice(_parts(thing), _MOST):
            found = _inside(item, module, depth + 1)
            if found is not None:
                return found if key is None else [key, *found]
    return None


def _parts(thing: Any) -> Iterator[tuple[str | None, Any]]:
    """Yield (key, part) of what holds other things; no key where there is but one place."""
    if isinstance(thing, list | tuple):
        yield from ((str(place), item) for place, item in enumerate(thing))
    elif isinstance(thing, set | frozenset):
        yield from ((None, item) for item in thing)
    elif isinstance(thing, dict):
        yield from ((str(key).replace(".", "_"), item) for key, item in thing.items())
    elif isinstance(thing, functools.partial):
        yield from ((None, item) for item in (thing.func, *thing.args, *thing.keywords.values()))
    elif isinstance(thing, MethodType):
        yield None, thing.__self__
