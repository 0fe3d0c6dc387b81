"""Which passes one step has where some of them run without gradients, or before one backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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


def test_an_optimizer_that_stepped_parts_a_teacher_from_a_later_pass(trace_of):
    loops = Loops()

    def run():
        loops.two_views()
        alone(loops.t)
        loops.optimizer.step()
        loops.two_views()

    assert steps_of(trace_of(run)) == [0, 0, 1, 2, 2]
