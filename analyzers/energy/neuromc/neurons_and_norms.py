"""Fragments of neurons and batch norms: add-ons without MACs, alike in all revisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from .calls import Products
from .fragment_table import Pieces
from .fragments import CORES, Fragment, Loops, channels_and_rest
from .modules import ID, calls_of, inside, shape_of
from .operands import Norm
from .products import StageOf

if TYPE_CHECKING:
    from ...trace.trace import Trace

_SHAPED = ("in_shape", "multi_step")


def add_neurons(
    pieces: Pieces, trace: Trace, whole: Trace, modules: pl.DataFrame, stage_of: StageOf,
    counted: Callable[[str, str, str], bool],
) -> None:  # fmt: skip
    """Take in the calls of neurons, forward and backward.

    Args:
        pieces: where they go.
        trace: the trace, narrowed to what is estimated.
        whole: the trace to look up what backward calls come from.
        modules: see `known_modules`.
        stage_of: see `StageOf`.
        counted: tells from stage, phase and role whether a call counts.
    """

    def describe(row: dict[str, Any], role: str) -> list[Fragment]:
        stage = stage_of(row["label"], row["stage"])
        if row["in_shape"] is None or not counted(row["stage"], stage.phase, role):
            return []
        forward = role == "forward"
        return [
            Fragment(
                op=f"soma.{role}",
                stage=stage.name,
                phase=role,
                core="fp_soma" if forward else "bp_grad",
                process="with_sg",
                loops=channels_and_rest(shape_of(row["in_shape"]), row["multi_step"]),
                output_bits=1 if forward else 16,
                batch_reused=stage.batch_reused and forward,
                step_reused=stage.step_reused and forward,
            )
        ]

    neurons = modules.filter(pl.col("kind") == "neuron")
    if neurons.is_empty():
        return
    forward = calls_of(trace, neurons).with_columns(seq="last_seq")
    pieces.add(forward, _SHAPED, lambda row: describe(row, "forward"))
    known = calls_of(whole, neurons) if whole is not trace else forward
    backward = _neuron_backwards(trace, whole, modules, known)
    pieces.add(backward, _SHAPED, lambda row: describe(row, "backward"))


def _neuron_backwards(
    trace: Trace, whole: Trace, modules: pl.DataFrame, known: pl.DataFrame
) -> pl.DataFrame:
    """Return one row for each backward pass through a call of a neuron."""
    owners = inside(whole, modules, "neuron").lazy()
    passes = (
        trace.calls.filter(pl.col("stage").cast(pl.String) == "backward")
        .join(owners, on=["rank", "module_id"])
        .group_by(*ID, "stage", "label", "step", "owner")
        .agg(pl.col("seq").min())
        .with_columns(pl.col("stage", "label").cast(pl.String))
        .collect()
    )
    return (
        _climbed(whole, passes)
        .group_by(*ID, "stage", "label", "step", module_id="owner")
        .agg(pl.col("seq").min())
        .join(known.select(*ID, *_SHAPED), on=ID)
    )


def _climbed(whole: Trace, passes: pl.DataFrame) -> pl.DataFrame:
    """Lead calls of modules below a neuron up to the call of the neuron."""
    above = whole.module_calls.select(*ID, "module_id", "parent_call_id")
    done = []
    for _ in range(_DEEPEST):
        if passes.is_empty():
            break
        at = passes.lazy().join(above, on=ID).collect()
        arrived = at["module_id"] == at["owner"]
        done.append(at.filter(arrived).select(passes.columns))
        passes = (
            at.filter(~arrived)
            .drop_nulls("parent_call_id")
            .with_columns(module_call_id="parent_call_id")
            .select(passes.columns)
        )
    return pl.concat(done) if done else passes


_DEEPEST = 16
"""Modules between a neuron and what runs in it beyond which nobody looks."""


def add_norms(
    pieces: Pieces, calls: pl.DataFrame, products: Products, stage_of: StageOf,
    counted: Callable[[str, str, str], bool],
) -> None:  # fmt: skip
    """Take in batch norms.

    Args:
        pieces: where they go.
        calls: rows of `product_calls`; `in_shape` and `multi_step` of the module's call where they
            are part of a batch norm module, else null.
        products: what the signatures are.
        stage_of: see `StageOf`.
        counted: tells from stage, phase and role whether a call counts.
    """

    def describe(row: dict[str, Any]) -> Sequence[Fragment]:
        role = "backward" if row["sort"] == "norm_backward" else "forward"
        stage = stage_of(row["label"], row["stage"])
        if not counted(row["stage"], stage.phase, role):
            return []
        return [norm_fragment(row, products, stage_of)]

    norms = calls.filter(pl.col("sort").is_in(["norm", "norm_backward"]))
    pieces.add(
        norms.with_columns(spikes=pl.col("first_spikes").fill_null(False)), NORM_KEYS, describe
    )


NORM_KEYS = ("rank", "sort", "signature_id", "spikes", *_SHAPED)
"""What the fragment of a batch norm depends on."""


def norm_fragment(row: dict[str, Any], products: Products, stage_of: StageOf) -> Fragment:
    """Return the fragment of a batch norm from a row of `NORM_KEYS`, stage and label."""
    one = products[row["rank"], row["signature_id"]]
    assert isinstance(one, Norm)
    stage = stage_of(row["label"], row["stage"])
    forward = row["sort"] == "norm"
    loops: Loops = (
        channels_and_rest(one.shape, False)
        if row["in_shape"] is None
        else channels_and_rest(shape_of(row["in_shape"]), row["multi_step"])
    )
    return Fragment(
        op="bn.forward" if forward else "bn.backward",
        stage=stage.name,
        phase="forward" if forward else "backward",
        core=CORES["norm" if forward else "norm_backward"][row["spikes"]],
        process="with_bn",
        loops=loops,
        norm_modelled=stage.norm_modelled,
    )
