"""What a user may ask of a recorder: checked when it is said, not when the trace is written."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, SupportsIndex

from torch import nn

from ..schemas import RecordError

LEVELS = ("auto", "full", "synaptic", "none")


def number(name: str, given: Any, *, least: int | None = None) -> int:
    """Return an integer of any kind (NumPy's, a tensor's) as Python's.

    Raises:
        RecordError: it is none, or smaller than `least`.
    """
    try:
        found = operator.index(given) if isinstance(given, SupportsIndex) else None
    except TypeError:  # a tensor or an array of several
        found = None
    if found is None or isinstance(given, bool) or not -(1 << 63) <= found < 1 << 63:
        raise RecordError(f"{name}={given!r} is not an integer of 64 bits.")
    if least is not None and found < least:
        raise RecordError(f"{name}={found} must be at least {least}.")
    return found


def text(name: str, given: Any) -> str:
    """Return a text.

    Raises:
        RecordError: it is none.
    """
    if not isinstance(given, str):
        raise RecordError(f"{name}={given!r} is a {type(given).__name__}, not a text.")
    return str(given)


def dimension(name: str, given: Any, other: str | None) -> Any:
    """Return the number of a dimension, None, or the word that may stand for it.

    Raises:
        RecordError: it is none of them.
    """
    if given is None or (other is not None and given == other):
        return given
    try:
        return number(name, given)
    except RecordError:
        raise RecordError(f"{name}={given!r} is not the number of a dimension.") from None


def check(statistics: Any, model: Any) -> None:
    """Check the level of statistics and the model.

    Raises:
        RecordError: there is no such level, or the model is no module.
    """
    if statistics not in LEVELS:
        raise RecordError(f"statistics={statistics!r} is none of {', '.join(LEVELS)}.")
    if model is not None and not isinstance(model, nn.Module):
        raise RecordError(f"the model is a {type(model).__name__}, not a torch.nn.Module.")


def path(given: str | os.PathLike[str]) -> Path:
    """Return a path.

    Raises:
        RecordError: it is none.
    """
    try:
        return Path(given)
    except TypeError:
        raise RecordError(f"path={given!r} is not a path.") from None
