"""Rows of the `module_calls` table: gathered as numbers, made into columns at a flush."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..schemas.arrow import SCHEMAS
from .columns import NULL, Rows, booleans, built, column, int64_lists, lists, packed, words
from .frames import GUESSED, OBSERVED, SOURCES, TOLD, Frame

if TYPE_CHECKING:
    from .modules import ModuleCall

_NUMBERS = (
    "module_call_id", "module_id", "parent_call_id", "first_seq", "last_seq", "first_node",
    "last_node", "thread", "stage", "label", "step", "training", "grad_enabled", "step_mode",
    "batch", "time_steps", "batch_from", "time_steps_from", "sample",
    "raised",
)  # fmt: skip
_VALUES = ("inputs", "outputs", "state_before", "state_after")
_STAGES = ["forward", "recompute"]
_STEP, _THREAD, _BATCH, _SAMPLE = (
    _NUMBERS.index(name) for name in ("step", "thread", "batch", "sample")
)

Described = tuple[int, Any, bool]
"""A tensor that a module took or handed back: value's number, layout, whether it requires grad."""


class ModuleRows:
    """Calls of modules that have ended.

    Attributes:
        modes: step modes by code.
        dropped: rows that were taken back.
    """

    def __init__(self) -> None:
        self.modes: list[str] = []
        self.dropped = 0
        self._numbers = Rows(len(_NUMBERS))
        self._values: list[tuple[list[Described] | None, ...]] = []

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def total(self) -> int:
        """All rows so far: those kept, those that are on the disk, and those taken back."""
        return self._numbers.gone + len(self) + self.dropped

    def mode_code(self, mode: Any) -> int:
        """Return the code of a step mode; NULL for what is no string."""
        if not isinstance(mode, str):
            return NULL
        if mode not in self.modes:
            self.modes.append(mode)
        return self.modes.index(mode)

    def append(self, call: ModuleCall, numbers: tuple[int, ...],
               *values: list[Described] | None) -> None:  # fmt: skip
        """Add a call.

        Args:
            call: it is marked as written with the row, whatever interrupts.
            numbers: in the order of the columns that are numbers.
            values: inputs, outputs, state before and after; None is null.
        """
        del self._values[len(self) :]  # of a row whose numbers never came
        self._values.append(values)
        call.written = True
        self._numbers.append(numbers)

    def join(self, first: int) -> None:
        """Make one step of `first` and all later ones."""
        cells = self._numbers.flat
        for place in range(_STEP, len(cells), len(_NUMBERS)):
            cells[place] = min(cells[place], first)

    def settle(self, first_call: int, thread: int, frame: Frame | None) -> None:
        """Correct what was guessed of the calls inside a root call, now that more is known.

        Args:
            first_call: number of the root call.
            thread: the thread that it runs in.
            frame: what each of them takes. None: the guess was right.
        """
        cells, width = self._numbers.flat, len(_NUMBERS)
        found = None if frame is None else array("q", frame.cells())
        for row in range(len(cells) - width, -1, -width):
            if cells[row + _THREAD] != thread:
                continue
            if cells[row] < first_call:
                break
            start = row + _BATCH
            if found is None:
                for place in (start + 2, start + 3):
                    if cells[place] == GUESSED:
                        cells[place] = OBSERVED
            elif cells[start + 2] != TOLD:
                cells[start : start + 4] = found

    def move(self, first: int, sample: int, step: int | None = None) -> None:
        """Put the rows from `first` on into a sample, and into a step if one is told."""
        cells, width = self._numbers.flat, len(_NUMBERS)
        rows = len(self) - first
        for place, number in ((_SAMPLE, sample), (_STEP, step)):
            if number is not None:
                cells[first * width + place :: width] = array("q", [number]) * rows

    def lower(self, first: int, sample: int, step: int | None = None) -> None:
        """Put the rows from `first` on that are of later samples (steps) into one."""
        cells, width = self._numbers.flat, len(_NUMBERS)
        for place, number in ((_SAMPLE, sample), (_STEP, step)):
            if number is not None:
                now = cells[first * width + place :: width]
                cells[first * width + place :: width] = array("q", [min(n, number) for n in now])

    def drop(self, first: int) -> None:
        """Take the rows from `first` on back."""
        self.dropped += len(self) - first
        del self._numbers.flat[first * len(_NUMBERS) :], self._values[first:]

    def let_go(self, total: int) -> None:
        """Let rows go until `total` have been in all."""
        numbers = self._numbers
        rows = max(0, total - numbers.gone)
        cells = rows * numbers.width
        del self._values[:rows]
        del numbers.flat[:cells]
        numbers.gone = total

    def gone_with(self, rows: int) -> int:
        """Return how many will have been let go once so many more are."""
        return self._numbers.gone + rows

    def table(self, labels: list[str]) -> pa.Table:
        """Return the rows as a table; they are kept."""
        schema = SCHEMAS["module_calls"]
        rows = self._numbers.table()
        codes = {
            "stage": _STAGES, "label": labels, "step_mode": self.modes, "batch_from": SOURCES,
            "time_steps_from": SOURCES,
        }  # fmt: skip
        columns: dict[str, Any] = {}
        for name, cells in zip(_NUMBERS, np.ascontiguousarray(rows.T), strict=True):
            if name in codes:
                columns[name] = words(cells, codes[name])
            elif name in ("training", "grad_enabled", "raised"):
                columns[name] = booleans(cells == 1)
            else:
                columns[name] = column(cells, schema.field(name).type)
        kind = schema.field(_VALUES[0]).type
        columns.update(zip(_VALUES, _described(self._values[: len(rows)], kind), strict=True))
        return pa.table([columns[name] for name in schema.names], schema=schema)


def _described(rows: list[tuple[list[Described] | None, ...]], kind: pa.DataType) -> list[pa.Array]:
    """Return the lists of described tensors of rows as columns of lists of structs."""
    of_columns = [*zip(*rows, strict=True)]
    flat = [*chain.from_iterable(each for of_calls in of_columns for each in of_calls if each)]
    layouts = [layout for _, layout, _ in flat]
    fields = {
        "value_id": column(packed([number for number, _, _ in flat]), pa.int64()),
        "shape": int64_lists([layout.shape for layout in layouts]),
        "dtype": built([layout.dtype_name for layout in layouts], pa.string()),
        "requires_grad": built([grad for _, _, grad in flat], pa.bool_()),
    }
    structs = pa.StructArray.from_arrays(
        list(fields.values()), fields=[kind.value_type.field(name) for name in fields]
    )
    columns, start = [], 0
    for of_calls in of_columns:
        sizes = packed([NULL if each is None else len(each) for each in of_calls])
        length = int(sizes[sizes != NULL].sum())
        columns.append(lists(sizes, structs.slice(start, length), kind))
        start += length
    return columns
