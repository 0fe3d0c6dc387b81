"""Ratios are of the same round, and medians over rounds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
pytest.importorskip("transformers")


@pytest.fixture
def overhead(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    for name in ("overhead", "peers", "models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import overhead

    return overhead


def test_medians_and_ratios(overhead):
    """Three rounds; the machine is three times as slow in the second, for both."""

    def runs(*inside):
        taken = [overhead.Taken(cpu, 2 * cpu) for cpu in inside]
        return [(overhead.Taken(1, 1), each, overhead.Taken(2, 5)) for each in taken]

    rounds = {"plain": runs(1, 3, 1), "FlopCounterMode": runs(2, 6, 4), "opjoule": runs(3, 9, 2)}
    timing = overhead._timing(rounds, "opjoule")
    assert timing.inside == (3, 6)
    assert timing.ratio == (3, 3)  # of 3, 3 and 2
    assert timing.over_flops == (1.5, 1.5)  # of 1.5, 1.5 and 0.5
    assert (timing.opening, timing.closing) == ((1, 1), (2, 5))


def test_a_run_is_clocked_after_one_that_is_not(overhead):
    """What is measured is the mean of the runs inside, and every run is reset."""
    seen = []
    work = overhead.Workload(
        "none", "forward", overhead.torch.nn.Identity(), lambda: seen.append("run"),
        lambda: seen.append("reset"), {},
    )  # fmt: skip
    _, inside, _ = overhead.once(work, "plain", times=4)
    assert seen == ["run", "reset"] * 5
    assert inside.cpu >= 0 and inside.wall > 0
