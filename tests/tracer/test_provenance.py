"""Which values are spikes by where they come from: comparisons, casts, and what carries them on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from opjoule.schemas import SpikeClass

X = torch.tensor([[[[0.1, 0.9], [0.6, 0.2]]]])
BOOL = torch.tensor([[True, False], [False, False]])
EVENTS = int(SpikeClass.EVENTS)


def spikes():
    return (X > 0.5).float()


CARRIED = {
    "comparison": lambda s: X > 0.5,
    "cast from bool": lambda s: (X > 0.5).to(torch.float64),
    "heaviside": lambda s: torch.heaviside(X - 0.5, torch.ones(())),
    "logic": lambda s: torch.logical_and(X > 0.5, X < 0.8),
    "bool made otherwise": lambda s: torch.zeros(2, dtype=torch.bool),
    "bool from outside, as numbers": lambda s: BOOL.float(),
    "a part of bool": lambda s: BOOL[1:].float(),
    "drawn": lambda s: torch.bernoulli(torch.full((3,), 0.0)),
    "drawn in place": lambda s: torch.empty(3).bernoulli_(0.0),
    "view": lambda s: s.view(4),
    "transposed": lambda s: s.transpose(2, 3),
    "slice": lambda s: s[..., 1:],
    "expanded": lambda s: s.expand(3, 1, 2, 2),
    "copy": lambda s: s.clone(),
    "copied into": lambda s: torch.empty(1, 1, 2, 2).copy_(s),
    "contiguous": lambda s: s.transpose(2, 3).contiguous(),
    "cat": lambda s: torch.cat([s, s]),
    "stack": lambda s: torch.stack([s, s]),
    "max pool": lambda s: F.max_pool2d(s, 2),
    "cat with zeros": lambda s: torch.cat([s, torch.zeros_like(s)]),
    "a step of stacked steps": lambda s: torch.stack([s * 0, s])[0],
    "padding": lambda s: F.pad(s, (1, 1)),
    "index": lambda s: s[torch.tensor([0])],
    "spikes times spikes": lambda s: s * s,
    "spikes times a mask": lambda s: s * BOOL.float()[0],
    "spikes times zeros and ones": lambda s: s * torch.ones(2),
    "complement": lambda s: 1 - s,
    "spikes times one": lambda s: s * 1.0,
    "spikes times zero, in place": lambda s: s.mul_(0),
    "logical and of spikes": lambda s: s.bool() & s.bool(),
    "where, with zeros": lambda s: torch.where(X > 0.7, s, torch.zeros_like(s)),
    "where, with a number": lambda s: torch.where(X > 0.7, s, 0.0),
    "where, numbers": lambda s: torch.where(X > 2, 1.0, 0.0),
    "masked fill": lambda s: s.masked_fill(X > 0.7, 0.0),
    "no spikes plus no spikes": lambda s: (s * 0) + (s * 0),
    "spikes plus spikes that never meet": lambda s: s * s + s * 0,
}


def assigned(start, *steps):
    """Write each step into a place of its own of a tensor that begins as `start`; return it."""
    for place, step in enumerate(steps):
        start[place] = step
    return start


CARRIED |= {
    "assigned to a step of zeros": lambda s: assigned(torch.zeros(2, 1, 1, 2, 2), s * 0).clone(),
    "assigned to each step": lambda s: assigned(torch.zeros(2, 1, 1, 2, 2), s, s * 0).clone(),
    "a step that stayed zero": lambda s: assigned(torch.zeros(2, 1, 1, 2, 2), s)[1].clone(),
    "assigned to columns": lambda s: assigned(
        torch.zeros(2, 2).t(), s[0, 0, 0], s[0, 0, 1]
    ).clone(),
    "assigned to a part of spikes": lambda s: assigned(torch.cat([s, s]), s[0]).clone(),
}
NOT = {
    "assigned to ones": lambda s: assigned(torch.ones(2, 1, 1, 2, 2), s).clone(),
    "assigned beside a number": lambda s: assigned(torch.zeros(3, 1, 1, 2, 2), s, X, s).clone(),
    "written again": lambda s: assigned(torch.zeros(2, 1, 1, 2, 2), s, s).exp_().clone(),
    "into what holds nothing yet": lambda s: assigned(torch.empty(2, 1, 1, 2, 2), s).clone(),
    "from outside": lambda s: X.clone(),
    "ones": lambda s: torch.ones(2),
    "cat with others": lambda s: torch.cat([s, X]),
    "times a dense tensor": lambda s: s * X,
    "a product": lambda s: s[0, 0] @ s[0, 0],
    "dense copied over spikes": lambda s: s.copy_(X),
    "filled over spikes": lambda s: s.fill_(1.0),
    "exp": lambda s: s.exp(),
    "average pool": lambda s: F.avg_pool2d(s, 2),
    "spikes plus spikes": lambda s: s + s,
    "zeros where a mask is": lambda s: torch.where(X > 0.7, torch.zeros(2, 2), torch.zeros(2, 2)),
    "cat of zeros": lambda s: torch.cat([torch.zeros(2), torch.zeros(2)]),
    "filled with others": lambda s: s.masked_fill(X > 0.7, 2.0),
    "two minus spikes": lambda s: 2 - s,
    "times a number, where nothing fired": lambda s: (s * 0) * 0.37,
    "a number times it": lambda s: 0.37 * (s * 0),
    "times a number in place": lambda s: (s * 0).mul_(2),
    "where a pool's largest were": lambda s: F.max_pool2d(s, 2, return_indices=True)[1],
}


@pytest.mark.parametrize("name", CARRIED)
def test_carried_on(trace_of, name):
    trace = trace_of(lambda: CARRIED[name](spikes()).double().exp())
    assert trace.calls[-1]["in0_class"] & EVENTS, trace.ops


@pytest.mark.parametrize("name", NOT)
def test_not_carried_on(trace_of, name):
    trace = trace_of(lambda: NOT[name](spikes()).double().exp())
    assert not trace.calls[-1]["in0_class"] & EVENTS, trace.ops


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_gradient_that_a_backward_pass_starts_with_is_no_spike(trace_of, reduction):
    """Its ones, or its one quarter, have a class by value and no provenance."""
    layer = torch.nn.Linear(4, 4)
    trace = trace_of(lambda: getattr(layer(torch.rand(2, 4)), reduction)().backward())
    products = trace.named("mm", stage="backward")
    assert products
    for call in products:
        for slot in (0, 1):
            assert not call[f"in{slot}_class"] & EVENTS
    assert any(call["in0_class"] & SpikeClass.CONSTANT for call in products)


LAYER = torch.nn.Linear(2, 3).eval()
FRAMES = {"zeros": torch.zeros(4, 1, 2), "ones": torch.ones(4, 1, 2)}


def products(trace):
    return [call["in1_class"] & EVENTS for call in trace.named("addmm")]


@pytest.mark.parametrize("name", FRAMES)
def test_declared_inputs_stay_spikes_until_they_are_written(trace_of, name):
    """Over calls of the model, as a whole and in parts; a write, seen or not, ends it."""
    frames = FRAMES[name].clone()

    def run(recorder):
        with torch.no_grad():
            recorder.spikes(frames)
            for frame in frames:
                LAYER(frame)
            with recorder.suspend():
                LAYER(frames[0])
            LAYER(frames[1])
            with recorder.suspend():
                frames[2].zero_()
            LAYER(frames[1])
            recorder.spikes(frames[0])
            LAYER(frames[0]), LAYER(frames[1])
            frames.fill_(1.0)
            LAYER(frames[0])

    assert products(trace_of(run, takes_recorder=True)) == [EVENTS] * 5 + [0, EVENTS, 0, 0]


@pytest.mark.parametrize("statistics", ["full", "synaptic"])
def test_of_what_an_empty_frame_is_a_part(trace_of, statistics):
    """Its values say nothing; those of all frames do, although no op reads them as a whole."""
    every = (torch.arange(2 * 4 * 2).view(2, 4, 1, 2) % 2).float()
    every[:, 2] = 0

    def run():
        with torch.no_grad():
            for frames in every:  # parts themselves, of which the first one is seen first
                for t in range(4):
                    LAYER(frames[t])

    trace = trace_of(run, statistics=statistics)
    empty = [call for call in trace.named("addmm") if not call["in1_nonzero"]]
    assert len(empty) == 2
    for call in empty:
        base = trace.values[trace.values[call["in1_value"]]["base_value_id"]]
        assert base["numel"] > 2
        assert base["class"] & (SpikeClass.BINARY | SpikeClass.CONSTANT) == SpikeClass.BINARY
