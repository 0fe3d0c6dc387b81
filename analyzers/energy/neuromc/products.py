"""Fragments of products and convolutions, each of them counted once."""

from __future__ import annotations

from math import prod
from typing import Any

import polars as pl

from ....schemas.costs import NeuroMCConfig
from ...rules.geometry import Convolution, Matmul
from ...workload.gradients import shaped_calls
from ...workload.layers import ID, MODULE, layers_of
from ...workload.sample_shares import with_shares
from .addons import add_neurons, add_norms, add_optimizers
from .fragments import CORES, Fragment, Fragments, Loops, bits_of
from .run import Run, Stage

_KEYS = ("sort", "signature_id", "of_signature", "role", "spikes", "kind", "weight_numel", "parts")
"""What the fragment of a product depends on."""


def cut(run: Run) -> Fragments:
    """Return the fragments of a run, of products, batch norms, neurons and optimizers."""
    found = Fragments(run.trace.alike["signatures"])
    _add_products(found, run)
    add_norms(found, run, run.calls.filter(pl.col("sort") == "norm"))
    add_neurons(found, run)
    add_optimizers(found, run)
    return found


def _add_products(found: Fragments, run: Run) -> None:
    def cut(row: dict[str, Any]) -> list[Fragment]:
        one = run.geometries[row["rank"], row["signature_id"]]
        stage = run.stage(row["label"], row["stage"])
        if isinstance(one, Matmul):
            of = run.geometries.get((row["rank"], row["of_signature"]))
            return [_matmul(one, of if isinstance(of, Matmul) else None, row, stage)]
        assert isinstance(one, Convolution)
        return [_convolution(one, row, stage, run.config)] if one.spatial <= 2 else []

    calls = run.calls.filter(pl.col("sort") != "norm").with_columns(
        product="seq", spikes=pl.col("input_spikes").fill_null(False)
    )
    if run.config.weight_reads == "sample":
        calls = calls.join(_linear_shares(run), on=ID, how="left", maintain_order="left")
    else:
        calls = calls.with_columns(parts=pl.lit(1, pl.Int64))
    found.add(calls, _KEYS, cut)


def _linear_shares(run: Run) -> pl.DataFrame:
    """Return `ID` and `parts`, the samples times time steps in it, of calls of linear layers."""
    whole = run.trace.whole
    linear = layers_of(whole).filter(pl.col("kind") == "Linear")
    sizes = pl.col("in_shape")
    calls = (
        shaped_calls(whole, linear)
        .join(linear, on=MODULE, maintain_order="left")
        .with_columns(
            calls=pl.lit(1, pl.Int64),
            in_dims=sizes.list.len().cast(pl.Int64),
            in_first=sizes.list.get(0, null_on_oob=True),
            in_second=sizes.list.get(1, null_on_oob=True),
        )
    )
    shared = with_shares(calls, run.samples.frame, spiking=False)
    return shared.select(*ID, parts=pl.col("batch") * pl.col("time_steps"))


def _placed(row: dict[str, Any], role: str, op: str, stage: Stage) -> dict[str, Any]:
    """Return op, source, core and stage of the fragment of a call."""
    kind = row["kind"] or ""
    family = "linear" if kind == "Linear" else "conv" if kind else ""
    core = CORES[role][row["spikes"]]
    forward = role == "forward"
    return {
        "op": f"{family}.{'forward' if forward else f'backward.{role}'}" if family else op,
        "source": "module" if family else "trace",
        "core": core,
        "input_bits": bits_of(core),
        "stage": stage.name,
        "phase": "forward" if forward else "backward",
        "batch_reused": stage.batch_reused,
        "step_reused": stage.step_reused,
    }


def _matmul(one: Matmul, of: Matmul | None, row: dict[str, Any], stage: Stage) -> Fragment:
    """Return the fragment of a product of matrices.

    Args:
        one: the product.
        of: the forward product that it is a gradient of; None: of none, or unknown.
        row: of `_KEYS`.
        stage: the stage.
    """
    role = row["role"] or _guessed(one, row["weight_numel"])
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
        **_placed(row, role, one.op, stage),
        loops=loops,
        macs=one.macs,
        inputs=inputs,
        weights=weights,
        outputs=one.out.numel,
        parts=row["parts"] or 1,
    )


def _guessed(one: Matmul, weights: int | None) -> str:
    """Return the role of a gradient whose forward product the trace does not tell, by its size."""
    return "grad_weight" if one.out.numel == weights != one.second.numel else "grad_input"


def _convolution(
    one: Convolution, row: dict[str, Any], stage: Stage, config: NeuroMCConfig
) -> Fragment:
    """Return the fragment of a convolution, or of one of its gradients."""
    role = row["role"]
    batch, (c, k) = one.x.shape[0], one.channels
    loops = Loops.spatial(
        _positions(one, role, config), one.kernel, batch=batch, c=c // one.groups, k=k
    )
    out = batch * k * prod(one.out_shape[2:])
    inputs, weights, outputs = {
        "forward": (one.x.numel, one.weight.numel, out),
        "grad_input": (out, one.weight.numel, one.x.numel),
        "grad_weight": (one.x.numel, out, one.weight.numel),
    }[role]
    return Fragment(
        **_placed(row, role, one.op, stage),
        loops=loops,
        macs=loops.total,
        inputs=inputs,
        weights=weights,
        outputs=outputs,
        groups=one.groups,
        parts=batch if config.weight_reads == "sample" and batch else 1,
    )


def _positions(one: Convolution, role: str, config: NeuroMCConfig) -> tuple[int, ...]:
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
