"""The module tree, and the calls of its modules with the values that go in and out."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from opjoule.tracer.attributes import attribute, attributes


class Net(nn.Module):
    """Two layers that share their weight, and a buffer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.second.weight.requires_grad_(False)
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x):
        x = self.body(x).mean((2, 3))
        return self.second(self.first(x)) * self.scale


X = torch.rand(3, 2, 6, 6)


def test_the_tree(trace_of):
    model = Net()
    trace = trace_of(lambda: torch.ones(1), model=model)
    paths = ["Net", "Net.body", "Net.body.0", "Net.body.1", "Net.first", "Net.second"]
    assert [row["path"] for row in trace.modules] == paths
    assert [row["parent_id"] for row in trace.modules] == [None, 0, 1, 1, 0, 0]
    assert [row["module_id"] for row in trace.modules] == list(range(6))
    assert trace.modules[2]["class"] == "torch.nn.modules.conv.Conv2d"
    attributes = json.loads(trace.modules[2]["attributes"])
    assert attributes["kernel_size"] == [3, 3]
    assert (attributes["in_channels"], attributes["groups"]) == (2, 1)


def test_parameters_have_the_number_of_their_tensor(trace_of):
    """conv 0 and 1, norm 2 and 3, first 4 and 5; second has the first's weight and 6."""
    trace = trace_of(lambda: torch.ones(1), model=Net())
    numbers = [row["parameter_ids"] for row in trace.modules]
    assert numbers == [[], [], [0, 1], [2, 3], [4, 5], [4, 6]]


def test_own_parameters_and_buffers(trace_of):
    trace = trace_of(lambda: torch.ones(1), model=Net())
    conv, norm, second = (trace.modules[k] for k in (2, 3, 5))
    assert [(p["name"], p["shape"], p["bytes"]) for p in conv["parameters"]] == [
        ("weight", [4, 2, 3, 3], 4 * 72), ("bias", [4], 16),
    ]  # fmt: skip
    assert [b["name"] for b in norm["buffers"]] == [
        "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip
    assert [b["dtype"] for b in norm["buffers"]] == ["float32", "float32", "int64"]
    assert [p["requires_grad"] for p in second["parameters"]] == [False, True]
    assert trace.modules[0]["parameters"] == []
    assert [b["name"] for b in trace.modules[0]["buffers"]] == ["scale"]


def test_modules_that_were_not_known_enter_with_their_whole_tree(trace_of):
    def run():
        Net()(X)
        Net()(X)
        nn.Linear(2, 2)(torch.rand(1, 2))

    roots = [row["path"] for row in trace_of(run).modules if row["parent_id"] is None]
    assert roots == ["Net", "Net#2", "Linear"]


def test_a_module_made_inside_a_call_belongs_to_the_caller(trace_of):
    class Lazy(nn.Module):
        def forward(self, x):
            return nn.Linear(2, 2)(x)

    trace = trace_of(lambda: Lazy()(torch.rand(1, 2)))
    assert [row["path"] for row in trace.modules] == ["Lazy", "Lazy.Linear"]
    assert [call["parent_call_id"] for call in trace.module_calls] == [0, None]


def test_calls_are_linked_by_values(trace_of):
    """What goes out of one layer goes into the next, and is what its op made."""
    model = Net()
    trace = trace_of(lambda: model(X), model=model)
    by_path = {path: trace.calls_of(path)[0] for path in (row["path"] for row in trace.modules)}
    conv, norm = by_path["Net.body.0"], by_path["Net.body.1"]
    assert conv["outputs"][0]["value_id"] == norm["inputs"][0]["value_id"]
    assert by_path["Net"]["inputs"][0]["value_id"] == conv["inputs"][0]["value_id"]
    (made,) = trace.named("aten.convolution")
    assert made["out0_value"] == conv["outputs"][0]["value_id"]
    assert conv["first_seq"] <= made["seq"] <= conv["last_seq"]
    assert trace.values[made["in1_value"]]["kind"] == "parameter"
    (scaled,) = trace.named("aten.mul")
    assert trace.values[scaled["in1_value"]]["kind"] == "buffer"
    assert by_path["Net"]["parent_call_id"] is None
    assert conv["parent_call_id"] == by_path["Net.body"]["module_call_id"]


def test_a_shared_parameter_is_one_value(trace_of):
    model = Net()
    trace = trace_of(lambda: model(X), model=model)
    weights = {call["in0_value"] for call in trace.named("aten.t.")}
    assert len(weights) == 1


def test_gradients_are_known_as_such(trace_of):
    model = Net()

    def run():
        model(X).sum().backward()

    trace = trace_of(run, model=model)
    (made,) = trace.named("aten.convolution_backward")
    others = [row for row in trace.rows("call_operands") if row["seq"] == made["seq"]]
    kinds = {trace.values[row["value_id"]]["kind"] for row in others if row["role"] == "out"}
    assert kinds == {"gradient"}


def test_outputs_in_the_fields_of_an_object(trace_of):
    class Output:
        def __init__(self, logits):
            self.logits, self.loss = logits, None

    class Wrapped(nn.Linear):
        def forward(self, x):
            return Output(super().forward(x))

    trace = trace_of(lambda: Wrapped(2, 3)(torch.rand(1, 2)))
    (call,) = trace.module_calls
    assert [made["shape"] for made in call["outputs"]] == [[1, 3]]


def test_a_model_without_parameters_or_tensors(trace_of):
    class Empty(nn.Module):
        def forward(self, *things, **more):
            return None

    (call,) = trace_of(lambda: Empty()("a", 1, b=None)).module_calls
    assert (call["inputs"], call["outputs"], call["batch"]) == ([], [], None)
    assert call["last_seq"] == call["first_seq"] - 1


def test_lazy_modules(trace_of):
    """Their parameters have no shape when the tree is read."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LazyLinear(3))
    trace = trace_of(lambda: model(torch.rand(2, 5)), model=model)
    (product,) = trace.named("aten.addmm")
    assert product["operands"][1]["shape"] == [2, 5]
    assert trace.path_of(product) == "Sequential.0"


class Plain(nn.Module):
    kernel_size = 5

    def __init__(self):
        super().__init__()
        self.stride = 2
        self.register_buffer("beta", torch.ones(1))

    @property
    def threshold(self):
        raise RuntimeError("not yet")


class Elsewhere(nn.Module):
    def __getattr__(self, name):
        return 3 if name == "tau" else super().__getattr__(name)


@pytest.mark.parametrize("module", [Plain(), Elsewhere(), nn.Linear(2, 3), nn.LSTM(2, 3)])
def test_many_attributes_are_those_that_are_asked_for_one_by_one(module):
    names = frozenset("kernel_size stride beta threshold tau in_features p bias".split())
    missing = object()
    each = {name: attribute(module, name, missing) for name in names}
    assert attributes(module, names) == {k: v for k, v in each.items() if v is not missing}
