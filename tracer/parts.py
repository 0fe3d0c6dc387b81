"""Bringing what a recording gathers to the disk, part by part, whatever interrupts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pyarrow as pa

from .calls_of_modules import ModuleCalls
from .flush import CALL_WIDTH, Batch, gathered, let_go
from .session import Session
from .threads import Thread
from .writer import Writer

Static = tuple[int, Callable[[], pa.Table]]
_LOOK_AFTER = 64 * CALL_WIDTH
_FIRST_S, _LONGEST_S = 1.0, 60.0
"""A part that is not full yet is saved after so long, and after twice as long each time."""


class Parts:
    """The parts of one recording.

    Args:
        session: the recording.
        writer: writes them.
        calls: the module calls.
        labels: the labels used so far, by code.
        static: returns by name how many rows each static table has, and what makes it.
    """

    def __init__(self, session: Session, writer: Writer, calls: ModuleCalls, labels: list[str],
                 static: Callable[[], dict[str, Static]]) -> None:  # fmt: skip
        self._session = session
        self._writer = writer
        self._calls = calls
        self._labels = labels
        self._static = static
        self._batch: Batch | None = None
        self._save_at = time.monotonic() + _FIRST_S
        self._wait = _FIRST_S

    @property
    def full(self) -> bool:
        """There are calls enough for a part."""
        return len(self._session.calls.flat) >= self._session.part_cells

    @property
    def too_full(self) -> bool:
        """There are calls enough for two parts."""
        return len(self._session.calls.flat) >= 2 * self._session.part_cells

    @property
    def due(self) -> bool:
        """What there is of a part should be saved: who kills the process may not wait."""
        return time.monotonic() >= self._save_at

    def look_again(self) -> None:
        """Say when to look again whether a part is full or due."""
        session = self._session
        session.look_at = min(session.part_cells, len(session.calls.flat) + _LOOK_AFTER)

    def flush(self, *, last: bool = False) -> None:
        """Write what was gathered; rows are let go once all of them are on the disk.

        Args:
            last: nothing comes after.

        Raises:
            RecordError: the disk refuses.
        """
        self._write_batch()
        if self._session.device_measurer is not None:
            self._session.device_measurer.collect()
        self._batch = self._gathered(last=last)
        self._write_batch()

    def save(self) -> None:
        """Write what there is of the present part; the part itself takes its place.

        Raises:
            RecordError: the disk refuses.
        """
        self._write_batch()
        self.write_static("signatures", "modules", "optimizer_steps")
        for name, table in self._gathered().tables.items():
            self._writer.save(name, table)
        self._wait = min(2 * self._wait, _LONGEST_S)
        self._save_at = time.monotonic() + self._wait

    def _gathered(self, *, last: bool = False) -> Batch:
        counts = self._writer.counts()
        return gathered(self._session, self._labels, self._calls.rows, counts, last=last)

    def _write_batch(self) -> None:
        """Write what is not written yet of the batch; an interrupted one is gone on with."""
        batch = self._batch
        if batch is None:
            return
        for name, table in batch.tables.items():
            if self._writer.counts()[name] == batch.parts[name]:
                self._writer.write(name, table)
        let_go(self._session, batch, self._calls.rows)
        self._session.parts = self._writer.counts()["calls"]
        self._batch = None

    def write_static(self, *names: str, writer: Writer | None = None) -> None:
        """Write the static tables: all of them, or those named that have grown since.

        Args:
            *names: of the tables.
            writer: writes them; None: that of the recording.

        Raises:
            RecordError: the disk refuses.
        """
        tables = self._static()
        writer = writer or self._writer
        known = writer.rows
        for name in names or tables:
            rows, make = tables[name]
            if not names or known[name] != rows:
                writer.write(name, make())

    def missing(self, threads: Iterable[Thread]) -> str | None:
        """Return what an interrupt has cost, in words; None if everything that ran is written."""
        rows = self._writer.rows
        calls = self._session.seq - rows["calls"]
        module_calls = self._calls.lost(threads)
        module_calls += self._calls.rows.total - self._calls.rows.dropped - rows["module_calls"]
        if not calls and not module_calls and self._session.ordered:
            return None
        return (
            f"{calls} calls and {module_calls} module calls are missing: the recorder was "
            "interrupted at work"
        )
