"""What the user of a recording is told: notes of the trace, warnings, and how it failed."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..schemas import RecordError
from ..schemas.errors import printable
from .calls_of_modules import ModuleCalls
from .outcome import said


class RecordingWarning(UserWarning):
    """Something about a recording that its reader has to know."""

    def __str__(self) -> str:
        return printable(super().__str__())


class Notices:
    """The notices of one recording.

    Args:
        path: where its trace was to be.

    Attributes:
        warnings: what is said at the end.
        broken: why the recording is lost or not whole; None: it is not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: list[str] = []
        self.warnings: list[str] = []
        self.broken: RecordError | None = None

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self._notes:
            self._notes.append(text)

    def told(self, calls: ModuleCalls, device_note: str) -> list[str]:
        """Return what the user is told in words."""
        notes = [*self._notes, *calls.unknown.told()]
        if device_note:
            notes.append(device_note)
        carried = calls.samples.carried
        if carried:
            notes.append(
                f"neurons carried their state over {carried} calls of the model: calls without a "
                "reset between count as one sample of all their time steps; reset them between "
                "samples"
            )
        return notes

    def unclosed(self, error: Exception) -> None:
        """An exception has kept the trace from being closed."""
        self.broken = error if isinstance(error, RecordError) else RecordError(
            f"the recording of {self._path} could not be closed: {type(error).__name__}: "
            f"{said(error)}."
        )  # fmt: skip

    def ended_early(self, error: Exception, kept: Path) -> None:
        """An exception of the recorder has ended the recording; what came before is at `kept`."""
        self.broken = RecordError(
            f"the recording of {self._path} ended with an error of its own, "
            f"{type(error).__name__}: {said(error)}. What was recorded until then is in {kept}, "
            "for --partial (partial=True)."
        )

    def give(self, error: BaseException | None) -> None:
        """Say at the end what the reader of the trace has to know; never in an error's place.

        Args:
            error: what the context of the recording ends with, if anything.

        Raises:
            RecordError: the recording is lost or not whole, and the context's own error is none.
        """
        if error is None and self.broken is not None:
            raise self.broken
        broken = [] if self.broken is None else [str(self.broken)]
        for text in (*broken, *self.warnings):
            try:
                warnings.warn(text, RecordingWarning, stacklevel=3)
            except RecordingWarning:  # warnings are errors here
                if error is None:
                    raise
