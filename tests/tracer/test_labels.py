"""Phases that a script names itself, with `opjoule.label`, for whatever recorder runs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
import torch

import opjoule

ONES = torch.ones(2)


def labels(trace):
    return {call["op"].split(".")[1]: call["label"] for call in trace.calls}


def test_the_recorder_that_runs(trace_of):
    def run():
        ONES.exp()
        with opjoule.label("train"):
            ONES.sin()
            with opjoule.label("test"):
                ONES.cos()
            ONES.tan()
        ONES.neg()

    found = {"exp": None, "sin": "train", "cos": "test", "tan": "train", "neg": None}
    assert labels(trace_of(run)) == found


def test_without_a_recorder_nothing_happens(new):
    with new() as recorder:
        ONES.exp()
    assert recorder.done
    with opjoule.label("train"):
        assert ONES.add(1).tolist() == [2.0, 2.0]
    with pytest.raises(ZeroDivisionError), opjoule.label("train"):
        1 / 0  # noqa: B018


def test_recorders_within_each_other(new, read):
    with new() as outer, opjoule.label("both"):
        ONES.exp()
        with new() as inner:
            ONES.sin()
            with opjoule.label("phase"):
                ONES.cos()
        ONES.tan()
    assert labels(read(outer.path)) == {"exp": "both", "sin": "both", "cos": "phase", "tan": "both"}
    assert labels(read(inner.path)) == {"sin": None, "cos": "phase"}


def test_a_decorated_function(trace_of):
    @opjoule.label("validate")
    def validate():
        return ONES.exp()

    assert labels(trace_of(lambda: (validate(), validate()))) == {"exp": "validate"}


def test_threads_have_labels_of_their_own(trace_of):
    """One that is not recorded labels nothing; one that joins begins with the main thread's."""

    def elsewhere(recorder):
        with opjoule.label("unseen"):
            inside.set()
            go_on.wait(30)
        with recorder.join():
            ONES.cos()
            with opjoule.label("worker"):
                ONES.tan()
                labelled.set()
                done.wait(30)

    def run(recorder):
        with opjoule.label("main"):
            other = threading.Thread(target=elsewhere, args=(recorder,))
            other.start()
            inside.wait(30)
            ONES.exp()
            go_on.set()
            labelled.wait(30)
            ONES.sin()
            done.set()
            other.join()
            ONES.neg()

    inside, go_on, labelled, done = (threading.Event() for _ in range(4))
    found = {"exp": "main", "cos": "main", "tan": "worker", "sin": "main", "neg": "main"}
    assert labels(trace_of(run, takes_recorder=True)) == found


def test_backward_and_optimizer_have_the_label(trace_of):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.1)

    def run():
        with opjoule.label("train"):
            (weight * 2).sum().backward()
            optimizer.step()

    trace = trace_of(run)
    assert {call["stage"] for call in trace.calls} == {"forward", "backward", "optimizer"}
    assert {call["label"] for call in trace.calls} == {"train"}
    assert [row["label"] for row in trace.optimizer_steps] == ["train"]


LIGHT = """
import sys, opjoule
with opjoule.label("train"):
    pass
assert not {"torch", "polars", "pyarrow", "numpy"} & set(sys.modules), "not light"
"""


def test_it_loads_nothing():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_a_script_under_record(tmp_path, read, python):
    (tmp_path / "script.py").write_text(
        "import torch, opjoule\n"
        "with opjoule.label('train'):\n    torch.ones(2).exp()\n"
        "with opjoule.label('test'):\n    torch.ones(2).sin()\n"
    )
    words = ["record", "-o", str(tmp_path / "trace"), str(tmp_path / "script.py")]
    done = python(["-m", "opjoule", *words])
    assert done.returncode == 0, done.stderr
    trace = read(tmp_path / "trace")
    assert labels(trace)["exp"] == "train" and labels(trace)["sin"] == "test"
    assert json.dumps(trace.manifest["notes"]) == "[]"
