"""NeuroMC's base memory: what the operands of a product move, by revision."""

from __future__ import annotations

from typing import NamedTuple

from ....schemas.costs import NeuroMCConfig
from .fragments import Fragment

ARRAY = 16
"""Rows and columns of the array: how many sums run side by side."""

MEMORIES = {
    "fp_soma": ("fp_conv_in_s", "fp_conv_in_w", "fp_conv_out_xi"),
    "ann_fe": ("fp_conv_in_w", "fp_conv_in_w", "fp_conv_out_xi"),
    "bp_grad": ("bp_conv_in_du", "bp_conv_in_w", "bp_conv_out_res"),
    "ann_be": ("bp_conv_in_du", "bp_conv_in_w", "bp_conv_out_res"),
    "wg": ("wg_conv_in_s", "wg_conv_in_du", "wg_conv_out_dw"),
    "ann_we": ("wg_conv_in_du", "wg_conv_in_du", "wg_conv_out_dw"),
}
"""Static RAM of input, weights and output, by core."""

REGISTERS = {1: "reg_1b", 16: "reg_16b", 32: "reg_32b"}
"""Register by the width of what it holds."""


class Move(NamedTuple):
    """Elements that move to or from a memory.

    `direction`: rh2l reads for the level below, wl2h writes what comes from below, wh2l writes
    what comes from above, rl2h reads for the level above.
    """

    level: str
    direction: str
    memory: str
    bits: int
    elements: int


def base_moves(fragment: Fragment, revision: str, config: NeuroMCConfig) -> list[Move]:
    """Return what the operands of a fragment move; nothing for one without MACs."""
    if not fragment.macs:
        return []
    if revision == "spikingjelly-2026-08":
        return _once_each(fragment, config)
    if fragment.role == "grad_weight":
        return _weight_gradient(fragment)
    return _stationary(fragment, revision, config)


def _once_each(one: Fragment, config: NeuroMCConfig) -> list[Move]:
    """Return every operand once, in register and SRAM (2026-08)."""
    names = MEMORIES[one.core]
    weights = 0 if one.reused and _fits(one, names[1], config) else one.weights
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


def _stationary(one: Fragment, revision: str, config: NeuroMCConfig) -> list[Move]:
    """Return the traffic of a weight-stationary 16 x 16 array: forward and input gradient.

    Inputs stream by once for every 16 channels of the sum and kernel position; partial sums go out
    and come back between them (NeuroMC @712c66f, by its stored outputs).
    """
    in_memory, w_memory, out_memory = MEMORIES[one.core]
    in_register, register = REGISTERS[one.input_bits], REGISTERS[16]
    streamed, partial = _streams(one, revision)
    granted = revision != "source" or config.weight_reuse == "stages"
    held = one.reused and granted and _fits(one, w_memory, config)
    weights = 0 if held else one.weights * one.parts
    macs, out, width = one.macs, one.outputs, one.output_bits
    return [
        Move("reg", "rh2l", in_register, one.input_bits, macs),
        Move("reg", "wh2l", in_register, one.input_bits, macs),
        Move("reg", "rh2l", register, one.weight_bits, weights),
        Move("reg", "wh2l", register, one.weight_bits, weights),
        Move("reg", "rl2h", register, width, macs),
        Move("reg", "rh2l", register, width, max(macs - out, 0)),
        Move("reg", "wh2l", register, width, macs),
        Move("reg", "wl2h", register, width, partial),
        Move("sram", "rh2l", in_memory, one.input_bits, streamed),
        Move("sram", "rh2l", w_memory, one.weight_bits, weights),
        Move("sram", "rh2l", out_memory, width, partial),
        Move("sram", "wl2h", out_memory, width, streamed),
    ]


def _streams(one: Fragment, revision: str) -> tuple[int, int]:
    """Return how many inputs (and sums) pass the array, and how many of these sums are partial."""
    loops = one.loops
    summed = loops.k // one.groups if one.role == "grad_input" else loops.c
    passes = -(-summed // ARRAY)
    if revision == "source":
        streamed = one.macs // summed * passes if summed else 0
        return streamed, max(streamed - one.outputs, 0)
    rounds = passes * loops.taps
    return one.outputs * rounds, one.outputs * (rounds - 1)


def _weight_gradient(one: Fragment) -> list[Move]:
    """Return the traffic of a weight gradient: inputs and gradients stream, sums stay."""
    in_memory, grad_memory, out_memory = MEMORIES[one.core]
    in_register, register = REGISTERS[one.input_bits], REGISTERS[16]
    macs, out = one.macs, one.outputs * one.parts
    piece = macs // one.parts
    inputs = -(-piece // min(one.loops.k // one.groups, ARRAY)) * one.parts
    gradients = -(-piece // min(one.loops.c, ARRAY)) * one.parts
    return [
        Move("reg", "rh2l", in_register, one.input_bits, macs),
        Move("reg", "wh2l", in_register, one.input_bits, macs),
        Move("reg", "rh2l", register, one.weight_bits, macs),
        Move("reg", "wh2l", register, one.weight_bits, macs),
        Move("reg", "rl2h", register, one.output_bits, out),
        Move("reg", "rh2l", register, one.output_bits, max(macs - out, 0)),
        Move("reg", "wl2h", register, one.output_bits, macs),
        Move("sram", "rh2l", in_memory, one.input_bits, inputs),
        Move("sram", "rh2l", grad_memory, one.weight_bits, gradients),
        Move("sram", "wl2h", out_memory, one.output_bits, out),
    ]


def _fits(one: Fragment, memory: str, config: NeuroMCConfig) -> bool:
    size: int = getattr(config.capacity_bits, memory)
    return one.weights * one.weight_bits <= size
