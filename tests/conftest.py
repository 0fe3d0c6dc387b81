"""What must be said before any test is imported, and Python in processes of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Triton asks as it is first imported, by whoever needs it, whether it is to interpret its kernels.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that several workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _no_git() -> Iterator[None]:
    """Ask git nothing of the code: it takes longer than most recordings of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        if "torch" in sys.modules:
            from opjoule.schemas import Revision
            from opjoule.tracer import environment

            patch.setattr(environment, "revision", lambda: Revision)
        yield


@pytest.fixture(scope="session")
def python() -> Iterator[Callable[..., Any]]:
    """Return a function that does what `python WORDS` does, in a process that is warm: `warm.py`.

    As `subprocess.run([sys.executable, *WORDS], capture_output=True, text=True)` otherwise.
    """
    spec = importlib.util.spec_from_file_location("warm", Path(__file__).with_name("warm.py"))
    assert spec is not None and spec.loader is not None
    warm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(warm)
    server = warm.Server()
    yield server.run
    server.close()
