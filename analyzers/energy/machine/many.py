"""Many machines over one trace: counted once, priced by one product of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....schemas.costs.machine import Machine
from .actions import Actions, Counted, asked_of
from .energies import price_pj

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Priced:
    """Energies of many machines.

    Attributes:
        totals_pj: of each machine.
        unknown: of each machine, the terms that are not in its total: the trace does not tell.
    """

    totals_pj: npt.NDArray[np.float64]
    unknown: tuple[tuple[str, ...], ...]


def priced_all(actions: Actions, machines: Sequence[Machine]) -> Priced:
    """Return what each machine charges for the same actions.

    Each distinct count (quantities, filters, size of the memory that it meets) is a column, each
    machine a row of prices: the totals are the matrix times the counts.
    """
    import numpy as np  # for this alone

    places: dict[tuple[object, float | None], int] = {}
    counts: list[float] = []
    entries: list[tuple[int, int, float]] = []
    unknown = []
    for row, machine in enumerate(machines):
        lost = []
        for name, found in actions.on(machine).items():
            term = machine.term[name]
            asked = asked_of(term, machine)
            if _lost(found):
                lost.append(name)
                continue
            for at, count in found.sums:
                column = places.setdefault((asked, at), len(counts))
                if column == len(counts):
                    counts.append(float(count))
                entries.append((row, column, price_pj(term, machine, at)))
        unknown.append(tuple(lost))
    prices = np.zeros((len(machines), len(counts)))
    for row, column, price in entries:
        prices[row, column] += price
    with np.errstate(over="ignore", invalid="ignore"):  # who reads the totals refuses infinity
        totals = prices @ np.array(counts)
    return Priced(totals, tuple(unknown))


def _lost(found: Counted) -> bool:
    return found.unknown > 0 and not found.known
