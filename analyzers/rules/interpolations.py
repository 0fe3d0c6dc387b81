"""Interpolations: each element is a weighted sum of its neighbours, one axis after the other."""

from __future__ import annotations

from functools import partial

from .call import Call
from .functions import priced
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


_COORDINATE = {True: "((x + 1) / 2) * k", False: "((x + 1) * n - 1) / 2"}
"""Grid coordinate to place in the input, with corners aligned or not."""

_NEAREST, _CUBIC = 1, 2
_WEIGHTS = 25  # a coordinate's four cubic weights: three differences, two polynomials twice


def _neighbours(call: Call, axes: int) -> tuple[int, int]:
    """Return (elements that a place is a sum of, FLOPs for their weights)."""
    mode = int(call.arg("interpolation_mode", 0))
    place = axes * priced(_COORDINATE[bool(call.arg("align_corners", False))]).flops
    if mode == _NEAREST:
        return 1, place + axes
    if mode == _CUBIC:
        return 4**axes, place + axes * _WEIGHTS
    many = 2**axes
    return many, place + 3 * axes + many * (axes - 1)


def sampling(call: Call) -> Figures:
    """Return the counters of a grid sampler: places, weights, and weighted sums a channel."""
    grid, out = call.ins[1], call.out
    many, weights = _neighbours(call, grid.dim(-1))
    places = grid.numel // max(grid.dim(-1), 1)
    each = 0 if many == 1 else 2 * many - 1
    macs = 0 if many == 1 else out.numel * many
    return Figures(places * weights + out.numel * each, call.moved, macs=macs)


def sampling_backward(call: Call) -> Figures:
    """Return the counters of its backward.

    The input's gradient adds a product an element; the grid's, two products and an addition for
    each element and axis.
    """
    grad, grid = call.ins[0], call.ins[2]
    axes = grid.dim(-1)
    many, weights = _neighbours(call, axes)
    of_input, of_grid = (bool(each) for each in call.arg("output_mask", [True, True]))
    if many == 1:
        added = grad.numel if of_input else 0
        return Figures(grid.numel // axes * weights + added, call.moved, acs=added)
    each = (2 * many if of_input else 0) + (3 * axes * many if of_grid else 0)
    macs = (many if of_input else 0) + (axes * many if of_grid else 0)
    flops = grid.numel // axes * weights + grad.numel * each
    return Figures(flops, call.moved, macs=macs * grad.numel)


def grid(call: Call) -> Figures:
    """Return the counters of an affine grid, and of its gradient: places (x, y, 1) by a matrix.

    Each coordinate of each place is a sum of as many products as a place has numbers.
    """
    theta, places = call.ins[0], call.out
    if call.base.endswith("_backward"):
        theta, places = places, theta
    terms = places.numel * theta.dim(-1)
    return Figures(2 * terms, call.moved, macs=terms)


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


RULES: tuple[OpRule, ...] = (
    *_rules(),
    OpRule("interpolation", aten("grid_sampler_2d grid_sampler_3d"), sampling),
    OpRule(
        "interpolation",
        aten("grid_sampler_2d_backward grid_sampler_3d_backward"),
        sampling_backward,
    ),
    OpRule("interpolation", aten("affine_grid_generator affine_grid_generator_backward"), grid),
)
