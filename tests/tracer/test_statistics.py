"""What is said of a value's elements, against counting them one by one in Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opjoule.schemas import VALUE_BITS, SpikeClass
from opjoule.tracer.device_reductions import Reductions
from opjoule.tracer.device_statistics import DeviceMeasurer
from opjoule.tracer.measurers import CHOICE, compiled
from opjoule.tracer.session import Session

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
EIGHTS = [
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
]
SIGNED = [torch.int64, torch.int32, torch.int16, torch.int8]
UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]
INF, NAN = math.inf, math.nan
POOLS = [
    [0.0, 1.0], [0.0, -0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 0.5], [0.5], [1.0], [0.0], [-0.0], [-1.0],
    [0.0, 2.0, 3.0], [0.0, -2.0], [0.25, 0.5, 0.0], [NAN, 0.0], [INF, 0.0], [INF, -INF, 1.0], [NAN],
    [1.0, 0.5], [0.0, 1.0, 448.0],
]  # fmt: skip


C = pytest.param(
    "C", marks=pytest.mark.skipif(compiled() is None, reason="statistics in C are not built")
)
HOW = pytest.mark.parametrize("how", [C, "NumPy", "as on a device"])


def measured(tensor, how=None):
    """Return the facts that the recorder notes of a tensor, counted in one of several ways.

    Args:
        tensor: the tensor.
        how: "C", "NumPy", "as on a device" by PyTorch's reductions, or so by kernels.
    """
    apart = how not in (None, "C", "NumPy")
    with pytest.MonkeyPatch.context() as patch:
        if how and not apart:
            patch.setenv(CHOICE, how)
        session = Session("full")
    if apart:
        session.device_measurer = DeviceMeasurer(session)
        session.device_measurer.counts["cpu"] = Reductions() if isinstance(how, str) else how
    value = session.value_of(tensor)
    if apart:
        value.storage.device = value.device = "cpu:0"
    session.measure(value, tensor)
    if apart and tensor.numel():
        assert (value.measured, value.bits) == (3, -1)
        session.device_measurer.collect()
    assert value.measured == 1
    session.values.close()
    return value


def counted(tensor):
    """Return (bits, nonzero, ones, minus ones, min, max) of a tensor, by hand."""
    if tensor.dtype.is_complex and tensor.numel():  # no class, but of no elements all is true
        return 0, sum(1 for x in tensor.flatten().tolist() if x != 0), None, None, None, None
    if tensor.dtype in EIGHTS or tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.to(torch.float64)
    items = [x if isinstance(x, int) else float(x) for x in tensor.flatten().tolist()]
    nonzeros = [x for x in items if x != 0]
    bits = 0
    if all(x in (0, 1) for x in items):
        bits |= SpikeClass.BINARY
    if all(x in (-1, 0, 1) for x in items):
        bits |= SpikeClass.TERNARY
    if not nonzeros or all(x == nonzeros[0] for x in nonzeros):
        bits |= SpikeClass.SCALED
    if all(math.isfinite(x) and x == math.floor(x) for x in items):
        bits |= SpikeClass.WHOLE
    if not items or all(x == items[0] for x in items):
        bits |= SpikeClass.CONSTANT
    if not bits:
        return 0, len(nonzeros), None, None, None, None
    return (
        int(bits), len(nonzeros), items.count(1), items.count(-1),
        float(min(items)) if items else None, float(max(items)) if items else None,
    )  # fmt: skip


def check(tensor, how):
    value, expected = measured(tensor, how), counted(tensor)
    found = (value.bits, value.nonzero, value.ones, value.minus_ones, value.low, value.high)
    if not expected[0]:
        assert found[:2] == expected[:2]
    else:
        assert found == expected, (found, expected)


VIEWS = {
    "whole": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1),
    "sliced": lambda t: t[..., ::2],
    "offset": lambda t: t.flatten()[1:],
    "expanded": lambda t: t.unsqueeze(0).expand(3, *t.shape),
    "expanded inside": lambda t: t.unsqueeze(1).expand(t.shape[0], 2, *t.shape[1:]).transpose(0, 1),
    "channels last": lambda t: (
        t[None].expand(2, *t.shape).transpose(1, -1).contiguous().transpose(1, -1)
    ),
    "flipped stride of one": lambda t: t.as_strided((t.numel(), 1), (1, 7)),
    "diagonal": lambda t: t.diagonal() if t.dim() > 1 else t,
    "scalar": lambda t: t.flatten()[0] if t.numel() else t,
}


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from([*FLOATS, *EIGHTS, *SIGNED, *UNSIGNED, *COMPLEX, torch.bool]))
    pool = draw(st.sampled_from(POOLS))
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    if dtype in SIGNED or dtype in UNSIGNED or dtype is torch.bool:
        pool = [x for x in pool if math.isfinite(x)] or [0.0]
        if dtype in UNSIGNED:
            pool = [abs(x) for x in pool]
    numel = math.prod(shape)
    items = draw(st.lists(st.sampled_from(pool), min_size=numel, max_size=numel))
    tensor = torch.tensor(items, dtype=torch.float64).reshape(shape).to(dtype)
    view = VIEWS[draw(st.sampled_from(list(VIEWS)))]
    return view(tensor)


@settings(max_examples=400, deadline=None)
@given(tensors())
@example(torch.tensor(1.0))
@example(torch.tensor(-0.0))
@example(torch.empty(0))
@example(torch.empty(3, 0, 2, dtype=torch.bfloat16))
@example(torch.tensor([-0.0, 0.0], dtype=torch.float16))
@example(torch.tensor([True, False]))
@example(torch.tensor([2**53 + 1, 2**53], dtype=torch.int64))
@example(torch.tensor([1e-45, 0.0]))
@example(torch.tensor([255, 0], dtype=torch.uint8))
@example(torch.tensor([1 + 0j, 0, 1j]))
@HOW
def test_facts_equal_counting(how, tensor):
    check(tensor, how)


@settings(max_examples=60, deadline=None)
@given(tensors())
def test_facts_by_triton_equal_counting(kernels, tensor):
    check(tensor, kernels)


def test_bool_is_binary_by_type():
    assert measured(torch.ones(3, dtype=torch.bool)).bits & SpikeClass.BINARY


def test_an_empty_value_has_every_class():
    # All statements about all of no elements are true.
    assert measured(torch.empty(0)).bits == int(VALUE_BITS)


def test_expanded_elements_count_as_often_as_they_stand():
    # One 1 and one 0, each in 4 rows: 4 nonzero of 8.
    value = measured(torch.tensor([1.0, 0.0]).expand(4, 2))
    assert (value.nonzero, value.ones, value.layout.numel) == (4, 4, 8)


LARGE = 200_003


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int32])
@pytest.mark.parametrize("place", [0, 1, 23, 24, 65535, 65536, 131072, LARGE - 1])
@pytest.mark.parametrize("odd", [-1, 7])
def test_one_odd_element_of_many_is_seen(dtype, place, odd):
    # Spikes at every third place, as many as there are: ceil(LARGE / 3) = 66,668.
    tensor = torch.zeros(LARGE, dtype=dtype)
    tensor[::3] = 1
    assert measured(tensor).nonzero == 66_668
    assert measured(tensor).bits & SpikeClass.BINARY
    tensor[place] = odd
    value = measured(tensor)
    assert not value.bits & SpikeClass.BINARY
    assert bool(value.bits & SpikeClass.TERNARY) == (odd == -1)
    assert value.bits & SpikeClass.WHOLE
    assert not value.bits & (SpikeClass.SCALED | SpikeClass.CONSTANT)
    assert value.nonzero == 66_668 + (place % 3 != 0)
    assert (value.low, value.high) == ((-1.0, 1.0) if odd == -1 else (0.0, 7.0))


@pytest.mark.parametrize("place", [0, 24, 65536, LARGE - 1])
def test_one_fraction_among_many_whole_numbers_is_seen(place):
    tensor = torch.arange(LARGE, dtype=torch.float64)
    tensor[place] += 0.5
    assert not measured(tensor).bits & SpikeClass.WHOLE


@pytest.mark.parametrize("place", [24, 65536, LARGE - 1])
def test_a_nan_among_many_is_no_spike(place):
    tensor = torch.zeros(LARGE)
    tensor[place] = NAN
    value = measured(tensor)
    assert (value.nonzero, value.bits) == (1, 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dense_values_have_no_class_and_an_exact_count(dtype):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(LARGE, generator=generator).clamp_min(0).to(dtype)
    value = measured(tensor)
    assert value.bits == 0
    assert value.nonzero == int((tensor != 0).sum())


def test_a_recording_says_the_same(trace_of):
    """The columns of `values`, from a tensor of three ones, one minus one and two zeros."""
    x = torch.tensor([1.0, 1.0, -0.0, -1.0, 0.0, 1.0])
    trace = trace_of(lambda: x * 1)
    row = trace.values[trace.calls[0]["in0_value"]]
    assert row["class"] == int(SpikeClass.TERNARY | SpikeClass.WHOLE)
    assert (row["nonzero"], row["ones"], row["minus_ones"]) == (4, 3, 1)
    assert (row["min"], row["max"], row["numel"], row["bytes"]) == (-1.0, 1.0, 6, 24)
    assert trace.calls[0]["in0_nonzero"] == 4


@pytest.mark.parametrize(("level", "known"), [("none", False), ("synaptic", False), ("full", True)])
def test_levels(trace_of, level, known):
    """`synaptic` leaves out what neither products, additions nor neurons read; `none` all."""
    trace = trace_of(lambda: torch.ones(2).exp(), statistics=level)
    (call,) = trace.named("exp")
    assert (call["in0_class"] is not None) == known
    assert trace.manifest["statistics"] == level


def test_the_synaptic_level_measures_products_and_sums(trace_of):
    def run():
        x = torch.eye(3)
        return torch.mm(x, x) + x

    trace = trace_of(run, statistics="synaptic")
    for word in ("aten.mm", "aten.add."):
        (call,) = trace.named(word)
        assert call["in0_nonzero"] == call["in1_nonzero"] == 3


def test_nothing_is_measured_for_the_optimizer(trace_of):
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    trace = trace_of(optimizer.step)
    calls = [call for call in trace.calls if call["stage"] == "optimizer"]
    assert calls
    assert all(call["out0_class"] is None for call in calls)
