"""Bytes on disk of a call, on repetitive work: training steps of a small model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from models import Workload, workloads

from opjoule import Recorder


def measure(steps: int) -> dict[str, float]:
    """Return bytes by call of our trace and of the profiler's Chrome JSON, for the same steps."""
    (work,) = (w for w in workloads() if "MLP" in w.name and w.what == "training step")
    with tempfile.TemporaryDirectory(prefix="opjoule-bench-") as folder:
        path, calls = _trace(work, Path(folder) / "trace", steps)
        ours = sum(file.stat().st_size for file in path.iterdir()) / calls
        tenth = max(1, steps // 10)
        theirs = _chrome(work, Path(folder) / "chrome.json", tenth) / (calls * tenth / steps)
    return {"opjoule": ours, "torch.profiler, Chrome JSON": theirs}


def _trace(work: Workload, path: Path, steps: int) -> tuple[Path, int]:
    with Recorder(path, model=work.model, **work.options) as recorder:
        for _ in range(steps):
            work.run()
    from opjoule.schemas import Manifest

    manifest = Manifest.read(json.loads((recorder.path / "trace.json").read_bytes()))
    return recorder.path, manifest.rows["calls"]


def _chrome(work: Workload, path: Path, steps: int) -> int:
    with torch.profiler.profile(record_shapes=True) as profile:
        for _ in range(steps):
            work.run()
    profile.export_chrome_trace(str(path))
    return path.stat().st_size
