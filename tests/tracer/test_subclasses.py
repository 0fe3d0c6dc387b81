"""Wrapper subclasses: what they hold is recorded, once, as plain tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._pytree import tree_map_only


class Wrapped(torch.Tensor):
    """Holds one tensor and hands every op on to it."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            dtype=inner.dtype,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        plain = tree_map_only(Wrapped, lambda w: w.inner, (args, kwargs or {}))
        return tree_map_only(torch.Tensor, Wrapped, func(*plain[0], **plain[1]))


def test_a_wrapper_is_recorded_once(trace_of):
    x, y = torch.eye(3), torch.ones(3, 3)
    kept = []
    trace = trace_of(lambda: kept.append(Wrapped(x) @ Wrapped(y) + 1))
    assert trace.ops == ["aten.mm.default", "aten.add.Tensor"]
    assert (trace.calls[0]["in0_nonzero"], trace.calls[0]["in1_nonzero"]) == (3, 9)
    assert all(operand["layout"] == "strided" for operand in trace.calls[0]["operands"])
    assert isinstance(kept[0], Wrapped)
    assert torch.equal(kept[0].inner, x @ y + 1)


def test_two_tensors_are_two_calls(trace_of):
    x = TwoTensor(torch.eye(3), torch.zeros(3, 3))
    trace = trace_of(lambda: x.exp())
    assert trace.ops == ["aten.exp.default"] * 2
    assert [call["in0_nonzero"] for call in trace.calls] == [3, 0]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_module_given_a_wrapper(trace_of, mode):
    layer = nn.Linear(3, 2)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    kept = []

    def run():
        with mode():
            kept.append(layer(Wrapped(torch.ones(1, 3))))

    trace = trace_of(run, model=layer)
    (product,) = trace.named("addmm")
    assert trace.path_of(product) == "Linear"
    assert torch.equal(kept[0].inner, layer(torch.ones(1, 3)))


def test_subclasses_that_wrap_nothing_are_recorded_as_they_are(trace_of):
    class Named(torch.Tensor):
        pass

    x = torch.eye(3).as_subclass(Named)
    trace = trace_of(lambda: x + 1)
    (call,) = trace.named("add")
    assert call["in0_nonzero"] == 3
    parameter = nn.Parameter(torch.ones(2))
    assert trace_of(lambda: parameter.exp()).named("exp")[0]["in0_nonzero"] == 2
