"""Tensors in what modules take and hand back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from .attributes import attribute

_DEPTH = 4
_PLAIN = frozenset((bool, int, float, str, bytes, type(None), torch.dtype, torch.device))


def tensors_in(thing: Any, *, objects: bool = False) -> Iterator[torch.Tensor]:
    """Yield the tensors in sequences, mappings and dataclasses, in order, four levels deep.

    Args:
        thing: what to look into.
        objects: look into all other objects too, but for modules (a cache of keys and values).
    """
    found: list[torch.Tensor] = []
    _gather(thing, found, 0, objects)
    return iter(found)


def _gather(thing: Any, found: list[torch.Tensor], depth: int, objects: bool) -> None:
    try:
        if isinstance(thing, torch.Tensor):
            found.append(thing)
        elif depth < _DEPTH and type(thing) not in _PLAIN:
            for item in _parts(thing) or (_held(thing) if objects else ()):
                _gather(item, found, depth + 1, objects)
    except Exception:  # of the user's own class; nothing may stop a recording
        return


def _parts(thing: Any) -> Iterable[Any]:
    """Return what a thing holds; nothing if it is neither a sequence nor a mapping or dataclass."""
    if isinstance(thing, list | tuple):
        return thing
    if isinstance(thing, Mapping):
        return thing.values()
    if is_dataclass(thing):
        return [attribute(thing, field.name) for field in fields(thing)]
    return ()


def _held(thing: Any) -> list[Any]:
    """Return what an object holds; nothing if it is a module, a class or a function."""
    if callable(thing):
        return []
    held = attribute(thing, "__dict__")
    return [*held.values()] if isinstance(held, dict) else []


def handed_back(output: Any) -> list[torch.Tensor]:
    """Return the tensors of a module's output, also those in the fields of an object."""
    found = list(tensors_in(output))
    if not found and isinstance(held := attribute(output, "__dict__"), dict):
        for item in list(held.values()):
            found.extend(tensors_in(item))
    return found


def packed_batch(given: Iterable[Any]) -> int | None:
    """Return how many sequences the first packed one among arguments holds; None without."""
    for each in given:
        if issubclass(type(each), PackedSequence):
            try:
                return int(each.batch_sizes[0])  # it always lies on the CPU
            except Exception:  # none is in it, or it has no values
                return None
    return None


def listed(given: Iterable[Any]) -> int | None:
    """Return how many tensors there are in the list that the first of arguments is in, if any."""
    for each in given:
        if issubclass(type(each), torch.Tensor):
            return None
        if type(each) in (list, tuple) and each:
            return len(each) if issubclass(type(each[0]), torch.Tensor) else None
    return None
