"""Signals: held back while the recorder writes; SIGTERM closes the trace before the script goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back inside: they are delivered as it ends."""
    with _held(signal.SIGINT), _held(signal.SIGTERM):
        yield


@contextmanager
def _held(number: int) -> Iterator[None]:
    before = signal.getsignal(number)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        signal.signal(number, lambda which, frame: came.append(which))
        yield
    finally:
        signal.signal(number, before)
        if came:
            signal.raise_signal(number)


class Termination:
    """Closes a recording at SIGTERM, then lets happen what would have happened without it.

    Args:
        close: closes the recording.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._before: Any = None

    def install(self) -> None:
        """Answer SIGTERM from here on, unless it is ignored or this is not the main thread."""
        before = signal.getsignal(signal.SIGTERM)
        if before in (None, signal.SIG_IGN):
            return
        if threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGTERM, self._answer)

    def remove(self) -> None:
        """Answer it as before, unless somebody else does by now."""
        before, self._before = self._before, None
        ours = before is not None and signal.getsignal(signal.SIGTERM) == self._answer
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    def _answer(self, number: int, frame: Any) -> None:
        before = self._before
        self._close()
        self.remove()
        if callable(before):
            before(number, frame)
        elif before is not None:
            signal.raise_signal(number)
