"""PyTorch's primitives (`prims.*`), which derivatives of derivatives and decompositions run.

Each counts as the op of `aten` that does the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .elementwise import each
from .rule import OpRule

_ALIKE = frozenset(
    "abs acos acosh add amax amin asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or "
    "bitwise_xor cat ceil clone cos cosh div eq erf erfc exp exp2 expm1 floor fmax fmin fmod ge gt "
    "hypot le lgamma log log10 log1p log2 lt maximum minimum mul ne neg pow prod reciprocal "
    "remainder round rsqrt sign signbit sin sinh sqrt sub sum tan tanh trunc var "
    "as_strided as_strided_scatter empty_permuted empty_strided fill normal scalar_tensor squeeze "
    "transpose where".split()
)
"""Primitives that are called as the op of `aten` that does the same."""

_OTHERWISE = {
    "broadcast_in_dim": "expand", "collapse": "clone", "collapse_view": "view", "conj": "_conj",
    "conj_physical": "_conj_physical", "convert_element_type": "_to_copy",
    "copy_strided": "clone", "copy_to": "copy_", "device_put": "_to_copy", "imag": "view_as_real",
    "iota": "arange", "item": "_local_scalar_dense", "real": "view_as_real",
    "reshape": "_reshape_copy", "resize": "resize_", "rev": "flip", "split_dim": "view",
    "view_of": "view",
}  # fmt: skip
"""Primitive -> the op of `aten`, where the names differ."""

_ONE_EACH = (
    "bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 cbrt digamma erf_inv erfcx gcd "
    "igamma igammac isfinite ndtri nextafter shift_left shift_right_arithmetic spherical_bessel_j0 "
    "zeta"
)
"""Functions of one FLOP that have no row in `functions.COSTS`."""


def primitives_of(rules: Iterable[OpRule]) -> tuple[OpRule, ...]:
    """Return the rules of primitives, given those of `aten`."""
    found = [OpRule("function", tuple(f"prims.{name}" for name in _ONE_EACH.split()), each)]
    for rule in rules:
        bases = {op.removeprefix("aten.") for op in rule.ops if op.startswith("aten.")}
        alike = [name for name in _ALIKE if name in bases]
        alike += [name for name, base in _OTHERWISE.items() if base in bases]
        if alike:
            found.append(replace(rule, ops=tuple(f"prims.{name}" for name in sorted(alike))))
    return tuple(found)
