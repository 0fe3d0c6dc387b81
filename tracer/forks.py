"""A recorder belongs to one process: what is forked from it runs on unrecorded."""

from __future__ import annotations

import os
import weakref
from typing import Any

_WHAT = ("forked processes", "only the process that began the recording is recorded")
_running: weakref.WeakSet[Any] = weakref.WeakSet()


class Fork:
    """Watches one recorder for forks as long as it runs.

    Python cannot take back what it was told to do at a fork, so all recorders share that.
    """

    def __init__(self, recorder: Any) -> None:
        self._recorder = weakref.ref(recorder)

    def install(self) -> None:
        """Watch from here on."""
        _running.add(self)

    def remove(self) -> None:
        """Watch no more."""
        _running.discard(self)

    def told(self, *, child: bool) -> None:
        """Hand a fork to the recorder, in the parent or in the child."""
        recorder = self._recorder()
        if recorder is not None:
            recorder.disown() if child else recorder.forked()


def _tell(*, child: bool) -> None:
    for fork in list(_running):
        fork.told(child=child)


if hasattr(os, "register_at_fork"):  # not where processes are never forked
    os.register_at_fork(
        after_in_parent=lambda: _tell(child=False), after_in_child=lambda: _tell(child=True)
    )


def note(hidden: dict[tuple[str, str], int]) -> None:
    """Count a forked process among what was not seen."""
    hidden[_WHAT] = hidden.get(_WHAT, 0) + 1
