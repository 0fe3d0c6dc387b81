"""How the command line was started, so that what it tells to type next works there."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAME = "opjoule"


def command() -> str:
    """Return what stands for `opjoule` in this shell and directory.

    The name alone if PATH leads to the environment that runs this; else the path of its script;
    where there is no script, `python -m opjoule.cli`.
    """
    python = Path(sys.executable)
    script = python.with_name(NAME)
    if not script.exists():
        return f"{_shown(python)} -m {NAME}.cli"
    found = shutil.which(NAME)
    return NAME if found and Path(found).samefile(script) else _shown(script)


def activation() -> str | None:
    """Return what puts this environment on PATH; None if it is there, or has no such script."""
    script = Path(sys.executable).with_name("activate")
    return None if command() == NAME or not script.exists() else f". {_shown(script)}"


def _shown(file: Path) -> str:
    """Return a path for a shell, from the working directory if it lies below."""
    below = file.is_relative_to(Path.cwd())
    return shlex.quote(str(file.relative_to(Path.cwd()) if below else file))
