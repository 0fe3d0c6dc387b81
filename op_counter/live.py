"""What has to happen at the op, in the run: refusing what is not covered, and the users' rules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .counters import BaseCounter, LiveRule
from .known_ops import UncoveredOpError
from .lineage import Lineage
from .scopes import GLOBAL, Counts, added, scope_of

_LOG = logging.getLogger("opjoule.op_counter")


@dataclass(frozen=True)
class _Plan:
    """What an op in a module is to the counters, in their order.

    Attributes:
        rules: counters with a rule of the user's.
        skipped: counters without any rule.
        refused: the counter that refuses the op; those behind it are not asked.
        words: what is logged of it.
    """

    rules: tuple[tuple[BaseCounter, LiveRule], ...]
    skipped: tuple[BaseCounter, ...]
    refused: BaseCounter | None
    words: tuple[str, ...]


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
        self._lineage = lineage
        self._counters = counters
        self._covers = covers
        self._strict = strict
        self._verbose = verbose
        self._plans: dict[tuple[int, Any], _Plan] = {}
        self._calls: dict[tuple[int, Any], int] = {}
        self._counts: dict[BaseCounter, dict[tuple[int, Any], int]] = {c: {} for c in counters}

    def __call__(self, seq: int, module: int, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Look at a call that has just run.

        Raises:
            UncoveredOpError: a counter has no rule for it, under strict.
        """
        key = (module, op)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._planned(module, op)
        self._calls[key] = self._calls.get(key, 0) + 1
        for counter, rule in plan.rules:
            found = self._counts[counter]
            found[key] = found.get(key, 0) + _plain(rule(args, kwargs, result))
        if self._verbose:
            for words in plan.words:
                _LOG.info("call %d %s: %s", seq, op, words)
        if plan.refused is not None:
            self._refuse(plan.refused, op, module)

    def counts(self, counter: BaseCounter) -> Counts:
        """Return what the user's rules of a counter have counted so far."""
        counts: Counts = {}
        for (module, op), number in self._counts[counter].items():
            scopes = {GLOBAL, *(scope_of(path) for path, _ in self._lineage.of(module))}
            added(counts, {scope: {op: number} for scope in scopes})
        return counts

    def skipped(self, counter: BaseCounter) -> dict[str, int]:
        """Return the ops that a counter has no rule for, with their calls."""
        found: dict[str, int] = {}
        for key, calls in self._calls.items():
            if counter in self._plans[key].skipped:
                name = str(key[1])
                found[name] = found.get(name, 0) + calls
        return found

    def _planned(self, module: int, op: Any) -> _Plan:
        rules, skipped, words, refused = [], [], [], None
        for counter in self._counters:
            if counter.ignore_modules and self._ignores(counter, module):
                continue
            rule = counter.rules.get(op)
            name = type(counter).__name__
            if rule is not None:
                rules.append((counter, rule))
                words.append(f"counted by a rule of {name}'s")
            elif self._covers(counter, op):
                words.append(f"counted by {name}")
            else:
                skipped.append(counter)
                words.append(f"skipped: no rule by {name}")
                if self._strict:
                    refused = counter
                    break
        return _Plan(tuple(rules), tuple(skipped), refused, tuple(words))

    def _refuse(self, counter: BaseCounter, op: Any, module: int) -> None:
        line = self._lineage.of(module)
        where = f" in {line[0][0]}" if line else ""
        raise UncoveredOpError(
            f"{type(counter).__name__} has no rule for {op}{where}. Give it one with extra_rules, "
            "leave the module out with extra_ignore_modules, or set strict=False."
        )

    def _ignores(self, counter: BaseCounter, module: int) -> bool:
        kinds = tuple(counter.ignore_modules)
        return any(issubclass(kind, kinds) for _, kind in self._lineage.of(module))


def _plain(count: Any) -> Any:
    """Return a count as a number, also where a rule gave a tensor with one element."""
    return count.item() if hasattr(count, "item") else count
