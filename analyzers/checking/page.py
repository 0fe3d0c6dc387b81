"""What is shown of a check: each limit, its value and its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..answers.page import Column, Page, Sheet

if TYPE_CHECKING:
    from .check import Check

_COLUMNS = (
    Column("limit", "limit", left=True, style="bold"),
    Column("value", "value"),
    Column("module", "of", left=True, optional=1),
    Column("verdict", "verdict", left=True),
)


def check_page(found: Check, failed: bool) -> Page:
    """Return the verdicts, with what failed under them."""
    texts = [each.text for each in found.verdicts]
    frame = found.frame.with_columns(pl.Series("value", texts, dtype=pl.String))
    number = len(found.failures)
    lines = [f"failed: {each.line()}" for each in found.failures] if failed else []
    return Page(
        (Sheet(frame, _COLUMNS),),
        title=f"{number} of {len(found.verdicts)} limits failed" if number else "passed",
        notes=(*lines, found.coverage.line(), *found.charged),
        warnings=found.warnings,
    )
