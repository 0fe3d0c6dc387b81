"""The table of optimizer steps: class, hyper-parameters, and parameters by the state they had."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn


def model():
    """A matrix of 3x4 and a vector of 3."""
    return nn.Linear(4, 3)


def train(net, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.rand(2, 4)).sum().backward()
        optimizer.step()


def summary(row):
    return (
        json.loads(row["state"]),
        row["parameters"],
        row["vector_elements"],
        row["matrix_elements"],
    )


def test_state_that_existed_before_the_step(trace_of):
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.2)
    first, second = trace_of(lambda: train(net, optimizer)).optimizer_steps
    assert summary(first) == ([], 2, 3, 12)
    assert summary(second) == (["exp_avg", "exp_avg_sq", "step"], 2, 3, 12)
    assert first["class"] == "torch.optim.adam.Adam"
    hyper = json.loads(first["hyper"])
    assert (hyper["lr"], hyper["weight_decay"], hyper["betas"]) == (0.1, 0.2, [0.9, 0.999])
    assert (hyper["amsgrad"], hyper["fused"]) == (False, None)


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), []),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), ["momentum_buffer"]),
        (
            lambda p: torch.optim.AdamW(p, amsgrad=True),
            ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"],
        ),
        (lambda p: torch.optim.RMSprop(p), ["square_avg", "step"]),
    ],
    ids=["SGD", "momentum", "AMSGrad", "RMSprop"],
)  # fmt: skip
def test_state_of_other_optimizers(trace_of, make, state):
    net = model()
    optimizer = make(net.parameters())
    rows = trace_of(lambda: train(net, optimizer)).optimizer_steps
    assert summary(rows[1]) == (state, 2, 3, 12)


def test_groups_and_parameters_without_gradients(trace_of):
    net = nn.Sequential(model(), model())
    frozen = model()
    groups = [
        {"params": net[0].parameters(), "lr": 1.0},
        {"params": [*net[1].parameters(), *frozen.parameters()], "lr": 2.0},
    ]
    optimizer = torch.optim.SGD(groups)

    def run():
        net[0](torch.rand(2, 4)).sum().backward()
        net[1](torch.rand(2, 4)).sum().backward()
        optimizer.step()

    rows = trace_of(run).optimizer_steps
    assert [(row["group"], json.loads(row["hyper"])["lr"]) for row in rows] == [(0, 1.0), (1, 2.0)]
    assert [summary(row)[1:] for row in rows] == [(2, 3, 12), (2, 3, 12)]
    assert {row["optimizer_step_id"] for row in rows} == {0}


def test_calls_of_a_step_lie_in_its_range(trace_of):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    trace = trace_of(lambda: train(net, optimizer, 3))
    inside = [
        call["seq"]
        for call in trace.calls
        if any(r["first_seq"] <= call["seq"] <= r["last_seq"] for r in trace.optimizer_steps)
    ]
    assert inside == [call["seq"] for call in trace.calls if call["stage"] == "optimizer"]
    assert [row["step"] for row in trace.optimizer_steps] == [0, 1, 2]


def test_a_step_without_gradients_leaves_no_row(trace_of):
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    assert trace_of(lambda: (torch.ones(1), optimizer.step())).optimizer_steps == []


def test_a_step_that_raises(trace_of):
    """The next step is told right although the one before never ended."""

    class Broken(torch.optim.SGD):
        broken = True

        def step(self, closure=None):
            if self.broken:
                raise ZeroDivisionError
            return super().step(closure)

    net = model()
    optimizer = Broken(net.parameters(), lr=0.1)

    def run():
        net(torch.rand(2, 4)).sum().backward()
        with pytest.raises(ZeroDivisionError):
            optimizer.step()
        optimizer.broken = False
        with torch.no_grad():
            net(torch.rand(2, 4))
            torch.rand(2).exp()
        optimizer.step()

    trace = trace_of(run)
    (call,) = trace.named("aten.exp.")
    assert call["stage"] == "forward"
    (row,) = [r for r in trace.optimizer_steps if r["last_seq"] >= r["first_seq"]]
    assert row["parameters"] == 2


def test_a_step_that_is_noted_without_being_taken(trace_of):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def run(recorder):
        net(torch.rand(2, 4)).sum().backward()
        recorder.note_optimizer_step(optimizer)

    before = net.bias.detach().clone()
    trace = trace_of(run, takes_recorder=True)
    assert summary(trace.optimizer_steps[0]) == ([], 2, 3, 12)
    assert torch.equal(net.bias, before)
