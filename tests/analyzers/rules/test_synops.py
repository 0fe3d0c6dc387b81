"""SynOps against brute force: the op on the mask of spikes and weights of ones, in doubles."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from opjoule.analyzers import count

torch = pytest.importorskip("torch")

QUICK = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.fixture
def synops(recorded):
    """Return a function that records a run and returns its SynOps, MACs and ACs."""

    def counted(run):
        total = count(recorded(run)).total
        return total["synops"], total["macs"], total["acs"]

    return counted


def spikes(generator, shape, dtype, layout):
    """Return random spikes of a shape, as a contiguous tensor, a transposed one or a part."""
    if layout == "transposed":
        drawn = torch.rand(tuple(reversed(shape)), generator=generator) < 0.3
        drawn = drawn.permute(*reversed(range(len(shape))))
    elif layout == "part":
        drawn = torch.rand((*shape[:-1], 2 * shape[-1]), generator=generator) < 0.3
        drawn = drawn[..., ::2]
    else:
        drawn = torch.rand(shape, generator=generator) < 0.3
    found = drawn if dtype is torch.bool else drawn.to(dtype)
    assume(0 < int(found.sum()) < found.numel())  # constants are no spikes
    return found


LAYOUTS = st.sampled_from(["contiguous", "transposed", "part"])
FLOATS = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@QUICK
@given(data=st.data())
def test_convolutions(synops, data):
    draw = data.draw
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    spatial, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3]))
    transposed = draw(st.booleans())
    small = st.integers(1, 3)
    c_in, c_out = groups * draw(small), groups * draw(small)
    kernel = [draw(small) for _ in range(spatial)]
    stride = [draw(small) for _ in range(spatial)]
    dilation = [draw(st.integers(1, 2)) for _ in range(spatial)]
    padding = [draw(st.integers(0, 2)) for _ in range(spatial)]
    size = [draw(st.integers(3, 7)) for _ in range(spatial)]
    extra = [0] * spatial
    if transposed:
        extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    for place in range(spatial):
        if transposed:
            out = (size[place] - 1) * stride[place] - 2 * padding[place] + reach[place]
            assume(out + extra[place] > 0)
        else:
            assume(size[place] + 2 * padding[place] >= reach[place])
    dtype = draw(FLOATS)
    x = spikes(generator, (draw(st.integers(1, 2)), c_in, *size), dtype, draw(LAYOUTS))
    shape = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    weight = torch.rand((*shape, *kernel), generator=generator).to(dtype) + 0.5
    geometry = (stride, padding, dilation, transposed, extra, groups)
    mask, ones = (x != 0).double(), torch.ones_like(weight, dtype=torch.float64)
    brute = int(torch.convolution(mask, ones, None, *geometry).sum())
    assert synops(lambda: torch.convolution(x, weight, None, *geometry)) == (brute, 0, brute)


@QUICK
@given(data=st.data())
def test_weights_gradient(synops, data):
    """Backward, the weight's gradient of a spike-driven convolution: the forward's pairs."""
    draw = data.draw
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    groups, size = draw(st.sampled_from([1, 2])), draw(st.integers(3, 6))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    x = spikes(generator, (2, 2 * groups, size, size), torch.float32, draw(LAYOUTS))
    weight = torch.rand((2 * groups, 2, 3, 3), generator=generator).requires_grad_()
    mask, ones = (x != 0).double(), torch.ones_like(weight, dtype=torch.float64)
    geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)
    brute = int(torch.convolution(mask, ones, None, *geometry).sum())
    out = torch.convolution(x, weight, None, *geometry)
    gradient = torch.rand(out.shape, generator=generator) + 0.1

    def run():
        out.backward(gradient, inputs=[weight])

    found, macs, _ = synops(run)
    assert (found, macs) == (brute, 0)


@QUICK
@given(data=st.data())
def test_products(synops, data):
    draw = data.draw
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    m, k, n = (draw(st.integers(2, 6)) for _ in range(3))
    batch = draw(st.sampled_from([(), (2,)]))
    dtype = draw(FLOATS)
    which = draw(st.sampled_from(["first", "second", "both"]))

    def factor(spiking, shape):
        if spiking:
            return spikes(generator, shape, dtype, draw(LAYOUTS))
        return torch.rand(shape, generator=generator).to(dtype) + 0.5

    x = factor(which != "second", (*batch, m, k))
    w = factor(which != "first", (*batch, k, n))
    left = (x != 0).double() if which != "second" else torch.ones(x.shape).double()
    right = (w != 0).double() if which != "first" else torch.ones(w.shape).double()
    brute = int((left @ right).sum())
    op = torch.bmm if batch else torch.mm
    assert synops(lambda: op(x, w)) == (brute, 0, brute)
