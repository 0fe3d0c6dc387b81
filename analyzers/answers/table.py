"""Pages as text: tables for a terminal, a file or a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..text import plain
from .fitting import GAP, cells, cut, fitted, folded, least
from .page import Page, Sheet

MOST_LINES = 20
"""Lines of a `repr`."""

_LONGEST = 160
_NOTES = 5
_STYLES = {"bold": "\x1b[1m", "cyan": "\x1b[36m"}
_RESET = "\x1b[0m"
_IDLE = {"0", "", "0.0", "0.0 %"}


def written(page: Page, room: int | None = None, *, colours: bool = False) -> str:
    """Return a page as text.

    Args:
        page: the page.
        room: the width of a terminal; None: as wide as it likes.
        colours: whether names and bars are coloured.
    """
    parts = [
        wrapped(page.lead, room),
        *(_sheet(sheet, room, colours) for sheet in page.sheets),
        wrapped(page.below, room),
    ]
    return "\n".join(part for part in parts if part)


def brief(page: Page) -> str:
    """Return what is most important of a page, in at most `MOST_LINES` lines."""
    notes = [cut(plain(note), _LONGEST) for note in page.below][:_NOTES]
    heads = [cut(plain(line), _LONGEST) for line in (page.title, *page.lead) if line]
    table = []
    if page.sheets:
        first = page.sheets[0]
        shown = [c._replace(optional=c.optional or (1 if place else 0))
                 for place, c in enumerate(first.columns)]  # fmt: skip
        table = written(Page((first._replace(columns=shown),)), _LONGEST).splitlines()
    table = [line for line in table if not line.startswith("(too narrow for ")]
    room = MOST_LINES - len(heads) - len(notes)
    if len(table) > room:
        more = len(table) - room + 1
        table = [*table[: room - 1], f"... and {more} more rows"]
    return "\n".join([*heads, *table, *notes])


def wrapped(lines: Iterable[str], room: int | None, indent: str = "  ") -> str:
    """Return lines of text, folded between words to fit; what goes on below is indented."""
    found = []
    for line in map(plain, lines):
        found += [line] if room is None else folded(line, room, indent)
    return "".join(f"{line}\n" for line in found)


def _sheet(sheet: Sheet, room: int | None, colours: bool) -> str:
    heading = f"{plain(sheet.title)}\n" if sheet.title else ""
    notes = wrapped(sheet.notes, room)
    return "\n".join(filter(None, [heading + _table(sheet, room, colours), notes]))


def _table(sheet: Sheet, room: int | None, colours: bool) -> str:
    columns = sheet.columns
    rows = [[plain(column.title) for column in columns], *sheet.rows(columns)]
    widths = [max(map(cells, texts)) for texts in zip(*rows, strict=True)]
    kept, caps = list(range(len(columns))), dict[int, int]()
    if room is not None:
        by_column = list(zip(*rows, strict=True))
        idle = [place for place, texts in enumerate(by_column)
                if not columns[place].left and texts[1:] and set(texts[1:]) <= _IDLE]  # fmt: skip
        kept, caps = fitted(columns, widths, room, [least(t) for t in by_column], idle)
    sizes = [caps.get(place, widths[place]) for place in kept]
    lines = []
    for number, row in enumerate(rows):
        shown = [
            folded(row[place], size) if columns[place].wrap else [cut(row[place], size)]
            for place, size in zip(kept, sizes, strict=True)
        ]
        styles = ["bold" if not number else columns[place].style for place in kept]
        left = [columns[place].left for place in kept]
        lines += _lines(shown, sizes, left, styles if colours else [None] * len(kept))
        if not number:
            lines.append("─" * (sum(sizes) + GAP * (len(sizes) - 1)))
    hidden = [head for place, head in enumerate(rows[0]) if place not in kept and head]
    note = [f"(too narrow for {', '.join(hidden)})"] if hidden else []
    return "".join(f"{line}\n" for line in [*lines, *note])


def _lines(
    parts: Sequence[Sequence[str]],
    sizes: Sequence[int],
    left: Sequence[bool],
    styles: Sequence[str | None],
) -> list[str]:
    """Return the lines of a row whose cells have several."""
    found = []
    for number in range(max(map(len, parts), default=0)):
        line = []
        for part, size, text, style in zip(parts, sizes, left, styles, strict=True):
            cell = part[number] if number < len(part) else ""
            blanks = " " * (size - cells(cell))
            paint = _STYLES.get(style or "", "")
            shown = f"{paint}{cell}{_RESET}" if paint and cell.strip() else cell
            line.append(shown + blanks if text else blanks + shown)
        found.append((" " * GAP).join(line).rstrip())
    return found
