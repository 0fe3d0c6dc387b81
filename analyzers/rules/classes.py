"""Ops without a rule of their own, counted by what PyTorch says of them."""

from __future__ import annotations

import re

from .call import Call
from .rule import Figures

_REDUCTIONS = frozenset(
    "amax amin all any argmax argmin aminmax max min median mode norm prod std std_mean var "
    "var_mean logsumexp nansum".split()
)
"""Reductions that PyTorch's tags miss in some releases."""


def class_of(call: Call) -> tuple[str, str, Figures] | None:
    """Return how a call is counted by its class, the class, and its counters.

    A view is free; a pointwise op is one FLOP for each number of its result (a complex element is
    two); a reduction one for each number that it reads; a factory (nothing is read) writes its
    result.

    Returns:
        ("free" or "class", the class, the counters); None if no class fits.
    """
    if call.is_view:
        return "free", "view", Figures()
    if "pointwise" in call.tags:
        return "class", "pointwise", Figures(flops=call.out.numbers, bytes=call.moved)
    if "reduction" in call.tags or call.base in _REDUCTIONS:
        read = sum(o.numbers for o in call.ins.values() if o.name not in call.only_written)
        return "class", "reduction", Figures(flops=read, bytes=call.moved)
    if call.outs and not any(o.name not in call.only_written for o in call.ins.values()):
        return "class", "factory", Figures(bytes=call.written)
    return None


_OF_PYTORCH = frozenset(
    "aten prim prims profiler c10d _c10d_functional _c10d_functional_autograd quantized "
    "_quantized".split()
)
"""Namespaces of PyTorch's own ops."""

_PRODUCT = re.compile(
    r"(^|_)(\w*mm|\w*mv|matmul|v?dot|linear|linalg|conv\w*|attention|lstm|gru|rnn|einsum|\w*solve|"
    r"cholesky|ormqr|orgqr)(_|\d|$)"
)
"""What names of ops that multiply matrices hold, as words between underscores."""


def multiplies_nothing(op: str) -> bool:
    """Tell whether an op that no rule names is surely no product.

    PyTorch's own ops tell by their names: the rules have its products, and what else multiplies
    matrices (sparse ones, decompositions) says so. Of another library's op nothing is known.
    """
    space, _, name = op.partition(".")
    return space in _OF_PYTORCH and _PRODUCT.search(name.partition(".")[0]) is None
