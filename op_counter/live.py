"""What has to happen at the op, in the run: refusing what is not covered, and the users' rules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .counters import BaseCounter
from .known_ops import UncoveredOpError
from .lineage import Lineage
from .scopes import GLOBAL, Counts, added, scope_of

_LOG = logging.getLogger("opjoule.op_counter")


class Watch:
    """Is told of every call while a context is open.

    Args:
        lineage: the modules of the recording.
        counters: the counters of the context.
        covers: tells whether a counter has a rule for an op.
        strict: refuse an op that a counter does not cover.
        verbose: log every call and what it is to each counter.
    """

    def __init__(self, lineage: Lineage, counters: list[BaseCounter],
                 covers: Callable[[BaseCounter, Any], bool], *,
                 strict: bool, verbose: bool) -> None:  # fmt: skip
        self.skipped: dict[BaseCounter, dict[str, int]] = {c: {} for c in counters}
        self._lineage = lineage
        self._counters = counters
        self._covers = covers
        self._covered: dict[tuple[int, Any], bool] = {}
        self._strict = strict
        self._verbose = verbose
        self._counts: dict[BaseCounter, dict[tuple[int, Any], int]] = {c: {} for c in counters}

    def __call__(self, seq: int, module: int, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Look at a call that has just run."""
        for index, counter in enumerate(self._counters):
            if counter.ignore_modules and self._ignores(counter, module):
                continue
            rule = counter.rules.get(op)
            if rule is not None:
                key = (module, op)
                found = self._counts[counter]
                found[key] = found.get(key, 0) + int(rule(args, kwargs, result))
                continue
            covered = self._covered.get((index, op))
            if covered is None:
                covered = self._covered[index, op] = self._covers(counter, op)
            if self._verbose:
                how = "counted" if covered else "skipped: no rule"
                _LOG.info("call %d %s: %s by %s", seq, op, how, type(counter).__name__)
            if not covered:
                self._skip(counter, str(op), module)

    def counts(self, counter: BaseCounter) -> Counts:
        """Return what the user's rules of a counter have counted so far."""
        counts: Counts = {}
        for (module, op), number in self._counts[counter].items():
            scopes = {GLOBAL, *(scope_of(path) for path, _ in self._lineage.of(module))}
            added(counts, {scope: {op: number} for scope in scopes})
        return counts

    def _skip(self, counter: BaseCounter, name: str, module: int) -> None:
        skipped = self.skipped[counter]
        skipped[name] = skipped.get(name, 0) + 1
        if self._strict:
            line = self._lineage.of(module)
            where = f" in {line[0][0]}" if line else ""
            raise UncoveredOpError(
                f"{type(counter).__name__} has no rule for {name}{where}. Give it one with "
                "extra_rules, leave the module out with extra_ignore_modules, or set strict=False."
            )

    def _ignores(self, counter: BaseCounter, module: int) -> bool:
        kinds = tuple(counter.ignore_modules)
        return any(issubclass(kind, kinds) for _, kind in self._lineage.of(module))
