"""What is shown of a comparison: totals, what explains them, and which conditions are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ..answers.page import Column, Page, Sheet
from ..answers.tree import as_tree
from ..units import AT_LEAST, figure_text, number_text, share_text
from .differences import change_text, place_text, signed, title

if TYPE_CHECKING:
    from .budgets import Failure
    from .compare import Comparison
    from .profiles import Side


SIDES = ("base", "head")


def comparison_page(
    compared: Comparison,
    figures: Sequence[str],
    failures: Sequence[Failure],
    by: Sequence[str],
    exclusive: bool,
    top: int,
) -> Page:
    """Return a comparison: headlines, totals, what explains each figure, rows by some keys."""
    heads = [_headline(compared, figure) for figure in figures]
    heads = heads or ["nothing changed: every figure is equal in every module, op and stage"]
    sheets = [_totals(compared)]
    sheets += [
        _explanation(compared, figure, top) for figure in figures if compared.changes(figure).height
    ]
    parted = [figure for figure in figures if by and figure in compared.totals]
    sheets += [_rows(compared, figure, by, exclusive) for figure in parted]
    return Page(
        sheets,
        title=f"{compared.base.trace.path} -> {compared.head.trace.path}",
        lead=[compared.unit_line(), *heads, *failed_lines(compared, failures)],
        notes=tuple(_footer(compared)),
        warnings=compared.warnings,
    )


def explained_figures(
    compared: Comparison, asked: Sequence[str], failures: Sequence[Failure]
) -> list[str]:
    """Return the figures to explain: those asked for, those that failed, or the first changed."""
    for name in asked:
        compared.changes(name)  # refuses what is no figure
    if chosen := list(dict.fromkeys(asked or [each.budget.figure for each in failures])):
        return chosen
    order = sorted(compared.totals, key=lambda name: name == "calls")
    return [name for name in order if compared.changes(name).height][:1]


def failed_lines(compared: Comparison, failures: Sequence[Failure]) -> Iterator[str]:
    """Yield a line for each condition that is met, and one for each culprit."""
    per = "" if compared.per == "total" else f" per {compared.per}"
    for failure in failures:
        figure, total = failure.budget.figure, failure.total
        show = figure_text(figure)
        base = _bounded(figure, compared.base, total.base)
        head = _bounded(figure, compared.head, total.head)
        why = f"; {failure.why}" if failure.why else ""
        yield (f"failed: {failure.budget.text}: {base} -> {head} ({change_text(total)}){per}{why}")
        for row in failure.culprits.iter_rows(named=True):
            amount = (show if row["reason"].startswith("largest") else signed(show))(row["amount"])
            yield f"  {place_text(row)}: {amount}: {row['reason']}"


def _headline(compared: Comparison, figure: str) -> str:
    """Return the change of a figure and what explains most of it, in one line."""
    show = figure_text(figure)
    total = compared.total[figure]
    base = _bounded(figure, compared.base, total.base)
    head = _bounded(figure, compared.head, total.head)
    line = f"{title(total)} {change_text(total)}: {base} -> {head}"
    for row in compared.causes(figure).head(1).iter_rows(named=True):
        amount = signed(show)(row["difference"])
        line += f"; most by {place_text(row)} ({amount}): {row['reason']}"
    return line


def _totals(compared: Comparison) -> Sheet:
    rows = [
        (
            total.mark,
            title(total),
            _bounded(name, compared.base, total.base),
            _bounded(name, compared.head, total.head),
            signed(figure_text(name))(total.difference),
            change_text(total),
        )
        for name, total in compared.total.items()
    ]
    names = ("mark", "figure", "base", "head", "difference", "change")
    columns = [Column(name, name, left=name in names[:2]) for name in names]
    return Sheet(pl.DataFrame(rows, schema=names, orient="row"), columns)


def _explanation(compared: Comparison, figure: str, top: int) -> Sheet:
    total = compared.total[figure]
    show = signed(figure_text(figure))
    frame = compared.causes(figure)
    columns = [
        Column("difference", title(total), show),
        *([Column("share", "share", share_text)] if figure in compared.totals else []),
        Column("where", "where", left=True, wrap=True),
        Column("reason", "why", left=True, wrap=True),
    ]
    places = [place_text(row) for row in frame.iter_rows(named=True)]
    rows = frame.with_columns(pl.Series("where", places, dtype=pl.String))
    rest = rows.slice(top)
    added = figure in compared.totals  # ratios do not add up
    amount = f": {show(rest['difference'].sum())} in all" if added else ""
    notes = [f"{number_text(rest.height, 'more row')}{amount}"] if rest.height else []
    heading = f"What changes {title(total)}, biggest first"
    return Sheet(rows.head(top), columns, heading, notes)


def _rows(compared: Comparison, figure: str, by: Sequence[str], exclusive: bool) -> Sheet:
    """Return a figure of both sides by some keys; modules alone as a tree."""
    parts = {part: f"{figure}_{part}" for part in ("base", "head", "difference")}
    rows = compared.by(*by, exclusive=exclusive)
    show = figure_text(figure)
    texts = {
        side: pl.Series(
            [show(value) if value is None or figure not in (bounds or "").split() else
             AT_LEAST + show(value)
             for value, bounds in rows.select(parts[side], f"{side}_at_least").iter_rows()],
            dtype=pl.String,
        )
        for side in SIDES
    }  # fmt: skip
    frame = _marked(rows.select(*by, "mark", **parts)).with_columns(**texts)
    if tuple(by) == ("module",):
        frame = as_tree(frame)
    columns = [
        Column("mark", "mark", left=True),
        *(Column(key, key, lambda text: text or "(none)", left=True) for key in by),
        *(Column(side, side, str) for side in SIDES),
        Column("difference", "difference", signed(show)),
    ]
    return Sheet(frame, columns, f"{title(compared.totals[figure])} by {', '.join(by)}")


def _footer(compared: Comparison) -> Iterator[str]:
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
    for each in SIDES:
        for name, estimate in compared.estimates(each).items():
            yield f"{each}, {name}: {estimate.coverage}"
    if len(compared.base.reports) > 1:
        yield "different estimators speak of different machines: do not compare their energies"


def _bounded(figure: str, side: Side, value: float | None) -> str:
    """Return a total; with a sign if calls of which it is unknown are left out."""
    return ("" if value is None else side.sign(figure)) + figure_text(figure)(value)


def _marked(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark rows that both sides have by the one figure that is shown."""
    mark = (
        pl.when(pl.col("difference").is_null()).then(pl.lit("unknown"))
        .when(pl.col("difference") == 0).then(pl.lit("equal"))
        .otherwise(pl.lit("changed"))
    )  # fmt: skip
    same = pl.col("mark").is_in(["changed", "equal"])
    return frame.with_columns(pl.when(same).then(mark).otherwise("mark").alias("mark"))
