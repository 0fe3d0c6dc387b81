"""Rows of the `module_calls` table: gathered as numbers, made into columns at a flush."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas import PART_TABLES
from .columns import NULL, Rows, column, words
from .frames import GUESSED, OBSERVED, SOURCES, TOLD, Frame

_NUMBERS = (
    "module_call_id", "module_id", "parent_call_id", "first_seq", "last_seq", "first_node",
    "last_node", "thread", "stage", "label", "step", "training", "grad_enabled", "step_mode",
    "batch", "time_steps", "batch_from", "time_steps_from", "sample",
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
    """

    def __init__(self) -> None:
        self.modes: list[str] = []
        self._numbers = Rows(len(_NUMBERS))
        self._values: list[tuple[list[Described] | None, ...]] = []

    def __len__(self) -> int:
        return len(self._values)

    def mode_code(self, mode: Any) -> int:
        """Return the code of a step mode; NULL for what is no string."""
        if not isinstance(mode, str):
            return NULL
        if mode not in self.modes:
            self.modes.append(mode)
        return self.modes.index(mode)

    def append(self, numbers: tuple[int, ...], *values: list[Described] | None) -> None:
        """Add a call.

        Args:
            numbers: in the order of the columns that are numbers.
            values: inputs, outputs, state before and after; None is null.
        """
        self._numbers.append(numbers)
        self._values.append(values)

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

    def move(self, first: int, step: int, sample: int) -> None:
        """Put the rows from `first` on into a step and a sample."""
        cells, width = self._numbers.flat, len(_NUMBERS)
        rows = len(self) - first
        for place, number in ((_STEP, step), (_SAMPLE, sample)):
            cells[first * width + place :: width] = array("q", [number]) * rows

    def drop(self, first: int) -> None:
        """Take the rows from `first` on back."""
        del self._numbers.flat[first * len(_NUMBERS) :], self._values[first:]

    def take(self, labels: list[str]) -> pa.Table:
        """Return the rows and start anew."""
        schema = PART_TABLES["module_calls"]
        rows = self._numbers.take()
        codes = {
            "stage": _STAGES, "label": labels, "step_mode": self.modes, "batch_from": SOURCES,
            "time_steps_from": SOURCES,
        }  # fmt: skip
        columns: dict[str, Any] = {}
        for index, name in enumerate(_NUMBERS):
            cells = rows[:, index]
            if name in codes:
                columns[name] = words(cells, codes[name])
            elif name in ("training", "grad_enabled"):
                columns[name] = pa.array(cells == 1)
            else:
                columns[name] = column(cells, schema.field(name).type)
        for index, name in enumerate(_VALUES):
            lists = [values[index] for values in self._values]
            columns[name] = _lists(lists, schema.field(name).type)
        self._values.clear()
        return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _lists(lists: list[list[Described] | None], kind: pa.DataType) -> pa.Array:
    """Return lists of described tensors as a column of lists of structs."""
    flat = [described for each in lists if each is not None for described in each]
    numbers = np.array([number for number, _, _ in flat], np.int64)
    shapes = [layout.shape for _, layout, _ in flat]
    fields = {
        "value_id": column(numbers, pa.int64()),
        "shape": pa.array(shapes, pa.list_(pa.int64())),
        "dtype": pa.array([layout.dtype_name for _, layout, _ in flat], pa.string()),
        "requires_grad": pa.array([grad for _, _, grad in flat], pa.bool_()),
    }
    structs = pa.StructArray.from_arrays(
        list(fields.values()), fields=[kind.value_type.field(name) for name in fields]
    )
    sizes = [0 if each is None else len(each) for each in lists]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int32)
    missing = np.array([each is None for each in lists], np.bool_)
    return pa.ListArray.from_arrays(
        pa.array(offsets), structs, type=kind, mask=pa.array(missing) if len(missing) else None
    )
