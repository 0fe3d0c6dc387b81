"""What the first answer of each command takes on a small trace: CPU time of the whole process.

Modules are compiled before, as `pip install` does it; where Python may not write bytecode
(`PYTHONDONTWRITEBYTECODE`), every start compiles all of them again.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

TRACE = Path(__file__).resolve().parents[1] / "tests" / "data" / "spiking-1"
"""A spiking network's two training steps and an inference: some hundred calls."""

PAGE = str(Path(tempfile.gettempdir()) / "opjoule-start.html")

OPJOULE = ("-m", "opjoule")
VERBS: dict[str, tuple[str, ...]] = {
    "python": ("-c", "pass"),
    "import polars": ("-c", "import polars"),
    "import opjoule": ("-c", "import opjoule"),
    "--help": (*OPJOULE, "--help"),
    "list": (*OPJOULE, "list", str(TRACE.parent)),
    "info": (*OPJOULE, "info", str(TRACE)),
    "count": (*OPJOULE, "count", str(TRACE)),
    "coverage": (*OPJOULE, "coverage", str(TRACE)),
    "rates": (*OPJOULE, "rates", str(TRACE)),
    "energy": (*OPJOULE, "energy", str(TRACE)),
    "energy compute": (*OPJOULE, "energy", "compute", str(TRACE)),
    "energy lemaire": (*OPJOULE, "energy", "lemaire", str(TRACE)),
    "energy neuromc": (*OPJOULE, "energy", "neuromc", str(TRACE)),
    "conventions": (*OPJOULE, "conventions", str(TRACE)),
    "sweep": (*OPJOULE, "sweep", "compute", str(TRACE), "--vary", "e_mac_pj=1,2,3"),
    "compare": (*OPJOULE, "compare", str(TRACE), str(TRACE)),
    "table": (*OPJOULE, "table", str(TRACE)),
    "table of two": (*OPJOULE, "table", f"one={TRACE}", f"two={TRACE}"),
    "breakeven": (*OPJOULE, "breakeven", str(TRACE), str(TRACE)),
    "check": (*OPJOULE, "check", str(TRACE), "--max", "flops=1T"),
    "roofline": (*OPJOULE, "roofline", str(TRACE), "--device", "h100"),
    "report": (*OPJOULE, "report", str(TRACE), "-o", PAGE),
    "config": (*OPJOULE, "config", "show", "compute"),
    "machine": (*OPJOULE, "machine", "list"),
}
"""What is run -> the words after `python`; the first lines are what no command can be below."""


def measure(rounds: int) -> dict[str, float | None]:
    """Return the median CPU seconds of each, over interleaved rounds; None: it failed.

    A round before them, which is not counted, leaves the bytecode in a folder of its own.
    """
    taken: dict[str, list[float | None]] = {name: [] for name in VERBS}
    with tempfile.TemporaryDirectory(prefix="opjoule-start-") as bytecode:
        known = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment = {**known, "PYTHONPYCACHEPREFIX": bytecode}
        for number in range(-1, rounds):
            for name, words in VERBS.items():
                seconds = _seconds(words, environment)
                if number >= 0:
                    taken[name].append(seconds)
    return {
        name: statistics.median(t for t in each if t is not None) if None not in each else None
        for name, each in taken.items()
    }


def _seconds(words: tuple[str, ...], environment: Mapping[str, str]) -> float | None:
    """Return the CPU seconds, user and system, of one process; None if it failed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return None
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
