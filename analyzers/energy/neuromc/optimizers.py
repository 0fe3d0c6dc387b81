"""Fragments of optimizer steps: SGD, Adam, AdamW."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .fragment_table import Pieces
from .fragments import Fragment, Loops
from .products import StageOf

if TYPE_CHECKING:
    from ...trace.trace import Trace

OPTIMIZERS = ("SGD", "Adam", "AdamW")
"""Optimizers that have fragments."""

_OPTIONS = {"nesterov": False, "dampening": 0, "maximize": False}
"""Options of SGD that have to be off."""


def refusal(row: dict[str, Any]) -> str | None:
    """Return why a row of `optimizer_steps` has no fragment, None if it has one."""
    name = row["class"].rpartition(".")[2]
    if name not in OPTIMIZERS:
        return f"optimizer {name} (there are fragments for {', '.join(OPTIMIZERS)})"
    if name == "SGD":
        hyper = json.loads(row["hyper"])
        wrong = [key for key, off in _OPTIONS.items() if hyper.get(key, off) != off]
        if wrong:
            return f"optimizer SGD with {', '.join(f'{key}={hyper[key]}' for key in wrong)}"
    return None


def add_optimizers(pieces: Pieces, trace: Trace, stage_of: StageOf) -> None:
    """Take in the steps of optimizers that have fragments; they belong to no module."""
    steps: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in trace.optimizer_steps.iter_rows(named=True):
        if refusal(row) is None:
            steps.setdefault((row["rank"], row["optimizer_step_id"]), []).append(row)
    found = []
    for (rank, _), groups in steps.items():
        first = groups[0]
        stage = stage_of(first["label"], "optimizer").name
        fragments = list(_sgd(groups, stage) if _named(first) == "SGD" else _adam(groups, stage))
        place = (rank, None, "optimizer", first["label"])
        found.append((place, first["step"], first["first_seq"], fragments))
    pieces.add_single(found)


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


def refused_optimizers(trace: Trace) -> dict[str, int]:
    """Return optimizers without a fragment by name, and how many steps they took."""
    steps: dict[str, set[tuple[int, int]]] = {}
    for row in trace.optimizer_steps.iter_rows(named=True):
        reason = refusal(row)
        if reason is not None:
            steps.setdefault(reason, set()).add((row["rank"], row["optimizer_step_id"]))
    return {reason: len(each) for reason, each in steps.items()}
