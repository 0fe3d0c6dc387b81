"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..schemas import Device, Environment, Revision

_PACKAGES = (
    "opjoule", "torch", "numpy", "pyarrow", "spikingjelly", "snntorch", "norse", "transformers",
    "torchvision", "triton", "cupy",
)  # fmt: skip


def packages() -> dict[str, str]:
    """Return the versions of the packages that decide what was run."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(devices: set[str]) -> Environment:
    """Return the environment; `devices` are the names of the recorded tensors' devices."""
    found = []
    for name in sorted(devices | {"cpu"}):
        if name.startswith("cuda") and torch.cuda.is_available():
            model = torch.cuda.get_device_name(torch.device(name))
            driver = str(torch.version.cuda) if torch.version.cuda else None
            found.append(Device(name=name, model=model, driver=driver))
        else:
            found.append(Device(name=name, model=_processor() if name == "cpu" else name))
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        packages=packages(),
        devices=found,
    )


def revision(directory: Path) -> Revision:
    """Return the git state of the code in `directory`; empty outside a repository."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(directory), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return Revision()
    changes = git("status", "--porcelain")
    return Revision(
        commit=commit,
        branch=git("rev-parse", "--abbrev-ref", "HEAD"),
        dirty=None if changes is None else bool(changes),
    )


def now() -> str:
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def on_gpu(model: torch.nn.Module | None) -> bool:
    """Tell whether a model is on a CUDA device; without a model, whether there is one."""
    if model is None:
        return torch.cuda.is_available()
    return any(p.device.type == "cuda" for p in model.parameters())


def run() -> str | None:
    """Return what torchrun calls the run, each restart apart; None if it was given no name."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return None if name in ("", "none") else f"{name}/{restarts}"


def rank() -> tuple[int | None, int]:
    """Return (rank, world size); rank is None outside a distributed run."""
    try:
        number, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return None, 1
    distributed = torch.distributed
    if world == 1 and distributed.is_available() and distributed.is_initialized():
        number, world = distributed.get_rank(), distributed.get_world_size()
    return (number, world) if world > 1 else (None, 1)
