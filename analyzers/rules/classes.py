"""Ops without a rule of their own, counted by what PyTorch says of them."""

from __future__ import annotations

from .call import Call
from .rule import Figures

_REDUCTIONS = frozenset(
    "amax amin all any argmax argmin aminmax max min median mode norm prod std std_mean var "
    "var_mean logsumexp nansum".split()
)
"""Reductions that PyTorch's tags miss in some releases."""


def class_of(call: Call) -> tuple[str, str, Figures] | None:
    """Return how a call is counted by its class, the class, and its counters.

    A view is free; a pointwise op is one FLOP for each element of its result; a reduction one for
    each element that it reads; a factory (nothing is read) writes its result.

    Returns:
        ("free" or "class", the class, the counters); None if no class fits.
    """
    if call.is_view:
        return "free", "view", Figures()
    if "pointwise" in call.tags:
        return "class", "pointwise", Figures(flops=call.out.numel, bytes=call.moved)
    if "reduction" in call.tags or call.base in _REDUCTIONS:
        read = sum(o.numel for o in call.ins.values() if o.name not in call.only_written)
        return "class", "reduction", Figures(flops=read, bytes=call.moved)
    if call.outs and not any(o.name not in call.only_written for o in call.ins.values()):
        return "class", "factory", Figures(bytes=call.written)
    return None
