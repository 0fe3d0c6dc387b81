"""What calls read, operand by operand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..trace.files import collected
from ..trace.filters import of_numbers

if TYPE_CHECKING:
    from ..trace.trace import Trace

_COLUMNS = ("rank", "seq", "slot", "value_id")
_IN_CALLS = 3
"""So many first operands stand in `calls`, the others in `call_operands`."""


def operands_of(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    """Return the values that some calls of the whole trace read.

    Args:
        trace: the trace.
        calls: `rank` and `seq` of the calls.

    Returns:
        `rank`, `seq`, `slot` (input) and `value_id`: a row for each operand that is a value.
    """
    calls, places = calls.unique(), [f"in{slot}_value" for slot in range(_IN_CALLS)]
    first = of_numbers(trace.whole.calls.select("rank", "seq", *places), calls)
    rows = collected(first, trace)
    slots = [
        rows.select("rank", "seq", slot=pl.lit(slot, pl.Int32), value_id=name)
        for slot, name in enumerate(places)
    ]
    further = trace.whole.call_operands.filter(pl.col("role").cast(pl.String) == "in")
    more = collected(of_numbers(further.select(_COLUMNS), calls), trace).select(_COLUMNS)
    return pl.concat([*slots, more]).drop_nulls("value_id")
