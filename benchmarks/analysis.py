"""Analyses of a long trace in processes of their own: seconds, and the most memory they held."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mock  # noqa: UP026

OPEN = "from opjoule.analyzers import open_trace, count, energy\ntrace = open_trace(path)\n"

JOBS: dict[str, str] = {
    "open": OPEN,
    "count, total": OPEN + "count(trace, by='total')",
    "count, by module and stage": OPEN + "count(trace, by=['module', 'stage'])",
    "energy: compute": OPEN + "energy.estimate_compute(trace)",
    "energy: lemaire": OPEN + "energy.estimate_lemaire(trace)",
    "energy: neuromc": OPEN + "energy.estimate_neuromc(trace)",
    "energy: spikesim": OPEN + "energy.estimate_spikesim(trace)",
    "counters and four estimators": OPEN
    + "count(trace, by=['module', 'stage'])\n"
    + "for each in ('compute', 'lemaire', 'neuromc', 'spikesim'):\n"
    + "    getattr(energy, f'estimate_{each}')(trace)",
}
"""What is run -> its program; `path` is the trace."""

OF_RANKS = ("count, total", "energy: compute", "energy: lemaire", "energy: neuromc")

SWEEP = OPEN + (
    "from opjoule.analyzers import sweep\n"
    "axis = [0.05 + 0.0005 * place for place in range(1000)]\n"
    "sweep(trace, 'lemaire', vary={'e_add_pj': axis})"
)

PROGRAM = """
import json, pathlib, resource, time

def peak_bytes():
    # Linux hands `ru_maxrss` on from who started us.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024

path = pathlib.Path({path!r})
start = time.perf_counter()
{job}
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak_bytes()]))
"""


@dataclass(frozen=True)
class Cost:
    """What an analysis took; `failed` says why there are no figures."""

    seconds: float | None
    peak_bytes: int | None
    failed: str = ""


def run(path: Path, job: str) -> Cost:
    """Run a program over the trace at `path` in a fresh interpreter.

    Seconds include the imports of the analyzers, not the start of Python.
    """
    program = PROGRAM.format(path=str(path), job=job)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        return Cost(None, None, (done.stderr.strip().splitlines() or ["killed"])[-1])
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return Cost(seconds, peak)


def measure(calls: int) -> tuple[dict[str, Cost], int]:
    """Return what every analysis of a mock-up trace costs, and the trace's size in bytes."""
    with tempfile.TemporaryDirectory(prefix="opjoule-bench-") as folder:
        path = mock.mock(Path(folder) / "mock", calls)
        size = sum(file.stat().st_size for file in path.iterdir())
        return {name: run(path, job) for name, job in JOBS.items()}, size


def sweep() -> Cost:
    """Return what a thousand configurations over a recorded run cost."""
    with tempfile.TemporaryDirectory(prefix="opjoule-bench-") as folder:
        return run(mock.recorded(Path(folder) / "trace"), SWEEP)


def ranks(number: int) -> dict[str, Cost]:
    """Return what analyses of so many ranks of a run cost."""
    with tempfile.TemporaryDirectory(prefix="opjoule-bench-") as folder:
        path, program = Path(folder) / "ranks", Path(__file__).parent / "mock.py"
        subprocess.run([sys.executable, program, path, "--ranks", str(number)], check=True)
        return {name: run(path, JOBS[name]) for name in OF_RANKS}
