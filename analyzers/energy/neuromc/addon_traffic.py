"""NeuroMC's add-ons: operations and memory of neurons, batch norm and optimizers, by revision."""

from __future__ import annotations

from typing import NamedTuple

from .fragments import Fragment
from .product_traffic import REGISTERS, Move

OPERATIONS = ("mux", "add", "mul", "comp", "sqrt")
"""Operations by name; `NeuroMCConfig` has an energy `e_NAME_pj` for each."""


class Variable(NamedTuple):
    """A variable of an add-on: where it lies, how wide and how large it is, how often it moves."""

    memory: str
    bits: int
    elements: int
    reads: int
    writes: int
    register_reads: int
    register_writes: int


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


def extra_moves(one: Fragment, revision: str) -> list[Move]:
    """Return what a fragment's add-on moves."""
    if one.op == "sgd":
        return _of_sgd(one)
    if revision == "spikingjelly-2026-08":
        return [move for each in _variables(one) for move in _once(each)]
    twice = revision == "source" and one.process == "with_sg"
    moves: list[Move] = []
    for each in _variables(one, kept=revision != "source"):
        moves += _moved(each, through_registers=twice)
    return moves


def _once(each: Variable) -> list[Move]:
    """Return a variable read and written once, in SRAM only (2026-08)."""
    return [
        Move("sram", direction, each.memory, each.bits, each.elements)
        for direction in ("rh2l", "wl2h")
    ]


def _moved(each: Variable, *, through_registers: bool) -> list[Move]:
    """Return the moves of a variable.

    Args:
        each: the variable.
        through_registers: a register is written and read on the way, as NeuroMC's output has it;
            else it is accessed once.
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


def _variables(one: Fragment, kept: bool = True) -> list[Variable]:
    loops = one.loops
    if one.process == "with_sg" and one.phase == "forward":
        return _of_neuron(loops.positions_of(loops.k))
    if one.process == "with_sg":
        return _of_gradient(loops.positions_of(loops.c), reset_read=kept)
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
    """Return the variables of a neuron's surrogate gradient.

    Args:
        c: values.
        reset_read: also read the spikes; NeuroMC's output has one 1-bit read, the mask's.
    """
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


def _of_sgd(one: Fragment) -> list[Move]:
    """Return parameters, gradients and momentum of SGD: SRAM only, in every revision."""
    n = one.loops.k + one.loops.fx
    return [
        Move("sram", "rh2l", "sram_6mb", 32, (2 + one.momentum_buffer) * n),
        Move("sram", "wl2h", "sram_6mb", 32, (1 + one.momentum) * n),
    ]
