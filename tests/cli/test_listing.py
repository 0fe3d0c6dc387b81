"""`opjoule list`: every trace of a folder, also those that cannot be counted."""

from __future__ import annotations

import json
import shutil

import pytest

from opjoule.cli.main import run


@pytest.fixture
def folder(tmp_path, stored):
    """Return a folder with whole, aborted, unfinished, damaged and divided traces."""
    runs = tmp_path / "runs"
    names = ("whole", "deep/er/one", "aborted", "damaged", "newer", "ranks/rank=0", "unfinished")
    for name in (*names, ".hidden"):
        shutil.copytree(stored, runs / name)
    (runs / "empty").mkdir()
    (runs / "notes.txt").write_text("mine")

    def change(name, **fields):
        file = runs / name / "trace.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    failure = {"type": "ValueError", "message": "no"}
    change("aborted", status="aborted", failure=failure)
    change("newer", format_version=99)
    change("ranks/rank=0", world_size=2)
    (runs / "damaged" / "trace.json").write_text("{")
    (runs / "unfinished" / "trace.json").rename(runs / "unfinished" / "recording.json")
    return runs


def rows(folder, answered):
    found = json.loads(answered("list", folder, "--format", "json"))
    return {row["trace"].removeprefix(f"{folder}/"): row for row in found}


def test_every_trace_is_told(folder, answered, stored):
    found = rows(folder, answered)
    assert {name: row["status"] for name, row in found.items()} == {
        "aborted": "aborted",
        "damaged": "unreadable",
        "deep/er/one": "complete",
        "newer": "unreadable",
        "ranks": "incomplete",
        "unfinished": "unfinished",
        "whole": "complete",
    }
    told = json.loads(answered("info", stored, "--format", "json"))
    whole = found["whole"]
    assert whole["calls"] == told["rows"]["calls"] == 276
    assert whole["samples"] == told["contents"]["samples"]["count"]
    assert whole["model"] == "Sequential"
    assert whole["recorded"] == told["started"][:16].replace("T", " ")
    assert whole["bytes"] == sum(part["bytes"] for part in told["parts"])
    assert found["aborted"]["calls"] == 276
    assert found["unfinished"]["calls"] is None
    for name, row in found.items():
        assert (row["why"] is None) == (row["status"] == "complete"), name


def test_people_see_a_table_and_the_reasons(folder, capsys):
    assert run(["list", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == [
        "trace", "status", "model", "samples", "calls", "size", "recorded",
    ]  # fmt: skip
    assert f"{folder}/whole" in out and "Sequential" in out and ".hidden" not in out
    assert "trace format 99" in out and "ended with ValueError" in out and not err


def test_a_single_trace_is_listed_too(stored, answered):
    assert answered("list", stored).count("complete") == 1


def test_a_folder_without_traces_is_refused(tmp_path, refused):
    assert "holds no traces" in refused("list", tmp_path)
    assert "no such folder" in refused("list", tmp_path / "nowhere")


def test_runs_is_the_folder_that_is_meant(folder, monkeypatch, answered):
    monkeypatch.chdir(folder.parent)
    assert "runs/whole" in answered("list")


@pytest.mark.parametrize("verb", ["count", "info", "coverage"])
def test_a_folder_of_traces_is_named(verb, folder, refused):
    said = refused(verb, folder)
    assert f"{folder} is a folder of traces, not a trace: name one of {folder}/aborted, " in said
    assert f"opjoule list {folder} shows them" in said


def test_a_folder_above_folders_of_traces_is_named(folder, refused):
    assert "name one of " in refused("count", folder.parent)
    assert f"{folder / 'deep' / 'er' / 'one'};" in refused("count", folder / "deep")
