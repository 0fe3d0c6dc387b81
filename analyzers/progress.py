"""How far work of many like parts has come, told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

_listener: ContextVar[Callable[[int, int], None] | None] = ContextVar("listener", default=None)


@contextmanager
def told_to(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Have a function called with how many parts are done, and how many there are."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tracked(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the parts of some work one after the other, and tell how many are done."""
    tell = _listener.get()
    for done, each in enumerate(items):
        if tell is not None:
            tell(done, len(items))
        yield each
