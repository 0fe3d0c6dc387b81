"""What a rule is: the ops of a family, and the five counters of one call of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .amount import Amount
from .call import Call

Figure = Amount | int | None
"""A counter of a call: a number, an amount that depends on the data, or None: unknown."""


@dataclass(frozen=True)
class Figures:
    """The five counters of a call; None is unknown, never 0."""

    flops: Figure = 0
    bytes: Figure = 0
    synops: Figure = 0
    macs: Figure = 0
    acs: Figure = 0


@dataclass(frozen=True)
class OpRule:
    """How the calls of some ops are counted.

    A rule of one's own goes to `count(trace, extra_rules=[...])`; it is asked before the built-in
    ones::

        OpRule("mine", ("mylib.scale.default",), lambda call: Figures(call.out.numel, call.moved))

    Attributes:
        family: what the ops have in common.
        ops: names with overload (`aten.mm.default`), or without (`aten.mm`) for all overloads.
        figures: returns the counters of one call.
        free: the ops compute and move nothing: views, metadata.
    """

    family: str
    ops: tuple[str, ...]
    figures: Callable[[Call], Figures]
    free: bool = False


def aten(names: str) -> tuple[str, ...]:
    """Return `aten.` names from words: "mm add.Tensor"."""
    return tuple(f"aten.{name}" for name in names.split())
