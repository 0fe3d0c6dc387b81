"""Pages as LaTeX with the rules of booktabs; every text in them is set as it is."""

from __future__ import annotations

from collections.abc import Sequence

from ..text import plain
from . import tree
from .page import Page, Sheet

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedblright{}",  # \textquotedbl is an error in OT1, which is LaTeX's default
    "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "µ": r"\textmu{}", "·": r"$\cdot$",
    "\u00d7": r"$\times$", "[": "{[}", "]": "{]}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}", "…": r"\ldots{}",
}  # fmt: skip
_STEP = 3
"""Characters of a level in a drawn tree."""


def written(page: Page) -> str:
    """Return a page as LaTeX: a tabular for each sheet, lines as lists."""
    parts = [_list(page.lead), *map(_sheet, page.sheets), _list(page.below)]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(part for part in parts if part)


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is, in text mode."""
    return "".join(_ESCAPES.get(c, c) for c in plain(text)).replace("--", "-{}-")


def _sheet(sheet: Sheet) -> str:
    columns = [column for column in sheet.columns if not column.drawn]
    kinds = "".join("l" if column.left else "r" for column in columns)
    lines = [
        *([rf"\textbf{{{escaped(sheet.title)}}}", ""] if sheet.title else []),
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        _row([escaped(column.title) for column in columns]),
        r"\midrule",
        *(_row([_led(cell) for cell in row]) for row in sheet.rows(columns)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n" + _list(sheet.notes)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _led(cell: str) -> str:
    """Return a cell; the lines that lead to a name in a tree become a space."""
    size = tree.lead(cell)
    space = rf"\hspace*{{{size // _STEP}em}}" if size else ""
    return space + escaped(cell[size:].rstrip())


def _list(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = [rf"\item {escaped(line.strip())}" for line in lines]
    return "\n".join([r"\begin{itemize}\footnotesize", *items, r"\end{itemize}"]) + "\n"
