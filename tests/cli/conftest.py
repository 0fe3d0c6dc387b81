"""A stored trace to read and to break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opjoule.cli.main import run

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


@pytest.fixture
def stored() -> Path:
    """Return the stored trace of a small spiking network; not to be changed."""
    return STORED


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the stored trace that a test may damage."""
    return Path(shutil.copytree(STORED, tmp_path / "trace"))


@pytest.fixture
def edit(copied: Path) -> Callable[..., Path]:
    """Return a function that changes the manifest of the copy."""

    def change(**fields: object) -> Path:
        file = copied / "trace.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
        return copied

    return change


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command line, expects exit code 2, and returns its one line."""

    def check(*words: object) -> str:
        assert run([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("opjoule: ") and err.count("\n") == 1
        assert "internal error" not in err and "Traceback" not in err
        return err

    return check


@pytest.fixture
def answered(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command line, expects success, and returns its stdout."""

    def check(*words: object) -> str:
        assert run([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return check
