"""The dispatch mode that hands the calls of a thread to the session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._compile import _disable_dynamo
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode,
    _pop_mode,
    _push_mode,
)

from .handler import run
from .session import Session
from .threads import BEFORE, RUNNING, Thread


class Mode(TorchDispatchMode):
    """Hands every call of one thread to the session."""

    supports_higher_order_operators = True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let the compiler work for higher-order operators; `Eager` keeps it from all else."""
        return True

    def __init__(self, session: Session, thread: Thread) -> None:
        TorchDispatchMode.__init__(self)
        self._session = session
        self._thread = thread

    def serves(self, session: Session) -> bool:
        """Tell whether it is one of this recording."""
        return self._session is session


def leave(mode: Mode) -> bool:
    """Leave a mode if it is the calling thread's innermost one; tell whether it was."""
    current: Any = _get_current_dispatch_mode()
    found = current is mode
    if found:
        current.__exit__(None, None, None)
    return found


def leave_own(session: Session) -> None:
    """Leave the calling thread's innermost mode if it is one of this recording."""
    current = _get_current_dispatch_mode()
    if isinstance(current, Mode) and current.serves(session):
        leave(current)


@contextmanager
def without(mode: Mode) -> Iterator[None]:
    """Take a mode off the calling thread's stack, wherever it stands, and put it back after."""
    above: list[Any] = []
    while (top := _get_current_dispatch_mode()) is not None and top is not mode:
        above.append(_pop_mode())
    found = top is mode
    if found:
        _pop_mode()
    for each in reversed(above):
        _push_mode(each)
    try:
        yield
    finally:
        if found:
            for _ in above:
                _pop_mode()
            for each in (mode, *reversed(above)):
                _push_mode(each)


def _handle(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    session, thread = self._session, self._thread
    op = session.ops.get(id(func))  # ops live for ever; hashing one takes longer
    if op is None or op.special or types or session.passive or session.shared or thread.quiet:
        return session.dispatch(self, thread, func, types, args, kwargs or {})
    try:
        return run(session, thread, func, op, args, kwargs or {})
    except BaseException as error:
        if thread.ran is RUNNING:  # the op's own
            thread.ran = BEFORE
            session.drop_waiting()
            raise
        return session.recover(thread, error, func, args, kwargs or {})


def _unseen_by_the_compiler(handler: Any) -> Any:
    """Return a handler that torch.compile leaves alone, with all that it calls.

    A handler in a mode's class body is wrapped by PyTorch to that end at several microseconds a
    call, and imports the compiler at the first; a mark on its code costs nothing.
    """
    frames = torch._C._dynamo.eval_frame
    try:
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(handler.__code__, frames._FrameExecStrategy(skip, skip))
    except (AttributeError, TypeError):  # another version of PyTorch: let it wrap
        return _disable_dynamo(handler)
    return handler


Mode.__torch_dispatch__ = _unseen_by_the_compiler(_handle)  # type: ignore[method-assign]
