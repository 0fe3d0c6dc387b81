"""A command that reads little stays on one core; what is large gets all of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from opjoule.cli import cores
from opjoule.cli.cores import SMALL, stay_on_one

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no affinity to set")


@pytest.fixture
def set_to(monkeypatch):
    """Collect the sets of cores that are asked for, instead of keeping to them."""
    asked: list[set[int]] = []
    if sys.platform == "linux":
        monkeypatch.setattr(os, "sched_setaffinity", lambda process, to: asked.append(to))
    return asked


@pytest.fixture
def folder(tmp_path):
    """Make a folder of a number of bytes, in two files, one of them further below."""

    def make(name: str, size: int):
        (below := tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "one").write_bytes(b"x" * (size // 2))
        (below / "two").write_bytes(b"x" * (size - size // 2))
        return tmp_path / name

    return make


@linux
@pytest.mark.parametrize("word", ["{}", "SNN={}", "--base={}"])
def test_a_small_trace_is_read_on_the_core_that_runs(set_to, folder, word):
    stay_on_one(["count", word.format(folder("small", SMALL // 2))])
    [chosen] = set_to
    assert len(chosen) == 1
    assert chosen <= os.sched_getaffinity(0)


@linux
def test_what_is_named_counts_together(set_to, folder):
    halves = [str(folder(name, SMALL * 2 // 3)) for name in ("a", "b")]
    stay_on_one(["compare", halves[0]])
    assert len(set_to) == 1
    stay_on_one(["compare", *halves])
    assert len(set_to) == 1


@linux
def test_a_folder_of_very_many_files_is_not_walked_to_its_end(set_to, folder, monkeypatch):
    monkeypatch.setattr(cores, "_ENTRIES", 1)
    stay_on_one(["list", str(folder("many", 10))])
    assert set_to == []


@linux
def test_a_folder_that_cannot_be_read_is_for_the_verb_to_tell(set_to, folder, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    stay_on_one(["count", str(folder("closed", 10))])
    assert len(set_to) == 1


@linux
def test_words_that_are_no_paths_are_passed_over(set_to):
    stay_on_one(["sweep", "x" * 5_000, "a\0b", "--where", "module=*"])
    assert len(set_to) == 1


def test_other_systems_are_left_alone(set_to, folder, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    stay_on_one(["count", str(folder("small", 10))])
    assert set_to == []


TELLING = """
import importlib, os, sys
entry = importlib.import_module("opjoule.cli.main")
run = entry.run
def telling(words):
    code = run(words)
    import polars
    print(len(os.sched_getaffinity(0)), polars.thread_pool_size(), file=sys.stderr)
    return code
entry.run = telling
entry.main()
"""


@linux
def test_polars_gets_one_thread_then(stored):
    free = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", TELLING, "info", str(stored)],
        capture_output=True, text=True, env=free,
    )  # fmt: skip
    assert done.stderr.split() == ["1", "1"]
