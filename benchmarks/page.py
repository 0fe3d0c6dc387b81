"""How long a browser takes to open the page of a large model: `python benchmarks/page.py`.

A chain of Linear layers is recorded with PyTorch, its page is written, and Chromium (headless)
opens it several times, each time as a new process with a new profile. What the browser itself
measured (Navigation Timing) is read from the page: milliseconds from the start of the navigation
until the document stands, and until its `load` event. Beside these times of the clock stands the
processor time of a browser in one process, less that of an empty page in the same round, which a
busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import opjoule as oj

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ONE_PROCESS = "--single-process"
"""Else the system does not tell the time of those processes that the browser does not wait for."""

PROBE = """<script>addEventListener("load", () => {
  const t = performance.getEntriesByType("navigation")[0];
  document.title = `ms ${t.domContentLoadedEventEnd} ${t.loadEventStart}`;
});</script>"""


def main() -> None:
    """Write a page, open it, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = folder / "page.html"
        size = write(page, chosen.modules)
        empty = folder / "empty.html"
        empty.write_text(f"<!DOCTYPE html><title></title>{PROBE}")
        found = []
        for place in range(chosen.rounds):
            *times, _ = opened(browser, page, folder / f"{place}-page")
            *_, idle = opened(browser, empty, folder / f"{place}-empty", ONE_PROCESS)
            *_, busy = opened(browser, page, folder / f"{place}-one", ONE_PROCESS)
            found.append((*times, 1e3 * (busy - idle)))
    told = subprocess.run([browser, "--version"], capture_output=True, text=True, check=True)
    parsed, loaded, spent = (sorted(column) for column in zip(*found, strict=True))
    print(f"{chosen.modules} modules, {size:,} bytes; {told.stdout.strip()}")
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    named = {"DOMContentLoaded": parsed, "load": loaded, "processor, over an empty page": spent}
    for what, times in named.items():
        middle = statistics.median(times)
        print(f"{what}: median {middle:.0f} ms, {times[0]:.0f} to {times[-1]:.0f} ms")


def write(page: Path, modules: int) -> int:
    """Record a chain of layers and write its page, with the probe at its end; return its bytes."""
    torch.manual_seed(0)
    blocks = (
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(modules // 4)
    )
    trace = page.with_name("trace")
    oj.record(nn.Sequential(*blocks).eval(), torch.rand(2, 8), trace)
    text = oj.report(trace, device="h100").to_html()
    # The page forbids scripts but its own: the probe's copy of it allows this one too.
    text = re.sub('script-src [^"]*', "script-src 'unsafe-inline'", text, count=1)
    page.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    return len(text.encode())


def opened(browser: str, page: Path, profile: Path, *options: str) -> tuple[float, float, float]:
    """Return milliseconds until the document stood and was loaded, and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
        *options,
        *("--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r"<title>ms ([\d.]+) ([\d.]+)</title>", done.stdout)
    if found is None:
        sys.exit("the page was not loaded: no times in it")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(found[1]), float(found[2]), spent


if __name__ == "__main__":
    main()
