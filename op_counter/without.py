"""A trace without what ran inside some modules."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from ..analyzers import Trace

if TYPE_CHECKING:
    from torch import nn


def without_modules(trace: Trace, modules: Sequence[int]) -> Trace:
    """Return a trace without the calls that ran in these modules.

    Args:
        trace: the trace of one rank.
        modules: module numbers; those below them are to be among them.
    """
    if not modules:
        return trace
    inside = pl.col("module_id").is_in(list(modules)).fill_null(False)
    return replace(
        trace, calls=trace.calls.filter(~inside), module_calls=trace.module_calls.filter(~inside)
    )


def modules_inside(trace: Trace, kinds: Iterable[type[nn.Module]]) -> list[int]:
    """Return the numbers of the modules of these classes and of all below them.

    A subclass is known as one where the program that analyzes has imported it.
    """
    classes = tuple(kinds)
    found: set[int] = set()
    if classes:
        for row in trace.modules.sort("module_id").iter_rows(named=True):
            if row["parent_id"] in found or _is_one(row["class"], classes):
                found.add(row["module_id"])
    return sorted(found)


def _is_one(name: str, classes: tuple[type, ...]) -> bool:
    """Tell whether the class of that name is one of `classes` or a subclass."""
    if name in {f"{kind.__module__}.{kind.__qualname__}" for kind in classes}:
        return True
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return isinstance(found, type) and issubclass(found, classes)
    return False
