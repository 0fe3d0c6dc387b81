"""Recording changes nothing that is computed, to the bit; and the calls seen are those made.

Every function is run plainly and under a recorder, with the recorder entered inside the contexts
(grad, no_grad, inference mode; autocast off, bfloat16) and outside of them.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from opjoule.tracer import RecordingWarning

MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
AUTOCASTS = {
    "float32": contextlib.nullcontext,
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
}
COMBINATIONS = list(itertools.product(MODES, AUTOCASTS))
MAKERS = {}


def maker(function):
    MAKERS[function.__name__] = function
    return function


@maker
def einsum():
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 6)
    return lambda: [torch.einsum("bij,bjk->bik", a, b), torch.einsum("ij,kj->ik", a[0], a[1])]


@maker
def attention_training():
    layer, x = nn.MultiheadAttention(16, 4, batch_first=True), torch.randn(2, 5, 16)
    return lambda: layer(x, x, x)


@maker
def attention_evaluation():
    layer, x = nn.MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(2, 5, 16)
    return lambda: layer(x, x, x, need_weights=False)


@maker
def attention_masked():
    layer, x = nn.MultiheadAttention(16, 4).eval(), torch.randn(5, 2, 16)
    return lambda: layer(x, x, x, attn_mask=torch.zeros(5, 5, dtype=torch.bool))


@maker
def scaled_dot_product():
    q = torch.randn(2, 4, 6, 8)
    attend = F.scaled_dot_product_attention
    return lambda: [attend(q, q, q), attend(q, q, q, is_causal=True)]


@maker
def linear_of_a_transposed_input():
    layer, x = nn.Linear(8, 6), torch.randn(8, 4, 5).transpose(0, 2)
    return lambda: layer(x)


@maker
def linear_of_a_sliced_input():
    layer, x = nn.Linear(8, 6, bias=False), torch.randn(4, 3, 8)[:, ::2]
    return lambda: layer(x)


@maker
def linear_of_three_dimensions():
    layer, x = nn.Linear(8, 6), torch.randn(4, 3, 8)
    return lambda: layer(x)


@maker
def interpolate():
    x = torch.randn(2, 3, 7, 9)
    modes = ("nearest", "bilinear", "bicubic", "area")
    return lambda: [F.interpolate(x, scale_factor=1.7, mode=mode) for mode in modes]


@maker
def lstm():
    layer, x = nn.LSTM(6, 5, 2, bidirectional=True), torch.randn(4, 3, 6)
    return lambda: layer(x)


@maker
def gru():
    layer, x = nn.GRU(6, 5, 2), torch.randn(4, 3, 6)
    return lambda: layer(x)


@maker
def rnn():
    layer, cell, x = nn.RNN(6, 5), nn.LSTMCell(6, 5), torch.randn(4, 3, 6)
    return lambda: [layer(x), cell(x[0])]


@maker
def encoder_layer_training():
    layer, x = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True), torch.randn(2, 5, 16)
    return lambda: layer(x)


@maker
def encoder_layer_evaluation():
    layer, x = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval(), torch.randn(2, 5, 16)
    return lambda: layer(x)


@maker
def decoder_layer_evaluation():
    layer, x = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True).eval(), torch.randn(2, 5, 16)
    return lambda: layer(x, x)


@maker
def batch_norm_training():
    layer, x = nn.BatchNorm2d(4), torch.randn(3, 4, 5, 5)
    return lambda: [layer(x), layer.running_mean, layer.running_var]


@maker
def norms():
    x = torch.randn(3, 4, 8)
    layers = [nn.LayerNorm(8), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4), nn.BatchNorm1d(4).eval()]
    return lambda: [layer(x) for layer in layers]


@maker
def products():
    v, m, b = torch.randn(5), torch.randn(5, 5), torch.randn(2, 3, 5, 5)
    odd = torch.randn(5, 3, 2, 5).permute(2, 1, 0, 3)
    return lambda: [
        v @ v, m @ v, v @ m, m @ m, b @ m, b @ v, m @ b, v @ b, b @ b, odd @ m, odd @ b,
        b.transpose(-1, -2) @ odd, torch.mm(m, m.t()), torch.bmm(b[0], b[1]), torch.addmm(m, m, m),
        torch.baddbmm(b[0], b[0], b[1]), torch.outer(v, v), torch.tensordot(b, m, dims=1),
        torch.inner(m, m), torch.linalg.multi_dot([m, m, m]), torch.kron(m, m), torch.cdist(m, m),
    ]  # fmt: skip


@maker
def bilinear():
    layer, x, y = nn.Bilinear(4, 5, 3), torch.randn(2, 4), torch.randn(2, 5)
    return lambda: layer(x, y)


@maker
def convolutions():
    x, y, z = torch.randn(2, 4, 9), torch.randn(2, 4, 9, 9), torch.randn(1, 4, 5, 5, 5)
    pairs = [
        (nn.Conv1d(4, 6, 3, padding="same"), x), (nn.Conv2d(4, 6, 3, groups=2), y),
        (nn.Conv3d(4, 2, 3), z),
        (nn.ConvTranspose2d(4, 3, 3, stride=2), y), (nn.ConvTranspose1d(4, 3, 3), x),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), y),
        (nn.Conv2d(4, 6, 3), y.to(memory_format=torch.channels_last)),
    ]  # fmt: skip
    return lambda: [layer(x) for layer, x in pairs]


@maker
def losses():
    x, y, target = torch.randn(4, 5), torch.randn(4, 5), torch.randint(0, 5, (4,))
    return lambda: [
        F.cross_entropy(x, target), F.mse_loss(x, y), F.l1_loss(x, y), F.huber_loss(x, y),
        F.binary_cross_entropy_with_logits(x, y.sigmoid()), F.smooth_l1_loss(x, y),
        F.kl_div(F.log_softmax(x, 1), F.softmax(y, 1), reduction="batchmean"),
        F.cosine_embedding_loss(x, y, torch.ones(4)), F.triplet_margin_loss(x, y, x + 1),
    ]  # fmt: skip


@maker
def random_numbers():
    x = torch.randn(6, 6)
    return lambda: [
        F.dropout(x, 0.5), F.dropout2d(x[None, None], 0.5), F.alpha_dropout(x, 0.3), torch.rand(3),
        torch.bernoulli(x.sigmoid()), F.gumbel_softmax(x), F.rrelu(x, training=True),
        torch.randperm(5),
    ]  # fmt: skip


@maker
def pooling():
    x = torch.randn(2, 3, 8, 8)
    return lambda: [
        F.max_pool2d(x, 2), F.avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, (3, 3)),
        F.lp_pool2d(x, 2, 2),
        F.adaptive_max_pool2d(x, 3), F.max_pool1d(x[0], 2), F.adaptive_avg_pool2d(x, 1),
    ]  # fmt: skip


@maker
def reductions():
    x = torch.randn(3, 7)
    return lambda: [
        x.std(), x.var(0), x.mean(1), x.norm(), x.norm(p=1), torch.logsumexp(x, 1), x.sort()[0],
        x.topk(2)[0], x.cumsum(1), x.prod(), torch.linalg.vector_norm(x), F.normalize(x),
        F.cosine_similarity(x, x + 1), torch.diff(x), torch.trapezoid(x), x.median(),
    ]  # fmt: skip


@maker
def shapes():
    x = torch.randn(2, 4, 6)
    return lambda: [
        x.reshape(-1), x.mT, x.flatten(1), *x.chunk(2, 1), x.split(2, 1)[0] + 1,
        x.unbind(0)[1], x.half(), x.to(torch.bfloat16), x.double(), x.narrow(1, 0, 2),
        x.tensor_split(2)[0], torch.vstack([x, x]),
        x.transpose(0, 1).reshape(8, 6), torch.block_diag(x[0], x[1]), x.unflatten(2, (2, 3)),
        x.repeat_interleave(2, 0), F.pad(x, (1, 1), mode="reflect"), torch.cat([x, x]),
        x.expand(3, 2, 4, 6),
    ]  # fmt: skip


@maker
def pictures():
    x, grid = torch.randn(2, 4, 6, 6), torch.rand(2, 3, 3, 2) * 2 - 1
    theta = torch.randn(2, 2, 3)
    return lambda: [
        F.grid_sample(x, grid, align_corners=False),
        F.affine_grid(theta, (2, 4, 3, 3), align_corners=False),
        F.unfold(x, 3), F.pixel_shuffle(x, 2), F.local_response_norm(x, 2), torch.fft.rfft(x).abs(),
    ]  # fmt: skip


@maker
def solving():
    a = torch.randn(5, 5)
    s = a @ a.t() + 5 * torch.eye(5)
    names = ("cholesky", "inv", "det", "matrix_norm", "matrix_exp", "pinv")
    return lambda: [torch.linalg.solve(s, a), *(getattr(torch.linalg, name)(s) for name in names)]


@maker
def embeddings():
    layer, bag, i = nn.Embedding(10, 4), nn.EmbeddingBag(10, 4), torch.randint(0, 10, (3, 5))
    return lambda: [layer(i), bag(i)]


CASES = (
    "dense_linear spiking_linear linear_with_bias tutorial_snn two_convs spiking_conv_variants "
    "grouped_convs conv1d_and_conv3d transposed_conv spiking_attention norm_pool_mlp_eval "
    "multi_step_snn single_step_lif train_mlp_sgd train_conv_bn_adam train_snn_adamw "
    "active_single_step active_multi_step train_spiking_convs"
).split()
NAMES = [*MAKERS, *(f"case {name}" for name in CASES)]


def made(name, cases):
    """Return a run of `name` that makes what it needs anew and always the same."""
    torch.manual_seed(1)
    if name in MAKERS:
        return MAKERS[name]()
    case = cases.build(name.removeprefix("case "))

    def run():
        output = case.model(*case.inputs)
        if not (case.train and torch.is_grad_enabled()):
            return output
        case.loss_fn(output, case.target).backward()
        case.optimizer.step()
        parameters = list(case.model.parameters())
        return [output, *parameters, *(p.grad for p in parameters), *case.model.buffers()]

    return run


def flat(output):
    """Return the tensors of a result, copied."""
    if output is None:
        return []
    if isinstance(output, torch.Tensor):
        return [output.detach().clone()]
    return [tensor for item in output for tensor in flat(item)]


def difference(plain, recorded):
    """Return what differs between two results, None if nothing does."""
    if len(plain) != len(recorded):
        return f"{len(plain)} tensors, {len(recorded)}"
    for place, (a, b) in enumerate(zip(plain, recorded, strict=True)):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"output {place}: {a.dtype} {tuple(a.shape)}, {b.dtype} {tuple(b.shape)}"
        bits_a, bits_b = (t.contiguous().view(-1).view(torch.uint8) for t in (a, b))
        if not torch.equal(bits_a, bits_b):
            return f"output {place} differs"
    return None


@contextlib.contextmanager
def entered(mode, autocast):
    with MODES[mode](), AUTOCASTS[autocast]():
        yield


@pytest.fixture(scope="module")
def plain(cases):
    """Return the results without a recorder by (mode, autocast) and name."""
    results = {}
    for mode, autocast in COMBINATIONS:
        for name in NAMES:
            run = made(name, cases)
            torch.manual_seed(2)
            with entered(mode, autocast), contextlib.suppress(NoKernel):
                results[mode, autocast, name] = flat(able(run))
    return results


class NoKernel(Exception):
    """This processor has no kernel for a run, recorded or not: oneDNN's LSTM in bfloat16."""


def able(run):
    """Run, and say if the processor cannot."""
    try:
        return run()
    except RuntimeError as error:
        if "could not create a primitive" in str(error):
            raise NoKernel from error
        raise


@pytest.fixture(scope="module")
def recorded(cases, read, plain, tmp_path_factory):
    """Return results and traces of one recorder for each mode, autocast and order of entering."""
    from opjoule.tracer import Recorder

    results, traces = {}, {}
    for mode, autocast in COMBINATIONS:
        for order in ("inside", "outside"):
            runs = {name: made(name, cases) for name in NAMES if (mode, autocast, name) in plain}
            recorder = Recorder(tmp_path_factory.mktemp("equality") / "trace")
            outer = entered(mode, autocast) if order == "inside" else contextlib.nullcontext()
            with outer, recorder:
                for name, run in runs.items():
                    inner = (
                        entered(mode, autocast) if order == "outside" else contextlib.nullcontext()
                    )
                    torch.manual_seed(2)
                    with inner, recorder.label(name):
                        results[mode, autocast, order, name] = flat(run())
            traces[mode, autocast, order] = read(recorder.path)
    return results, traces


def test_every_run_in_float32_is_compared(plain):
    for mode in MODES:
        assert not [name for name in NAMES if (mode, "float32", name) not in plain]


@pytest.mark.parametrize("order", ["inside", "outside"])
@pytest.mark.parametrize(("mode", "autocast"), COMBINATIONS)
def test_results_are_equal_to_the_bit(mode, autocast, order, plain, recorded):
    found = {}
    for name in NAMES:
        if (mode, autocast, name) not in plain:
            continue
        differs = difference(plain[mode, autocast, name], recorded[0][mode, autocast, order, name])
        if differs:
            found[name] = differs
    assert found == {}


def test_nothing_of_this_is_called_inexact(recorded):
    for trace in recorded[1].values():
        assert trace.manifest["inexact"] == []


# Views and copies that autograd alone asks for are no part of what the model computes.
ASIDE = {"aten.detach.default", "aten.detach_.default", "aten.alias.default"}
# Where PyTorch itself goes another way without grad: fused kernels in evaluation, and GRU's
# gates, which are copied only if autograd must keep them.
OTHER_WAY = {"attention_evaluation", "encoder_layer_evaluation", "decoder_layer_evaluation", "gru"}


def ops(trace):
    found = {}
    for call in trace.calls:
        if call["op"] not in ASIDE and not call["is_view"] and call["stage"] == "forward":
            found.setdefault(call["label"], Counter())[call["op"]] += 1
    return found


@pytest.mark.parametrize("order", ["inside", "outside"])
@pytest.mark.parametrize("mode", ["no_grad", "inference"])
def test_the_same_calls_in_every_mode(mode, order, recorded):
    traces = recorded[1]
    expected, found = ops(traces["grad", "float32", "inside"]), ops(traces[mode, "float32", order])
    for name in NAMES:
        if name not in OTHER_WAY and not name.startswith("case train"):
            assert found.get(name) == expected.get(name), name


def test_training_cases_run_forward_the_same_in_every_mode(recorded):
    for name in ("case train_mlp_sgd", "case train_conv_bn_adam", "case train_spiking_convs"):
        by_mode = [
            Counter(
                call["op"] for call in recorded[1][mode, "float32", "inside"].calls
                if call["label"] == name and call["stage"] == "forward"
                and call["module_id"] is not None and call["op"] not in ASIDE
            )
            for mode in MODES
        ]  # fmt: skip
        assert by_mode[0] == by_mode[1] == by_mode[2], name


def test_fused_paths_of_evaluation_are_ops_of_their_own(recorded):
    trace = recorded[1]["inference", "float32", "outside"]
    assert trace.named("_transformer_encoder_layer_fwd", label="encoder_layer_evaluation")
    assert trace.named("_native_multi_head_attention", label="attention_evaluation")


def test_no_composite_op_is_recorded_whole(recorded):
    whole = (
        "aten.linear",
        "aten.conv2d",
        "aten.matmul",
        "aten.einsum",
        "aten.batch_norm",
        "aten.lstm.",
    )
    for trace in recorded[1].values():
        assert not [op for op in trace.ops if op.startswith(whole)]


# Kernels that call products inside: the profiler sees those too, a dispatch mode does not.
NESTED = {
    "attention_evaluation", "encoder_layer_evaluation", "decoder_layer_evaluation", "solving",
    "embeddings", "bilinear", "products",
}  # fmt: skip


@pytest.mark.parametrize(("mode", "autocast"), COMBINATIONS)
def test_products_are_those_of_a_run_without_recorder(mode, autocast, cases, plain, recorded):
    """PyTorch's profiler, which sees the plain run, counts the same convolutions and products."""
    from torch.profiler import ProfilerActivity, profile

    watched = ("aten::mm", "aten::addmm", "aten::convolution", "aten::native_batch_norm")
    trace = recorded[1][mode, autocast, "outside"]
    for name in NAMES:
        if name in NESTED or (mode, autocast, name) not in plain:
            continue
        run = made(name, cases)
        with entered(mode, autocast), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                run()
        theirs = Counter(event.name for event in seen.events() if event.name in watched)
        mine = Counter(
            "aten::" + call["packet"].removeprefix("aten.")
            for call in trace.named("aten.", label=name)
        )
        assert {op: mine[op] for op in watched} == {op: theirs[op] for op in watched}, name


def test_what_cannot_be_equal_is_named_and_warned_of(new, read):
    """`svdvals` asks PyTorch whether a mode is on and then computes the vectors too."""
    a = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    recorder = new()
    with pytest.warns(RecordingWarning, match="svdvals"), recorder:
        torch.linalg.svdvals(a)
        torch.linalg.svdvals(a)
    (inexact,) = read(recorder.path).manifest["inexact"]
    assert (inexact["what"], inexact["calls"]) == ("aten._linalg_svd.default", 2)


@pytest.mark.parametrize(
    "function", ["svd", "eigh", "eig", "svdvals", "eigvalsh", "eigvals", "matrix_rank"]
)
def test_who_asks_for_vectors_is_not_told_that_they_were_computed(new, read, function):
    """Who asks holds the vectors; of values alone they are gone before the next op.

    With a gradient PyTorch computes the vectors without a recorder too.
    """
    asks = function in ("svd", "eigh", "eig")
    a = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    a = (a @ a.T).requires_grad_()
    for inexact, context in ((0 if asks else 2, torch.no_grad()), (0, torch.enable_grad())):
        recorder = new()
        with warnings.catch_warnings(), context:
            warnings.simplefilter("ignore" if inexact else "error")
            with recorder:
                for _ in range(2):
                    kept = getattr(torch.linalg, function)(a)
                    kept[0] + 1 if isinstance(kept, tuple) else kept + 1
        found = read(recorder.path).manifest["inexact"]
        assert sum(each["calls"] for each in found) == inexact


def test_an_autocast_that_is_off_inside_one_that_is_on(new):
    layer, x = nn.Bilinear(4, 5, 3), (torch.randn(2, 4), torch.randn(2, 5))

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            with torch.autocast("cpu", enabled=False):
                off = layer(*x)
            return [off, layer(*x), off + 1]

    expected = flat(run())
    with new():
        assert difference(expected, flat(run())) is None


def test_tensors_made_in_inference_mode(new):
    def run():
        torch.manual_seed(3)
        x = torch.randn(8, 4, 5).transpose(0, 2)
        return [F.linear(x, torch.randn(6, 8)), x.chunk(2), torch.einsum("ijk->kji", x)]

    with torch.inference_mode():
        expected = flat(run())
    with new(), torch.inference_mode():
        assert difference(expected, flat(run())) is None
