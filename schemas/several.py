"""One text where several may stand."""

from __future__ import annotations

from collections.abc import Iterable


def texts(given: str | Iterable[str] | None) -> list[str]:
    """Return texts: those that are given, or the one that is; None: none."""
    return [given] if isinstance(given, str) else list(given or ())
