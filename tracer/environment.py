"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch

from ..schemas import Device, Environment, Revision

_PACKAGES = (
    "opjoule", "torch", "numpy", "pyarrow", "spikingjelly", "snntorch", "norse", "transformers",
    "torchvision", "triton", "cupy",
)  # fmt: skip


_SECONDS = 10
"""How long git may take."""


@cache
def packages() -> dict[str, str]:
    """Return the versions of the packages that decide what was run; read once a process."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = _version(name)
        except PackageNotFoundError:
            continue
    return found


def _version(name: str) -> str:
    """Return a package's version: the line alone, for parsing all its metadata takes long."""
    if name == "torch":
        return str(torch.__version__)  # names the build too, as in 2.13.0+cpu; metadata may not
    package = distribution(name)
    line = re.search(r"^Version:\s*(\S+)", package.read_text("METADATA") or "", re.MULTILINE)
    return package.version if line is None else line[1]


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(devices: set[str], counted_in: str | None) -> Environment:
    """Return the environment.

    Args:
        devices: names of the recorded tensors' devices.
        counted_in: what counted the elements of tensors on the CPU; None if nothing did.
    """
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
        statistics=counted_in,
    )


def revision() -> Callable[[], Revision]:
    """Ask for the git state of the code in the working directory.

    Git starts at once and runs beside the recording.

    Returns:
        What waits for the answer: it is empty outside a repository or without git.
    """
    words = "git --no-optional-locks status --porcelain=v2 --branch".split()
    try:
        git = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:  # no git, or no working directory any more
        return cache(Revision)
    return cache(lambda: _answer(git))


def _answer(git: subprocess.Popen[bytes]) -> Revision:
    try:
        text = git.communicate(timeout=_SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        git.kill()
        git.communicate()
        return Revision()
    lines = text.splitlines()
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = told.get("branch.oid"), told.get("branch.head")
    if git.returncode or commit in (None, "(initial)"):
        return Revision()
    return Revision(
        commit=commit,
        branch="HEAD" if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in lines),
    )


def now() -> str:
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def on_gpu(model: torch.nn.Module | None) -> bool:
    """Tell whether a model is on a CUDA device; without a model, whether there is one."""
    if model is None:
        return torch.cuda.is_available()
    return torch.cuda.is_available() and any(p.device.type == "cuda" for p in model.parameters())


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
