"""What spikes meet in convolutions and products, against convolving masks with ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.schemas import TILE_WIDTHS
from opjoule.tracer.device_reductions import Reductions
from opjoule.tracer.device_statistics import DeviceMeasurer
from opjoule.tracer.operands import ABSENT, describe_op, other_arguments
from opjoule.tracer.session import Session

FORWARD = torch.ops.aten.convolution.default
BACKWARD = torch.ops.aten.convolution_backward.default


HOW = pytest.mark.parametrize("apart", [False, True], ids=["cpu", "as on a device"])


def synaptic_row(func, args, apart=False, kernels=None):
    """Return the statistics of a call as the recorder takes them, its operands measured.

    Args:
        apart: as if the operands were on a device.
        kernels: what then counts there; by default PyTorch's reductions.
    """
    session = Session("full")
    apart = apart or kernels is not None
    if apart:
        session.device_measurer = DeviceMeasurer(session)
        session.device_measurer.counts["cpu"] = kernels or Reductions()
    session.passive = False
    op = describe_op(func)
    ins = [
        ABSENT if a is None else (session.value_of(a), a, session.values.layout)
        for kind, a in zip(op.plan, args, strict=False)
        if kind
    ]
    for value, tensor, _ in ins:
        if value is not None and apart:
            value.storage.device = value.device = "cpu:0"
        if value is not None and not value.measured:
            session.measure(value, tensor)
    row = session.synapses.before(session, op, ins, other_arguments(op, args, {}))
    if apart:
        session.device_measurer.collect()
    assert (session.unread, session.device_note, session.device_failed) == ({}, "", None)
    session.values.close()
    return row


def mask(tensor):
    return (tensor != 0).to(torch.float64)


def total(tensor):
    return int(tensor.sum(dtype=torch.float64))


@pytest.fixture(autouse=True, scope="module")
def without_onednn():
    """Its convolutions of bfloat16 end the process on CPUs with AMX, for some paddings."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # `torch.backends.mkldnn.flags` warns of other settings
    yield
    torch._C._set_mkldnn_enabled(before)


@st.composite
def convolutions(draw):
    """Draw (input, weight, arguments of aten.convolution after the bias)."""
    spatial = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    groups = draw(st.integers(1, 3))
    c_in, c_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    most = {1: 9, 2: 7, 3: 4}[spatial]
    each = lambda low, high: draw(  # noqa: E731
        st.lists(st.integers(low, high), min_size=spatial, max_size=spatial)
    )
    kernel, stride, dilation, padding = each(1, 3), each(1, 3), each(1, 2), each(0, 3)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        padding = [min(p, r // 2) for p, r in zip(padding, reach, strict=True)]
        size = each(2, most)
        extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    else:
        size = [
            max(draw(st.integers(1, most)), r - 2 * p) for r, p in zip(reach, padding, strict=True)
        ]
        extra = [0] * spatial
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    batch = draw(st.integers(1, 3))
    rate = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    x = (torch.rand(batch, c_in, *size, generator=generator) < rate).to(dtype)
    if draw(st.booleans()):
        x = x * torch.rand(x.shape, generator=generator).to(dtype)
    layout = draw(st.sampled_from(["contiguous", "channels last", "transposed", "sliced"]))
    if layout == "channels last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    elif layout == "transposed":
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    elif layout == "sliced":
        x = torch.stack([x, x + 1], -1)[..., 0]
    shape = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    w = torch.rand(*shape, *kernel, generator=generator)
    if draw(st.booleans()):
        w = (w < 0.5).float()
    return x, w.to(dtype), (stride, padding, dilation, transposed, extra, groups)


def windows(x, w, arguments):
    """Return, by channel, how many nonzero inputs each output position meets: (B, C_in, *out)."""
    stride, padding, dilation, transposed, extra, _ = arguments
    c_in = x.shape[1]
    ones = torch.ones(c_in, 1, *w.shape[2:], dtype=torch.float64)
    return FORWARD(mask(x), ones, None, stride, padding, dilation, transposed, extra, c_in)


@settings(max_examples=250, deadline=None)
@given(convolutions())
@HOW
def test_convolutions(apart, drawn):
    check_convolution(drawn, apart=apart)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_convolutions_by_triton(kernels, drawn):
    check_convolution(drawn, kernels=kernels)


def check_convolution(drawn, **how):
    """Compare a convolution's row with convolving masks."""
    x, w, arguments = drawn
    row = synaptic_row(FORWARD, (x, w, None, *arguments), **how)
    # Each weight a one: every product that a nonzero input takes part in counts once.
    meets = FORWARD(mask(x), torch.ones_like(w, dtype=torch.float64), None, *arguments)
    assert row.x_fanout == total(meets)
    if bool(((x == 0) | (x == 1)).all()) and bool(((w == 0) | (w == 1)).all()):
        assert row.overlap == total(FORWARD(mask(x), mask(w), None, *arguments))
    nothing = FORWARD(mask(x), (w == 0).to(torch.float64), None, *arguments)
    check_zero_pairs(row, w, total(nothing), how)
    sparse = 4 * int((x == 0).sum()) >= x.numel()
    if sparse:
        assert row.active_outputs == int((meets > 0).sum())
    spatial, transposed, groups = w.dim() - 2, arguments[3], arguments[5]
    if sparse and spatial == 2 and not transposed and groups == 1:
        check_crossbar(row, windows(x, w, arguments))
    elif spatial != 2 or transposed or groups != 1:
        assert row.active_patches is None
        assert row.active_sites is None


def check_crossbar(row, met):
    """Compare with `met`: nonzeros that each output position meets, by input channel."""
    assert row.active_sites == int((met.sum(1) > 0).sum())
    channels = met.shape[1]
    for width, patches in zip(TILE_WIDTHS, row.active_patches, strict=True):
        tiles = [met[:, first : first + width].sum(1) for first in range(0, channels, width)]
        assert patches == sum(int((tile > 0).sum()) for tile in tiles), width
        together = width // TILE_WIDTHS[0]
        rows = [row.tile_rows[at : at + together] for at in range(0, len(row.tile_rows), together)]
        assert [sum(tile) for tile in rows] == [total(tile) for tile in tiles], width


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 2), st.sampled_from([0.02, 0.3, 0.9]), st.integers(0, 10**6)
)
@HOW
def test_crossbar_of_many_channels(apart, channels, stride, rate, seed):
    check_many_channels(channels, stride, rate, seed, apart=apart)


@pytest.mark.parametrize(("channels", "stride"), [(7, 1), (65, 2)])
def test_crossbar_of_many_channels_by_triton(kernels, channels, stride):
    check_many_channels(channels, stride, 0.02, 3, kernels=kernels)


def check_many_channels(channels, stride, rate, seed, **how):
    """Compare a convolution's tiles with sums over channels."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(2, channels, 5, 4, generator=generator) < rate).float()
    w = torch.rand(3, channels, 3, 2, generator=generator)
    arguments = ([stride, 1], [1, 0], [1, 1], False, [0, 0], 1)
    row = synaptic_row(FORWARD, (x, w, None, *arguments), **how)
    check_crossbar(row, windows(x, w, arguments))


@settings(max_examples=200, deadline=None)
@given(convolutions(), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 2**31))
@HOW
def test_backward_of_convolutions(apart, drawn, rate, seed):
    check_backward(drawn, rate, seed, apart=apart)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(convolutions(), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 2**31))
def test_backward_of_convolutions_by_triton(kernels, drawn, rate, seed):
    check_backward(drawn, rate, seed, kernels=kernels)


def check_backward(drawn, rate, seed, **how):
    """Compare a backward call's row with what autograd takes back through ones."""
    x, w, arguments = drawn
    out = FORWARD(x, w, None, *arguments)
    generator = torch.Generator().manual_seed(seed)
    grad = (torch.rand(out.shape, generator=generator) < rate).to(x.dtype)
    row = synaptic_row(BACKWARD, (grad, x, w, None, *arguments, [True, True, False]), **how)
    meets = FORWARD(mask(x), torch.ones_like(w, dtype=torch.float64), None, *arguments)
    assert row.x_fanout == total(meets)
    # Autograd takes the mask of the output's gradient back through weights of one.
    leaf = torch.zeros(x.shape, dtype=torch.float64, requires_grad=True)
    made = FORWARD(leaf, torch.ones_like(w, dtype=torch.float64), None, *arguments)
    (taken,) = torch.autograd.grad(made, leaf, mask(grad))
    assert row.grad_fanout == total(taken)


def test_the_fanout_of_a_corner_by_hand():
    """One spike in the corner of 3x3, kernel 3, padding 1: 2x2 output positions, 5 channels: 20."""
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 0, 0] = 1
    w = torch.rand(5, 1, 3, 3)
    row = synaptic_row(FORWARD, (x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1))
    assert (row.x_fanout, row.active_outputs, row.active_sites) == (20, 20, 4)
    assert row.active_patches == [4] * len(TILE_WIDTHS)
    assert row.tile_rows == [4]


@pytest.mark.parametrize("images", [31, 32, 70, 300])
def test_rows_of_many_images(images):
    """All ones, kernel 1: each of 3x2 positions meets every channel, 8, 8 and 4 of them a tile."""
    x, w = torch.ones(images, 20, 3, 2), torch.rand(5, 20, 1, 1)
    row = synaptic_row(FORWARD, (x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1))
    assert row.tile_rows == [images * 6 * 8, images * 6 * 8, images * 6 * 4]
    assert row.x_fanout == images * 6 * 20 * 5


matrices = st.tuples(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 3),
    st.sampled_from([0.0, 0.2, 0.7, 1.0]), st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    st.integers(0, 2**31), st.booleans(),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(matrices)
@HOW
def test_products(apart, drawn):
    check_product(drawn, apart=apart)


@settings(max_examples=25, deadline=None)
@given(matrices)
def test_products_by_triton(kernels, drawn):
    check_product(drawn, kernels=kernels)


def check_zero_pairs(row, w, pairs, how):
    """Check the pairs of a nonzero and a zero of w, which are counted on the CPU alone."""
    on_cpu = not how.get("apart") and "kernels" not in how
    assert row.zero_pairs == (pairs if on_cpu and bool((w == 0).any()) else None)


def check_product(drawn, **how):
    """Compare a product's row with the product of masks."""
    m, k, n, batch, first, second, seed, turned = drawn
    generator = torch.Generator().manual_seed(seed)
    lead = (batch,) if batch else ()
    x = (torch.rand(*lead, m, k, generator=generator) < first).float()
    w = (torch.rand(*lead, n, k, generator=generator) < second).float().transpose(-1, -2)
    if not turned:
        w = w.contiguous()
    func = torch.ops.aten.bmm.default if batch else torch.ops.aten.mm.default
    row = synaptic_row(func, (x, w), **how)
    meets = mask(x) @ mask(w)
    assert row.overlap == total(meets)
    check_zero_pairs(row, w, total(mask(x) @ (w == 0).to(torch.float64)), how)
    assert row.active_outputs == int((mask(x) @ torch.ones_like(mask(w)) > 0).sum())


@pytest.mark.parametrize("packet", ["addmm", "baddbmm"])
def test_products_with_a_bias_take_the_last_two(packet):
    # x = [[1, 0, 1]], w has ones in rows 0 and 2 of its first column: 2 pairs meet in 1x2 outputs.
    x, w, bias = (
        torch.tensor([[1.0, 0, 1]]),
        torch.tensor([[1.0, 0], [1, 0], [1, 0]]),
        torch.rand(1, 2),
    )
    if packet == "baddbmm":
        x, w, bias = x[None], w[None], bias[None]
    row = synaptic_row(getattr(torch.ops.aten, packet).default, (bias, x, w))
    assert (row.overlap, row.active_outputs) == (2, 2)


def test_vectors():
    x, w = torch.tensor([[1.0, 0, 1], [0, 0, 0]]), torch.tensor([1.0, 1, 0])
    assert synaptic_row(torch.ops.aten.mv.default, (x, w)).overlap == 1
    assert synaptic_row(torch.ops.aten.dot.default, (x[0], w)).overlap == 1


def test_vectors_and_larger_products_by_triton(kernels):
    """More rows, columns and shared elements than a program looks at together."""
    x, w = torch.tensor([[1.0, 0, 1], [0, 0, 0]]), torch.tensor([1.0, 1, 0])
    assert synaptic_row(torch.ops.aten.mv.default, (x, w), kernels=kernels).overlap == 1
    assert synaptic_row(torch.ops.aten.dot.default, (x[0], w), kernels=kernels).overlap == 1
    check_product((40, 35, 33, 2, 0.1, 0.2, 0, True), kernels=kernels)


def test_a_pruned_weight_tells_of_its_zeros_whatever_the_input_is():
    """3 rows of 4 inputs without zeros meet 2 zeros each."""
    w = torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 1]])
    row = synaptic_row(torch.ops.aten.mm.default, (torch.rand(3, 4) + 0.5, w))
    assert (row.zero_pairs, row.overlap, row.active_outputs) == (6, None, None)


def test_a_dense_product_has_no_overlap():
    x = torch.rand(3, 4) + 0.5
    assert synaptic_row(torch.ops.aten.mm.default, (x, x.t())) is None


@settings(max_examples=30, deadline=None)
@given(convolutions())
def test_the_trace_holds_them(drawn):
    """Through a whole recording, the backward pass with the same input included."""
    import tempfile
    from pathlib import Path

    import pyarrow.parquet as pq

    from opjoule.tracer import Recorder

    x, w, arguments = drawn
    x, w = x.double(), w.double().requires_grad_()
    with tempfile.TemporaryDirectory() as folder:
        with Recorder(Path(folder) / "trace"):
            FORWARD(x, w, None, *arguments).sum().backward()
        signatures = pq.read_table(Path(folder) / "trace" / "signatures.parquet").to_pylist()
        calls = pq.read_table(Path(folder) / "trace" / "calls-00000.parquet").to_pylist()
    expected = total(FORWARD(mask(x), torch.ones_like(w), None, *arguments))
    found = [
        call["x_fanout"]
        for call in calls
        if signatures[call["signature_id"]]["op"].startswith("aten.convolution")
    ]
    assert found == [expected, expected]
