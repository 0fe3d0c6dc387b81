"""What SpikingJelly's revisions add from the trace: products that no module's fragment is equal to.

A Linear's backward products never are, so that each is counted twice there; a functional call that
is equal to a module's in the same stage is not counted at all.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import polars as pl

from ..neuromc.calls import Products
from ..neuromc.fragment_table import Pieces
from ..neuromc.fragments import CORES, Fragment, Loops, bits_of
from ..neuromc.neurons_and_norms import NORM_KEYS, norm_fragment
from ..neuromc.operands import Convolution, Matmul, Shape
from ..neuromc.products import StageOf

_KNOWN = ("aten.mm.default", "aten.bmm.default", "aten.addmm.default")

_KEYS = ("rank", "sort", "signature_id", "first_spikes", "taken_spikes")


def add_traced(
    pieces: Pieces, calls: pl.DataFrame, products: Products, trainable: Set[Shape],
    stage_of: StageOf,
) -> None:  # fmt: skip
    """Take in traced products, convolutions and batch norms.

    Args:
        pieces: where they go; what is equal to a fragment in it is left out.
        calls: rows of `product_calls`, those of batch norms with the columns `in_shape` and
            `multi_step`, which are null.
        products: what the signatures are.
        trainable: shapes of trainable parameters; the revision 2026-08 knows none.
        stage_of: see `StageOf`.
    """
    known = {one.likeness for one in pieces.fragments}

    def describe(row: dict[str, Any]) -> list[Fragment]:
        one: Fragment | None
        if row["sort"] in ("norm", "norm_backward"):
            one = norm_fragment({**row, "spikes": bool(row["first_spikes"])}, products, stage_of)
        else:
            one = _product(row, products, trainable, stage_of)
        return [] if one is None or one.likeness in known else [one]

    running = _running(calls, stage_of)
    taken = _taken(running, products, trainable)
    running = running.join(taken, on=["rank", "seq"], how="left", maintain_order="left")
    norm_keys = [key for key in NORM_KEYS if key != "spikes"]
    pieces.add(running, [*_KEYS, *norm_keys], describe, section=1)


def _running(calls: pl.DataFrame, stage_of: StageOf) -> pl.DataFrame:
    """Return the calls that count, with the `phase` of their stage."""
    stages = calls.select("label", "stage").unique()
    phases = [stage_of(*row).phase for row in stages.iter_rows()]
    staged = stages.with_columns(phase=pl.Series(phases, dtype=pl.String))
    again = (pl.col("phase") == "backward") & (pl.col("stage") == "forward")
    return calls.join(
        staged, on=["label", "stage"], nulls_equal=True, maintain_order="left"
    ).filter((pl.col("stage") != "recompute") & ~again)


def _role(one: Matmul, phase: str, trainable: Set[Shape]) -> str:
    """Return what a product is taken for: by its phase, and by which factor has a gradient."""
    if phase == "forward":
        return "forward"
    first, second = one.first.requires_grad, one.second.requires_grad
    alike = first == second and one.out.shape in trainable
    return "grad_weight" if (first and not second) or alike else "grad_input"


def _taken(calls: pl.DataFrame, products: Products, trainable: Set[Shape]) -> pl.DataFrame:
    """Return, for input gradients, whether the forward product that they are taken for had spikes.

    Forward products wait on a pile; an input gradient takes the last one whose first factor has the
    shape of its result, and whose result has the shape of its first factor.

    Returns:
        `rank`, `seq` and `taken_spikes`.
    """
    rows = []
    for (rank, signature), one in products.items():
        if not isinstance(one, Matmul) or one.op not in _KNOWN:
            continue
        for phase in ("forward", "backward", "optimizer"):
            role = _role(one, phase, trainable)
            ends = (one.first.shape, one.out.shape)
            if role != "grad_weight":
                pair = ends if role == "forward" else ends[::-1]
                rows.append((rank, signature, phase, 1 if role == "forward" else -1, str(pair)))
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "phase": pl.String, "puts": pl.Int64,
              "pile": pl.String}  # fmt: skip
    events = calls.join(
        pl.DataFrame(rows, schema=schema, orient="row"), on=["rank", "signature_id", "phase"]
    ).sort("rank", "pile", "seq")
    pile = ["rank", "pile"]
    height = pl.col("puts").cum_sum().over(pile)
    floor = pl.min_horizontal(height.cum_min().over(pile), pl.lit(0))
    after = height - floor
    return (
        events.with_columns(after=after)
        .with_columns(before=pl.col("after").shift(1, fill_value=0).over(pile))
        .with_columns(level=pl.when(pl.col("puts") > 0).then("after").otherwise("before"))
        .filter(pl.col("level") > 0)
        .with_columns(
            taken_spikes=pl.col("first_spikes").shift(1).over([*pile, "level"], order_by="seq")
        )
        .filter(pl.col("puts") < 0)
        .select("rank", "seq", "taken_spikes")
    )


def _product(
    row: dict[str, Any], products: Products, trainable: Set[Shape], stage_of: StageOf
) -> Fragment | None:
    one = products[row["rank"], row["signature_id"]]
    stage = stage_of(row["label"], row["stage"])
    if isinstance(one, Matmul):
        if one.op not in _KNOWN:
            return None
        role = _role(one, stage.phase, trainable)
        loops = Loops(batch=one.rows, c=one.k, k=one.n)
        if role == "grad_weight":
            rows = one.first.shape[-2]
            loops = Loops(batch=one.rows // rows * one.k if rows else 0, c=rows, k=one.n)
        sizes = (one.first.numel, one.second.numel, one.out.numel)
    elif isinstance(one, Convolution) and row["sort"] == "conv" and one.spatial <= 2:
        role = "forward"
        loops = Loops.spatial(
            one.out_shape[2:],
            one.kernel,
            batch=one.x.shape[0],
            c=one.channels[0],
            k=one.channels[1],
        )
        out = loops.positions_of(loops.k)
        sizes = (one.x.numel, one.weight.numel, out)
    else:
        return None
    spikes = row["taken_spikes"] if role == "grad_input" else row["first_spikes"]
    core = CORES[role][bool(spikes)]
    return Fragment(
        op=one.op,
        stage=stage.name,
        phase=stage.phase,
        core=core,
        source="trace",
        loops=loops,
        macs=loops.total,
        inputs=sizes[0],
        weights=sizes[1],
        outputs=sizes[2],
        input_bits=bits_of(core),
        batch_reused=stage.batch_reused,
        step_reused=stage.step_reused,
    )
