"""Where root calls began that turn out to begin a sample, or none: what was gathered since then."""

from __future__ import annotations

from array import array

from .module_rows import ModuleRows
from .session import CALL_WIDTH, Session
from .steps import STEP_CELL
from .threads import Thread


class Undecided:
    """Where the rows of a root call begin.

    Args:
        session: the recording.
        rows: the module calls that have ended.
        thread: that of the root call.
    """

    def __init__(self, session: Session, rows: ModuleRows, thread: Thread) -> None:
        self.root = thread.root
        self.parts = session.parts
        self._thread = thread
        self._seq = session.seq
        self._calls = len(session.calls.flat)
        self._operands = len(session.operands.flat)
        self._synaptic = len(session.synaptic_rows)
        self._values = len(session.values.fresh)
        self._rows = len(rows)

    def is_in_memory(self, session: Session) -> bool:
        """Tell whether all since then is in memory still."""
        return self.parts == session.parts

    def move(self, session: Session, rows: ModuleRows) -> None:
        """Put all since then into the present step and sample."""
        self._move_to_step(session)
        rows.move(self._rows, session.sample, session.step)
        for call in self._thread.stack:
            call.step, call.sample = session.step, session.sample

    def put_before(self, session: Session, rows: ModuleRows, *, step: bool) -> None:
        """Put all since then into the present sample, or an earlier one; into its step if asked."""
        if step:
            self._move_to_step(session)
        rows.lower(self._rows, session.sample, session.step if step else None)
        for call in self._thread.stack:
            call.sample = session.sample
            call.step = session.step if step else call.step

    def move_to_sample(self, rows: ModuleRows, sample: int) -> None:
        """Put all since then into a sample; steps stay what they are."""
        rows.move(self._rows, sample)
        for call in self._thread.stack:
            call.sample = sample

    def _move_to_step(self, session: Session) -> None:
        cells, first = session.calls.flat, self._calls + STEP_CELL
        moved = array("q", [session.step]) * ((len(cells) - self._calls) // CALL_WIDTH)
        cells[first::CALL_WIDTH] = moved

    def drop(self, session: Session, rows: ModuleRows) -> None:
        """Take all back that was gathered since then."""
        del session.calls.flat[self._calls :], session.operands.flat[self._operands :]
        del session.synaptic_rows[self._synaptic :], session.values.fresh[self._values :]
        session.seq = self._seq
        rows.drop(self._rows)
