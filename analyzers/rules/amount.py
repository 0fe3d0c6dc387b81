"""Amounts: whole numbers times facts about the data that differ from call to call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

CALLS = "calls"
STATISTICS = (
    "in0_nonzero",
    "in1_nonzero",
    "in2_nonzero",
    "in3_nonzero",
    "out0_nonzero",
    "x_fanout",
    "grad_fanout",
    "overlap",
    "zero_pairs",
)
"""Facts of calls that an amount may depend on; nothing but sums of them is needed."""


@dataclass(frozen=True)
class Amount:
    """A linear form over `CALLS` and `STATISTICS`, with whole coefficients.

    Because it is linear, the amount of many calls is the form of their summed statistics: exact,
    whatever the order.
    """

    parts: Mapping[str, int]

    def __add__(self, other: Amount | int) -> Amount:
        added = dict(self.parts)
        for name, coefficient in amount(other).parts.items():
            added[name] = added.get(name, 0) + coefficient
        return Amount(MappingProxyType(added))

    __radd__ = __add__

    def __mul__(self, factor: int) -> Amount:
        return Amount(MappingProxyType({name: c * factor for name, c in self.parts.items()}))

    __rmul__ = __mul__


def amount(value: Amount | int) -> Amount:
    """Return a number of things in every call as an amount."""
    return value if isinstance(value, Amount) else Amount(MappingProxyType({CALLS: value}))


@cache
def of(statistic: str) -> Amount:
    """Return a statistic as an amount."""
    return Amount(MappingProxyType({statistic: 1}))
