"""PyTorch's primitives count as the ops of `aten` that do the same."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count
from opjoule.analyzers.rules import primitives

torch = pytest.importorskip("torch")

COUNTERS = ("flops", "bytes", "macs", "acs", "synops")
ONE = ("abs exp log sin cos tanh sqrt rsqrt erf neg reciprocal sign floor log1p expm1 exp2 atan "
       "lgamma round trunc sinh asin").split()  # fmt: skip
TWO = ("add sub mul div maximum minimum fmax fmin atan2 pow eq ne lt ge fmod remainder "
       "hypot").split()  # fmt: skip


def counted(trace):
    total = count(trace).total
    return {name: total[name] for name in COUNTERS}


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_a_primitive_counts_as_the_op_that_does_the_same(recorded, name):
    operands = [torch.rand(3, 4) + 0.1 for _ in range(2 if name in TWO else 1)]
    primitive = recorded(lambda: getattr(torch.ops.prims, name)(*operands))
    plain = recorded(lambda: getattr(torch, name)(*operands))
    assert counted(primitive) == counted(plain)
    assert counted(primitive)["flops"] >= 12


@pytest.mark.parametrize(
    ("primitive", "plain"),
    [
        (lambda p, x: p.sum(x, [1]), lambda x: x.sum(1)),
        (lambda p, x: p.amax(x, [1]), lambda x: x.amax(1)),
        (lambda p, x: p.prod(x, [1]), lambda x: x.prod(1)),
        (lambda p, x: p.var(x, [1], 1.0), lambda x: x.var(1)),
        (lambda p, x: p.where(x > 1, x, x), lambda x: torch.where(x > 1, x, x)),
        (lambda p, x: p.convert_element_type(x, torch.float64), lambda x: x.double()),
        (lambda p, x: p.cat([x, x], 0), lambda x: torch.cat([x, x])),
        (lambda p, x: p.clone(x), lambda x: x.clone()),
        (lambda p, x: p.transpose(x, [1, 0]), lambda x: x.t()),
        (lambda p, x: p.broadcast_in_dim(x, [5, 3, 4], [1, 2]), lambda x: x.expand(5, 3, 4)),
        (lambda p, x: p.rev(x, [0]), lambda x: x.flip(0)),
    ],
)
def test_reductions_copies_and_views_too(recorded, primitive, plain):
    x = torch.rand(3, 4)
    found = counted(recorded(lambda: primitive(torch.ops.prims, x)))
    assert found == counted(recorded(lambda: plain(x)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch compiles its decompositions
def test_a_derivative_forward_is_covered(recorded):
    """Of 4 rows through 8 -> 16 -> 3 each product runs three times.

    With the values, with the tangents of its input, and with those of its weights, which PyTorch
    fills with zeros. The derivative of 64 tanh, 1 - y·y, takes a MAC each.
    """
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    x = torch.randn(4, 8)
    trace = recorded(lambda: torch.func.jvp(net, (x,), (torch.ones_like(x),)))
    found = count(trace, by="op")
    assert any(op.startswith("prims.") for op in found.frame["op"])
    assert not found.coverage.uncovered
    assert found.total["dense_macs"] == 3 * 4 * (8 * 16 + 16 * 3)
    assert found.total["macs"] == found.total["dense_macs"] + 4 * 16


def test_every_primitive_of_the_list_is_one_of_pytorchs():
    names = (*primitives._ALIKE, *primitives._OTHERWISE, *primitives._ONE_EACH.split())
    assert [name for name in names if not hasattr(torch.ops.prims, name)] == []
