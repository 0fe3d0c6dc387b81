"""Tensors in what modules take and hand back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_DEPTH = 4


def tensors_in(thing: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists and dicts, in order, four levels deep."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, list | tuple):
        if depth < _DEPTH:
            for item in thing:
                yield from tensors_in(item, depth + 1)
    elif isinstance(thing, dict) and depth < _DEPTH:
        for item in thing.values():
            yield from tensors_in(item, depth + 1)


def handed_back(output: Any) -> list[torch.Tensor]:
    """Return the tensors of a module's output, also those in the fields of an object."""
    found = list(tensors_in(output))
    if not found and hasattr(output, "__dict__"):
        for item in vars(output).values():
            found.extend(tensors_in(item))
    return found
