"""A sheet to draw on: size, title, source, colours and fonts, and its content as a file.

matplotlib's state is not touched: figures are made without pyplot, settings hold while a picture is
drawn or written, and no display is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ...schemas import ConfigError, OpjouleError
from ..answers.fitting import folded
from ..answers.page import Page, is_assumed
from ..text import plain

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("svg", "png", "pdf")
"""What a picture can be written as."""

WIDTH = 3.5
"""Inches: a column of a paper in two columns."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Told apart with every kind of colour blindness: Okabe and Ito, "Color Universal Design", 2008."""

GREY = "#666666"
MAP = "cividis"
"""Colours of heat maps, from low to high; made for colour blind readers too."""

ROW = 0.17
"""Inches that a bar with its name takes."""

_NARROWEST, _WIDEST = 2.0, 40.0
_LETTER = 0.56
"""How wide a letter is on average, as a share of the size of its font."""

_TITLE, _TEXT, _SOURCE = 8.0, 7.0, 5.5
"""Sizes of fonts in points, 72 to an inch."""

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": _TEXT,
    "axes.titlesize": _TEXT,
    "axes.labelsize": _TEXT,
    "xtick.labelsize": _TEXT,
    "ytick.labelsize": _TEXT,
    "legend.fontsize": _TEXT - 1,
    "legend.frameon": False,
    "legend.handlelength": 1.0,
    "legend.columnspacing": 1.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 300,
    "figure.dpi": 150,
    "text.parse_math": False,  # a $ in a name is a $
    "text.usetex": False,
    "svg.hashsalt": "opjoule",  # else two pictures of the same differ
    "pdf.fonttype": 42,
}
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def need_matplotlib() -> None:
    """Refuse where matplotlib is not installed, in one line that tells what to type."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise OpjouleError(
            'a picture needs matplotlib, which is not installed: pip install "opjoule[plots]"'
        ) from None


@contextmanager
def canvas(
    heights: Sequence[float], *, title: str, source: Sequence[str], width: float | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with panels below each other; drawn in the block, it is ready after it.

    Args:
        heights: of each panel, in inches.
        title: over them.
        source: lines under them: what the figures rest on.
        width: in inches; by default `WIDTH`.

    Raises:
        ConfigError: a width that is none.
        OpjouleError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    width = checked_width(width)
    over = folded(shown(title), letters(width, _TITLE))
    under = [
        line
        for text in dict.fromkeys(source)
        if text
        for line in folded(shown(text), letters(width))
    ]
    height = sum(heights) + _TITLE * 1.3 * len(over) / 72 + _SOURCE * 1.3 * len(under) / 72 + 0.1
    with _settings():
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)
        yield figure, list(panels[:, 0])
        left = 0.06 / width
        figure.suptitle("\n".join(over), x=left, ha="left", fontsize=_TITLE, fontweight="bold")
        if under:
            text = "\n".join(under)
            figure.supxlabel(text, x=left, ha="left", fontsize=_SOURCE, color=GREY)
    figure.__dict__["_repr_png_"] = partial(written, figure, "png")  # what a notebook asks for


def assumed(page: Page) -> list[str]:
    """Return the warnings that tell on what a result rests beside what was measured."""
    return [text for text in page.warnings if is_assumed((text, text.partition(": ")[2]))]


def written(figure: Figure, kind: str) -> bytes:
    """Return a figure as the content of a file, of `KINDS`; the same figure gives the same."""
    content = io.BytesIO()
    with _settings():
        figure.savefig(content, format=kind, metadata=_UNDATED[kind])
    return content.getvalue()


def checked_width(width: float | None) -> float:
    """Return a width in inches; the default for None.

    Raises:
        ConfigError: it is no width of a picture.
    """
    if width is None:
        return WIDTH
    if not isinstance(width, int | float) or not _NARROWEST <= width <= _WIDEST:
        raise ConfigError(f"width={width!r}: write inches, {_NARROWEST:g} to {_WIDEST:g}")
    return float(width)


def letters(width: float, size: float = _SOURCE) -> int:
    """Return how many letters of a font of so many points stand side by side."""
    return int((width - 0.12) * 72 / (size * _LETTER))


def shown(text: str) -> str:
    """Return text as it can be drawn: what the font has no sign for becomes a visible escape."""
    text = plain(text)
    if text.isascii():
        return text
    known = _signs()
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, room: int) -> str:
    """Return a name of at most `room` letters; what is left out of its middle is an ellipsis."""
    text = shown(text)
    if len(text) <= room:
        return text
    end = (room - 1) * 2 // 3  # the end tells more of a path than its start
    return f"{text[: room - 1 - end]}…{text[len(text) - end :]}"


def short_names(names: Sequence[str], room: int) -> list[str]:
    """Return names of at most `room` letters; of long ones alike, what differs is kept."""
    full = [shown(name) for name in names]
    short = [shortened(name, room) for name in full]
    alike: dict[str, list[str]] = {}
    for name, text in zip(full, short, strict=True):
        alike.setdefault(text, []).append(name)
    return [
        text if len(set(alike[text])) == 1 else _apart(name, alike[text], room)
        for name, text in zip(full, short, strict=True)
    ]


def _apart(name: str, alike: Sequence[str], room: int) -> str:
    """Return a name by what stands between the common start and end of all that look like it."""
    start = _common(alike)
    end = _common([each[start:][::-1] for each in alike])
    middle = name[start : len(name) - end]
    spare = room - len(middle) - 2
    if spare < 2:
        return shortened(f"…{middle}…", room)
    tail = min(end, spare // 2)
    return f"{name[: spare - tail]}…{middle}…{name[len(name) - tail :] if tail else ''}"


def _common(texts: Sequence[str]) -> int:
    """Return with how many equal letters all texts start."""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(last)))


def name_room(width: float | None) -> int:
    """Return how many letters of a name stand before a bar."""
    return int(7 * (width or WIDTH))


def _settings() -> AbstractContextManager[Any]:
    """Return a block in which our settings hold, on top of matplotlib's own and not the user's."""
    import matplotlib

    kept = (
        *("backend", "interactive", "toolbar", "timezone", "tk.", "webagg.", "docstring."),
        *("date.epoch", "figure.max_open"),
    )
    settings: dict[Any, Any] = {
        name: value for name, value in matplotlib.rcParamsDefault.items()
        if not name.startswith(kept)
    }  # fmt: skip
    return matplotlib.rc_context(settings | _SETTINGS)


@cache
def _signs() -> frozenset[int]:
    """Return the characters that the font has."""
    from matplotlib import font_manager, ft2font

    path = font_manager.findfont(font_manager.FontProperties(family=["DejaVu Sans"]))
    return frozenset(ft2font.FT2Font(path).get_charmap())
