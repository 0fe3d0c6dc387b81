"""How many samples and time steps a call takes, and where that is known from."""

from __future__ import annotations

from typing import NamedTuple

from .columns import NULL

SOURCES = ["told", "observed", "guessed"]
"""Where a number is known from: said by the user or by a module, shown by the data, or guessed."""

TOLD, OBSERVED, GUESSED = range(3)


class Frame(NamedTuple):
    """What an input holds.

    Attributes:
        batch: samples; None: unknown.
        steps: time steps; None: unknown.
        batch_from: code of the source of `batch`, NULL where that is None.
        steps_from: code of the source of `steps`, NULL where that is None.
        length: size of the dimension in front of the batch, where that is a sequence.
        single: there is one sample and no dimension of the batch.
    """

    batch: int | None = None
    steps: int | None = None
    batch_from: int = NULL
    steps_from: int = NULL
    length: int | None = None
    single: bool = False

    def cells(self) -> tuple[int, int, int, int]:
        """Return batch, time steps and their sources as columns."""
        batch = NULL if self.batch is None else self.batch
        steps = NULL if self.steps is None else self.steps
        return batch, steps, self.batch_from, self.steps_from


UNKNOWN = Frame()
