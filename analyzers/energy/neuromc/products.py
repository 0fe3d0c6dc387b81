"""Fragments of products and convolutions, revision source: every one of them counted once."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import polars as pl

from ....schemas.costs import NeuroMCConfig
from .calls import Products
from .fragment_table import Pieces
from .fragments import CORES, Fragment, Loops, bits_of
from .operands import Convolution, Matmul
from .stages import Stage

StageOf = Callable[[str | None, str], Stage]
"""From label and recorded stage to NeuroMC's stage."""

KEYS = (
    "rank",
    "sort",
    "signature_id",
    "of_signature",
    "role",
    "spikes",
    "kind",
    "weights",
    "parts",
)
"""What the fragments of a product depend on."""


def add_products(
    pieces: Pieces,
    calls: pl.DataFrame,
    products: Products,
    stage_of: StageOf,
    config: NeuroMCConfig,
) -> None:
    """Take in products of matrices and convolutions.

    Args:
        pieces: where they go.
        calls: rows of `with_forward` with `kind` and `weights` of the module that they are part of
            (null: none that is known), and `parts` (samples and time steps in it; null: unknown).
        products: what the signatures are.
        stage_of: see `StageOf`.
        config: `strided_backward` counts.
    """

    def describe(row: dict[str, Any]) -> list[Fragment]:
        one = products[row["rank"], row["signature_id"]]
        stage = stage_of(row["label"], row["stage"])
        if isinstance(one, Matmul):
            of = products.get((row["rank"], row["of_signature"]))
            forward = of if isinstance(of, Matmul) else None
            return [_matmul(one, forward, row, stage)]
        assert isinstance(one, Convolution)
        return _convolution(one, row, stage, config)

    kept = calls.filter(pl.col("sort").is_in(["matmul", "conv", "conv_backward"]))
    spikes = (
        pl.when(pl.col("role") == "forward")
        .then("first_spikes")
        .when(pl.col("role").is_null())
        .then(pl.col("first_spikes") | pl.col("second_spikes"))
        .otherwise("of_spikes")
    )
    pieces.add(kept.with_columns(spikes=spikes.fill_null(False)), KEYS, describe)


def _named(row: dict[str, Any], op: str, role: str) -> dict[str, Any]:
    """Return op, source and core of a fragment of a call."""
    kind = row["kind"] or ""
    family = "linear" if kind == "linear" else "conv" if kind.startswith("conv") else ""
    word = "forward" if role == "forward" else f"backward.{role}"
    return {
        "op": f"{family}.{word}" if family else op,
        "source": "module" if family else "trace",
        "core": CORES[role][bool(row["spikes"])],
    }


def _staged(stage: Stage, role: str) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "phase": "forward" if role == "forward" else "backward",
        "batch_reused": stage.batch_reused,
        "step_reused": stage.step_reused,
    }


def _matmul(one: Matmul, of: Matmul | None, row: dict[str, Any], stage: Stage) -> Fragment:
    """Return the fragment of a product of matrices.

    Args:
        one: the product.
        of: the forward product that it is a gradient of; None: of none, or unknown.
        row: of `KEYS`.
        stage: the stage.
    """
    role = row["role"] or _guessed(one, row["weights"])
    named = _named(row, one.op, role)
    whole = of or one
    if role == "forward" or of is not None:
        loops = Loops(batch=whole.rows, c=whole.k, k=whole.n)
    elif role == "grad_input":
        loops = Loops(batch=one.rows, c=one.n, k=one.k)
    else:
        loops = Loops(batch=one.k, c=one.n, k=one.rows)
    inputs, weights = one.first.numel, one.second.numel
    if of is not None and role != "forward":
        inputs = of.out.numel if role == "grad_input" else of.first.numel
        weights = of.second.numel if role == "grad_input" else of.out.numel
    return Fragment(
        **named,
        **_staged(stage, role),
        loops=loops,
        macs=one.macs,
        inputs=inputs,
        weights=weights,
        outputs=one.out.numel,
        input_bits=bits_of(named["core"]),
        parts=row["parts"] or 1,
    )


def _guessed(one: Matmul, weights: int | None) -> str:
    """Return the role of a gradient whose forward product the trace does not tell, by its size."""
    return "grad_weight" if one.out.numel == weights != one.second.numel else "grad_input"


def _convolution(
    one: Convolution, row: dict[str, Any], stage: Stage, config: NeuroMCConfig
) -> list[Fragment]:
    """Return the fragments of a convolution, or of its backward: each gradient that is wanted."""
    if one.spatial > 2:
        return []
    if row["sort"] == "conv":
        return [_part(one, "forward", row, stage, config)]
    wanted = zip(("grad_input", "grad_weight"), one.wanted, strict=True)
    return [_part(one, role, row, stage, config) for role, asked in wanted if asked]


def _part(
    one: Convolution, role: str, row: dict[str, Any], stage: Stage, config: NeuroMCConfig
) -> Fragment:
    named = _named(row, one.op, role)
    batch, (c, k) = one.x.shape[0], one.channels
    loops = Loops.spatial(
        positions(one, role, config), one.kernel, batch=batch, c=c // one.groups, k=k
    )
    out = batch * k * prod(one.out_shape[2:])
    inputs, weights, outputs = {
        "forward": (one.x.numel, one.weight.numel, out),
        "grad_input": (out, one.weight.numel, one.x.numel),
        "grad_weight": (one.x.numel, out, one.weight.numel),
    }[role]
    return Fragment(
        **named,
        **_staged(stage, role),
        loops=loops,
        macs=loops.total,
        inputs=inputs,
        weights=weights,
        outputs=outputs,
        input_bits=bits_of(named["core"]),
        groups=one.groups,
        parts=batch if config.weight_reads == "sample" and batch else 1,
    )


def positions(one: Convolution, role: str, config: NeuroMCConfig) -> tuple[int, ...]:
    """Return the positions that a convolution is worked off at.

    A transposed one meets its kernel at every input position, forward and backward. The gradients
    of a strided one are charged at the resolution of its input, zeros set between the gradients of
    its outputs: at the positions of the same convolution with stride 1.
    """
    x, out = one.x.shape[2:], one.out_shape[2:]
    if one.transposed:
        return x
    if role == "forward" or config.strided_backward == "output":
        return out
    sizes = zip(x, out, one.kernel, one.stride, one.padding, one.dilation, strict=True)
    return tuple(o if s == 1 else n + 2 * p - d * (kernel - 1) for n, o, kernel, s, p, d in sizes)
