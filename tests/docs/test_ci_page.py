"""The workflow of docs/ci.md: its steps, run by a shell in a repository with two commits."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
SCRIPT = re.search(r"```python\n# cost.py\n(.*?)```", PAGE, re.DOTALL)[1]
(JOB,) = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])["jobs"].values()


@pytest.fixture
def workflow(tmp_path):
    """Return a function that runs the steps on a repository; returns the codes and the logs."""
    shim = tmp_path / "bin" / "opjoule"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m opjoule "$@"\n')
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    folder, summary = tmp_path / "repository", tmp_path / "summary.md"
    folder.mkdir()
    names = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}  # fmt: skip
    env = {**os.environ, **names, "PATH": f"{shim.parent}:{os.environ['PATH']}",
           "GITHUB_STEP_SUMMARY": str(summary)}  # fmt: skip

    def git(*words):
        done = subprocess.run(
            ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def run(base, head):
        git("init", "-q")
        for text in (base, head):
            (folder / "cost.py").write_text(text)
            git("add", "cost.py")
            git("commit", "-q", "--allow-empty", "-m", "x")
        assert list(JOB["env"]) == ["BASE"]
        found = {}
        for step in JOB["steps"]:
            if "run" not in step or step["name"] == "Install":
                continue
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]], cwd=folder, capture_output=True, text=True,
                env=env | {"BASE": git("rev-parse", "HEAD~1")},
            )  # fmt: skip
            found[step["name"]] = (done.returncode, done.stdout + done.stderr)
        return found, summary.read_text()

    return run


@pytest.mark.slow
def test_a_change_within_the_budgets(workflow):
    found, summary = workflow(SCRIPT, SCRIPT)
    assert [code for code, _ in found.values()] == [0, 0, 0, 0], found
    assert "nothing changed" in summary


@pytest.mark.slow
def test_a_change_that_breaks_them(workflow):
    """80 columns in place of 16: 5 * (80 * 17 + 80 + 4 * 161) / 5 = 2084 FLOP a sample."""
    found, summary = workflow(SCRIPT, SCRIPT.replace("16", "80"))
    assert [code for code, _ in found.values()] == [0, 1, 0, 1], found
    log = found["Check the budgets"][1]
    assert "failed: flops=1k/sample: 2,084 a sample; most by Sequential.0: 1,360 a sample" in log
    assert "failed: flops" in summary and "Sequential.0" in summary
