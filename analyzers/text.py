"""Text for people: numbers with their nouns, and names that steer nothing."""

from __future__ import annotations

from collections.abc import Sequence


def plain(text: str) -> str:
    """Return text that cannot steer a terminal: control characters become visible escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def number(count: int, noun: str) -> str:
    """Return "1 call", "42 calls", "0 calls"; the noun takes an s."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def agreeing(count: int, one: str, many: str) -> str:
    """Return the form of a word that a number asks for: 1 call "lacks", 2 calls "lack"."""
    return one if count == 1 else many


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names with commas, cut off after `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def percent(share: float | None) -> str:
    """Return a share as text that is 0 or 100 only if it is exactly that; ? if it is unknown."""
    if share is None:
        return "?"
    text = f"{100 * share:.1f}%"
    if text == "100.0%" and share < 1:
        return "99.9%"
    return "<0.1%" if text == "0.0%" and share > 0 else text
