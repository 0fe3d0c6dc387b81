"""Interpolations: each element is a weighted sum of its neighbours, one axis after the other."""

from __future__ import annotations

from functools import partial

from .call import Call
from .rule import Figures, OpRule, aten

_TAPS = {"linear": (2, 1), "bilinear": (6, 3), "trilinear": (14, 7), "bicubic": (20, 15)}
"""Multiplications and additions of an interpolated element, one dimension after the other."""


def interpolation(call: Call, *, kind: str) -> Figures:
    """Return the counters of an interpolation, its weights given: w0·a + w1·b along each axis."""
    products, additions = _TAPS[kind]
    out = call.out.numel
    return Figures(out * (products + additions), call.moved, macs=out * products)


def interpolation_backward(call: Call, *, kind: str) -> Figures:
    """Return the counters of its backward: the same products, each added to a gradient."""
    grad, products = call.ins[0].numel, _TAPS[kind][0]
    return Figures(2 * grad * products, call.moved, macs=grad * products)


def _rules() -> tuple[OpRule, ...]:
    names = {
        "linear": "linear1d",
        "bilinear": "bilinear2d",
        "trilinear": "trilinear3d",
        "bicubic": "bicubic2d",
    }
    return tuple(
        rule
        for kind, name in names.items()
        for rule in (
            OpRule("interpolation", aten(f"upsample_{name}"), partial(interpolation, kind=kind)),
            OpRule(
                "interpolation",
                aten(f"upsample_{name}_backward"),
                partial(interpolation_backward, kind=kind),
            ),
        )
    )


RULES: tuple[OpRule, ...] = _rules()
