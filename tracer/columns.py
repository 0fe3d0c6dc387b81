"""Rows gathered as columns: integers in one flat array, cut by stride at a flush."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pyarrow as pa

NULL = -(1 << 63)


class Rows:
    """Rows of integers, appended flat; NULL stands for null."""

    __slots__ = ("append", "flat", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.flat = array("q")
        self.append = self.flat.extend

    def __len__(self) -> int:
        return len(self.flat) // self.width

    def take(self) -> Any:
        """Return the rows as a (rows, width) array and start anew."""
        table = np.array(self.flat, np.int64).reshape(-1, self.width)
        self.flat = array("q")
        self.append = self.flat.extend
        return table


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Return integers as an Arrow column of `kind`; NULL becomes null."""
    missing = values == NULL
    if not missing.any():
        return pa.array(values).cast(kind)
    return pa.array(np.where(missing, 0, values), mask=missing).cast(kind)


def words(codes: Any, vocabulary: list[str]) -> pa.Array:
    """Return codes as a dictionary column; NULL becomes null."""
    missing = codes == NULL
    indices = pa.array(np.where(missing, 0, codes).astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(vocabulary or [""], pa.string()))
