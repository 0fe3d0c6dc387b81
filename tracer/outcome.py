"""What the manifest tells of how a recording went; whatever cannot be found out costs a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..schemas import (
    FORMAT_VERSION,
    TILE_WIDTHS,
    Environment,
    Failure,
    Hidden,
    Manifest,
    Revision,
)
from . import environment
from .session import Session
from .text import writable
from .values import Values

_LONGEST = 2000
_Fact = TypeVar("_Fact")


def outcome(
    session: Session,
    hidden: dict[tuple[str, str], int],
    notes: list[str],
    error: BaseException | Failure | None,
    revision: Callable[[], Revision],
    **facts: Any,
) -> Manifest:
    """Return the manifest: how a recording went, where, and what else its recorder knows.

    Args:
        session: the recording.
        hidden: calls by (what, why) of work that was not seen.
        notes: what the user was told, or is.
        error: what ended it early, or what is wrong with it; None: nothing.
        revision: tells the git state of the code.
        **facts: the manifest's other fields.
    """
    from .. import __version__

    counts_in = None if session.statistics == "none" else session.measurer.counts_in
    notes = list(notes)
    if session.unread:
        named = ", ".join(f"{name} ({calls})" for name, calls in sorted(session.unread.items()))
        notes.append(f"tensors that could not be read: {named}")
    if session.values.hollow:
        notes.append(_without_data(session.values))
    nowhere = Environment(python="", platform="", packages={})
    described = _found(
        "the environment", lambda: environment.describe(session.devices, counts_in), nowhere, notes
    )
    told = _found("the git revision", revision, Revision(), notes)
    known = {
        "format_version": FORMAT_VERSION,
        "opjoule_version": __version__,
        "status": "complete" if error is None else "aborted",
        "failure": None if error is None else _failure(error).to_dict(),
        "tile_widths": list(TILE_WIDTHS),
        "statistics": session.statistics,
        "environment": described.to_dict(),
        "revision": told.to_dict(),
        "hidden": [each.to_dict() for each in noted(hidden)],
        "inexact": [each.to_dict() for each in noted(session.composites.inexact)],
        "notes": notes,
        "ended": environment.now(),
        **facts,
    }
    return Manifest.read(writable(known))


def _without_data(values: Values) -> str:
    hollow, seen = values.hollow, values.storages_seen
    return (
        f"recorded without data: {hollow:,} of {seen:,} storages are on the meta device or of "
        "FakeTensors, so shapes are known and nothing that depends on their elements"
    )


def _found(what: str, find: Callable[[], _Fact], otherwise: _Fact, notes: list[str]) -> _Fact:
    """Return a fact; note it where it cannot be found."""
    try:
        return find()
    except Exception as error:
        notes.append(f"{what} is not known: {type(error).__name__}: {said(error)}")
        return otherwise


def begun(ask: Callable[[], Callable[[], _Fact]]) -> Callable[[], _Fact]:
    """Ask for a fact that is waited for at the end; an exception comes from the waiting, too."""
    try:
        return ask()
    except Exception as error:
        failed = error

    def fail() -> _Fact:
        raise failed

    return fail


def said(error: BaseException) -> str:
    """Return what an exception says of itself, cut; nothing if it cannot."""
    try:
        return str(error)[:_LONGEST]
    except Exception:
        return ""


def _failure(error: BaseException | Failure) -> Failure:
    if isinstance(error, Failure):
        return error
    return Failure(type(error).__name__, said(error))


def noted(calls: dict[tuple[str, str], int]) -> list[Hidden]:
    """Return calls by (what, why), sorted."""
    found = sorted(writable([[*key, count] for key, count in calls.items()]))
    return [Hidden(what=what, why=why, calls=count) for what, why, count in found]
