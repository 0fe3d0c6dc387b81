"""Action counts: how many MACs, operations and bits moved a fragment is; no price among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import NeuroMCConfig
from .fragments import SPIKE_CORES, Fragment
from .traffic import Move

if TYPE_CHECKING:
    from .variant import Variant

COMPONENTS = ("mac", "extra_compute", "base_memory", "extra_memory")
"""Parts of the total: MACs, other operations, operands of products, variables of add-ons."""

OPERATIONS = ("mux", "add", "mul", "comp", "sqrt")
"""Operations by name; `NeuroMCConfig` has an energy `e_NAME_pj` for each."""

_ACTIONS = {
    "fragment": pl.UInt32,
    "component": pl.String,
    "what": pl.String,
    "level": pl.String,
    "direction": pl.String,
    "memory": pl.String,
    "amount": pl.Int64,
}


def actions_of(
    fragments: Sequence[Fragment], variant: Variant, config: NeuroMCConfig
) -> pl.DataFrame:
    """Return the actions of each fragment, done once.

    Args:
        fragments: the fragments.
        variant: what its revision moves.
        config: only structural fields matter.

    Returns:
        `fragment` (its place), `component`, `what` (`spike_mac`, `dense_mac`, an operation, or
        `bits`), `level` (reg, sram), `direction` and `memory` (null for operations) and `amount`.
    """
    rows: list[tuple[object, ...]] = []
    for place, one in enumerate(fragments):
        if one.macs:
            what = "spike_mac" if one.core in SPIKE_CORES else "dense_mac"
            rows.append((place, "mac", what, None, None, None, one.macs))
        for name, amount in operations_of(one).items():
            rows.append((place, "extra_compute", name, None, None, None, amount))
        rows += _moved(place, "base_memory", variant.base_moves(one, config))
        rows += _moved(place, "extra_memory", variant.extra_moves(one))
    return pl.DataFrame(rows, schema=_ACTIONS, orient="row")


def _moved(place: int, component: str, moves: Sequence[Move]) -> list[tuple[object, ...]]:
    return [
        (place, component, "bits", m.level, m.direction, m.memory, m.bits * m.elements)
        for m in moves
        if m.elements
    ]


def operations_of(one: Fragment) -> dict[str, int]:
    """Return the operations of a fragment's add-on by name; equal in all revisions."""
    loops = one.loops
    forward = loops.positions_of(loops.k)
    backward = loops.positions_of(loops.c)
    if one.process == "with_sg" and one.phase == "forward":
        return {"mux": forward, "add": forward, "mul": forward, "comp": 3 * forward}
    if one.process == "with_sg":
        return {"mux": backward, "add": 2 * backward, "mul": 4 * backward}
    if one.process == "with_bn" and one.role == "norm":
        each = loops.k * loops.steps
        return {"add": 3 * forward + 2 * each, "mul": 3 * forward + 4 * each, "sqrt": each}
    if one.process == "with_bn" and one.norm_modelled:
        each = loops.c * loops.steps
        return {"add": 7 * backward, "mul": 3 * backward + 22 * each}
    if one.process == "with_opt":
        return _of_optimizer(one)
    return {}


def _of_optimizer(one: Fragment) -> dict[str, int]:
    v, m = one.loops.k, one.loops.fx
    if one.op != "sgd":
        return {"add": 8 * v + 4 * m, "mul": 22 * v + 11 * m, "sqrt": 2 * v + m}
    times = 1 + one.weight_decay + one.momentum_buffer
    return {"add": times * (v + m), "mul": times * (v + m)}
