"""What the rows of every estimate are told apart by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from ..trace.trace import Trace

KEYS = ("module", "stage", "op", "label", "step")
"""What an action count belongs to; `module` is the path of the innermost module."""

KINDS = {key: pl.Int32 if key == "step" else pl.String for key in KEYS}

MOST_STEPS = 256
"""Up to so many steps the rows of a report tell them apart; `report.by("step")` always does."""

NEURON_OP = "neuron"
"""Stands for the op of what a neuron is charged as a whole."""


def keys_of(trace: Trace) -> tuple[str, ...]:
    """Return what the rows of a report are told apart by: in long runs not by step."""
    return KEYS if trace.manifest.steps <= MOST_STEPS else KEYS[:-1]


def key_columns(rows: pl.DataFrame) -> list[pl.Expr]:
    """Return all of `KEYS` as columns of rows: null where they are not told apart."""
    known = {key: pl.col(key) if key in rows.columns else pl.lit(None) for key in KEYS}
    return [each.cast(KINDS[key]).alias(key) for key, each in known.items()]
