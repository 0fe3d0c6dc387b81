"""How much slower a workload runs inside each context, and what opening and closing take."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass

import torch
from models import Workload
from peers import PEERS, PLAIN

ADDS = 3000


@dataclass(frozen=True)
class Timing:
    """Medians of interleaved runs, in seconds.

    Attributes:
        inside: the workload alone, inside the context.
        opening: entering the context.
        closing: leaving it, for the recorder with all its writing.
        ratio: `inside` over that of the plain run.
        overall: opening, workload and closing over the plain run.
    """

    inside: float
    opening: float
    closing: float
    ratio: float
    overall: float


def once(work: Workload, peer: str) -> tuple[float, float, float]:
    """Run a workload once in a context; return seconds (opening, inside, closing)."""
    gc.collect()
    context = PEERS[peer](work)
    start = time.perf_counter()
    with context:
        opened = time.perf_counter()
        work.run()
        _settle(work)
        ran = time.perf_counter()
    closed = time.perf_counter()
    work.reset()
    return opened - start, ran - opened, closed - ran


def _settle(work: Workload) -> None:
    if any(parameter.is_cuda for parameter in work.model.parameters()):
        torch.cuda.synchronize()


def measure(work: Workload, rounds: int) -> dict[str, Timing]:
    """Time a workload in every context; one run of each in every round, after a warm-up."""
    times: dict[str, list[tuple[float, float, float]]] = {peer: [] for peer in PEERS}
    for turn in range(rounds + 1):
        for peer in PEERS:
            taken = once(work, peer)
            if turn:
                times[peer].append(taken)
    plain = [inside for _, inside, _ in times[PLAIN]]
    return {peer: _timing(runs, plain) for peer, runs in times.items()}


def _timing(runs: list[tuple[float, float, float]], plain: list[float]) -> Timing:
    opening, inside, closing = (statistics.median(part) for part in zip(*runs, strict=True))
    base = statistics.median(plain)
    whole = statistics.median(sum(run) for run in runs)
    return Timing(inside, opening, closing, inside / base, whole / base)


def small_ops(rounds: int, device: str = "cpu") -> dict[str, float]:
    """Return the microseconds by op of a loop of 3000 additions of 64 elements, per context."""
    step = torch.ones(64, device=device)

    def adds() -> object:
        total = torch.zeros(64, device=device)
        for _ in range(ADDS):
            total = total + step
        return total

    work = Workload("adds", "forward", torch.nn.Identity(), adds, lambda: None, {})
    timings = measure(work, rounds)
    return {peer: timing.inside / ADDS * 1e6 for peer, timing in timings.items()}
