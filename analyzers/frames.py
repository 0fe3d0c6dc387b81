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
