"""Counts by scope and op, in the shape of SpikingJelly's counters."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

GLOBAL = "Global"

Counts = dict[str, dict[Any, int]]
"""`{scope: {op: count}}`."""

_REPEATED_ROOT = re.compile(r"^([^.]+)#\d+(?=\.|$)")


def copied(counts: Counts) -> Counts:
    """Return counts that can be changed without changing these."""
    return {scope: dict(ops) for scope, ops in counts.items()}


def added(counts: Counts, more: Counts) -> None:
    """Add `more` to `counts`."""
    for scope, ops in more.items():
        row = counts.setdefault(scope, {})
        for op, number in ops.items():
            row[op] = row.get(op, 0) + number


def subtracted(counts: Counts, less: Counts) -> Counts:
    """Return `counts` without what `less` holds; ops and scopes that are left with nothing go."""
    rest: Counts = {}
    for scope, ops in counts.items():
        before = less.get(scope, {})
        row = {
            op: n - before.get(op, 0)
            for op, n in ops.items()
            if op not in before or n != before[op]
        }
        if row:
            rest[scope] = row
    return rest


def scope_of(path: str) -> str:
    """Return the scope of a module path: roots of one class share theirs, as in SpikingJelly."""
    return _REPEATED_ROOT.sub(r"\1", path)


def counts_of(
    rows: Iterable[Mapping[str, Any]], column: str, known: frozenset[str] | None
) -> Counts:
    """Return rows with `module`, `op` and `column` as counts.

    Args:
        rows: one for each scope and op; the scope of everything is "Global".
        column: the counter.
        known: names of the ops to keep; None keeps those that were counted at all.
    """
    counts: Counts = {}
    for row in rows:
        number, name = row[column], row["op"]
        if (name not in known) if known is not None else not number:
            continue
        added(counts, {scope_of(row["module"]): {op_of(name): int(number or 0)}})
    return counts


def op_of(name: str) -> Any:
    """Return PyTorch's overload of that name, or the name where PyTorch does not know it."""
    torch = sys.modules.get("torch")
    parts = name.split(".")
    if torch is None or len(parts) != 3:
        return name
    found: Any = torch.ops
    for part in parts:
        try:
            found = getattr(found, part)
        except (AttributeError, RuntimeError):
            return name
    return found
