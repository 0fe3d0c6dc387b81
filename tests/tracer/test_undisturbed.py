"""What runs without a recorder runs with one: odd modules, odd inputs, odd tensors, deep models."""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict, UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from opjoule.tracer import NeuronRule, attributes, record
from opjoule.tracer.nested import handed_back, tensors_in

ERRORS = [
    AttributeError,
    ValueError,
    RuntimeError,
    RecursionError,
    AssertionError,
    ZeroDivisionError,
]
FLAGS = ("training", "step_mode", "backend", "v", "mem", "kernel_size", "batch_first", "v_reset")


def refuse(error):
    def get(*_):
        raise error("no attribute for you")

    return get


class Odd(nn.Linear):
    """A Linear layer; subclasses refuse."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self._parameters["weight"], self._parameters["bias"])


def odd(**members):
    """Return a layer of a class of its own, which it gets once it is built."""
    layer = Odd(3, 2)
    layer.__class__ = type("Own", (Odd,), members)
    return layer


def properties(error):
    return odd(**{name: property(refuse(error)) for name in FLAGS if name != "training"})


def by_getattr(error):
    return odd(__getattr__=refuse(error))


def by_getattribute(error):
    """Refuse whatever is no part of how PyTorch calls a module."""
    allowed = {name for c in nn.Linear.__mro__ for name in vars(c)} | set(vars(nn.Linear(1, 1)))

    def get(self, name):
        if name in FLAGS or name not in allowed:
            raise error(name)
        return object.__getattribute__(self, name)

    return odd(__getattribute__=get)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("make", [properties, by_getattr, by_getattribute])
@pytest.mark.parametrize("known", [True, False])
def test_a_module_whose_attributes_raise(new, read, make, error, known):
    model, given = make(error), torch.rand(4, 3)
    expected = model(given)
    rule = NeuronRule(type(model), states=("v", "mem", "absent"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with new(model=model if known else None, neurons=[rule] if known else ()) as recorder:
            result = model(given)
            result.sum().backward()
    assert torch.equal(result, expected)
    trace = read(recorder.path)
    assert trace.manifest["status"] == "complete"
    (call,) = trace.module_calls
    assert trace.named("addmm")[0]["module_id"] == call["module_id"] == 0


def test_a_loop_interrupted_in_a_property_is_interrupted():
    """Ctrl-C is nobody's refusal."""
    model = type("Slow", (nn.Module,), {"tau": property(refuse(KeyboardInterrupt))})()
    with pytest.raises(KeyboardInterrupt):
        attributes.attribute(model, "tau")


NET = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(4)).eval()
IMAGE = torch.rand(1, 3, 8, 8)
COMPILED = {
    "scripted": lambda: torch.jit.script(NET),
    "traced": lambda: torch.jit.trace(NET, IMAGE),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(NET)),
    "scripted inside": lambda: nn.Sequential(torch.jit.script(NET), nn.ReLU()).eval(),
    "optimized": lambda: torch.jit.optimize_for_inference(torch.jit.script(NET)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("how", COMPILED)
def test_torchscript(trace_of, how, known):
    model = COMPILED[how]()
    with torch.no_grad():
        expected = model(IMAGE)
        found = []
        trace = trace_of(lambda: found.append(model(IMAGE)), model=model if known else None)
    assert torch.equal(found[0], expected)
    assert trace.manifest["status"] == "complete"
    if how != "optimized":  # oneDNN's own op runs there
        (call,) = trace.named("convolution")
        assert [each["shape"] for each in call["operands"] if each["role"] == "out"] == [
            [1, 4, 6, 6]
        ]


class Wrong(Mapping):
    """A mapping that breaks its word."""

    def __iter__(self):
        return iter("abc")

    def __len__(self):
        return 3

    def __getitem__(self, key):
        raise RuntimeError("not now")


class WrongList(list):
    def __iter__(self):
        raise RuntimeError("not now")


@dataclass
class Given:
    x: torch.Tensor
    scale: float = 2.0
    more: Any = None


@dataclass(slots=True)
class Slotted:
    x: torch.Tensor
    more: Any = None


class Lying:
    @property
    def __class__(self):
        raise RuntimeError("not now")


class Takes(nn.Module):
    """Hands back whatever it is given, and one tensor computed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, given, x):
        return given, self.layer(x)


X = torch.rand(4, 3)
HOLDERS = {
    "UserDict": (lambda: UserDict(a=X, b=[X]), 2),
    "OrderedDict": (lambda: OrderedDict(a=X), 1),
    "dataclass": (lambda: Given(X, more={"y": X}), 2),
    "slots": (lambda: Slotted(X, more=(X, X)), 3),
    "a dataclass without its fields": (lambda: object.__new__(Slotted), 0),
    "a dataclass, not one of it": (lambda: Given, 0),
    "a mapping that raises": (Wrong, 0),
    "a list that raises": (lambda: WrongList([X]), 0),
    "an object that lies": (Lying, 0),
    "a set, text and numbers": (lambda: [{1}, "text", 3, None, b""], 0),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_modules_take_and_hand_back(trace_of, name):
    make, tensors = HOLDERS[name]
    model, given, results = Takes().eval(), make(), []
    trace = trace_of(lambda: results.append(model(given, X)), model=model)
    assert results[0][0] is given
    outer = trace.calls_of("Takes")[0]
    assert len(outer["inputs"]) == tensors + 1
    assert len(outer["outputs"]) == tensors + 1


def test_a_mapping_alone_is_handed_back():
    assert [id(t) for t in handed_back(UserDict(a=X))] == [id(X)]
    assert list(tensors_in(Wrong())) == handed_back(Lying()) == []


def test_record_takes_any_mapping_for_keywords(tmp_path, read):
    """As a tokenizer's output, which is a UserDict."""
    model = nn.Bilinear(3, 3, 2).eval()
    path = record(model, UserDict(input1=X, input2=X), tmp_path / "trace")
    (call,) = read(path).module_calls
    assert [each["shape"] for each in call["inputs"]] == [[4, 3], [4, 3]]


class Nest(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return self.inside(x)


def nested(depth):
    net = nn.Linear(4, 4)
    for _ in range(depth):
        net = Nest(net)
    return net


def test_modules_nested_deeply(trace_of):
    """Each takes three calls of Python, and a fourth one under hooks: 250 and 1000 do not fit."""
    limit = sys.getrecursionlimit()
    model = nested(230)
    trace = trace_of(lambda: model(torch.ones(2, 4)).sum().backward())
    assert len(trace.module_calls) == 231
    assert sys.getrecursionlimit() == limit


def test_a_limit_that_the_script_sets_stays(new):
    before = sys.getrecursionlimit()
    try:
        with new():
            torch.ones(1)
            sys.setrecursionlimit(before + 5000)
        assert sys.getrecursionlimit() == before + 5000
    finally:
        sys.setrecursionlimit(before)


def test_recursion_without_an_end_still_ends(new):
    def again():
        again()

    with new():
        torch.ones(1)
        with pytest.raises(RecursionError):
            again()


def ragged(layout):
    return torch.nested.nested_tensor([torch.ones(7, 16), torch.ones(3, 16)], layout=layout)


def linear(layout):
    layer = nn.Linear(16, 4)
    with torch.no_grad():
        return layer(ragged(layout)).to_padded_tensor(0.0)


def attention(layout):
    heads = [torch.ones(7, 2, 8), torch.ones(3, 2, 8)]
    q = torch.nested.nested_tensor(heads, layout=layout).transpose(1, 2)
    return nn.functional.scaled_dot_product_attention(q, q, q).to_padded_tensor(0.0)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
@pytest.mark.parametrize("run", [linear, attention])
def test_nested_tensors(trace_of, run, layout):
    torch.manual_seed(0)
    try:
        expected = run(layout)
    except Exception as error:  # then it raises the same with a recorder
        with pytest.raises(type(error)):
            trace_of(lambda: run(layout))
        return
    torch.manual_seed(0)
    results = []
    trace = trace_of(lambda: results.append(run(layout)))
    assert torch.equal(results[0], expected)
    assert trace.manifest["status"] == "complete" and trace.calls
    if layout is torch.strided:
        assert any("nested" in note for note in trace.manifest["notes"])
