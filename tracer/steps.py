"""Which step of a run the recording is in, and when it begins and ends.

A step ends where the user says so; if nobody does, at each optimizer step, and for inference at
each new sample. Until a first optimizer step tells that there is an optimizer, every root call
begins a step (a loop may update by hand); what turns out to be one step of several root calls, such
as accumulation of gradients, is then put together again, as far as it is not on the disk yet.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from .session import CALL_WIDTH, Session

_STEP_CELL = 4


class Steps:
    """Counts steps.

    Args:
        session: the recording; its `step` is kept.
        warmup: steps to let pass before recording.
        limit: steps to record, None for all.
        start: called when the warm-up is over.
        finish: called after the last step.
        joins: called with a step to make one step of it and all later ones, in other tables.
    """

    def __init__(self, session: Session, *, warmup: int, limit: int | None,
                 start: Callable[[], None], finish: Callable[[], None],
                 joins: tuple[Callable[[int], None], ...]) -> None:  # fmt: skip
        self.waiting = warmup > 0
        self._session = session
        self._warmup = warmup
        self._limit = limit
        self._start = start
        self._finish = finish
        self._joins = joins
        self._passed = 0
        self._by_hand = False
        self._optimizer_seen = False
        self._inference: bool | None = None
        self._first: int | None = None

    def said(self) -> None:
        """The user ends a step; steps are counted by hand only from the first on."""
        if not self._by_hand:
            self._by_hand = True
            if self.waiting:
                self._passed = 0
            elif not self._session.seq and self._passed == 0 and self._warmup:
                return  # the optimizer step before it has ended this one already
            else:
                self._join(0)
        self._end()

    def root_entered(self, *, inference: bool, new_sample: bool) -> None:
        """A root call begins.

        Args:
            inference: autograd does not record it, or its module is not in training.
            new_sample: it begins a new sample.
        """
        if self._inference is not None and new_sample and not self._by_hand:
            if self._inference:
                self._first = None
                self._end()
            elif not self._optimizer_seen:
                if self._first is None:
                    self._first = self._session.step
                self._end()
        self._inference = inference

    def optimizer_stepped(self) -> None:
        """An optimizer has stepped."""
        if not self._optimizer_seen and self._first is not None and not self._by_hand:
            self._join(self._first)
        self._optimizer_seen = True
        if not self._by_hand:
            self._end()

    def count(self) -> int:
        """Return the number of steps recorded; the last one counts if something is in it."""
        step = self._session.step
        if not self._session.seq:
            return 0
        ended = self._inference is None and self._passed == step and self._passed > 0
        return step if ended else step + 1

    def _join(self, first: int) -> None:
        """Make one step of `first` and all later ones, if all of them are in memory still."""
        session = self._session
        if self.waiting or session.step == first or session.parts:
            return
        cells = session.calls.flat
        steps = cells[_STEP_CELL::CALL_WIDTH]
        cells[_STEP_CELL::CALL_WIDTH] = array("q", [min(step, first) for step in steps])
        for join in self._joins:
            join(first)
        self._passed -= session.step - first
        session.step = first

    def _end(self) -> None:
        session = self._session
        self._inference = None
        self._passed += 1
        if self.waiting:
            if self._passed >= self._warmup:
                self._passed = 0
                self.waiting = False
                self._start()
        elif self._limit is not None and self._passed >= self._limit:
            self._finish()
        else:
            session.step += 1
