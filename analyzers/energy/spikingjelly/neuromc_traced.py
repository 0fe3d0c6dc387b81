"""What SpikingJelly's revisions add from the trace: products that no module's fragment is equal to.

A Linear's backward products never are, so that each is counted twice there; a functional call that
is equal to a module's in the same stage is not counted at all.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import polars as pl

from ...rules.geometry import Convolution, Matmul, Shape
from ...rules.spikingjelly import NEUROMC_CHARGED
from ..neuromc.addons import NORM_KEYS, norm_fragment
from ..neuromc.fragments import CORES, Fragment, Fragments, Loops, bits_of
from ..neuromc.run import Run

_KEYS = ("taken_spikes", *NORM_KEYS)


def add_traced(found: Fragments, run: Run, calls: pl.DataFrame, trainable: Set[Shape]) -> None:
    """Take in traced products, convolutions and batch norms.

    Args:
        found: where they go; what is equal to a fragment in it is left out.
        run: what ran.
        calls: rows of `Run.calls`.
        trainable: shapes of trainable parameters.
    """
    known = {_likeness(one) for one in found.kinds}

    def cut(row: dict[str, Any]) -> list[Fragment]:
        one = norm_fragment(row, run) if row["sort"] == "norm" else _product(row, run, trainable)
        return [] if one is None or _likeness(one) in known else [one]

    calls = _running(calls, run).with_columns(
        in_shape=None, multi_step=False, product=pl.when(pl.col("sort") != "norm").then("seq")
    )
    taken = _taken(calls, run, trainable)
    calls = calls.join(taken, on=["rank", "seq"], how="left", maintain_order="left")
    found.add(calls, _KEYS, cut, section=1)


def _likeness(one: Fragment) -> tuple[object, ...]:
    """Return what the revisions compare to find out what they have counted."""
    loops = one.loops
    return (
        one.stage, one.phase, one.core, one.process, loops.batch * loops.steps,
        loops.c, loops.k, loops.oy, loops.ox, loops.fy, loops.fx,
        one.input_bits, one.weight_bits, one.output_bits,
        one.inputs, one.weights, one.outputs, one.macs, one.batch_reused, one.step_reused,
    )  # fmt: skip


def _running(calls: pl.DataFrame, run: Run) -> pl.DataFrame:
    """Return the calls that count, with the `phase` of their stage.

    The backward of a convolution is known by its module alone.
    """
    stages = calls.select("label", "stage").unique()
    phases = [run.stage(*row).phase for row in stages.iter_rows()]
    staged = stages.with_columns(phase=pl.Series(phases, dtype=pl.String))
    again = (pl.col("phase") == "backward") & (pl.col("stage") == "forward")
    late = (pl.col("sort") == "convolution") & (pl.col("role") != "forward")
    return calls.join(
        staged, on=["label", "stage"], nulls_equal=True, maintain_order="left"
    ).filter((pl.col("stage") != "recompute") & ~again & ~late)


def _role(one: Matmul, phase: str, trainable: Set[Shape]) -> str:
    """Return what a product is taken for: by its phase, and by which factor has a gradient."""
    if phase == "forward":
        return "forward"
    first, second = one.first.requires_grad, one.second.requires_grad
    alike = first == second and one.out.shape in trainable
    return "grad_weight" if (first and not second) or alike else "grad_input"


def _taken(calls: pl.DataFrame, run: Run, trainable: Set[Shape]) -> pl.DataFrame:
    """Return, for input gradients, whether the forward product that they are taken for had spikes.

    Forward products wait on a pile; an input gradient takes the last one whose first factor has the
    shape of its result, and whose result has the shape of its first factor.

    Returns:
        `rank`, `seq` and `taken_spikes`.
    """
    rows = []
    for (rank, signature), one in run.geometries.items():
        if not isinstance(one, Matmul) or one.op not in NEUROMC_CHARGED:
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


def _product(row: dict[str, Any], run: Run, trainable: Set[Shape]) -> Fragment | None:
    one = run.geometries[row["rank"], row["signature_id"]]
    stage = run.stage(row["label"], row["stage"])
    if isinstance(one, Matmul) and one.op in NEUROMC_CHARGED:
        role = _role(one, stage.phase, trainable)
        loops, sizes = _matmul(one, role), (one.first.numel, one.second.numel, one.out.numel)
    elif isinstance(one, Convolution) and one.spatial <= 2:
        role, loops = "forward", _convolution(one)
        sizes = (one.x.numel, one.weight.numel, loops.positions_of(loops.k))
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


def _matmul(one: Matmul, role: str) -> Loops:
    if role != "grad_weight":
        return Loops(batch=one.rows, c=one.k, k=one.n)
    rows = one.first.shape[-2]
    return Loops(batch=one.rows // rows * one.k if rows else 0, c=rows, k=one.n)


def _convolution(one: Convolution) -> Loops:
    """Return the loops of a convolution, transposed or not; groups are ignored."""
    (c, k), after = one.channels, one.out_shape[2:]
    return Loops.spatial(after, one.kernel, batch=one.x.shape[0], c=c, k=k)
