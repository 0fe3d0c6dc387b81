"""Differences for people: figures in their units, with signs, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..text import number
from ..units import UNKNOWN, ratio_text

if TYPE_CHECKING:
    from .diff import Total

Show = Callable[[Any], str]


def signed(show: Show) -> Show:
    """Return what makes the text of a difference: with a sign, but for 0."""
    return lambda value: f"+{show(value)}" if value and value > 0 else show(value)


def change_text(total: Total) -> str:
    """Return by how much a total changed: "+12.3 %", "x 20.5", "equal"."""
    if total.difference is None:
        return UNKNOWN
    if not total.difference:
        return "equal"
    if total.ratio is None:
        return "from 0"
    if total.ratio >= 10:
        return f"x {ratio_text(total.ratio)}"
    percent = 100 * (total.ratio - 1)
    return f"{percent:+.1f} %" if abs(percent) >= 0.05 else f"{percent:+.2g} %"


def title(total: Total) -> str:
    """Return what a total is of: "FLOP", "SynOp", "compute energy"."""
    if total.figure.startswith("energy."):
        return f"{total.figure.removeprefix('energy.')} energy"
    own, _, machine = total.figure.partition(".")
    if own == "twin_ratio":
        return f"energy by its twin's{f' ({machine})' if machine else ''}"
    return {"flops": "FLOP", "synops": "SynOp", "macs": "MAC", "acs": "AC"}.get(
        total.figure, total.figure
    )


def place_text(row: Mapping[str, Any]) -> str:
    """Return where a row is: module, how many of its like, op and stage."""
    op = (row["op"] or "").removesuffix(".default")
    like = number(row["modules"], "module") if row.get("modules", 1) > 1 else ""
    words = (row["module"] or "(no module)", like, op, row["stage"] or "")
    return ", ".join(word for word in words if word)
