"""Chains of operations on tables that are held in memory."""

from __future__ import annotations

import polars as pl


def at_once(chain: pl.LazyFrame) -> pl.DataFrame:
    """Return the rows of a chain of operations on tables in memory.

    One after the other, such operations take nearly twice as long where tables are small, as most
    of ours are; to optimize the chain takes longer than to run it.
    """
    return chain.collect(engine="in-memory", optimizations=_AS_WRITTEN)


_AS_WRITTEN = pl.QueryOptFlags.none()


def added_up(floats: pl.Expr) -> pl.Expr:
    """Return the sum of floats in each group: the same in every run, to the last digit.

    Polars' plain `sum` adds up the groups of a table of a thousand rows or more in parts, which
    differ from run to run and with the number of threads. Behind `drop_nulls`, which changes no
    sum, it takes each group as a whole. Whole numbers need no such care.
    """
    return floats.drop_nulls().sum()
