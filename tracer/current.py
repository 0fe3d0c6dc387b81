"""The recorders that run, for a script that did not open them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_running: list[Any] = []


def add(recorder: Any) -> None:
    """Note that a recorder runs."""
    _running.append(recorder)


def remove(recorder: Any) -> None:
    """Note that it runs no more."""
    _running[:] = [other for other in _running if other is not recorder]


@contextmanager
def label(name: str) -> Iterator[None]:
    """Label the calls of this thread inside for each of them."""
    with ExitStack() as labels:
        for recorder in list(_running):
            labels.enter_context(recorder.label(name))
        yield
