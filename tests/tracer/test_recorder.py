"""What users hand over and say: inputs, labels, steps, warm-up; and what the manifest tells."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from opjoule.schemas import RecordError, Revision
from opjoule.tracer import Recorder, environment, record

revision = environment.revision  # tests run without it but where they are about it


class Sum(nn.Module):
    """Adds what it is given and returns it in a dict."""

    def forward(self, x, y=None, *, z=None):
        total = x if y is None else x + y
        return {"total": total if z is None else total + z}


X, Y, Z = torch.ones(2, 3), torch.full((2, 3), 2.0), torch.full((3,), 4.0)


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        (X, [[2, 3]]),
        ((X, Y), [[2, 3], [2, 3]]),
        ([X, Y], [[2, 3], [2, 3]]),
        ({"x": X, "z": Z}, [[2, 3], [3]]),
        ({"x": X, "y": Y, "z": Z}, [[2, 3], [2, 3], [3]]),
    ],
    ids=["tensor", "tuple", "list", "dict", "whole dict"],
)
def test_inputs_as_users_have_them(tmp_path, read, inputs, shapes):
    trace = read(record(Sum(), inputs, tmp_path / "trace"))
    (call,) = trace.module_calls
    assert [given["shape"] for given in call["inputs"]] == shapes
    assert [made["shape"] for made in call["outputs"]] == [[2, 3]]
    assert len(trace.named("aten.add.Tensor")) == len(shapes) - 1
    values = [trace.values[given["value_id"]] for given in call["inputs"]]
    assert {value["kind"] for value in values} == {"model_input"}
    assert all(value["nonzero"] is not None for value in values)
    assert trace.manifest["fingerprint"]["inputs"].startswith("sum64-crc32:")


def test_inference_records_no_autograd(tmp_path, read):
    trace = read(record(nn.Linear(3, 2).eval(), X, tmp_path / "trace"))
    assert {call["grad_enabled"] for call in trace.calls} == {False}
    trace = read(record(nn.Linear(3, 2).eval(), X, tmp_path / "grad", grad=True))
    assert {call["grad_enabled"] for call in trace.calls} == {True}


def test_a_training_step(tmp_path, read):
    """Old gradients are set to None first: each is set, none is added to."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(X).sum().backward()
    before = model.bias.detach().clone()
    target = torch.zeros(2, 2)
    path = record(
        model, X, tmp_path / "trace", loss_fn=nn.functional.mse_loss, target=target,
        optimizer=optimizer,
    )  # fmt: skip
    trace = read(path)
    assert {call["stage"] for call in trace.calls} == {"forward", "backward", "optimizer"}
    assert len(trace.optimizer_steps) == 1
    assert not trace.named("aten.add_", stage="backward")
    assert not torch.equal(before, model.bias)


def test_a_loss_without_a_target(tmp_path, read):
    path = record(nn.Linear(3, 2), X, tmp_path / "trace", loss_fn=lambda out: out.square().sum())
    assert read(path).named("", stage="backward")
    assert not read(path).named("", stage="optimizer")


@pytest.mark.parametrize("given", ["optimizer", "target"])
def test_a_step_needs_a_loss(tmp_path, given):
    model = nn.Linear(3, 2)
    options = {"optimizer": torch.optim.SGD(model.parameters()), "target": X}
    with pytest.raises(RecordError, match="loss_fn"):
        record(model, X, tmp_path / "trace", **{given: options[given]})
    assert not (tmp_path / "trace").exists()


def test_labels(trace_of):
    """The innermost label holds; a label ends with its block, error or not."""

    def run(recorder):
        X.exp()
        with recorder.label("encoder"):
            X.sin()
            with recorder.label("inner"):
                X.cos()
            nn.Tanh()(X)
        with contextlib.suppress(ZeroDivisionError), recorder.label("broken"):
            raise ZeroDivisionError
        X.sqrt()

    trace = trace_of(run, takes_recorder=True)
    labels = {call["op"].split(".")[1]: call["label"] for call in trace.calls}
    assert labels == {
        "exp": None, "sin": "encoder", "cos": "inner", "tanh": "encoder", "sqrt": None,
    }  # fmt: skip
    assert [call["label"] for call in trace.module_calls] == ["encoder"]


def test_steps_by_hand_are_counted_by_hand_only(trace_of):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run(recorder):
        for _ in range(2):
            for _ in range(3):
                model(X).sum().backward()
                optimizer.step()
            recorder.step()
        X.exp()

    trace = trace_of(run, takes_recorder=True)
    # The optimizer ends steps until the user ends the first one: those are one step then.
    steps = [call["step"] for call in trace.named("aten.addmm")]
    assert steps == [0, 0, 0, 1, 1, 1]
    assert [row["step"] for row in trace.optimizer_steps] == [0, 0, 0, 1, 1, 1]
    assert trace.named("aten.exp.")[0]["step"] == 1  # what comes after the last one belongs to it
    assert trace.manifest["steps"] == 2


@pytest.mark.parametrize("warmup", [1, 2])
def test_steps_by_hand_with_an_optimizer_and_a_warm_up(new, read, warmup):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with new(model=model, warmup=warmup, steps=2) as recorder:
        for _ in range(5):
            model(X).sum().backward()
            optimizer.step()
            recorder.step()
    steps = [call["step"] for call in read(recorder.path).named("aten.addmm")]
    assert steps == [0, 1]


def test_steps_of_a_training_loop(trace_of):
    """A step ends with the optimizer's step; what follows belongs to the next one."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run():
        for _ in range(3):
            optimizer.zero_grad()
            model(X).sum().backward()
            optimizer.step()

    trace = trace_of(run)
    assert [call["step"] for call in trace.named("aten.addmm")] == [0, 1, 2]
    assert trace.manifest["steps"] == 3
    assert [row["step"] for row in trace.optimizer_steps] == [0, 1, 2]


def test_accumulating_gradients_is_one_step(trace_of):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run():
        for _ in range(2):
            for _ in range(2):
                model(X).sum().backward()
            optimizer.step()

    trace = trace_of(run)
    assert [call["step"] for call in trace.named("aten.addmm")] == [0, 0, 1, 1]
    assert [call["step"] for call in trace.calls_of("Linear")] == [0, 0, 1, 1]
    assert trace.manifest["steps"] == 2


def test_two_forward_passes_before_one_backward_pass_are_one_step(trace_of):
    """As in contrastive learning; the evaluation before is a step of its own."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run():
        model.eval()(X)
        for _ in range(2):
            (model.train()(X) - model(Y)).sum().backward()
            optimizer.step()

    trace = trace_of(run)
    assert [call["step"] for call in trace.named("aten.addmm")] == [0, 1, 1, 2, 2]


def test_a_loop_that_updates_by_hand(trace_of):
    model = nn.Linear(3, 2)

    def run():
        for _ in range(3):
            model(X).sum().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= parameter.grad
                    parameter.grad = None

    assert [call["step"] for call in trace_of(run).named("aten.addmm")] == [0, 1, 2]


def test_steps_of_inference_are_root_calls(trace_of):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()

    def run():
        with torch.no_grad():
            for _ in range(3):
                model(X)

    trace = trace_of(run)
    assert [call["step"] for call in trace.named("aten.addmm")] == [0, 1, 2]
    assert [call["sample"] for call in trace.calls_of("Sequential")] == [0, 1, 2]
    assert trace.manifest["steps"] == 3


@pytest.mark.parametrize(
    ("warmup", "steps", "seen"), [(0, 2, 2), (2, None, 3), (1, 3, 3), (4, 1, 1)]
)
def test_warm_up_and_number_of_steps(new, read, warmup, steps, seen):
    """Of five training steps; the values that the model computes tell which ones were recorded."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with new(model=model, warmup=warmup, steps=steps) as recorder:
        for k in range(5):
            model(torch.full((1, 1), float(k))).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    trace = read(recorder.path)
    products = trace.named("aten.mm", stage="forward")
    assert [call["step"] for call in products] == list(range(seen))
    # The input is 0 in the first step of all, never after it.
    zeros = [call["in0_nonzero"] for call in products]
    assert zeros == [int(k > 0) for k in range(warmup, warmup + seen)]
    assert trace.manifest["steps"] == seen


@pytest.mark.parametrize("known", [True, False])
def test_a_warm_up_of_inference_counts_root_calls(new, read, known):
    """Not the calls of modules inside; the model may be unknown."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2))).eval()
    with new(model=model if known else None, warmup=2) as recorder, torch.no_grad():
        for _ in range(3):
            model(X)
    trace = read(recorder.path)
    assert trace.ops.count("aten.addmm.default") == 2
    assert len(trace.calls_of("Sequential")) == len(trace.calls_of("Sequential.1.1")) == 1
    assert trace.manifest["steps"] == 1


def test_inference_ends_after_its_steps(new, read):
    model = nn.Linear(3, 2).eval()
    with new(model=model, steps=2) as recorder, torch.no_grad():
        for _ in range(5):
            model(X)
        assert recorder.done
    assert len(read(recorder.path).named("aten.addmm")) == 2
    assert read(recorder.path).manifest["status"] == "complete"


def test_suspended_work_is_not_recorded(trace_of):
    model = nn.Linear(3, 2)

    def run(recorder):
        model(X)
        with recorder.suspend():
            model(X)
            with recorder.suspend():
                X.exp()
            X.exp()
        model(X)

    trace = trace_of(run, takes_recorder=True, model=model)
    assert len(trace.named("aten.addmm")) == len(trace.calls_of("Linear")) == 2
    assert not trace.named("aten.exp")


def test_suspended_work_ends_no_step(trace_of):
    """An evaluation and its modules, and an optimizer, between two training steps."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run(recorder):
        for _ in range(2):
            model(X).sum().backward()
            optimizer.step()
            with recorder.suspend():
                model(X)
                model(X)
                optimizer.step()

    trace = trace_of(run, takes_recorder=True, model=model)
    assert [call["step"] for call in trace.named("aten.addmm")] == [0, 1]
    assert trace.manifest["steps"] == 2


def test_declared_spikes(trace_of):
    from opjoule.schemas import SpikeClass

    def run(recorder):
        recorder.spikes(X).mul(2.0)
        torch.ones(2).mul(2.0)

    trace = trace_of(run, takes_recorder=True)
    first, second = trace.named("aten.mul")
    assert first["in0_class"] & SpikeClass.EVENTS
    assert not second["in0_class"] & SpikeClass.EVENTS


def test_what_the_manifest_tells(new, read):
    model = nn.Linear(3, 2)
    with new(model=model, seed=7, command=["python", "train.py"]) as recorder:
        model(X)
    manifest = read(recorder.path).manifest
    assert (manifest["seed"], manifest["command"]) == (7, ["python", "train.py"])
    assert manifest["environment"]["packages"]["torch"] == torch.__version__
    assert manifest["environment"]["python"] == sys.version.split()[0]
    assert [device["name"] for device in manifest["environment"]["devices"]] == ["cpu"]
    assert manifest["started"] <= manifest["ended"]
    assert manifest["format_version"] == 1


def test_fingerprints_tell_inputs_and_weights(tmp_path, read):
    def prints(model, x, name):
        return read(record(model, x, tmp_path / name)).manifest["fingerprint"]

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    first, again = prints(model, X, "first"), prints(model, X.clone(), "again")
    assert first == again
    assert prints(model, Y, "other input")["inputs"] != first["inputs"]
    assert prints(model, Y, "same weights")["parameters"] == first["parameters"]
    with torch.no_grad():
        model.bias += 1
    assert prints(model, X, "other weights")["parameters"] != first["parameters"]


class Words(nn.Module):
    """Takes its inputs by keyword and writes them."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 3)

    def forward(self, input_ids=None, attention_mask=None):
        out = self.embed(input_ids) * attention_mask
        attention_mask.zero_()
        return out


@pytest.mark.parametrize("fails", [False, True])
def test_fingerprints_of_keyword_arguments(new, read, fails):
    """Each counts, as it was when the model was called; also if the call raises."""
    model = Words().eval()

    def prints(ids, mask):
        recorder = new(model=model)
        with contextlib.suppress(RuntimeError), recorder, torch.no_grad():
            model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
            if fails:
                raise RuntimeError
        return read(recorder.path).manifest["fingerprint"]["inputs"]

    first = prints([[1, 2]], [[[1.0]]])
    assert prints([[1, 2]], [[[1.0]]]) == first
    assert len({first, prints([[1, 3]], [[[1.0]]]), prints([[1, 2]], [[[2.0]]])}) == 3


def test_keyword_arguments_are_known_as_the_call_begins(trace_of):
    """What the model writes of them, it writes to a later value."""
    model = Words().eval()
    mask = torch.ones(2, 1)

    def run():
        with torch.no_grad():
            model(input_ids=torch.tensor([1, 2]), attention_mask=mask)

    trace = trace_of(run, model=model)
    (call,) = trace.calls_of("Words")
    values = [trace.values[given["value_id"]] for given in call["inputs"]]
    assert [value["nonzero"] for value in values] == [2, 2]
    assert {value["kind"] for value in values} == {"model_input"}
    assert call["batch"] == 2


def test_the_git_state(tmp_path, monkeypatch):
    """A commit, then a change: as git itself tells them."""

    def git(*words):
        mine = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=trunk"]
        done = subprocess.run(
            ["git", *mine, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    assert revision()().commit is None
    git("init")
    assert revision()().commit is None  # nothing is committed
    (tmp_path / "train.py").write_text("x = 1\n")
    git("add", "train.py")
    git("commit", "-m", "first")
    found = revision()()
    assert (found.commit, found.branch, found.dirty) == (git("rev-parse", "HEAD"), "trunk", False)
    (tmp_path / "train.py").write_text("x = 2\n")
    asked = revision()
    assert asked().dirty
    git("commit", "-a", "-m", "second")
    git("checkout", "--detach")
    assert revision()() == Revision(commit=git("rev-parse", "HEAD"), branch="HEAD", dirty=False)
    assert asked().commit == found.commit  # as it was when git was asked
    found = revision()()
    monkeypatch.setattr(environment, "revision", revision)
    with Recorder(tmp_path / "trace") as recorder:
        X.exp()
    assert found.commit in (recorder.path / "trace.json").read_text()


def test_a_model_that_changes_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Recorder("runs/mine") as recorder:
        torch.ones(2) + 1
        monkeypatch.chdir("elsewhere")
    assert recorder.path == tmp_path / "runs" / "mine"
    assert (recorder.path / "trace.json").exists()
