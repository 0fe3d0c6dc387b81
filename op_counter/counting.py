"""Counts of a recording by scope and op, as the chosen revision counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..analyzers import Trace, count, open_trace
from .revisions import rules_of
from .runs import own_part
from .without import without_modules


class Counted:
    """The counts of one recording or snapshot.

    Args:
        path: where it is; it need not be finished.
        revision: whose rules count.
    """

    def __init__(self, path: Path, revision: str) -> None:
        self._path = path
        self._trace: Trace | None = None
        self._rules = rules_of(revision)
        self._rows: dict[tuple[int, ...], list[dict[str, Any]]] = {}

    def rows(self, ignored: Iterable[int]) -> list[dict[str, Any]]:
        """Return one row for each scope and op with all counters.

        Args:
            ignored: numbers of the modules whose calls are left out.
        """
        key = tuple(ignored)
        if key not in self._rows:
            if self._trace is None:
                # Unfinished on purpose: it is read while the recording goes on.
                opened = open_trace(own_part(self._path), partial=True)
                self._trace = replace(opened, left_out=None)
            trace = without_modules(self._trace, key)
            counts = count(trace, by=["module", "op"], rules=self._rules)
            self._rows[key] = counts.frame.to_dicts()
        return self._rows[key]
