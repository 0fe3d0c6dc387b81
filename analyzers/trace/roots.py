"""Which module calls are calls of the model."""

from __future__ import annotations

import polars as pl

IS_ROOT = pl.col("parent_call_id").is_null() & (pl.col("stage").cast(pl.String) == "forward")
"""Whether a row of `module_calls` is of a root call: none that a backward pass repeats is."""
