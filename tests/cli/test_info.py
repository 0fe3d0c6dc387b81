"""`opjoule info`: what was recorded, where, when, from which commit, and what is missing."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import pytest
import torch
from torch import nn

import opjoule as oj


def lines(text):
    """Return the text of each heading, of its first line."""
    told = (line.partition("  ") for line in text.splitlines() if line[0] != " ")
    return {heading: rest.strip() for heading, _, rest in told}


def test_what_is_told(stored, answered):
    shown = lines(answered("info", stored))
    # tests/data/make_trace.py: conv 1 -> 4 of 3x3, norm of 4, linear 64 -> 5 with bias:
    # 36 + 8 + 325 = 369 parameters of 4 bytes; one IF and one LIF node
    assert shown["model"] == (
        "Sequential (torch.nn.modules.container.Sequential): 10 modules, 369 parameters of "
        "1.44 KiB, neurons: 1 IF, 1 LIF"
    )
    assert shown["calls"] == "276: forward 135, backward 81, optimizer 60"
    assert shown["labels"] == "training 211, inference 65"
    assert shown["optimizer"] == "Adam, lr 0.01, 1 step"
    assert shown["steps"] == "2"
    # both models got a batch of 3 for 2 time steps; the shapes of their neurons' data show it
    assert shown["samples"] == "6 in 2 inferences, batch 3 (observed), time steps 2 (observed)"
    assert re.fullmatch("commit [0-9a-f]{40} on main", shown["code"])
    assert shown["recorded"].startswith("2026-") and "by opjoule" in shown["recorded"]
    assert "in 7 files" in shown["size"]


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ({"commit": "abc", "branch": "work", "dirty": True},
         "commit abc on work, with uncommitted changes"),
        ({"commit": "abc", "branch": None, "dirty": False}, "commit abc"),
        ({"commit": None, "branch": None, "dirty": None}, "no git revision"),
    ],
)  # fmt: skip
def test_the_state_of_the_code_is_told(revision, said, edit, answered):
    assert lines(answered("info", edit(revision=revision)))["code"] == said


def test_batches_that_vary_are_told(answered, tmp_path):
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    with oj.Recorder(tmp_path / "t", model=net):
        for rows in (2, 3):
            net(torch.rand(rows, 8))
    # nothing but its first dimension tells the batch of a linear layer
    shown = lines(answered("info", tmp_path / "t"))
    assert shown["samples"] == "5 in 2 inferences, batch varying (guessed), time steps unknown"


@pytest.mark.parametrize(
    ("counted", "said"), [({"statistics": "NumPy"}, "full, counted by NumPy"), ({}, "full")]
)
def test_what_counted_is_told_where_the_trace_notes_it(counted, said, edit, answered):
    made = {"python": "3.11.7", "platform": "Linux", "packages": {}, **counted}
    assert lines(answered("info", edit(environment=made)))["statistics"] == said


def test_filters_narrow_the_calls(stored, answered):
    shown = lines(answered("info", stored, "--where", "label=inference"))
    assert shown["calls"] == "65: forward 65"
    assert shown["narrowed by"] == "label=inference"
    data = json.loads(answered("info", stored, "--where", "stage=backward", "--format", "json"))
    assert data["contents"]["stages"] == {"backward": 81}
    assert data["filters"] == ["stage=backward"]


def test_json_is_the_manifest_and_the_contents(stored, answered):
    data = json.loads(answered("info", stored, "--format", "json"))
    manifest = json.loads((stored / "trace.json").read_text())
    assert {key: data[key] for key in ("rows", "started", "seed")} == {
        key: manifest[key] for key in ("rows", "started", "seed")
    }
    (model,) = data["contents"]["models"]
    assert (model["parameters"], model["neurons"]) == (369, {"IF": 1, "LIF": 1})
    assert sum(each["calls"] for each in data["contents"]["root_calls"]) == 2


@pytest.mark.parametrize("kind", ["csv", "markdown"])
def test_other_formats_hold_the_same_lines(kind, stored, answered):
    text = answered("info", stored, "--format", kind)
    if kind == "csv":
        rows = [(row["what"], row["text"]) for row in csv.DictReader(io.StringIO(text))]
        assert ("steps", "2") in rows
    else:
        assert "| steps | 2 |" in text.splitlines()


def test_hidden_and_inexact_work_is_told(edit, answered):
    what = {"what": "Net.lstm", "why": "a fused kernel", "calls": 1234}
    shown = lines(answered("info", edit(hidden=[what], inexact=[what])))
    for heading in ("not seen", "not bit-equal"):
        assert shown[heading] == "Net.lstm: a fused kernel (1,234 calls)"


def test_every_rank_is_told(copied, answered, tmp_path):
    for rank in (0, 1):
        folder = tmp_path / "ranks" / f"rank={rank:05}"
        shutil.copytree(copied, folder)
        file = folder / "trace.json"
        hidden = [{"what": "thread", "why": "not seen", "calls": rank}]
        changes = {"rank": rank, "world_size": 2, "hidden": hidden}
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    text = answered("info", tmp_path / "ranks")
    assert lines(text)["calls"] == "552: forward 270, backward 162, optimizer 120"
    assert lines(text)["ranks"] == "0, 1 of 2"
    assert "rank 1: thread: not seen (1 call)" in text
    assert "in 14 files" in text
    data = json.loads(answered("info", tmp_path / "ranks", "--format", "json"))
    assert [each["rank"] for each in data["ranks"]] == [0, 1]


@pytest.mark.parametrize("partial", [[], ["--partial"]])
def test_a_killed_recording_is_told(copied, answered, partial):
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text("{}")
    shown = lines(answered("info", *partial, copied))
    assert "unfinished" in shown["trace"]
    assert shown["calls"].startswith("276")
    assert shown["read"].startswith("partial: 276 calls read, left out: ")
    files = [*copied.glob("*.parquet")]
    assert f"in {len(files)} files" in shown["size"] and "steps" not in shown
