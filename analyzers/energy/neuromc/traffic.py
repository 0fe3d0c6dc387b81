"""What fragments move between registers and static RAM: operands of products, and add-ons."""

from __future__ import annotations

from collections.abc import Callable
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

Streams = Callable[[Fragment, int], tuple[int, int]]
"""From a fragment and the passes of its sums to the inputs (and sums) that pass the array, and how
many of these sums are partial."""


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


class Variable(NamedTuple):
    """A variable of an add-on: where it lies, how wide and how large it is, how often it moves."""

    memory: str
    bits: int
    elements: int
    reads: int
    writes: int
    register_reads: int
    register_writes: int


def base_moves(one: Fragment, config: NeuroMCConfig) -> list[Move]:
    """Return what the operands of a product move in NeuroMC's own workloads."""
    return array_moves(one, config, _streams, granted=config.weight_reuse == "stages")


def array_moves(
    one: Fragment, config: NeuroMCConfig, streams: Streams, *, granted: bool
) -> list[Move]:
    """Return what the operands of a product move; nothing for a fragment without MACs.

    Args:
        one: the fragment.
        config: sizes of the memories.
        streams: see `Streams`.
        granted: weights that a stage reuses are not read, if they fit.
    """
    if not one.macs:
        return []
    if one.role == "grad_weight":
        return _weight_gradient(one)
    held = granted and one.reused and fits(one, MEMORIES[one.core][1], config)
    return _stationary(one, streams, 0 if held else one.weights * one.parts)


def fits(one: Fragment, memory: str, config: NeuroMCConfig) -> bool:
    """Tell whether the weights of a fragment fit into a memory."""
    size: int = getattr(config.capacity_bits, memory)
    return one.weights * one.weight_bits <= size


def _streams(one: Fragment, passes: int) -> tuple[int, int]:
    summed = _summed(one)
    streamed = one.macs // summed * passes if summed else 0
    return streamed, max(streamed - one.outputs, 0)


def _summed(one: Fragment) -> int:
    """Return the channels that are summed over."""
    return one.loops.k // one.groups if one.role == "grad_input" else one.loops.c


def _stationary(one: Fragment, streams: Streams, weights: int) -> list[Move]:
    """Return the traffic of a weight-stationary 16 x 16 array: forward and input gradient.

    Inputs stream by once for every 16 channels of the sum and kernel position; partial sums go out
    and come back between them (NeuroMC @712c66f, by its stored outputs).
    """
    in_memory, w_memory, out_memory = MEMORIES[one.core]
    in_register, register = REGISTERS[one.input_bits], REGISTERS[16]
    streamed, partial = streams(one, -(-_summed(one) // ARRAY))
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


def extra_moves(one: Fragment) -> list[Move]:
    """Return what a fragment's add-on moves.

    The variables of neurons pass a register on their way, which is written and read, as NeuroMC's
    output has it. It has one 1-bit read in the backward pass, the mask's. No output of it shows
    batch norms and optimizers: their variables access a register once.
    """
    if one.op == "sgd":
        return sgd_moves(one)
    return [
        move
        for each in variables_of(one, reset_read=False)
        for move in moves_of(each, through_registers=one.process == "with_sg")
    ]


def moves_of(each: Variable, *, through_registers: bool) -> list[Move]:
    """Return the moves of a variable.

    Args:
        each: the variable.
        through_registers: a register is written and read on the way; else it is accessed once.
    """
    name, bits, register = each.memory, each.bits, REGISTERS[each.bits]
    moves = [
        Move("sram", "rh2l", name, bits, each.reads * each.elements),
        Move("sram", "wl2h", name, bits, each.writes * each.elements),
        Move("reg", "rh2l", register, bits, each.register_reads * each.elements),
        Move("reg", "wl2h", register, bits, each.register_writes * each.elements),
    ]
    if through_registers:
        moves += [
            Move("reg", "wh2l", register, bits, each.register_reads * each.elements),
            Move("reg", "rl2h", register, bits, each.register_writes * each.elements),
        ]
    return moves


def variables_of(one: Fragment, *, reset_read: bool) -> list[Variable]:
    """Return the variables of a fragment's add-on.

    Args:
        one: the fragment.
        reset_read: the surrogate gradient of a neuron also reads its spikes.
    """
    loops = one.loops
    if one.process == "with_sg" and one.phase == "forward":
        return _of_neuron(loops.positions_of(loops.k))
    if one.process == "with_sg":
        return _of_gradient(loops.positions_of(loops.c), reset_read=reset_read)
    if one.process == "with_bn" and one.role == "norm":
        return _of_norm(loops.positions_of(loops.k), loops.k * loops.steps)
    if one.process == "with_bn":
        return _of_norm_backward(loops.positions_of(loops.c), loops.c * loops.steps)
    if one.process == "with_opt":
        return _of_adam(loops.k, loops.fx)
    return []


def _both(memory: str, bits: int, elements: int, reads: int, writes: int) -> Variable:
    """Return a variable that moves as often in the register as in SRAM."""
    return Variable(memory, bits, elements, reads, writes, reads, writes)


def _of_neuron(o: int) -> list[Variable]:
    """Return input, potential, spikes and gradient mask of a neuron, forward."""
    return [
        _both("fp_conv_out_xi", 16, o, 1, 1),
        _both("fp_soma_u", 16, o, 1, 1),
        _both("fp_soma_s", 1, o, 1, 1),
        _both("fp_soma_smask", 1, o, 0, 1),
    ]


def _of_gradient(c: int, *, reset_read: bool) -> list[Variable]:
    """Return result, potential, spikes, mask and gradient of a neuron's surrogate gradient."""
    return [
        _both("bp_conv_out_res", 16, c, 1, 0),
        Variable("bp_grad_in_u", 16, c, 1, 1, 1, 0),
        _both("bp_grad_in_s", 1, c, int(reset_read), 0),
        _both("bp_grad_in_smask", 1, c, 1, 0),
        Variable("bp_grad_out_du", 16, c, 1, 0, 1, 1),
    ]


def _of_norm(n: int, each: int) -> list[Variable]:
    """Return mean, variance, n, sqrt, xi, y and b of batch norm, forward."""
    counts = ((each, 2, 1), (each, 1, 1), (n, 1, 1), (each, 1, 1), (n, 1, 1), (each, 1, 0),
              (each, 1, 0))  # fmt: skip
    return [_both("sram_2mb", 16, *count) for count in counts]


def _of_norm_backward(n: int, each: int) -> list[Variable]:
    """Return du1, sqrt, y, m, n, sigma_m, sigma_n, sigma_mn, dy, db and du2 of batch norm."""
    counts = ((n, 2, 0), (each, 2, 0), (each, 2, 0), (n, 3, 1), (n, 3, 0), (each, 1, 1),
              (each, 1, 1), (each, 2, 1), (each, 0, 1), (each, 0, 1), (n, 0, 1))  # fmt: skip
    return [_both("sram_2mb", 16, *count) for count in counts]


def _of_adam(v: int, m: int) -> list[Variable]:
    """Return Adam's variables over `v` elements of 1-d parameters and `m` of the others.

    Read only: parameters and gradients; read and written: the moments and what corrects them;
    written only: the updated parameters.
    """
    counts = [(v, 1, 0)] * 4 + [(v, 1, 1)] * 8 + [(v, 0, 1)] * 2
    counts += [(m, 1, 0)] * 2 + [(m, 1, 1)] * 4 + [(m, 0, 1)]
    return [_both("sram_6mb", 32, *count) for count in counts]


def sgd_moves(one: Fragment) -> list[Move]:
    """Return parameters, gradients and momentum of SGD: SRAM only, in every revision."""
    n = one.loops.k + one.loops.fx
    return [
        Move("sram", "rh2l", "sram_6mb", 32, (2 + one.momentum_buffer) * n),
        Move("sram", "wl2h", "sram_6mb", 32, (1 + one.momentum) * n),
    ]
