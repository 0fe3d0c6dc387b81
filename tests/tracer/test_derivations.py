"""Statistics that follow from the operands', against reading the result."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.tracer.derivations import DERIVATIONS
from opjoule.tracer.operands import ABSENT, describe_op
from opjoule.tracer.session import Session

ATEN = torch.ops.aten
POOLS = [
    [0.0], [1.0], [-0.0, 0.0], [0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 0.5], [-1.0], [2.0, 3.0, 0.0],
    [0.25, 0.5, 0.0], [math.nan, 0.0], [math.inf, 0.0], [0.1, -7.0, 1e-30],
]  # fmt: skip
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8,
          torch.bool]  # fmt: skip

CALLS = {
    "clone": (ATEN.clone.default, lambda a, b: (a,)),
    "to double": (ATEN._to_copy.default, lambda a, b: (a, {"dtype": torch.float64})),
    "to half": (ATEN._to_copy.default, lambda a, b: (a, {"dtype": torch.float16})),
    "to float": (ATEN._to_copy.default, lambda a, b: (a, {"dtype": torch.float32})),
    "to int": (ATEN._to_copy.default, lambda a, b: (a.nan_to_num(), {"dtype": torch.int32})),
    "copy into": (ATEN.copy_.default, lambda a, b: (torch.ones_like(b), a)),
    "copy one element": (ATEN.copy_.default, lambda a, b: (torch.ones_like(b), a.flatten()[0])),
    "add": (ATEN.add.Tensor, lambda a, b: (a, b)),
    "add twice": (ATEN.add.Tensor, lambda a, b: (a, b, {"alpha": 2})),
    "add broadcast": (ATEN.add.Tensor, lambda a, b: (a, b.flatten()[:1])),
    "add a number": (ATEN.add.Tensor, lambda a, b: (a, 1)),
    "times zero": (ATEN.mul.Tensor, lambda a, b: (a, 0.0)),
    "times one": (ATEN.mul.Tensor, lambda a, b: (a, 1.0)),
    "times": (ATEN.mul.Tensor, lambda a, b: (a, b)),
    "one minus": (ATEN.rsub.Scalar, lambda a, b: (a, 1)),
    "one minus, as float": (ATEN.rsub.Scalar, lambda a, b: (a, 1.0)),
    "two minus": (ATEN.rsub.Scalar, lambda a, b: (a, 2.0)),
    "one minus twice": (ATEN.rsub.Scalar, lambda a, b: (a, 1.0, 2)),
    "minus tensor": (ATEN.rsub.Tensor, lambda a, b: (a, b)),
    "cat": (ATEN.cat.default, lambda a, b: ([a, b], 0)),
    "stack": (ATEN.stack.default, lambda a, b: ([a, b], 1)),
    "cat of one": (ATEN.cat.default, lambda a, b: ([a],)),
    "zeros": (ATEN.zeros_like.default, lambda a, b: (a,)),
    "ones": (ATEN.ones_like.default, lambda a, b: (a,)),
    "zeros, new": (ATEN.new_zeros.default, lambda a, b: (a, [2, 3])),
    "zeros in place": (ATEN.zero_.default, lambda a, b: (a.clone(),)),
    "filled with zero": (ATEN.full_like.default, lambda a, b: (a, 0.0)),
    "filled with one": (ATEN.full_like.default, lambda a, b: (a, 1)),
    "filled with two": (ATEN.full_like.default, lambda a, b: (a, 2)),
    "full": (ATEN.full.default, lambda a, b: ([3, 2], True)),
    "filled with a tensor": (ATEN.fill_.Tensor, lambda a, b: (a.clone(), b.flatten()[0])),
    "unsafe view": (ATEN._unsafe_view.default, lambda a, b: (a, [-1])),
}


@st.composite
def operands(draw):
    """Draw two tensors of one shape, of like or unlike dtypes."""
    shape = draw(st.sampled_from([(2, 3), (1, 1), (4, 5), (3, 1)]))

    def tensor(dtype):
        pool = draw(st.sampled_from(POOLS))
        if not dtype.is_floating_point:
            pool = [abs(x) for x in pool if math.isfinite(x)]
        numel = math.prod(shape)
        items = draw(st.lists(st.sampled_from(pool), min_size=numel, max_size=numel))
        return torch.tensor(items, dtype=torch.float64).reshape(shape).to(dtype)

    first = draw(st.sampled_from(DTYPES))
    return tensor(first), tensor(draw(st.sampled_from([first, *DTYPES])))


def facts(value):
    told = (value.bits, value.nonzero, value.ones, value.minus_ones, value.low, value.high)
    return told if value.bits else told[:2]


def slots(session, func, args):
    """Return the operands as the handler has them, measured."""
    ins = []
    for kind, a in zip(describe_op(func).plan, args, strict=False):
        if not kind:
            continue
        for element in a if isinstance(a, list) else [a]:
            if isinstance(element, torch.Tensor):
                value = session.value_of(element)
                if not value.measured:
                    session.measure(value, element)
                ins.append((value, element, session.values.layout))
            elif not isinstance(a, list):
                ins.append(ABSENT)
    return ins


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", CALLS)
@given(drawn=operands())
def test_what_is_derived_is_what_would_be_read(name, drawn):
    func, arguments = CALLS[name]
    args = arguments(*drawn)
    args, kwargs = (args[:-1], args[-1]) if isinstance(args[-1], dict) else (args, {})
    session = Session("full")
    ins = slots(session, func, args)
    try:
        result = func(*args, **kwargs)
    except RuntimeError:  # bool has no complement by subtraction, nor integers a half
        session.values.close()
        return
    value = session.value_of(result)
    layout = session.values.layout
    found = describe_op(func).derive(ins, args, kwargs, layout)
    if found is not None:
        fresh = result.clone()  # a value of its own, read
        read = session.value_of(fresh)
        session.measure(read, fresh)
        value.told(found)
        assert facts(value) == facts(read), (name, args, kwargs)
    session.values.close()


DERIVED = {
    "clone": "clone", "cast from bool": "to float", "sum with zeros": "add",
    "spikes times zero": "times zero", "complement of spikes": "one minus, as float",
    "spikes stacked": "stack", "zeros": "zeros",
}  # fmt: skip


@pytest.mark.parametrize("name", DERIVED)
def test_something_is_derived(name):
    """Spikes and zeros: each of these is known without a look."""
    func, arguments = CALLS[DERIVED[name]]
    spikes = torch.tensor([[0.0, 1.0, 1.0]])
    first = spikes.bool() if name == "cast from bool" else spikes
    args = arguments(first, torch.zeros(1, 3) if name == "sum with zeros" else spikes)
    args, kwargs = (args[:-1], args[-1]) if isinstance(args[-1], dict) else (args, {})
    session = Session("full")
    ins = slots(session, func, args)
    session.value_of(func(*args, **kwargs))
    assert describe_op(func).derive(ins, args, kwargs, session.values.layout) is not None
    session.values.close()


def test_every_derivation_is_of_an_op():
    for packet in DERIVATIONS:
        assert hasattr(ATEN, packet.removeprefix("aten.")), packet
