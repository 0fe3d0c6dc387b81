"""Signals: held back while the recorder writes. SIGTERM and the end close what is still open."""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..schemas import Failure


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

    And as the process ends, should the recording then still be open: nobody else would close it.

    Args:
        close: closes the recording; takes what ended it.
    """

    def __init__(self, close: Callable[[Failure], None]) -> None:
        self._close = close
        self._before: Any = None

    def install(self) -> None:
        """Answer from here on; SIGTERM unless it is ignored or this is not the main thread."""
        atexit.register(self._end)
        before = signal.getsignal(signal.SIGTERM)
        if before in (None, signal.SIG_IGN):
            return
        if threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGTERM, self._answer)

    def remove(self) -> None:
        """Answer as before, unless somebody else does by now."""
        atexit.unregister(self._end)
        before, self._before = self._before, None
        ours = before is not None and signal.getsignal(signal.SIGTERM) == self._answer
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    def _answer(self, number: int, frame: Any) -> None:
        before = self._before
        self._close(Failure(type="SIGTERM", message="the process was told to terminate"))
        self.remove()
        if callable(before):
            before(number, frame)
        elif before is not None:
            signal.raise_signal(number)

    def _end(self) -> None:
        self._close(Failure(type="exit", message="the process ended while it still recorded"))
