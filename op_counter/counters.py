"""SpikingJelly's counters: what they count is read from a recording, not from the running model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

from .refusals import MeaninglessError
from .scopes import GLOBAL, Counts, added, copied

if TYPE_CHECKING:
    from torch import nn

    from .mode import DispatchCounterMode

LiveRule = Callable[[tuple[Any, ...], dict[str, Any], Any], int]
"""A user's rule: (args, kwargs, result) of one call to its count."""


class BaseCounter:
    """Counts that add up over contexts until `reset()`.

    A subclass may count anything by putting rules of its own into `rules`; those of this package
    name a column of opjoule's counts instead.

    Attributes:
        records: the counts of contexts that have ended, by scope and op.
        rules: the user's rules by op overload, evaluated at the op, in the run; where one is given
            it is used instead of the built-in one.
        ignore_modules: module classes; nothing that runs inside them is counted.
        revision: the revision that the present figures were counted under, None without any.
    """

    column: str | None = None
    revision: str | None
    _modes: list[DispatchCounterMode]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a counter that counts in no context yet.

        Not in `__init__`: subclasses written for SpikingJelly may set records, rules and
        ignore_modules there themselves.
        """
        made = super().__new__(cls)
        made.revision, made._modes = None, []
        return made

    def __init__(self) -> None:
        self.records: Counts = {}
        self.rules: dict[Any, LiveRule] = {}
        self.ignore_modules: list[type[nn.Module]] = []

    def get_counts(self) -> Counts:
        """Return the counts by scope and op: `{"Global": {op: count}, "Sequential.0": {...}}`.

        A scope's figures include those of the modules below it. Inside a context the calls up to
        now are counted. Ops are PyTorch's overloads where PyTorch is loaded, else their names.
        """
        counts = copied(self.records)
        for mode in self._modes:
            added(counts, mode.counts_so_far(self))
        return counts

    def get_total(self) -> int:
        """Return the count of everything."""
        total: int = sum(self.get_counts().get(GLOBAL, {}).values())
        return total

    def reset(self) -> None:
        """Forget what was counted; inside a context, count from here on."""
        self.records = {}
        self.revision = self._modes[0].revision if self._modes else None
        for mode in self._modes:
            mode.count_from_here(self)

    def entered(self, mode: DispatchCounterMode) -> None:
        """Note that a context counts for this counter from now on.

        Raises:
            ConfigError: it holds figures of another revision.
        """
        if self.revision not in (None, mode.revision):
            raise MeaninglessError(
                f"{type(self).__name__} holds figures of revision {self.revision} and cannot add "
                f"those of {mode.revision} to them: call reset() first, or make a new counter."
            )
        self.revision = mode.revision
        self._modes.append(mode)

    def left(self, mode: DispatchCounterMode) -> None:
        """Note that a context has ended, whatever it has counted."""
        self._modes.remove(mode)

    def add(self, counts: Counts) -> None:
        """Add counts to the present ones."""
        added(self.records, counts)


class _Counter(BaseCounter):
    def __init__(
        self,
        extra_rules: dict[Any, LiveRule] | None = None,
        extra_ignore_modules: Iterable[type[nn.Module]] | None = None,
    ) -> None:
        """Make a counter.

        Args:
            extra_rules: `{op overload: function}`; a function takes (args, kwargs, result) of a
                call and returns its count. It holds instead of the built-in rule.
            extra_ignore_modules: module classes; nothing that runs inside them is counted.

        Raises:
            ConfigError: a rule cannot be called.
        """
        super().__init__()
        for op, rule in (extra_rules or {}).items():
            if not callable(rule):
                raise MeaninglessError(
                    f"{type(self).__name__}: extra_rules[{op}] = {rule!r} is not callable; "
                    "give a function of (args, kwargs, result) that returns a number."
                )
        self.rules = dict(extra_rules or {})
        self.ignore_modules = list(extra_ignore_modules or ())


class FlopCounter(_Counter):
    """Floating-point operations: a multiplication is one, an addition is one."""

    column = "flops"


class MemoryAccessCounter(_Counter):
    """Bytes of the operands read and the results written, dense: a lower bound of the traffic."""

    column = "bytes"


class SynOpCounter(_Counter):
    """Additions that spikes trigger in products of matrices and convolutions."""

    column = "synops"


class MACCounter(_Counter):
    """Multiply-accumulates: products in which no operand is a spike tensor."""

    column = "macs"


class ACCounter(_Counter):
    """Accumulations that need no multiplication: spike-driven products, and additions."""

    column = "acs"
