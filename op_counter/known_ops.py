"""Which ops each of SpikingJelly's counters has a rule for, by overload, in its revisions.

A counter of SpikingJelly that has no rule for an op skips it; under `strict` it refuses it. Both
need the list before the run. The figures themselves come from `opjoule.analyzers`.
"""

from __future__ import annotations

from ..schemas import RuleError
from .revisions import RELEASE, TUTORIAL


class UncoveredOpError(RuleError, NotImplementedError):
    """An op that a counter has no rule for ran under `strict=True`."""


def _named(text: str) -> frozenset[str]:
    """Return "mm add.Tensor" as full names; a name without overload means `default`."""
    return frozenset(f"aten.{n}" if "." in n else f"aten.{n}.default" for n in text.split())


def _overloads(names: str, overloads: str = "Tensor Scalar") -> frozenset[str]:
    return _named(" ".join(f"{n}.{o}" for n in names.split() for o in overloads.split()))


_PRODUCTS = _named("mm addmm bmm baddbmm convolution")
_ADDITIONS = _overloads("add add_ sub sub_ rsub")
_ACCUMULATED = _ADDITIONS | _named(
    "native_batch_norm avg_pool2d sum sum.dim_IntList mean.dim sigmoid_"
)
_EVERYWHERE = (
    _PRODUCTS
    | _ACCUMULATED
    | _overloads("mul mul_ div div_ eq ne lt le gt ge")
    | _named("""
        convolution_backward native_batch_norm_backward max_pool2d_with_indices
        max_pool2d_with_indices_backward neg neg_ logical_and logical_or logical_xor logical_not
        stack clone _to_copy full_like ones_like select_backward view empty.memory_format
        select.int detach t expand
    """)
)
_ATTENTION = "flash_attention flash_attention_for_cpu efficient_attention cudnn_attention".split()
_ONLY_IN_THE_RELEASE = _named("sigmoid unsqueeze squeeze.dim unbind.int") | _named(
    " ".join(f"_scaled_dot_product_{kind}{way}" for kind in _ATTENTION for way in ("", "_backward"))
)

KNOWN: dict[str, dict[str, frozenset[str]]] = {
    revision: {
        "flops": _EVERYWHERE | more,
        "bytes": _EVERYWHERE | more,
        "synops": _PRODUCTS,
        "macs": _PRODUCTS | _named("native_batch_norm"),
        "acs": _PRODUCTS | _ACCUMULATED,
    }
    for revision, more in ((RELEASE, _ONLY_IN_THE_RELEASE), (TUTORIAL, frozenset[str]()))
}
"""Names of the ops with a rule, by revision and counter ("flops", "bytes", "synops", ...)."""
