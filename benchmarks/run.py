"""All benchmarks in one command: `make bench`, or `python benchmarks/run.py --quick`.

Ratios are of the processor's time to the plain run of the same work in the same process and round;
medians over interleaved rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import analysis
import overhead
import sizes
import starting
import torch
from models import workloads
from peers import FLOPS, OURS, PEERS, PLAIN
from rich.console import Console, Group, RenderableType
from rich.table import Table

PACKAGES = ("opjoule", "torch", "spikingjelly", "polars", "pyarrow", "numpy")
PARTS = ("overhead", "ops", "size", "start", "analysis", "sweep", "ranks")


def main() -> None:
    """Run what was asked for and print it."""
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    result: dict[str, Any] = {"environment": environment(chosen)}
    for part in chosen.only or PARTS:
        say(f"measuring: {part}")
        result[part] = MEASURES[part](chosen)
    if chosen.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for line in result["environment"].items():
        console.print("{:<11}{}".format(*line), markup=False)
    for part in chosen.only or PARTS:
        console.print()
        console.print(TABLES[part](result[part]))


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs, a small mock-up trace")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part only")
    parser.add_argument("--rounds", type=int, help="interleaved runs (5; quick: 1)")
    parser.add_argument("--calls", type=int, help="of the mock-up trace (10 million; quick: 0.2)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for overhead and ops")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    chosen.calls = chosen.calls or (200_000 if chosen.quick else 10_000_000)
    return chosen


def environment(chosen: argparse.Namespace) -> dict[str, str]:
    """Return what the figures depend on, in words."""
    device = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        device = names[0].split(":")[1].strip() if names else device
    if chosen.device != "cpu":
        device += f"; {torch.cuda.get_device_name()}"
    return {
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "commit": _commit(),
        "system": f"Python {platform.python_version()}, {platform.platform()}",
        "hardware": f"{device}, {torch.get_num_threads()} threads",
        "load": "{:.1f} {:.1f} {:.1f} as it began".format(*os.getloadavg()),
        "runs": f"medians of {chosen.rounds}, interleaved" + (", QUICK" if chosen.quick else ""),
    }


def _commit() -> str:
    ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(ask, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measure_overhead(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each workload, with the timings of every context."""
    rows = []
    for work in workloads(chosen.device):
        say(f"  {work.name}, {work.what}")
        timings = overhead.measure(work, chosen.rounds)
        peers = {peer: dataclasses.asdict(timing) for peer, timing in timings.items()}
        rows.append({"model": work.name, "what": work.what, "peers": peers})
    return rows


def measure_analysis(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak memory of each analysis of a mock-up trace."""
    costs, size = analysis.measure(chosen.calls)
    jobs = {name: dataclasses.asdict(cost) for name, cost in costs.items()}
    return {"calls": chosen.calls, "bytes": size, "jobs": jobs}


def measure_ranks(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak memory of analyses of a run of many ranks."""
    number = 8 if chosen.quick else 256
    jobs = {name: dataclasses.asdict(cost) for name, cost in analysis.ranks(number).items()}
    return {"ranks": number, "jobs": jobs}


MEASURES: dict[str, Callable[[argparse.Namespace], Any]] = {
    "overhead": measure_overhead,
    "ops": lambda chosen: overhead.small_ops(chosen.rounds, chosen.device),
    "size": lambda chosen: sizes.measure(50 if chosen.quick else 500),
    "start": lambda chosen: starting.measure(chosen.rounds),
    "analysis": measure_analysis,
    "sweep": lambda chosen: dataclasses.asdict(analysis.sweep()),
    "ranks": measure_ranks,
}


def overhead_table(rows: list[dict[str, Any]]) -> Group:
    """Show how many times as much the work takes inside each context."""
    return Group(*(part for row in rows for part in (_overhead(row), "")))


def _overhead(row: dict[str, Any]) -> Table:
    plain = row["peers"][PLAIN]["inside"]
    title = (
        f"{row['model']}, {row['what']}: {plain[0] * 1e3:.3g} ms of CPU, {plain[1] * 1e3:.3g} ms"
    )
    columns = [
        "CPU / plain",
        "wall / plain",
        f"CPU / {FLOPS}",
        "opening, CPU ms",
        "closing, CPU ms",
    ]
    table = _table(title, "context", columns)
    for peer in list(PEERS)[1:]:
        found = row["peers"][peer]
        over = (*found["ratio"], found["over_flops"][0])
        ends = (found["opening"][0] * 1e3, found["closing"][0] * 1e3)
        cells = [*(f"{x:.2f}" for x in over), *(f"{x:.1f}" for x in ends)]
        table.add_row(peer, *cells, style="bold" if peer == OURS else None)
    return table


def ops_table(found: dict[str, float]) -> Table:
    """Show what a small op takes in each context."""
    table = _table("A small op (3000 additions of 64 elements)", "context", ["µs", "over plain"])
    for peer, taken in found.items():
        table.add_row(peer, f"{taken:.1f}", f"{taken / found[PLAIN]:.2f}")
    return table


def size_table(found: dict[str, float]) -> Table:
    """Show what a call takes on disk."""
    table = _table("On disk, training steps of the MLP", "format", ["bytes a call", "over ours"])
    for name, size in found.items():
        table.add_row(name, f"{size:.1f}", f"{size / found[OURS]:.1f}")
    return table


def start_table(found: dict[str, float | None]) -> Table:
    """Show what the first answer of each command takes."""
    table = _table("The first answer, a small trace", "command", ["CPU seconds"])
    for name, seconds in found.items():
        table.add_row(name, "failed" if seconds is None else f"{seconds:.2f}")
    return table


def analysis_table(found: dict[str, Any]) -> Table:
    """Show what the analyses of a long trace take."""
    title = f"A mock-up trace of {found['calls']:,} calls, {found['bytes'] / 1e6:,.1f} MB"
    return _jobs_table(title, found["jobs"])


def ranks_table(found: dict[str, Any]) -> Table:
    """Show what the analyses of many ranks take."""
    return _jobs_table(f"{found['ranks']} ranks, whose parts all differ", found["jobs"])


def _jobs_table(title: str, jobs: dict[str, dict[str, Any]]) -> Table:
    table = _table(title, "analysis", ["seconds", "peak MB"])
    for name, cost in jobs.items():
        table.add_row(name, *_cost(cost))
    return table


def sweep_table(cost: dict[str, Any]) -> Table:
    """Show what a thousand configurations take."""
    table = _table("1000 configurations of one estimator", "sweep", ["seconds", "peak MB"])
    table.add_row("lemaire, e_add_pj", *_cost(cost))
    return table


TABLES: dict[str, Callable[[Any], RenderableType]] = {
    "overhead": overhead_table,
    "ops": ops_table,
    "size": size_table,
    "start": start_table,
    "analysis": analysis_table,
    "sweep": sweep_table,
    "ranks": ranks_table,
}


def _cost(cost: dict[str, Any]) -> tuple[str, str]:
    if cost["failed"]:
        return "n/a", cost["failed"][:60]
    return f"{cost['seconds']:.2f}", f"{cost['peak_bytes'] / 1e6:,.0f}"


def _table(title: str, first: str, rest: list[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for name in rest:
        table.add_column(name, justify="right")
    return table


def say(line: str) -> None:
    """Tell on stderr how far it is."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
