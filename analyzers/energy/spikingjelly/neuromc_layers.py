"""Fragments of layers as SpikingJelly's revisions take them: from calls of modules.

Kept as they are there: groups are ignored, the middle dimensions of a Linear's input are dropped,
and gradients of a strided convolution are at the resolution of its output.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ...rules.geometry import Convolution
from ...text import listed
from ...workload.gradients import WHERE
from ...workload.layers import ID, MODULE
from ...workload.modules import with_paths
from ..neuromc.fragments import CORES, Fragment, Fragments, Loops, bits_of
from ..neuromc.run import Run

if TYPE_CHECKING:
    from ...trace.trace import Trace

LAYERS = ("Linear", "Conv1d", "Conv2d")
"""Kinds of modules that are layers."""

_KEYS = ("signature_id", "spikes", "role", "kind", "in_channels", "out_channels", "weight_numel",
         "in_shape", "out_shape", "multi_step")  # fmt: skip


def counts(stage: str, phase: str, role: str) -> bool:
    """Tell whether a call of a module counts, from recorded stage, phase and role.

    What is run again inside a backward pass does not, nor does a forward in a backward stage.
    """
    return stage != "recompute" and (role != "forward" or phase != "backward")


def batch_norms(trace: Trace) -> pl.DataFrame:
    """Return `rank` and `module_id` of batch norms: modules of PyTorch's classes and of theirs."""
    rows = []
    for row in trace.modules.iter_rows(named=True):
        attributes = json.loads(row["attributes"] or "{}")
        has = "num_features" in attributes and "track_running_stats" in attributes
        if has and "InstanceNorm" not in row["class"].rpartition(".")[2]:
            rows.append((row["rank"], row["module_id"]))
    return pl.DataFrame(rows, schema=dict.fromkeys(MODULE, pl.Int32), orient="row")


def add_layers(found: Fragments, run: Run, calls: pl.DataFrame, *, release: bool) -> None:
    """Take in the layers, forward and backward.

    Args:
        found: where they go.
        run: what ran.
        calls: rows of `layer_rows`.
        release: it is 2.0, which forgets in the backward pass that weights are there.
    """

    def cut(row: dict[str, Any]) -> list[Fragment]:
        stage = run.stage(row["label"], row["stage"])
        if not counts(row["stage"], stage.phase, row["role"]):
            return []
        reused = row["role"] == "forward" or not release
        return [
            _fragment(
                row,
                run,
                stage=stage.name,
                batch_reused=stage.batch_reused and reused,
                step_reused=stage.step_reused and reused,
            )
        ]

    found.add(calls, _KEYS, cut)


def layer_rows(run: Run, *, release: bool) -> pl.DataFrame:
    """Return a row for each fragment of a layer: the calls of layers and the gradients in them.

    Args:
        run: what ran.
        release: it is 2.0; 2026-08 takes the last input of a module for that of all its backward
            calls, and knows no convolution's backward.
    """
    shaped = pl.col("in_shape").is_not_null() & pl.col("out_shape").is_not_null()
    products = run.calls.filter(pl.col("kind").is_in(LAYERS) & (pl.col("sort") != "norm"))
    layers = (
        run.with_shapes(products).filter(shaped).with_columns(product="seq", spikes="input_spikes")
    )
    gradient = pl.col("role").is_in(["grad_input", "grad_weight"])
    forward = (
        layers.filter((pl.col("role") == "forward") & (pl.col("stage") != "backward"))
        .unique(ID, keep="first", maintain_order=True)
        .with_columns(seq="last_seq")
    )
    late = layers.filter(gradient & (pl.lit(release) | (pl.col("sort") == "matmul")))
    # Gradients of a call stand together, that of the input first.
    late = late.with_columns(seq=pl.col("seq").min().over(*ID, *WHERE, order_by="seq"))
    if not release:
        late = _by_last_input(late, forward)
    return pl.concat([forward, late.sort("rank", "seq", "role", maintain_order=True)])


def _by_last_input(late: pl.DataFrame, forward: pl.DataFrame) -> pl.DataFrame:
    """Decide spikes by the last input that the module had before the backward call."""
    seen = forward.select("rank", "module_id", "seq", last="spikes").sort("seq")
    return (
        late.sort("seq", maintain_order=True)
        .join_asof(seen, on="seq", by=["rank", "module_id"], check_sortedness=False)
        .with_columns(spikes=pl.coalesce("last", "spikes"))
        .drop("last")
    )


def _fragment(row: dict[str, Any], run: Run, **staged: Any) -> Fragment:
    role, forward = row["role"], row["role"] == "forward"
    family = "linear" if row["kind"] == "Linear" else "conv"
    shape, out = row["in_shape"], row["out_shape"]
    loops = _loops(row, run)
    inputs, weights, outputs = prod(shape), row["weight_numel"], prod(out)
    elements = {
        "forward": (inputs, weights, outputs),
        "grad_input": (outputs, weights, inputs),
        "grad_weight": (inputs, outputs, weights),
    }[role]
    core = CORES[role][bool(row["spikes"])]
    return Fragment(
        op=f"{family}.forward" if forward else f"{family}.backward.{role}",
        phase="forward" if forward else "backward",
        core=core,
        loops=loops,
        macs=loops.total,
        inputs=elements[0],
        weights=elements[1],
        outputs=elements[2],
        input_bits=bits_of(core),
        **staged,
    )


def _loops(row: dict[str, Any], run: Run) -> Loops:
    timed = int(row["multi_step"])
    steps = row["in_shape"][0] if timed else 1
    batch, c, k = row["in_shape"][timed], row["in_channels"], row["out_channels"]
    one = run.geometries[row["rank"], row["signature_id"]]
    if not isinstance(one, Convolution):
        return Loops(batch=batch, steps=steps, c=c, k=k)
    after = tuple(row["out_shape"][timed + 2 :])
    return Loops.spatial(after, one.kernel, batch=batch, steps=steps, c=c, k=k)


def half_run_backward(run: Run, calls: pl.DataFrame) -> list[str]:
    """Return a refusal of layers that ran forward several times and backward less often.

    2.0 cannot tell which of the calls the backward ones belong to.

    Args:
        run: what ran.
        calls: rows of `layer_rows`.
    """
    forward = (pl.col("role") == "forward") & pl.col("grad_enabled").fill_null(False)
    half = (
        with_paths(run.trace, calls)
        .group_by(MODULE, maintain_order=True)
        .agg(
            pl.col("module").first(),
            forward=forward.sum(),
            backward=pl.col("module_call_id").filter(pl.col("role") != "forward").n_unique(),
        )
        .filter((pl.col("forward") > 1) & pl.col("backward").is_between(1, pl.col("forward") - 1))
    )
    if half.is_empty():
        return []
    return [
        "SpikingJelly 2.0 refuses layers that ran backward less often than forward: "
        + listed(half["module"].to_list())
    ]
