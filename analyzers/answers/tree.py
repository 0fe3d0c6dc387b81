"""Dotted module paths as a tree, drawn in one column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_LINES = " │├└─"


EVERYTHING = "Global"
"""The row of everything: it stays first, whatever is left out."""


def lead(text: str) -> int:
    """Return how many characters of a drawn path are lines that lead to its name."""
    return len(text) - len(text.lstrip(_LINES))


def parents(paths: Sequence[str]) -> list[str | None]:
    """Return for each path the longest of the others that it lies under; None for a root.

    Names of modules may hold dots (`ModuleDict` does not forbid it in paths), so a parent is
    found among the paths that exist, not by cutting at the last dot.
    """
    known = set(paths)
    found: list[str | None] = []
    for path in paths:
        parts = path.split(".")
        above = (".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1))
        found.append(next((name for name in above if name in known), None))
    return found


def drawn(paths: Sequence[str], top: str = EVERYTHING) -> tuple[list[int], list[str]]:
    """Lay paths out as a tree, siblings in the order given.

    Args:
        paths: distinct dotted paths, in any order.
        top: if this one is among them, all others lie under it.

    Returns:
        The order in which to show the paths, as indices, and the text of each, in that order:
        its own name after the lines that lead to it.
    """
    under: dict[str | None, list[int]] = {}
    above = top if top in paths else None
    for index, parent in enumerate(parents(paths)):
        place = None if paths[index] == top else parent or above
        under.setdefault(place, []).append(index)
    order: list[int] = []
    texts: list[str] = []

    def walk(parent: str | None, lead: str) -> None:
        children = under.get(parent, [])
        for place, index in enumerate(children):
            last = place == len(children) - 1
            name = paths[index]
            own = name.removeprefix(f"{parent}.")
            branch = "" if parent is None else ("└─ " if last else "├─ ")
            order.append(index)
            texts.append(lead + branch + own)
            walk(name, lead if parent is None else lead + ("   " if last else "│  "))

    walk(None, "")
    return order, texts


def as_tree(frame: pl.DataFrame) -> pl.DataFrame:
    """Order the rows of distinct modules as a tree and draw it in the column `module`."""
    import polars as pl

    names = ["(no module)" if name is None else name for name in frame["module"]]
    order, texts = drawn(names)
    return frame[order].with_columns(pl.Series("module", texts, dtype=pl.String))
