"""Which passes one step has where some of them run without gradients, or before one backward."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from opjoule.tracer import RecordingWarning

B = 2


def x():
    return torch.rand(B, 4)


def alone(module):
    """Run a module without gradients."""
    with torch.no_grad():
        return module(x())


class Loops:
    """Loops of training: each method is one iteration; `s` trains, `t` and `u` do not."""

    def __init__(self):
        self.s, self.t, self.u = (nn.Linear(4, 4) for _ in range(3))
        self.optimizer = torch.optim.SGD(self.s.parameters(), lr=0.1)

    def learn(self, *differences):
        self.optimizer.zero_grad()
        sum(each.square().mean() for each in differences).backward()
        self.optimizer.step()

    def teacher_first(self):
        target = alone(self.t)
        self.learn(self.s(x()) - target)

    def student_first(self):
        out = self.s(x())
        self.learn(out - alone(self.t))

    def two_teachers(self):
        targets = alone(self.t) + alone(self.u)
        self.learn(self.s(x()) - targets)

    def two_views(self):
        self.learn(self.s(x()) - self.s(x()))

    def views_in_turn(self):
        one, two = self.s(x()) - alone(self.t), self.s(x()) - alone(self.t)
        self.learn(one, two)

    def by_hand(self):
        target = alone(self.t)
        (self.s(x()) - target).square().mean().backward()
        with torch.no_grad():
            for parameter in self.s.parameters():
                parameter -= parameter.grad
                parameter.grad = None

    def accumulating(self):
        for _ in range(2):
            target = alone(self.t)
            (self.s(x()) - target).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def iterations(name, times):
    loop = getattr(Loops(), name)
    return lambda: [loop() for _ in range(times)]


ROOTS = {
    "teacher_first": 2, "student_first": 2, "two_teachers": 3, "two_views": 2, "views_in_turn": 4,
    "by_hand": 2, "accumulating": 4,
}  # fmt: skip
"""Passes of one iteration."""


def steps_of(trace):
    return [row["step"] for row in trace.module_calls]


@pytest.mark.parametrize("name", ROOTS)
def test_an_iteration_is_a_step_whichever_model_runs_first(trace_of, name):
    trace = trace_of(iterations(name, 3))
    assert steps_of(trace) == [step for step in range(3) for _ in range(ROOTS[name])]
    assert trace.manifest["steps"] == 3


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("name", [name for name in ROOTS if name != "accumulating"])
def test_as_many_whole_iterations_are_recorded_as_steps(trace_of, name, limit):
    """With forward passes of all models, the backward pass, and what the optimizer does."""
    trace = trace_of(iterations(name, 4), steps=limit)
    assert steps_of(trace) == [step for step in range(limit) for _ in range(ROOTS[name])]
    ran = {"forward", "backward"} | ({"optimizer"} if name != "by_hand" else set())
    for step in range(limit):
        assert {call["stage"] for call in trace.calls if call["step"] == step} == ran


@pytest.mark.parametrize("name", ["teacher_first", "student_first"])
@pytest.mark.parametrize("warmup", [1, 2])
def test_a_warm_up_passes_whole_iterations(trace_of, name, warmup):
    trace = trace_of(iterations(name, 4), warmup=warmup)
    assert steps_of(trace) == [step for step in range(4 - warmup) for _ in range(2)]


@pytest.mark.parametrize("in_eval", [False, True])
def test_an_evaluation_of_the_model_that_trains_is_a_step(trace_of, in_eval):
    """Two batches of it, then two iterations with a teacher: steps 0 and 1, then 2 and 3."""
    loops = Loops()

    def run():
        loops.s.train(not in_eval)
        for _ in range(2):
            loops.s(x()) if in_eval else alone(loops.s)
        loops.s.train()
        for _ in range(2):
            loops.teacher_first()

    assert steps_of(trace_of(run)) == [0, 1, 2, 2, 3, 3]


def test_an_evaluation_of_the_teacher_is_no_part_of_the_first_iteration(trace_of):
    """Three batches of it; then each iteration has a pass of the teacher of its own."""
    loops = Loops()

    def run():
        for _ in range(3):
            alone(loops.t)
        for _ in range(2):
            loops.teacher_first()

    assert steps_of(trace_of(run)) == [0, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(("limit", "seen"), [(None, 6), (1, 1), (3, 3)])
def test_inferences_of_two_models_in_turn_are_steps(trace_of, limit, seen):
    loops = Loops()
    trace = trace_of(lambda: [alone(each) for _ in range(3) for each in (loops.t, loops.u)],
                     steps=limit)  # fmt: skip
    assert steps_of(trace) == [*range(seen)]
    assert trace.manifest["steps"] == seen


def told(new, run, **options):
    """Return the recorder and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        with new(**options) as recorder:
            run()
    return recorder, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, ""),
        ({"steps": 1}, "the recording ended before SGD stepped with the gradients of the last"),
        ({"steps": 2}, "the recording ended before SGD"),
        ({"steps": 3}, ""),
        ({"warmup": 1}, "the warm-up ended before SGD stepped with its gradients, so that"),
        ({"warmup": 2, "steps": 1}, "the warm-up ended before SGD"),
        ({"warmup": 3, "steps": 1}, ""),
    ],
    ids=str,
)  # fmt: skip
def test_accumulated_gradients_that_a_recording_parts_are_told(new, options, says):
    """Three passes are one step of the optimizer, which is not known before it steps."""
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run():
        for _ in range(4):
            optimizer.zero_grad()
            for _ in range(3):
                model(x()).sum().backward()
            optimizer.step()

    recorder, texts = told(new, run, **options)
    assert len(texts) == bool(says)
    assert all(text.startswith(says) and "recorder.step()" in text for text in texts)
    assert recorder.late == [text for text in texts if "recording ended" in text]


@pytest.mark.parametrize("after", ["nothing", "gradients made anew", "another optimizer"])
@pytest.mark.parametrize("options", [{"steps": 2}, {"warmup": 2}], ids=str)
def test_passes_whose_gradients_no_optimizer_uses_are_steps(new, read, options, after):
    """Nothing is told, also if the model is trained later."""
    model, other = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer, of_other = (torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other))

    def run():
        for _ in range(4):
            model(x()).sum().backward()
        if after == "gradients made anew":
            optimizer.zero_grad()
            model(x()).sum().backward()
            optimizer.step()
        elif after == "another optimizer":
            other(x()).sum().backward()
            of_other.step()

    recorder, texts = told(new, run, **options)
    assert texts == []
    if "steps" in options or after == "nothing":
        assert steps_of(read(recorder.path)) == [0, 1]


def test_passes_with_gradients_that_none_are_made_of_end_a_recording(new, read):
    """So many more may run, for they might share a backward pass; they are taken out again."""
    model = nn.Linear(4, 4)
    with new(steps=2) as recorder:
        for _ in range(20):
            model(x())
        assert recorder.done
    assert steps_of(read(recorder.path)) == [0, 1]


@pytest.mark.parametrize("limit", [None, 1])
def test_a_closure_that_runs_the_model_several_times_is_one_step(trace_of, limit):
    model = nn.Linear(4, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(B, 4)) - 1).square().mean()
        loss.backward()
        return loss

    found = steps_of(trace_of(lambda: [optimizer.step(closure) for _ in range(3)], steps=limit))
    assert set(found) == set(range(limit or 3))
    assert found.count(0) >= 2


def test_an_optimizer_that_stepped_parts_a_teacher_from_a_later_pass(trace_of):
    loops = Loops()

    def run():
        loops.two_views()
        alone(loops.t)
        loops.optimizer.step()
        loops.two_views()

    assert steps_of(trace_of(run)) == [0, 0, 1, 2, 2]


def test_a_warm_up_that_parts_the_passes_of_one_backward_is_told(new):
    """No optimizer has stepped: each pass may be a step, until one backward pass is of two."""
    loop = iterations("two_views", 3)
    with pytest.warns(RecordingWarning, match="between the forward passes of one backward pass"):
        with new(warmup=1):
            loop()


def test_a_warm_up_of_whole_iterations_is_not_said_to_part_them(new):
    loop = iterations("two_views", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with new(warmup=2, steps=1) as recorder:
            for _ in range(4):
                loop()
                recorder.step()
