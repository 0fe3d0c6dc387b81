"""Which values are spikes by where they come from: comparisons, casts, and what carries them on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from opjoule.schemas import SpikeClass

X = torch.tensor([[[[0.1, 0.9], [0.6, 0.2]]]])
EVENTS = int(SpikeClass.EVENTS)


def spikes():
    return (X > 0.5).float()


CARRIED = {
    "comparison": lambda s: X > 0.5,
    "cast from bool": lambda s: (X > 0.5).to(torch.float64),
    "heaviside": lambda s: torch.heaviside(X - 0.5, torch.ones(())),
    "logic": lambda s: torch.logical_and(X > 0.5, X < 0.8),
    "bool made otherwise": lambda s: torch.zeros(2, dtype=torch.bool),
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
    "average pool": lambda s: F.avg_pool2d(s, 2),
    "padding": lambda s: F.pad(s, (1, 1)),
    "index": lambda s: s[torch.tensor([0])],
    "spikes times spikes": lambda s: s * s,
    "spikes plus spikes": lambda s: s + s,
}
NOT = {
    "from outside": lambda s: X.clone(),
    "ones": lambda s: torch.ones(2),
    "cat with others": lambda s: torch.cat([s, X]),
    "times a dense tensor": lambda s: s * X,
    "a product": lambda s: s[0, 0] @ s[0, 0],
    "dense copied over spikes": lambda s: s.copy_(X),
    "filled over spikes": lambda s: s.fill_(1.0),
    "exp": lambda s: s.exp(),
}


@pytest.mark.parametrize("name", CARRIED)
def test_carried_on(trace_of, name):
    trace = trace_of(lambda: CARRIED[name](spikes()).exp())
    assert trace.calls[-1]["in0_class"] & EVENTS, trace.ops


@pytest.mark.parametrize("name", NOT)
def test_not_carried_on(trace_of, name):
    trace = trace_of(lambda: NOT[name](spikes()).exp())
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
