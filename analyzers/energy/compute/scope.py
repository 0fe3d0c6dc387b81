"""What the compute energy covers, and the words for what it does not."""

from __future__ import annotations

from ....schemas import TraceError
from ..arithmetic import Operations
from ..report import Scope
from .variant import Variant

SCOPE = Scope(
    title="MAC and AC energy",
    source="M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014",
    stages=("forward",),
    technology="45 nm CMOS",
    covers="multiply-accumulates and accumulations",
    leaves_out=(
        "multiplications, divisions and comparisons by themselves, functions such as exp, memory "
        "(that of neuron states too), addressing, mapping to hardware"
    ),
)


def warnings_of(
    operations: Operations, gaps: list[str], variant: Variant, strict: bool
) -> list[str]:
    """Return what a reader has to know.

    Raises:
        TraceError: under strict, something is left out.
    """
    found = []
    if not any(operations.total(name) for name in variant.nothing):
        found.append("nothing was counted: no MAC and no AC in the forward pass")
    found += [*operations.uncovered(), *gaps]
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    return [*found, *operations.without_macs()]
