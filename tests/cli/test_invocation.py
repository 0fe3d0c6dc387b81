"""What stands for `opjoule` in the shell that started it."""

from __future__ import annotations

import sys

import pytest

from opjoule.cli.invocation import activation, command


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Return the `bin` of an environment that seems to run this, in the working directory."""
    folder = tmp_path / "my project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "opjoule", "activate"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(folder.parents[1])
    return folder


def test_a_script_that_path_does_not_lead_to_is_told_with_its_path(environment):
    assert command() == ".venv/bin/opjoule"
    assert activation() == ". .venv/bin/activate"


def test_from_elsewhere_the_whole_path_is_told(environment, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert command() == f"'{environment}/opjoule'"  # quoted: there is a blank in it
    assert activation() == f". '{environment}/activate'"


def test_an_active_environment_needs_no_path(environment, monkeypatch):
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin")
    assert (command(), activation()) == ("opjoule", None)


def test_a_link_on_path_is_the_script(environment, tmp_path, monkeypatch):
    (tmp_path / "opjoule").symlink_to(environment / "opjoule")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (command(), activation()) == ("opjoule", None)


def test_another_opjoule_on_path_is_not_this_one(environment, tmp_path, monkeypatch):
    (tmp_path / "opjoule").write_text("#!/bin/sh\n")
    (tmp_path / "opjoule").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command() == ".venv/bin/opjoule"


def test_without_a_script_python_runs_the_package(environment):
    (environment / "opjoule").unlink()
    (environment / "activate").unlink()
    assert (command(), activation()) == (".venv/bin/python -m opjoule.cli", None)
