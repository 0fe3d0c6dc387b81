"""Numbers with their nouns, for the lines that people read."""

from __future__ import annotations


def number(count: int, noun: str) -> str:
    """Return "1 call", "42 calls", "0 calls"; the noun takes an s."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def agreeing(count: int, one: str, many: str) -> str:
    """Return the form of a word that a number asks for: 1 call "lacks", 2 calls "lack"."""
    return one if count == 1 else many
