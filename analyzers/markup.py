"""Tables as Markdown and LaTeX, with the lines under them; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MARKUP = set("\\|`*[<&~")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "µ": r"\textmu{}", "·": r"$\cdot$",
    "\u00d7": r"$\times$", "[": "{[}", "]": "{]}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        titles: headings.
        rows: cells, as many as headings in each row.
        left: whether a column holds text, else figures.
        notes: lines under it.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[bool]
    notes: Sequence[str] = ()


def plain(text: str) -> str:
    """Return text that cannot steer a terminal: control characters become visible escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is: no tables, emphasis, links or HTML in it."""
    return "".join(f"\\{c}" if c in _MARKUP else c for c in plain(text))


def markdown(sheet: Sheet) -> str:
    """Return a table as Markdown."""
    rows = [
        [markdown_text(title) for title in sheet.titles],
        [":--" if left else "--:" for left in sheet.left],
        *([markdown_text(cell) for cell in row] for row in sheet.rows),
    ]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return table + "".join(f"\n{markdown_text(note)}\n" for note in sheet.notes)


def latex_text(text: str) -> str:
    """Return text that LaTeX sets as it is, in text mode."""
    return "".join(_LATEX.get(c, c) for c in plain(text)).replace("--", "-{}-")


def latex(sheet: Sheet) -> str:
    """Return a table as LaTeX with the rules of booktabs; notes are a list below it."""
    rows = [" & ".join(map(latex_text, row)) + r" \\" for row in sheet.rows]
    columns = "".join("l" if left else "r" for left in sheet.left)
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex_text, sheet.titles)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if sheet.notes:
        items = [rf"\item {latex_text(note)}" for note in sheet.notes]
        lines += ["", r"\begin{itemize}\footnotesize", *items, r"\end{itemize}"]
    return "\n".join(lines) + "\n"
