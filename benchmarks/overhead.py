"""How much more a workload takes inside each context, and what opening and closing take."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from models import Workload
from peers import CONTEXTS, FLOPS, PEERS, PLAIN

ADDS = 3000
SHORTEST = 0.05
"""Seconds that are measured at a time: a shorter workload runs several times."""


class Taken(NamedTuple):
    """Seconds of the processor, over all threads, and of the clock on the wall."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Timing:
    """Medians of interleaved rounds.

    Attributes:
        inside: one run in the context, in seconds, once the context has seen the workload.
        opening: entering the context, in seconds.
        closing: leaving it, for the recorder with all its writing.
        ratio: `inside` over that of the plain run of the same round.
        over_flops: the same over FlopCounterMode's.
    """

    inside: Taken
    opening: Taken
    closing: Taken
    ratio: Taken
    over_flops: Taken


def clocked(run: Callable[[], object]) -> Taken:
    """Return what a function takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Taken(time.process_time() - cpu, time.perf_counter() - wall)


def once(work: Workload, peer: str, times: int = 1) -> tuple[Taken, Taken, Taken]:
    """Run a workload in a context, first unclocked; return (opening, a run inside, closing)."""

    def run() -> None:
        for _ in range(times):
            work.run()
            work.reset()
        _settle(work)

    gc.collect()
    context = CONTEXTS[peer](work)
    opening = clocked(context.__enter__)
    work.run()
    work.reset()
    inside = clocked(run)
    closing = clocked(lambda: context.__exit__(None, None, None))
    return opening, Taken(*(part / times for part in inside)), closing


def _settle(work: Workload) -> None:
    if any(parameter.is_cuda for parameter in work.model.parameters()):
        torch.cuda.synchronize()


def measure(work: Workload, rounds: int) -> dict[str, Timing]:
    """Time a workload in every context, once in every round."""
    for _ in range(2):
        taken = clocked(work.run)
        work.reset()
    times = max(1, int(SHORTEST / max(taken.wall, 1e-6)))
    runs: dict[str, list[tuple[Taken, Taken, Taken]]] = {peer: [] for peer in PEERS}
    for _ in range(rounds):
        for peer in PEERS:
            runs[peer].append(once(work, peer, times))
    return {peer: _timing(runs, peer) for peer in PEERS}


def _timing(runs: dict[str, list[tuple[Taken, Taken, Taken]]], peer: str) -> Timing:
    opening, inside, closing = map(list, zip(*runs[peer], strict=True))

    def over(other: str) -> Taken:
        theirs = [taken for _, taken, _ in runs[other]]
        pairs = zip(inside, theirs, strict=True)
        return _median([Taken(a.cpu / b.cpu, a.wall / b.wall) for a, b in pairs])

    return Timing(_median(inside), _median(opening), _median(closing), over(PLAIN), over(FLOPS))


def _median(taken: list[Taken]) -> Taken:
    return Taken(*(statistics.median(part) for part in zip(*taken, strict=True)))


def small_ops(rounds: int, device: str = "cpu") -> dict[str, float]:
    """Return the microseconds of the processor by op of a loop of 3000 additions, per context."""
    step = torch.ones(64, device=device)

    def adds() -> object:
        total = torch.zeros(64, device=device)
        for _ in range(ADDS):
            total = total + step
        return total

    work = Workload("adds", "forward", torch.nn.Identity(), adds, lambda: None, {})
    timings = measure(work, rounds)
    return {peer: timing.inside.cpu / ADDS * 1e6 for peer, timing in timings.items()}
