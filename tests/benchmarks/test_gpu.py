"""The script for a GPU machine runs as far as it goes without one, and says where it stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def run(python):
    # Reductions count, as without a GPU: Triton's kernels, interpreted, have tests of their own.
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    return lambda *arguments: python([SCRIPT, *arguments], env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(run):
    done = run()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU here") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_it_runs_on_tensors_that_pass_for_a_gpus(run):
    done = run("--device", "cpu", "--quick")
    assert not done.returncode, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "QUICK" in lines[0]
    compared = [int(word) for word in lines[1].split() if word.isdigit()]
    assert compared[0] > 300 and compared[1] > 50 and compared[2] == 1
    assert sum(line.startswith("| MLP") for line in lines) == 2
    assert not [line for line in lines if line.startswith("WRONG")]
