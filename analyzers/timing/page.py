"""What is shown of a roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..answers.page import Column, Page, Sheet
from ..answers.rows import Figures, Rows, arranged
from ..units import AT_LEAST, bytes_text, count_text, ratio_text, share_text, time_text

if TYPE_CHECKING:
    from .roofline import Roofline


def _share(share: float | None) -> str:
    """Return the share of a row's time that its bound is of; nothing for a row without time."""
    return "" if share is None else share_text(share)


_FIGURES = (
    Column("calls", "calls", count_text, optional=5),
    Column("flops", "FLOP", count_text),
    Column("bytes", "bytes", bytes_text),
    Column("intensity", "FLOP/B", ratio_text, optional=2),
    Column("bound", "bound by", left=True),
    Column("bound_share", "in", _share, optional=3),
    Column("time_s", "time at the roof", time_text),
    Column("share", "share", share_text, optional=1),
)


def roofline_page(found: Roofline, rows: Rows) -> Page:
    """Return the rows of a roofline, modules as a tree, lower bounds with a sign."""
    keys = tuple(found.frame.columns[: found.frame.columns.index("calls")])
    heads = [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]
    shown = [each._replace(show=str) if each.name == "time_s" else each for each in _FIGURES]
    named = {each.name: each.name for each in _FIGURES} | {"time": "time_s"}
    figures = Figures(named, "time", "at the roof", time_text)
    sheet = arranged(Sheet(found.frame, [*heads, *shown]), keys, rows, figures, found.modules)
    return Page(
        (sheet._replace(frame=_with_signs(sheet.frame)),),
        title=f"{time_text(found.total['time_s'])} at the roof of {found.roof.title}",
        lead=(found.span(),),
        notes=(found.device, *found.notes, found.coverage.line()),
    )


def _with_signs(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [
        (AT_LEAST if unknown and time is not None else "") + time_text(time)
        for time, unknown in frame.select("time_s", "unknown").iter_rows()
    ]
    return frame.with_columns(time_s=pl.Series(texts, dtype=pl.String))
