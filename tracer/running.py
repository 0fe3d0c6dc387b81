"""Which Python function calls still run: an interrupt ends them without telling anybody."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any


def caller_in(scope: Mapping[str, Any]) -> FrameType | None:
    """Return the innermost running call of a function of a module, given by its namespace."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals is not scope:
        frame = frame.f_back
    return frame


def runs(wanted: FrameType | None) -> bool:
    """Tell whether a function call is still running in this thread; unknown ones are taken to."""
    if wanted is None:
        return True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not wanted:
        frame = frame.f_back
    return frame is wanted
