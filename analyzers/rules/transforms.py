"""Fourier transforms and distances between all pairs."""

from __future__ import annotations

from math import ceil, log2, prod

from .call import Call, Operand
from .rule import Figures, OpRule, aten


def fourier(call: Call) -> Figures:
    """Return the counters of a fast Fourier transform of n elements: 5·n·log2(size) FLOPs.

    The convention of FFTW, for complex numbers; half of it where one side is real. Rounded up.
    """
    real = call.base in ("_fft_r2c", "_fft_c2r")
    over: Operand = call.out if call.base == "_fft_c2r" else call.ins[0]
    size = prod(over.dim(int(dim)) for dim in call.arg("dim", [-1]))
    flops = 5 * over.numel * log2(size) / (2 if real else 1) if size > 1 else 0.0
    return Figures(flops=ceil(flops), bytes=call.moved)


def distances(call: Call) -> Figures:
    """Return the counters of distances between all pairs of rows of d elements.

    Order 2: differences d, squares added 2d - 1, a root. Order 1: differences, their sizes, d - 1
    additions. The largest: d - 1 comparisons. Others: 4 for each element's power, 3 for the root.
    """
    pairs, d, p = call.out.numel, call.ins[0].dim(-1), _order(call)
    if p == 2:
        return Figures(3 * d * pairs, call.moved, macs=d * pairs, acs=d * pairs)
    if p in (1, float("inf")):
        return Figures((3 * d - 1) * pairs, call.moved, acs=(2 * d - 1 if p == 1 else d) * pairs)
    return Figures((6 * d - 1 + 3) * pairs, call.moved, acs=(2 * d - 1) * pairs)


def distances_backward(call: Call) -> Figures:
    """Return the counters of their gradient: for each element a difference, two scales, a sum."""
    pairs, d = call.ins[0].numel, call.ins[1].dim(-1)
    return Figures(4 * d * pairs, call.moved, macs=d * pairs, acs=d * pairs)


def _order(call: Call) -> float:
    found = call.arg("p", 2.0)
    return float(found)


RULES: tuple[OpRule, ...] = (
    OpRule("transform", aten("_fft_c2c _fft_r2c _fft_c2r"), fourier),
    OpRule("distance", aten("_cdist_forward _pdist_forward"), distances),
    OpRule("distance", aten("_cdist_backward _pdist_backward"), distances_backward),
)
