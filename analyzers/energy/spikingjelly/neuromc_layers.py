"""Fragments of layers as SpikingJelly's revisions take them: from calls of modules.

Kept as they are there: groups are ignored, the middle dimensions of a Linear's input are dropped,
and gradients of a strided convolution are at the resolution of its output.
"""

from __future__ import annotations

from math import prod
from typing import Any

import polars as pl

from ..neuromc.calls import Products
from ..neuromc.fragment_table import Pieces
from ..neuromc.fragments import CORES, Fragment, Loops, bits_of
from ..neuromc.modules import ID, WHERE, shape_of
from ..neuromc.operands import Convolution
from ..neuromc.products import StageOf

LAYERS = ("linear", "conv1d", "conv2d")
"""Kinds of modules that are layers."""

_KEYS = ("spikes", "role", "kind", "c_in", "c_out", "kernel", "weights", "in_shape", "out_shape",
         "multi_step")  # fmt: skip


def counts(stage: str, phase: str, role: str) -> bool:
    """Tell whether a call of a module counts, from recorded stage, phase and role.

    What is run again inside a backward pass does not, nor does a forward in a backward stage.
    """
    return stage != "recompute" and (role != "forward" or phase != "backward")


def add_layers(pieces: Pieces, calls: pl.DataFrame, revision: str, stage_of: StageOf) -> None:
    """Take in the layers, forward and backward.

    Args:
        pieces: where they go.
        calls: rows of `layer_rows`.
        revision: spikingjelly-2.0 or spikingjelly-2026-08.
        stage_of: see `StageOf`.
    """

    def describe(row: dict[str, Any]) -> list[Fragment]:
        stage = stage_of(row["label"], row["stage"])
        forward = row["role"] == "forward"
        if not counts(row["stage"], stage.phase, row["role"]):
            return []
        # 2.0 forgets in the backward pass that weights are there; 2026-08 does not.
        reused = forward or revision != "spikingjelly-2.0"
        return [
            _fragment(
                row,
                stage=stage.name,
                batch_reused=stage.batch_reused and reused,
                step_reused=stage.step_reused and reused,
            )
        ]

    pieces.add(calls, _KEYS, describe)


def layer_rows(calls: pl.DataFrame, products: Products, revision: str) -> pl.DataFrame:
    """Return a row for each fragment of a layer: the calls of layers and the gradients in them.

    Args:
        calls: rows of `with_forward` with the columns of `known_modules` and `calls_of` of their
            module call (`kind` null outside layers).
        products: what the signatures are.
        revision: 2026-08 takes the last input of a module for that of all its backward calls, and
            knows no convolution's backward.
    """
    layers = calls.filter(pl.col("kind").is_in(LAYERS))
    forward = (
        layers.filter(
            pl.col("sort").is_in(["matmul", "conv"])
            & pl.col("stage").is_in(["forward", "recompute"])
        )
        .unique(ID, keep="first", maintain_order=True)
        .with_columns(seq="last_seq", spikes="first_spikes", role=pl.lit("forward"))
    )
    backward = [
        layers.filter((pl.col("sort") == "matmul") & pl.col("role").str.starts_with("grad"))
        .with_columns(spikes="of_spikes")
    ]  # fmt: skip
    if revision == "spikingjelly-2.0":
        backward += _gradients(layers, products)
    # Gradients of a call stand together, that of the input first.
    late = pl.concat([each.select(forward.columns) for each in backward]).with_columns(
        seq=pl.col("seq").min().over(*ID, *WHERE, order_by="seq")
    )
    if revision != "spikingjelly-2.0":
        late = _by_last_input(late, forward)
    return pl.concat([forward, late.sort("rank", "seq", "role")])


def _gradients(layers: pl.DataFrame, products: Products) -> list[pl.DataFrame]:
    """Return the backward calls of convolutions, once for each gradient that they give."""
    rows = [(*key, *one.wanted) for key, one in products.items() if isinstance(one, Convolution)]
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "grad_input": pl.Boolean,
              "grad_weight": pl.Boolean}  # fmt: skip
    wanted = pl.DataFrame(rows, schema=schema, orient="row")
    given = layers.filter(pl.col("sort") == "conv_backward").join(
        wanted, on=["rank", "signature_id"], maintain_order="left"
    )
    return [
        given.filter(pl.col(role)).with_columns(role=pl.lit(role), spikes="first_spikes")
        for role in ("grad_input", "grad_weight")
    ]


def _by_last_input(late: pl.DataFrame, forward: pl.DataFrame) -> pl.DataFrame:
    """Decide spikes by the last input that the module had before the backward call."""
    seen = forward.select("rank", "module_id", "seq", last="spikes").sort("seq")
    return (
        late.sort("seq")
        .join_asof(seen, on="seq", by=["rank", "module_id"], check_sortedness=False)
        .with_columns(spikes=pl.coalesce("last", "spikes"))
        .drop("last")
    )


def _fragment(row: dict[str, Any], **staged: Any) -> Fragment:
    role, kind = row["role"], row["kind"]
    family = "linear" if kind == "linear" else "conv"
    forward = role == "forward"
    shape, out = shape_of(row["in_shape"]), shape_of(row["out_shape"])
    loops = _loops(row, shape, out)
    elements = {
        "forward": (prod(shape), row["weights"], prod(out)),
        "grad_input": (prod(out), row["weights"], prod(shape)),
        "grad_weight": (prod(shape), prod(out), row["weights"]),
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


def _loops(row: dict[str, Any], shape: tuple[int, ...], out: tuple[int, ...]) -> Loops:
    steps = shape[0] if row["multi_step"] else 1
    batch = (shape[1:] if row["multi_step"] else shape)[0]
    sizes = {"batch": batch, "steps": steps, "c": row["c_in"], "k": row["c_out"]}
    if row["kind"] == "linear":
        return Loops(**sizes)
    after = (out[1:] if row["multi_step"] else out)[2:]
    return Loops.spatial(after, tuple(row["kernel"]), **sizes)


def half_run_backward(calls: pl.DataFrame) -> list[str]:
    """Return paths of layers that ran forward several times and backward less often.

    SpikingJelly 2.0 refuses them: it cannot tell which of the calls the backward ones belong to.

    Args:
        calls: rows of `layer_rows` with `module` and `grad_enabled`.
    """
    forward = (pl.col("role") == "forward") & pl.col("grad_enabled").fill_null(False)
    return (
        calls.group_by("rank", "module_id", maintain_order=True)
        .agg(
            pl.col("module").first(),
            forward=forward.sum(),
            backward=pl.col("module_call_id").filter(pl.col("role") != "forward").n_unique(),
        )
        .filter((pl.col("forward") > 1) & pl.col("backward").is_between(1, pl.col("forward") - 1))[
            "module"
        ]
        .to_list()
    )
