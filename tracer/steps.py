"""Which step of a run the recording is in, and when it begins and ends.

A step ends where the user says so; if nobody does, at each optimizer step, and for inference at
each new sample. Whether a root call begins a sample is often known only as it ends: until then it
runs in the step before. Until a first optimizer step tells that there is an optimizer, every sample
begins a step (a loop may update by hand); what turns out to be one step of several root calls, such
as accumulation of gradients, is then put together again, as far as it is not on the disk yet.
Passes without gradients directly before a pass with gradients of another root module, one of each
module, belong to its step (a teacher, a key encoder, a target network), and so does one between the
forward and the backward pass. Without gradients, a pass of the module that trains is an evaluation.
Optimizers that step one after the other, without a root call or a backward pass between, share a
step: the second one is put to the first, and from then on the first one ends no step by itself.
One that steps inside a backward pass ends its step at the next root call. What follows the last
step, without a root call, belongs to it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .session import CALL_WIDTH, Session
from .threads import BACKWARD

_STAGE_CELL, STEP_CELL = 2, 4
_MOST_TEACHERS = 8
"""Passes without gradients that may turn out to belong to one step."""


class Ending(NamedTuple):
    """How a step ended.

    Attributes:
        within: its last sample may go on.
        learns: passes with gradients ran in it, and no optimizer has stepped so far.
    """

    within: bool = False
    learns: bool = False


class Steps:
    """Counts steps.

    Args:
        session: the recording; its `step` is kept.
        warmup: steps to let pass before recording.
        limit: steps to record, None for all.
        start: called when the warm-up is over, with what `finish` is called with.
        finish: called after the last step, with how it ended.
        ended: called with how many steps are recorded, as one ends that is not the last.
        joins: called with a step to make one step of it and all later ones, in other tables.
        note: tells the user something.

    Attributes:
        waiting: the warm-up is not over.
        passing: an optimizer steps that still belongs to the warm-up.
        leads: the root call that runs, or ran last, may turn out to belong to the step before it
            although it begins a sample.
        stays: what ran before that root call belongs to the last step, or is followed by its
            backward pass.
    """

    def __init__(self, session: Session, *, warmup: int, limit: int | None,
                 start: Callable[[Ending], None], finish: Callable[[Ending], None],
                 ended: Callable[[int], None],
                 joins: tuple[Callable[[int], None], ...],
                 note: Callable[[str], None]) -> None:  # fmt: skip
        self.waiting = warmup > 0
        self.passing = False
        self.leads = False
        self.stays = True
        self._session = session
        self._warmup = warmup
        self._limit = limit
        self._start = start
        self._finish = finish
        self._tell = ended
        self._joins = joins
        self._note = note
        self._passed = 0
        self._by_hand = False
        self._optimizer_seen = False
        self._inference: bool | None = None
        self._before: bool | None = None
        self._first: int | None = None
        self._alone: deque[tuple[int, int]] = deque(maxlen=_MOST_TEACHERS)
        self._learning: set[int] = set()
        self._learnt = (0, 0)
        self._module = 0
        self._stepped: list[int] = []
        self._followed: set[int] = set()
        self._held = False
        self._due = False
        self._mark = (0, 0)
        self._ended = (0, 0)

    def said(self) -> None:
        """The user ends a step; steps are counted by hand only from the first on."""
        self._held = False
        if not self._by_hand:
            self._by_hand = True
            if self.waiting:
                self._passed = 0
            elif not self._session.seq and self._passed == 0 and self._warmup:
                return  # the optimizer step before it has ended this one already
            else:
                self._join(0)
        self._end()

    def root_entered(self, module: int, *, inference: bool) -> None:
        """A root call begins.

        Args:
            module: the id of its module.
            inference: autograd does not record it, or its module is not in training.
        """
        self._stepped.clear()
        if self._held:
            self._end()
        before, seen = self._inference, self._optimizer_seen
        self._passed_by(before)
        learns = bool(self._learning)
        learnt = learns and self._backward_since(self._learnt)
        ends = before is not None and (before or not seen)
        if inference:
            self.leads = bool(before) and all(module != other for other, _ in self._alone)
            self.leads = self.leads or (learns and not learnt)
            if learns and not learnt and module not in self._learning:
                ends = bool(before) and not seen  # between a forward pass and its backward pass
        else:
            if before:
                ends = (module, self._passed) in self._alone
                if not ends and not self._by_hand:
                    self._take_in(module)
                ends = ends or (module in self._learning and not seen)
            self.leads = ends and learns and not learnt
            self._learnt = (self._session.seq, self._session.parts)
        self._due = ends and not self._by_hand
        self._inference, self._module = inference, module
        self._before = before and not learns
        self.stays = learnt or not self._due

    def _passed_by(self, inference: bool | None) -> None:
        """Note the root call before, now that it is known to which step it belongs."""
        module = self._module
        if inference is None:
            return
        if not inference:
            self._learning.add(module)
            self._alone.clear()
            return
        others = [other for other, _ in self._alone]
        if module in others:  # an evaluation: one pass of it at most has another one to go to
            for _ in range(others.index(module) + 1):
                self._alone.popleft()
        self._alone.append((module, self._passed))

    def _take_in(self, module: int) -> None:
        """Take the passes of other modules that lead to one with gradients into its step."""
        first = self._passed
        for other, step in reversed(self._alone):
            if other == module:
                break
            first = step
        if first < self._passed:
            if self.waiting:
                self._passed = first
            else:
                self._join(first)

    @property
    def learnt(self) -> bool:
        """A backward pass may have run since the last root call with gradients began."""
        return self._backward_since(self._learnt)

    @property
    def over(self) -> bool:
        """The recording is over if the root call that runs begins a sample."""
        last = not self.waiting and self._limit is not None and self._passed + 1 >= self._limit
        return self._due and last

    def root_settled(self, *, new_sample: bool) -> None:
        """It is known whether the root call that runs, or has just ended, begins a new sample."""
        due, self._due = self._due, False
        if not due or not new_sample:
            return
        if self._before:
            self._first = None
        elif self._first is None:
            self._first = self._session.step
        inference, alone = self._inference, [*self._alone]
        self._end(by_sample=True)
        self._inference = inference
        if self._passed:  # else the warm-up has ended with it
            self._alone.extend(alone)

    def rejoined(self, step: int, samples: int) -> bool:
        """Samples turn out to be part of the one before them.

        Args:
            step: the one in which that sample ended.
            samples: how many they were.

        Returns:
            Whether each of them had begun a step: they are part of `step` then.
        """
        session = self._session
        if self._by_hand or session.step - step != samples:
            return False
        self._passed -= samples
        session.step = step
        self._put_back(step)
        if self._first is not None and self._first > step:
            self._first = None
        return True

    def finish(self) -> None:
        """The last step has ended, with its sample."""
        self._end(by_sample=True)

    def optimizer_begins(self, optimizer: int) -> None:
        """An optimizer, known by its id, is about to step."""
        if self._by_hand:
            return
        self._optimizer_is_there()
        if not self._stepped:
            return
        if optimizer in self._stepped or self._backward_since(self._mark):
            self._stepped.clear()
            if self._held:
                self._end()
            return
        self._followed.add(self._stepped[-1])
        if self._held:
            self._held = False
        elif self.waiting:
            self._passed -= 1
        elif self._session.step:
            self._join(self._session.step - 1)
        else:  # the one before has ended the warm-up
            self.passing = self._session.passive = True

    def _optimizer_is_there(self) -> None:
        """Put the passes since the last step together: an optimizer uses the gradients of all."""
        if not self._optimizer_seen and self._first is not None:
            self._join(self._first)
        self._optimizer_seen = True

    def optimizer_stepped(self, optimizer: int, *, in_backward: bool) -> None:
        """An optimizer has stepped, perhaps inside a backward pass."""
        if self.passing:
            self.passing = self._session.passive = False
            self._session.values.trust_nothing()
            self._stepped.append(optimizer)
            return
        if self._by_hand:
            return
        self._optimizer_is_there()
        if in_backward:
            self._held = True
            return
        if optimizer in self._followed:
            self._held = True
        else:
            self._end()
        self._stepped.append(optimizer)
        self._mark = (self._session.seq, self._session.parts)

    def _backward_since(self, mark: tuple[int, int]) -> bool:
        """Tell whether a backward pass may have run since a mark: a call's number, parts then."""
        seq, parts = mark
        session = self._session
        if session.parts != parts:
            return True
        cells = session.calls.flat
        since = max(0, len(cells) - (session.seq - seq) * CALL_WIDTH)
        return BACKWARD in cells[since + _STAGE_CELL :: CALL_WIDTH]

    def count(self) -> int:
        """Return the number of steps recorded; the last one counts if something is in it."""
        session = self._session
        step = session.step
        if not session.seq:
            return 0
        return step if self._between and session.seq == self._ended[0] else step + 1

    def close(self) -> None:
        """The recording ends: what followed its last step belongs to it, unless it is written."""
        session = self._session
        if self._between and session.parts == self._ended[1]:
            self._put_together(session.step - 1)

    @property
    def _between(self) -> bool:
        """A step has ended, and no root call has run since."""
        return self._inference is None and self._passed == self._session.step and self._passed > 0

    def _join(self, first: int) -> None:
        """Make one step of `first` and all later ones, if all of them are in memory still."""
        session = self._session
        if self.waiting or session.step == first:
            return
        if session.parts:
            self._note(
                f"steps {first} to {session.step} are one step: they were on the disk before that "
                "was known; call recorder.step() at the end of each step"
            )
            return
        self._passed -= session.step - first
        self._put_back(first)
        self._put_together(first)

    def _put_back(self, last: int) -> None:
        """Of all that ran alone after a step, note that it ran in it."""
        for place, (module, step) in enumerate(self._alone):
            self._alone[place] = (module, min(step, last))

    def _put_together(self, first: int) -> None:
        session = self._session
        cells = session.calls.flat
        steps = cells[STEP_CELL::CALL_WIDTH]
        cells[STEP_CELL::CALL_WIDTH] = array("q", [min(step, first) for step in steps])
        for join in self._joins:
            join(first)
        session.step = first

    def _end(self, *, by_sample: bool = False) -> None:
        session = self._session
        if not by_sample and session.stepped[1] != session.roots:
            session.stepped = (session.stepped[1], session.roots)
        self._inference = None
        self._held = self._due = False
        learns = by_sample and bool(self._learning) and not self._optimizer_seen
        ending = Ending(within=not by_sample, learns=learns)
        self._alone.clear()
        self._learning.clear()
        self._passed += 1
        if self.waiting:
            if self._passed >= self._warmup:
                self._passed = 0
                self.waiting = False
                self._start(ending)
        elif self._limit is not None and self._passed >= self._limit:
            self._finish(ending)
        else:
            session.step += 1
            self._ended = (session.seq, session.parts)
            self._tell(session.step)
