"""Each row's share of a whole, and a bar that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import bar, share_text
from .page import Column

if TYPE_CHECKING:
    import polars as pl


def with_shares(frame: pl.DataFrame, figure: str, whole: float | None) -> pl.DataFrame:
    """Add each row's share of `whole`, null if either is unknown, and a bar that shows it."""
    import polars as pl

    shares = [
        None if value is None or whole is None else value / whole if whole else 0.0
        for value in frame[figure]
    ]
    return frame.with_columns(
        pl.Series("share", shares, dtype=pl.Float64),
        pl.Series("bar", [bar(each) for each in shares], dtype=pl.String),
    )


def share_columns(title: str, *, optional: int = 0, drawn: int = 1) -> tuple[Column, Column]:
    """Return the columns of `with_shares`.

    Args:
        title: the heading of the share.
        optional: how early the share is left out, see `Column`.
        drawn: how early its bar is.
    """
    return (
        Column("share", title, share_text, optional=optional),
        Column("bar", "", left=True, style="cyan", optional=drawn, drawn=True),
    )
