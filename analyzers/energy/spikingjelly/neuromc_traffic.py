"""What SpikingJelly's revisions move: the array's traffic (2.0), every tensor once (2026-08)."""

from __future__ import annotations

from ....schemas.costs import NeuroMCConfig
from ..neuromc.fragments import Fragment
from ..neuromc.traffic import (
    MEMORIES,
    REGISTERS,
    Move,
    array_moves,
    fits,
    moves_of,
    sgd_moves,
    variables_of,
)


def release_base_moves(one: Fragment, config: NeuroMCConfig) -> list[Move]:
    """Return what the operands of a product move (2.0)."""
    return array_moves(one, config, _rounds, granted=True)


def _rounds(one: Fragment, passes: int) -> tuple[int, int]:
    rounds = passes * one.loops.taps
    return one.outputs * rounds, one.outputs * (rounds - 1)


def release_extra_moves(one: Fragment) -> list[Move]:
    """Return what an add-on moves (2.0): registers are accessed once, spikes read backward too."""
    if one.op == "sgd":
        return sgd_moves(one)
    return [
        move
        for each in variables_of(one, reset_read=True)
        for move in moves_of(each, through_registers=False)
    ]


def tutorial_base_moves(one: Fragment, config: NeuroMCConfig) -> list[Move]:
    """Return every operand once, in register and SRAM (2026-08)."""
    if not one.macs:
        return []
    names = MEMORIES[one.core]
    weights = 0 if one.reused and fits(one, names[1], config) else one.weights
    moves = []
    for level in ("reg", "sram"):
        for name, direction, bits, elements in (
            (names[0], "rh2l", one.input_bits, one.inputs),
            (names[1], "rh2l", one.weight_bits, weights),
            (names[2], "wl2h", one.output_bits, one.outputs),
        ):
            memory = REGISTERS[bits] if level == "reg" else name
            moves.append(Move(level, direction, memory, bits, elements))
    return moves


def tutorial_extra_moves(one: Fragment) -> list[Move]:
    """Return every variable of an add-on read and written once, in SRAM only (2026-08)."""
    if one.op == "sgd":
        return sgd_moves(one)
    return [
        Move("sram", direction, each.memory, each.bits, each.elements)
        for each in variables_of(one, reset_read=True)
        for direction in ("rh2l", "wl2h")
    ]
