"""What the manifest tells of how a recording went."""

from __future__ import annotations

from typing import Any

from ..schemas import FORMAT_VERSION, TILE_WIDTHS, Failure, Hidden
from . import environment
from .session import Session


def outcome(
    session: Session,
    hidden: dict[tuple[str, str], int],
    notes: list[str],
    error: BaseException | None,
) -> dict[str, Any]:
    """Return the manifest's fields on how a recording went and where.

    Args:
        session: the recording.
        hidden: calls by (what, why) of work that was not seen.
        notes: what the user was told, or is.
        error: what ended it early, or None.
    """
    from .. import __version__

    measured = session.statistics != "none"
    failed = None
    if error is not None:
        failed = Failure(type=type(error).__name__, message=str(error)[:2000])
    notes = list(notes)
    if session.unread:
        named = ", ".join(f"{name} ({calls})" for name, calls in sorted(session.unread.items()))
        notes.append(f"tensors that could not be read: {named}")
    return {
        "format_version": FORMAT_VERSION,
        "opjoule_version": __version__,
        "status": "complete" if error is None else "aborted",
        "failure": failed,
        "tile_widths": list(TILE_WIDTHS),
        "statistics": session.statistics,
        "environment": environment.describe(
            session.devices, session.measurer.counts_in if measured else None
        ),
        "hidden": _named(hidden),
        "inexact": _named(session.composites.inexact),
        "notes": notes,
    }


def _named(calls: dict[tuple[str, str], int]) -> list[Hidden]:
    return [Hidden(what=what, why=why, calls=count) for (what, why), count in sorted(calls.items())]
