"""A layer counts the same in a kernel of its own and op by op: each switch turned."""

from __future__ import annotations

import warnings

import pytest

from opjoule.analyzers import count

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

SAME = ("flops", "synops", "macs", "acs", "dense_macs")


@pytest.fixture
def totals(recorded):
    """Return a function that records a run without gradients and returns its totals and ops."""

    def counted(run, **options):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace = recorded(run)
        total = count(trace, **options).total
        return {name: total[name] for name in SAME}, set(trace.signatures["packet"])

    return counted


@pytest.fixture
def fast_path():
    """Return the switch of the fused layers of eval mode."""
    yield torch.backends.mha.set_fastpath_enabled
    torch.backends.mha.set_fastpath_enabled(True)


def same(totals, fast_path, run, op):
    found = []
    for fast in (True, False):
        fast_path(fast)
        figures, ops = totals(run)
        assert (op in ops) is fast
        found.append(figures)
    assert found[0] == found[1]


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("mask", ["none", "causal", "padding", "both"])
@pytest.mark.parametrize("shape", [(2, 5), (1, 5), (3, 1)])
def test_multi_head_attention(totals, fast_path, need_weights, average, mask, shape):
    layer = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    x = torch.rand(*shape, 16)
    options = {"need_weights": need_weights, "average_attn_weights": average}
    if mask in ("causal", "both"):
        options["attn_mask"] = torch.triu(torch.ones(shape[1], shape[1], dtype=torch.bool), 1)
    if mask in ("padding", "both"):
        options["key_padding_mask"] = torch.zeros(shape, dtype=torch.bool)
    same(totals, fast_path, lambda: layer(x, x, x, **options), "aten._native_multi_head_attention")


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", [(2, 5), (1, 5), (3, 1)])
def test_encoder_layer(totals, fast_path, norm_first, activation, masked, shape):
    layer = nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, norm_first=norm_first, activation=activation
    ).eval()
    x, mask = torch.rand(*shape, 16), torch.zeros(shape[1], shape[1], dtype=torch.bool)
    run = (lambda: layer(x, src_mask=mask)) if masked else (lambda: layer(x))
    same(totals, fast_path, run, "aten._transformer_encoder_layer_fwd")


def test_decoder_layer(totals, fast_path):
    layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True).eval()
    x, memory = torch.rand(2, 5, 16), torch.rand(2, 7, 16)
    same(totals, fast_path, lambda: layer(x, memory), "aten._native_multi_head_attention")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (2, True)])
@pytest.mark.parametrize("training", [True, False])
def test_lstm(totals, bias, layers, bidirectional, training):
    """Float32 takes oneDNN's kernel, float64 an op after the other."""
    layer = nn.LSTM(8, 16, layers, bias=bias, bidirectional=bidirectional).train(training)
    x = torch.rand(5, 3, 8)
    fused, ops = totals(lambda: layer(x))
    layer, x = layer.double(), x.double()
    plain, others = totals(lambda: layer(x))
    assert "aten.mkldnn_rnn_layer" in ops - others
    assert fused == plain


def test_lstm_by_hand_with_bias_and_without(totals):
    """15 rows: products 15·(64·8 + 64·16), biases 15·2·64, cells of 22 FLOPs and 8 ACs."""
    x, terms = torch.rand(5, 3, 8), 15 * 64 * 24
    for bias, added in ((True, 15 * 128), (False, 0)):
        layer = nn.LSTM(8, 16, bias=bias).eval()
        found, _ = totals(lambda layer=layer: layer(x))
        assert (found["macs"], found["flops"]) == (terms, 2 * terms + added + 240 * 22)
        assert found["acs"] == 240 * 8


MODES = {nn.RNN: 1, nn.LSTM: 2, nn.GRU: 3}


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("projected", [0, 6])
def test_cudnns_kernel_and_the_ops_of_a_cpu(figures, totals, kind, bias, ways, projected):
    """The kernel's call by hand; the layer in float64, which has no kernel on a CPU."""
    options = {"proj_size": projected} if kind is nn.LSTM and projected else {}
    layer = kind(8, 16, 2, bias=bias, bidirectional=ways == 2, **options).double()
    x = torch.rand(5, 3, 8, dtype=torch.float64)
    plain, _ = totals(lambda: layer(x))
    weights = [w for each in layer.all_weights for w in each]
    lists = [("weight", tuple(w.shape), "float32", place) for place, w in enumerate(weights)]
    operands = [("input", (5, 3, 8)), *lists]
    fused = figures("_cudnn_rnn", operands, [(5, 3, 16 * ways)], mode=MODES[kind], hidden_size=16,
                    num_layers=2, bidirectional=ways == 2, **options)  # fmt: skip
    assert {name: fused[name] for name in SAME} == plain


def test_attention_kernels_and_their_parts(totals):
    """The same products, softmax and mask; PyTorch's parts scale queries and keys, not scores."""
    q, k, v = (torch.rand(2, 3, n, 8) for n in (4, 5, 5))
    mask, scores = torch.rand(4, 5), 2 * 3 * 4 * 5
    for options in ({}, {"attn_mask": mask}):
        found = []
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):

            def run(backend=backend, options=options):
                with sdpa_kernel(backend):
                    F.scaled_dot_product_attention(q, k, v, **options)

            found.append(totals(run)[0])
        kernel, parts = found
        assert parts.pop("flops") - kernel.pop("flops") == q.numel() + k.numel() - scores
        assert kernel == parts


def test_flops_of_torch_are_those_of_the_plain_form(recorded, totals, fast_path):
    """FlopCounterMode has no formula for attention on a CPU: its parts are asked."""
    x, memory = torch.rand(2, 5, 16), torch.rand(2, 7, 16)
    runs = {
        "mha": (nn.MultiheadAttention(16, 4, batch_first=True).eval(), (x, x, x)),
        "encoder": (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval(), (x,)),
        "decoder": (nn.TransformerDecoderLayer(16, 4, 32, batch_first=True).eval(), (x, memory)),
        "lstm": (nn.LSTM(16, 8, 2, bidirectional=True).eval(), (x,)),
        "no bias": (nn.LSTM(16, 8, bias=False).eval(), (x,)),
    }
    for name, (model, inputs) in runs.items():
        found, _ = totals(lambda m=model, i=inputs: m(*i), rules="torch", strict=True)
        fast_path(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
            model.double()(*(each.double() for each in inputs))
        fast_path(True)
        assert found["flops"] == mode.get_total_flops() > 0, name


@pytest.mark.parametrize("bias", [True, False])
def test_flops_of_torch_of_a_trained_lstm(recorded, bias):
    """Forward once; two gradients of each product, that of the input too."""
    layer, x = nn.LSTM(8, 16, bias=bias), torch.rand(5, 3, 8, requires_grad=True)
    trace = recorded(lambda: layer(x)[0].sum().backward())
    terms = 15 * 64 * 24
    assert count(trace, rules="torch", strict=True).total["flops"] == 3 * 2 * terms
