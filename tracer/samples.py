"""Which calls of the model belong to one sample: to one inference.

A root call continues the sample before it if what it hands back was computed from what an earlier
root call of that sample had computed from its inputs: state of neurons, a cache, an output; inside
of it or through ops between the calls (see `descent`). What is begun anew, with zeros, None or a
reset, breaks the chain by itself. So it is known as a root call ends, if not before.

Else it goes on with one of the latest samples if all that it is given is of that sample: computed
by one of its calls, or given to one. State that modules hold (running means, queues, weights) says
nothing there, nor does what is older than the optimizer step before the last (pools, replay).
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from .descent import FIXED, KEPT, TIED, WIDTH, tie_of
from .modules import ModuleCall
from .session import Session
from .values import PARAMETER, Storage

_MOST = 4096
_MOST_OPEN = 8
"""Samples that a root call may go on with: the present one and those before it."""

Marks = dict[int, tuple["weakref.ref[torch.Tensor]", int]]
"""By id: a tensor and its version."""


class _Begun(NamedTuple):
    """A sample: its first root call, its number, what its root calls were given from outside."""

    first: int
    sample: int
    given: Marks


def within_a_sample(what: str, module: nn.Module) -> str:
    """Say that the warm-up, or the last step, ended within a sample that a module goes on with."""
    return (
        f"{what} ended within a sample: {type(module).__name__} goes on with what it left; call "
        "recorder.step() at the end of each sample"
    )


class Samples:
    """Counts samples.

    Args:
        session: the recording; its `sample` and `first` are kept.

    Attributes:
        carried: calls of the model over which neurons of several steps carried their state.
        kept: a root call ran neurons or recurrent layers.
    """

    def __init__(self, session: Session) -> None:
        self.carried = 0
        self.kept = False
        self._session = session
        self._made: Marks = {}
        self._given: set[int] = set()
        self._outside: Marks = {}
        self._begun: deque[_Begun] = deque(maxlen=_MOST_OPEN)
        self._earlier: tuple[int, _Begun] | None = None
        self._told = False
        self._last: dict[int, int] = {}
        self._steps: dict[int, int] = {}
        self._carrying = False
        self._unseen: dict[int, int] = {}
        self._before: Marks = {}
        self._held: dict[int, Marks] = {}
        self._first_unseen = self._unseen_roots = 0

    def said(self) -> None:
        """The user begins a sample: the next root call is its first."""
        self._told = True

    def called(self, module: nn.Module) -> None:
        """Note the module of a root call that begins, of which the number is known."""
        session, known = self._session, id(module)
        session.before = self._last.get(known, 0)
        self._last[known] = session.roots

    def entered(self, given: list[torch.Tensor]) -> bool | None:
        """Tell whether a root call that begins is a new sample; None: it is not known yet."""
        self._given = set(map(id, given))
        self._earlier = None
        sources = {id(t): self._source(t) for t in given}
        self._outside = _marks(t for t in given if sources[id(t)] == 0)
        if self._session.sample < 0 or self._told:
            return True
        if any(self._is_made(t) for t in given) or any(map(self._is_present, sources.values())):
            return False
        earlier = self._one_before({source for source in sources.values() if source > 0})
        new = (t for t in given if sources[id(t)] == 0)
        if earlier is not None and all(_is_marked(t, earlier.given) for t in new):
            self._earlier = (self._session.roots, earlier)
        return None

    def _source(self, tensor: torch.Tensor) -> int:
        """Return the root call that has computed what a tensor holds; 0: none, -1: it is fixed."""
        for storage in self._storages((tensor,)):
            return -1 if storage.data == FIXED else storage.data // WIDTH
        return 0

    def _one_before(self, roots: set[int]) -> _Begun | None:
        """Return the sample before the present one that root calls are of, if one and recent."""
        if not roots or min(roots) <= self._session.stepped[0]:
            return None
        first, *others = [self._of_root(root) for root in roots]
        return first if all(other is first for other in others) else None

    def _of_root(self, root: int) -> _Begun | None:
        number = self._session.elsewhere.get(root)
        for begun in reversed(self._begun):
            if begun.sample == number or (number is None and begun.first <= root):
                return begun
        return None

    def _note_given(self, sample: _Begun) -> None:
        if len(sample.given) > _MOST:
            sample.given.clear()
        sample.given.update(self._outside)

    def settle(self, root: int, *, new: bool) -> int:
        """Note whether a root call begins a new sample, or goes on with one of the latest.

        Args:
            root: its number.
            new: it does not go on with the present one.

        Returns:
            Its sample: the present one of the session if it is that one, or a new one.
        """
        session = self._session
        earlier, self._earlier = self._earlier, None
        if new and earlier is not None and earlier[0] == root:
            self._note_given(earlier[1])
            if len(session.elsewhere) > _MOST:
                session.elsewhere.clear()
            session.elsewhere[root] = earlier[1].sample
            return earlier[1].sample
        if new:
            session.sample += 1
            session.first = root
            self._begun.append(_Begun(root, session.sample, {}))
            self._made.clear()
            self._told = False
        self._note_given(self._begun[-1])
        return session.sample

    def put_together(self) -> None:
        """The latest samples turn out to be parts of what is the present one now."""
        session, begun = self._session, self._begun
        while begun and begun[-1].first > session.first:
            begun.pop()
        if not begun:
            begun.append(_Begun(session.first, session.sample, {}))
        for root, sample in session.elsewhere.items():
            session.elsewhere[root] = min(sample, session.sample)

    def holds(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Tell whether tensors hold what an earlier root call of the present sample computed."""
        return any(self._is_present(s.data // WIDTH) for s in self._storages(tensors))

    def _is_present(self, root: int) -> bool:
        """Tell whether a root call is an earlier one of the present sample."""
        session = self._session
        return session.first <= root < session.roots and root not in session.elsewhere

    def _storages(self, tensors: Iterable[torch.Tensor]) -> Iterable[Storage]:
        for tensor in tensors:
            try:
                yield self._session.values.storage_of(tensor)
            except Exception:  # a tensor without a storage
                continue

    def ties(self, root: int, tensors: Iterable[torch.Tensor]) -> int:
        """Return how a root call, that has ended, is tied to earlier ones, see `descent`.

        Args:
            root: its number.
            tensors: what it hands back; if nothing in it was computed from its inputs, what it has
                read decides.

        Returns:
            `TIED`, it continues the present sample; `KEPT`, an earlier one; both, or 0.
        """
        own, found = WIDTH * root, 0
        made = [s.data & (TIED | KEPT) for s in self._storages(tensors) if s.data >= own]
        if not made:
            return TIED if self.has_read(root) else 0
        for each in made:
            found |= each
        return found

    def has_read(self, root: int) -> bool:
        """Tell whether a root call has read what an earlier one of its sample computed."""
        return self._session.tied == root

    def _is_made(self, tensor: torch.Tensor) -> bool:
        return _is_marked(tensor, self._made)

    def made(self, tensors: Iterable[torch.Tensor]) -> None:
        """Note what comes out of a root call: also what it only passes through, as a view."""
        if len(self._made) > _MOST:
            self._made = {k: made for k, made in self._made.items() if made[0]() is not None}
        self._made |= _marks(t for t in tensors if id(t) not in self._given)

    def hidden(self, call: ModuleCall, given: list[torch.Tensor]) -> None:
        """Note what a call whose work is not seen takes: tensors given and state."""
        own, found, known = WIDTH * self._session.roots, 0, False
        for storage in self._storages(given):
            known = known or storage.data > 0
            if storage.data >= own:
                found |= storage.data & (TIED | KEPT)
            elif storage.data >= WIDTH:
                found |= tie_of(self._session, own, storage.data)
        self._unseen[call.number] = own + found if known else 0

    def unseen(self, call: ModuleCall, made: list[torch.Tensor]) -> None:
        """Hand on what a call whose work is not seen took, to what it hands back and to state."""
        data = self._unseen.pop(call.number, 0)
        for storage in self._storages(made):
            storage.data = max(storage.data, data)

    def ran(self, call: ModuleCall, states: list[torch.Tensor]) -> None:
        """Note a call of a neuron as it begins."""
        known = call.root.ran.get(call.info.number)
        carries, steps = (self.holds(states), 0) if known is None else known
        call.root.ran[call.info.number] = (carries, steps + (call.time_steps or 1))

    def count_carried(self, call: ModuleCall, *, tied: bool) -> None:
        """Count a call into which all neurons carry the state of a call of several steps.

        A loop over steps calls the model, and each neuron, once a step: it is meant to carry. Where
        a state is given to the neuron, that which it still holds is of no use.

        Args:
            call: a root call that has ended.
            tied: what it hands back was computed from what earlier ones of its sample had computed.
        """
        ran = call.ran
        carried = bool(ran) and tied and not call.continues
        for number, (carries, _) in ran.items():
            carried = carried and carries and self._steps.get(number, 0) > 1
        if carried:
            self.carried += 1 if self._carrying else 2
        self._carrying = carried
        self._steps.update({number: steps for number, (_, steps) in ran.items()})

    def entered_unseen(
        self, module: nn.Module, given: list[torch.Tensor], states: list[torch.Tensor]
    ) -> bool:
        """Tell whether a root call begins a new sample in the warm-up, where no op is seen.

        It continues if it is given what came out of an earlier one, or if a state of neurons that
        an earlier one has made or changed is still there, as it was. Of what else modules hold it
        is not known whether they read it: it may be kept to be looked at.

        Args:
            module: its module.
            given: what it is given.
            states: those that its neurons have now, and what may be some.
        """
        self._given = set(map(id, given))
        told, self._told = self._told, False
        self._before = now = _marks(states)
        held = self._held.get(id(module), {})
        carried = any(_same(mark, held.get(key)) for key, mark in now.items())
        new = told or not (carried or any(self._is_made(t) for t in given))
        if new:
            self._first_unseen = self._session.roots
        return new

    def takes_up(self, given: list[torch.Tensor]) -> bool:
        """Tell whether the first recorded call is given what the warm-up's last sample computed."""
        session = self._session
        if session.sample >= 0:
            return False
        self._unseen_roots = session.roots - 1
        roots = [storage.data // WIDTH for storage in self._storages(given)]
        return any(root >= self._first_unseen > 0 for root in roots)

    @property
    def takes_up_state(self) -> bool:
        """The module of the root call that runs was last called in the warm-up."""
        return 0 < self._session.before <= self._unseen_roots

    def left_unseen(
        self, module: nn.Module, given: list[torch.Tensor], made: list[torch.Tensor],
        states: list[torch.Tensor],
    ) -> None:  # fmt: skip
        """Note the end of a root call in the warm-up.

        Args:
            module: its module.
            given: what it was given, as far as it is known.
            made: what it hands back.
            states: those that its neurons have now, and what may be some.
        """
        self.made(made)
        now, before = _marks(states), self._before
        changed = {key: mark for key, mark in now.items() if not _same(mark, before.get(key))}
        self._held[id(module)] = changed
        taken = {storage.number for storage in self._storages(given)}
        for storage in self._storages([*made, *(t for t in states if id(t) in changed)]):
            if storage.kind != PARAMETER and storage.number not in taken:
                storage.data = WIDTH * self._session.roots


def _marks(tensors: Iterable[torch.Tensor]) -> Marks:
    return {id(t): (weakref.ref(t), _version(t)) for t in tensors}


def _is_marked(tensor: torch.Tensor, marks: Marks) -> bool:
    made, version = marks.get(id(tensor), (None, 0))
    return made is not None and made() is tensor and _version(tensor) == version


def _same(one: Any, two: Any) -> bool:
    """Tell whether two marks are of one tensor, unchanged."""
    return two is not None and one[0]() is two[0]() is not None and one[1] == two[1]


def _version(tensor: torch.Tensor) -> int:
    try:
        return int(tensor._version)
    except Exception:  # of inference mode
        return 0
