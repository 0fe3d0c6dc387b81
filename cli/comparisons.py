"""The texts of a comparison: what a terminal, a pull request or a program is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..analyzers.units import figure_text, number_text, share_text
from . import tables, terminal
from .count import as_tree
from .differences import change_text, place_text, signed, title
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Comparison
    from ..analyzers.comparing.budgets import Failure
    from ..analyzers.comparing.profiles import Side


def figures(comparison: Comparison, asked: Sequence[str], failures: Sequence[Failure]) -> list[str]:
    """Return the figures to explain: those asked for, those that failed, or the first changed."""
    failed = [failure.budget.figure for failure in failures]
    changed = [name for name in comparison.totals if comparison.changes(name).height]
    changed.sort(key=lambda name: name == "calls")
    for name in asked:
        comparison.changes(name)  # refuses what is no figure
    return list(dict.fromkeys(asked or failed)) or changed[:1]


class Texts:
    """What is said of one comparison."""

    def __init__(
        self, comparison: Comparison, failures: Sequence[Failure], shown: Sequence[str], top: int
    ) -> None:
        self._comparison = comparison
        self._failures = failures
        self._shown = shown
        self._top = top
        self._changes = {figure: comparison.changes(figure) for figure in shown}

    def data(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        failures = [
            {
                "condition": failure.budget.text,
                "why": failure.why,
                **asdict(failure.total),
                "culprits": failure.culprits.to_dicts(),
            }
            for failure in self._failures
        ]
        return {**self._comparison.to_dict(), "failures": failures}

    def failed(self) -> Iterator[str]:
        """Yield a line for each condition that holds, and one for each culprit."""
        for failure in self._failures:
            show = figure_text(failure.budget.figure)
            total = failure.total
            why = f"; {failure.why}" if failure.why else ""
            yield (
                f"failed: {failure.budget.text}: {show(total.base)} -> {show(total.head)} "
                f"({change_text(total)}){self._each()}{why}"
            )
            for row in failure.culprits.iter_rows(named=True):
                amount = (show if row["reason"].startswith("largest") else signed(show))(
                    row["amount"]
                )
                yield f"  {place_text(row)}: {amount}: {row['reason']}"

    def _each(self) -> str:
        per = self._comparison.per
        return "" if per == "total" else f" per {per}"

    def text(self, kind: str, by: Sequence[str], exclusive: bool = False) -> str:
        """Return the comparison as people read it: a `table`, or `markdown`."""
        markdown = kind == "markdown"
        unit = self._comparison.unit_line()
        head = [self._headline(figure) for figure in self._shown]
        head = head or ["nothing changed: every figure is equal in every module, op and stage"]
        failed = list(self.failed()) if markdown else []
        warned = [f"warning: {warning}" for warning in self._comparison.warnings]
        parts = [
            _lines([*([unit] if unit else []), *head, *failed, *warned], markdown),
            self._totals(kind),
        ]
        parts += [self._explanation(figure, kind) for figure in self._shown]
        for figure in self._shown if by else ():
            parts.append(self._rows(figure, by, exclusive, kind))
        parts.append(_lines(list(self._footer()), markdown))
        return "\n".join(part for part in parts if part)

    def _headline(self, figure: str) -> str:
        """Return the change of a figure and what explains most of it, in one line."""
        compared, show = self._comparison, figure_text(figure)
        total = compared.totals[figure]
        base = _bounded(figure, compared.base, total.base)
        head = _bounded(figure, compared.head, total.head)
        line = f"{title(total)} {change_text(total)}: {base} -> {head}"
        for row in self._changes[figure].head(1).iter_rows(named=True):
            amount = signed(show)(row["difference"])
            line += f"; most by {place_text(row)} ({amount}): {row['reason']}"
        return line

    def _totals(self, kind: str) -> str:
        import polars as pl

        rows = [
            (
                total.mark,
                title(total),
                _bounded(name, self._comparison.base, total.base),
                _bounded(name, self._comparison.head, total.head),
                signed(figure_text(name))(total.difference),
                change_text(total),
            )
            for name, total in self._comparison.totals.items()
        ]
        names = ("mark", "figure", "base", "head", "difference", "change")
        columns = [Column(name, name, left=name in names[:2]) for name in names]
        return tables.as_text(kind, pl.DataFrame(rows, schema=names, orient="row"), columns)

    def _explanation(self, figure: str, kind: str) -> str:
        import polars as pl

        frame = self._changes[figure]
        if not frame.height:
            return ""
        total = self._comparison.totals[figure]
        heading = f"What changes {title(total)}, biggest first"
        columns = [
            Column("difference", title(total), signed(figure_text(figure))),
            Column("share", "share", share_text),
            Column("where", "where", left=True, wrap=True),
            Column("reason", "why", left=True, wrap=True),
        ]
        places = [place_text(row) for row in frame.iter_rows(named=True)]
        rows = frame.with_columns(pl.Series("where", places, dtype=pl.String))
        text = tables.as_text(kind, rows.head(self._top), columns)
        rest = rows.slice(self._top)
        if rest.height:
            amount = signed(figure_text(figure))(rest["difference"].sum())
            text += f"\n{number_text(rest.height, 'more row')}: {amount} in all\n"
        return f"{_heading(heading, kind)}\n{text}"

    def _rows(self, figure: str, by: Sequence[str], exclusive: bool, kind: str) -> str:
        """Return a figure of both sides by some keys; modules alone as a tree."""
        parts = {part: f"{figure}_{part}" for part in ("base", "head", "difference")}
        rows = self._comparison.by(*by, exclusive=exclusive)
        frame = _marked(rows.select(*by, "mark", **parts))
        if tuple(by) == ("module",):
            frame = as_tree(frame)
        show = figure_text(figure)
        columns = [
            Column("mark", "mark", left=True),
            *(Column(key, key, lambda text: text or "(none)", left=True) for key in by),
            Column("base", "base", show),
            Column("head", "head", show),
            Column("difference", "difference", signed(show)),
        ]
        total = self._comparison.totals[figure]
        heading = f"{title(total)} by {', '.join(by)}"
        return f"{_heading(heading, kind)}\n{tables.as_text(kind, frame, columns)}"

    def _footer(self) -> Iterator[str]:
        compared = self._comparison
        for name, side in (("base", compared.base), ("head", compared.head)):
            revision = side.trace.manifest.revision
            commit = f", commit {revision.commit[:12]}" if revision.commit else ""
            dirty = " with uncommitted changes" if revision.dirty else ""
            yield f"{name} {side.trace.path}{commit}{dirty}; {side.coverage.line()}"
        yield f"rules {compared.rules}, spikes {compared.spikes}, the same for both"
        for name, report in compared.base.reports.items():
            scope = report.scope
            yield (
                f"{name} energy: {scope.title}, revision {report.revision}, {scope.technology}; "
                f"stages {', '.join(scope.stages)}; leaves out {scope.leaves_out}"
            )
        if len(compared.base.reports) > 1:
            yield "different estimators speak of different machines: do not compare their energies"


def _bounded(figure: str, side: Side, value: float | None) -> str:
    """Return a total; with a sign if calls of which it is unknown are left out."""
    least = value is not None and side.unknown(figure)
    return ("≥ " if least else "") + figure_text(figure)(value)


def _lines(lines: Sequence[str], markdown: bool) -> str:
    if markdown:
        leads = ("  - " if line.startswith(" ") else "- " for line in lines)
        return "".join(
            f"{lead}{tables.markdown_text(line.strip())}\n"
            for lead, line in zip(leads, lines, strict=True)
        )
    return "".join(terminal.wrapped(clean(line)) for line in lines)


def _heading(text: str, kind: str) -> str:
    return f"**{tables.markdown_text(text)}**\n" if kind == "markdown" else f"{text}\n"


def _marked(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark rows that both sides have by the one figure that is shown."""
    import polars as pl

    same = pl.col("mark").is_in(["changed", "equal"]) & pl.col("difference").is_not_null()
    mark = pl.when(pl.col("difference") == 0).then(pl.lit("equal")).otherwise(pl.lit("changed"))
    return frame.with_columns(pl.when(same).then(mark).otherwise("mark").alias("mark"))
