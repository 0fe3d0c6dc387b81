"""Causes of a change that repeat: the same happened in each of a list of modules."""

from __future__ import annotations

import polars as pl

_REPEATS = ("op", "stage", "mark", "reason")


def causes_of(changes: pl.DataFrame) -> pl.DataFrame:
    """Return changes with those that repeat as one.

    They repeat if op, stage and reason are the same, and the paths of their modules are but for
    numbers, as those of the blocks of a network.

    Args:
        changes: what `Comparison.changes` returned.

    Returns:
        Its columns, biggest first, and `modules`: how many there are. Figures and shares are added
        up (null: one of them is not known); numbers of the path that differ are a `*`.
    """
    paths = [None if path is None else path.split(".") for path in changes["module"]]
    alike = [
        None if path is None else ".".join("*" if part.isdecimal() else part for part in path)
        for path in paths
    ]
    figures = ("base", "head", "difference", "share")
    added = [
        pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name)
        for name in figures
    ]
    grouped = (
        changes.with_columns(alike=pl.Series(alike, dtype=pl.String))
        .group_by(
            "alike", *_REPEATS, pl.col("difference").is_null().alias("open"), maintain_order=True
        )
        .agg("module", *added, modules=pl.col("module").n_unique())
    )
    named = [_named(paths) for paths in grouped["module"].to_list()]
    size = pl.col("difference").abs()
    return (
        grouped.with_columns(module=pl.Series(named, dtype=pl.String))
        .sort(pl.col("difference").is_not_null(), -size, maintain_order=True)
        .select(*changes.columns, "modules")
    )


def _named(paths: list[str | None]) -> str | None:
    """Return the path of alike modules, `*` in the place of numbers that differ."""
    known = [path.split(".") for path in paths if path is not None]
    if not known:
        return None
    parts = zip(*known, strict=True)
    return ".".join(part[0] if len(set(part)) == 1 else "*" for part in parts)
