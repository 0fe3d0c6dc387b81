"""What a rule is: the ops of a family, and the five counters of one call of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ...schemas.several import texts
from .amount import Amount
from .call import Call

Figure = Amount | int | None
"""A counter of a call: a number, an amount that depends on the data, or None: unknown."""


PRODUCTS = (
    "product",
    "product backward",
    "convolution",
    "convolution backward",
    "attention",
    "attention backward",
    "recurrence",
    "recurrence backward",
    "fused layer",
)
"""Families of products: matrices, convolutions, attention, recurrent and fused layers."""


WITHOUT_MACS = ("transform",)
"""Families whose work is sums of products, and whose rules count FLOPs and no MACs."""


class Figures(NamedTuple):
    """The five counters of a call, and its dense products; None is unknown, never 0.

    Attributes:
        flops: FLOPs.
        bytes: bytes read and written.
        synops: SynOps.
        macs: MACs.
        acs: ACs.
        dense_macs: multiply-accumulates of the call's products if no operand were spikes. A rule
            leaves it out (None) where they are `macs` of such a call, in families of `PRODUCTS`,
            and where there are none, in all others; `RuleSet.figures` fills it in.
    """

    flops: Figure = 0
    bytes: Figure = 0
    synops: Figure = 0
    macs: Figure = 0
    acs: Figure = 0
    dense_macs: int | None = None


UNKNOWN = Figures(None, None, None, None, None)
"""Figures of which nothing is known."""

Counted = tuple[str, str, Figures]
"""How a call is counted (`rule`, `class`, `free` or `uncovered`), its family, and the counters."""


@dataclass(frozen=True)
class OpRule:
    """How the calls of some ops are counted.

    A rule of one's own goes to `count(trace, extra_rules=[...])`; it is asked before the built-in
    ones::

        OpRule("mine", ("mylib.scale.default",), lambda call: Figures(call.out.numel, call.moved))

    Attributes:
        family: what the ops have in common; one of `PRODUCTS` if its MACs are of products.
        ops: names with overload (`aten.mm.default`), or without (`aten.mm`) for all overloads;
            or one name.
        figures: returns the counters of one call.
        free: the ops compute and move nothing: views, metadata.
        factors: of a product of two operands, the slots of the first factor (a layer's
            input) and of the second (its weights).
        sparse: returns the counters of a call with sparse operands, of which it is known how many
            elements they store; None: such calls are of unknown size.
    """

    family: str
    ops: tuple[str, ...]
    figures: Callable[[Call], Figures]
    free: bool = False
    factors: tuple[int, int] | None = None
    sparse: Callable[[Call], Figures] | None = None

    def counted(self, call: Call) -> Figures:
        """Return the counters of a call, all unknown where it shows no sizes."""
        if not call.opaque:
            return self.figures(call)
        return UNKNOWN if self.sparse is None else self.sparse(call)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(texts(self.ops)))


def added(*figures: Figure) -> Figure:
    """Return a sum of figures; None if one of them is unknown."""
    total: Figure = 0
    for figure in figures:
        total = None if total is None or figure is None else total + figure
    return total


def aten(names: str) -> tuple[str, ...]:
    """Return `aten.` names from words: "mm add.Tensor"."""
    return tuple(f"aten.{name}" for name in names.split())
