"""Fragments without MACs, alike in all revisions: neurons, batch norms, optimizer steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from math import prod
from typing import Any

import polars as pl

from ...rules.geometry import Norm
from ...workload.gradients import neuron_backwards, shaped_calls
from ...workload.layers import ID
from .fragments import CORES, Fragment, Fragments, Loops
from .run import Run

Counted = Callable[[str, str, str], bool]
"""From the recorded stage, the stage's phase and the role (forward, backward): does it count."""

Options = tuple[tuple[str, bool | int], ...]
"""Names of options, each with the value at which it does nothing."""

SGD_OPTIONS: Options = (("nesterov", False), ("dampening", 0), ("maximize", False))
"""What the formula of SGD has no term for."""

_ADAMW_OPTIONS: Options = (("amsgrad", False), ("maximize", False))

OPTIMIZERS: Mapping[str, Options] = {
    "SGD": SGD_OPTIONS,
    "Adam": (("weight_decay", 0), *_ADAMW_OPTIONS),
    "AdamW": _ADAMW_OPTIONS,  # decay is what it is for: the formula is of AdamW as such
}
"""Optimizers that have fragments -> the options that have to be off."""

_SHAPED = ("in_shape", "multi_step")


def always(stage: str, phase: str, role: str) -> bool:
    """Count every call."""
    return True


def add_neurons(found: Fragments, run: Run, counted: Counted = always) -> None:
    """Take in the calls of neurons, forward and backward."""

    def cut(row: dict[str, Any], role: str) -> list[Fragment]:
        stage, shape = run.stage(row["label"], row["stage"]), row["in_shape"]
        if shape is None or not counted(row["stage"], stage.phase, role):
            return []
        forward = role == "forward"
        return [
            Fragment(
                op=f"soma.{role}",
                stage=stage.name,
                phase=role,
                core="fp_soma" if forward else "bp_grad",
                process="with_sg",
                loops=_channels(shape, shape[0] if row["multi_step"] and shape else None),
                output_bits=1 if forward else 16,
                batch_reused=stage.batch_reused and forward,
                step_reused=stage.step_reused and forward,
            )
        ]

    if run.neurons.is_empty() or not run.trace.of_every_op:
        return
    known = run.neuron_calls
    forward = shaped_calls(run.trace, run.neurons) if run.trace.opened else known
    found.add(forward.with_columns(seq="last_seq"), _SHAPED, lambda row: cut(row, "forward"))
    backward = neuron_backwards(run.trace, run.neurons).join(
        known.select(*ID, *_SHAPED), on=ID, maintain_order="left"
    )
    found.add(backward, _SHAPED, lambda row: cut(row, "backward"))


def _channels(shape: list[int], steps: int | None) -> Loops:
    """Return the loops of a tensor: C = K = channels, OY = all positions.

    Args:
        shape: (B, C, ...), or with time steps (T, B, C, ...).
        steps: T; None: there is no time.
    """
    rest = shape if steps is None else shape[1:]
    batch = rest[0] if rest else 1
    channels = rest[1] if len(rest) > 1 else batch
    return Loops(batch=batch, steps=steps or 1, c=channels, k=channels, oy=prod(rest[2:]))


NORM_KEYS = ("sort", "role", "signature_id", "first_spikes", *_SHAPED)
"""What the fragment of a batch norm depends on."""


def add_norms(found: Fragments, run: Run, calls: pl.DataFrame, counted: Counted = always) -> None:
    """Take in batch norms: rows of `Run.calls`."""

    def cut(row: dict[str, Any]) -> list[Fragment]:
        stage = run.stage(row["label"], row["stage"])
        counts = counted(row["stage"], stage.phase, row["role"])
        return [norm_fragment(row, run)] if counts else []

    found.add(run.with_shapes(calls), NORM_KEYS, cut)


def norm_fragment(row: dict[str, Any], run: Run) -> Fragment:
    """Return the fragment of a batch norm from a row of `NORM_KEYS`, stage and label.

    A module in multi-step mode normalises all time steps, its first dimension, in one call.
    """
    one = run.geometries[row["rank"], row["signature_id"]]
    assert isinstance(one, Norm)
    stage = run.stage(row["label"], row["stage"])
    forward = row["role"] == "forward"
    taken = row["in_shape"] or []
    timed = row["multi_step"] and prod(taken[:2]) == prod(one.shape[:1])
    shape, steps = (taken, taken[0]) if timed else (list(one.shape), None)
    return Fragment(
        op=f"bn.{row['role']}",
        stage=stage.name,
        phase=row["role"],
        core=CORES["norm" if forward else "norm_backward"][bool(row["first_spikes"])],
        process="with_bn",
        loops=_channels(shape, steps),
        norm_modelled=stage.norm_modelled,
    )


def add_optimizers(found: Fragments, run: Run) -> None:
    """Take in the steps of optimizers that have fragments; they belong to no module."""
    steps: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in run.trace.optimizer_steps.iter_rows(named=True):
        if _refusal(run, row) is None:
            steps.setdefault((row["rank"], row["optimizer_step_id"]), []).append(row)
    kinds: dict[tuple[Fragment, ...], int] = {}
    cut: dict[tuple[Any, ...], int] = {}  # most steps are like another one
    rows = []
    for (rank, _), groups in steps.items():
        first = groups[0]
        told = (first["label"], *(tuple(row[name] for name in _TOLD) for row in groups))
        if told not in cut:
            stage = run.stage(first["label"], "optimizer").name
            of = _sgd(groups, stage) if _named(first) == "SGD" else _adam(groups, stage)
            cut[told] = kinds.setdefault(tuple(of), len(kinds))
        kind = cut[told]
        rows.append((rank, None, "optimizer", *(first[c] for c in _STEP), kind))
    calls = pl.DataFrame(rows, schema=_STEPS, orient="row")
    cuts = list(kinds)
    found.add(calls, ("kind",), lambda row: cuts[row["kind"]])


_STEP = ("label", "step", "first_seq")

_TOLD = ("class", "hyper", "state", "vector_elements", "matrix_elements")
"""What the fragments of a step depend on, besides its label."""

_STEPS = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "stage": pl.String,
    "label": pl.String,
    "step": pl.Int32,
    "seq": pl.Int64,
    "kind": pl.Int64,
}


def _named(row: dict[str, Any]) -> str:
    return str(row["class"].rpartition(".")[2])


def _adam(groups: list[dict[str, Any]], stage: str) -> Iterator[Fragment]:
    """Yield the fragment of a step: K elements of 1-d parameters, FX of the others."""
    vectors = sum(row["vector_elements"] for row in groups)
    matrices = sum(row["matrix_elements"] for row in groups)
    yield _step(_named(groups[0]).lower(), stage, vectors, matrices)


def _sgd(groups: list[dict[str, Any]], stage: str) -> Iterator[Fragment]:
    """Yield one fragment each for 1-d and other parameters, for each setting."""
    counts: dict[tuple[bool, bool, bool, bool], int] = {}
    for row in groups:
        hyper = json.loads(row["hyper"])
        momentum = bool(hyper.get("momentum", 0))
        held = momentum and "momentum_buffer" in json.loads(row["state"] or "[]")
        decay = bool(hyper.get("weight_decay", 0))
        for matrix in (True, False):
            elements = row["matrix_elements" if matrix else "vector_elements"]
            key = (matrix, momentum, held, decay)
            if elements:
                counts[key] = counts.get(key, 0) + elements
    for (matrix, momentum, held, decay), n in counts.items():
        yield _step(
            "sgd", stage, 0 if matrix else n, n if matrix else 0,
            momentum=momentum, momentum_buffer=held, weight_decay=decay,
        )  # fmt: skip


def _step(op: str, stage: str, vectors: int, matrices: int, **options: bool) -> Fragment:
    return Fragment(
        op=op,
        stage=stage,
        phase="optimizer",
        core="bp_grad_opt",
        process="with_opt",
        source="optimizer",
        loops=Loops(k=vectors, fx=matrices),
        input_bits=32,
        weight_bits=32,
        output_bits=32,
        **options,
    )


def _refusal(run: Run, row: dict[str, Any]) -> str | None:
    """Return why a row of `optimizer_steps` has no fragment, None if it has one."""
    name = _named(row)
    off = run.optimizers.get(name)
    if off is None:
        return f"optimizer {name} (there are fragments for {', '.join(run.optimizers)})"
    wrong = _set(row["hyper"], off)
    return f"optimizer {name} with {', '.join(wrong)}" if wrong else None


@lru_cache
def _set(hyper: str, off: Options) -> tuple[str, ...]:
    """Return those of the options (JSON) that are not off, in words."""
    options = json.loads(hyper)
    wrong = [name for name, value in off if options.get(name, value) != value]
    return tuple(f"{name}={options[name]}" for name in wrong)


def refused_optimizers(run: Run) -> dict[str, int]:
    """Return optimizers without a fragment by name, and how many steps they took."""
    steps: dict[str, set[tuple[int, int]]] = {}
    for row in run.trace.optimizer_steps.iter_rows(named=True):
        reason = _refusal(run, row)
        if reason is not None:
            steps.setdefault(reason, set()).add((row["rank"], row["optimizer_step_id"]))
    return {reason: len(each) for reason, each in steps.items()}


def decays_uncounted(run: Run) -> bool:
    """Tell whether a step of AdamW is charged that decays weights: no term is for it alone."""
    return any(
        _named(row) == "AdamW" and _refusal(run, row) is None and _set(row["hyper"], _DECAY)
        for row in run.trace.optimizer_steps.iter_rows(named=True)
    )


_DECAY: Options = (("weight_decay", 0),)
