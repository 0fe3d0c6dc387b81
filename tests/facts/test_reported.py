"""What people reported of counters and profilers, and is right here: it stays so."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

import opjoule as oj  # noqa: E402


def recorded(path, run, *, model=None, grad=False):
    with oj.Recorder(path, model=model), torch.set_grad_enabled(grad):
        run()
    return path


def spikes_of(dtype):
    torch.manual_seed(0)
    return (torch.rand(32, 16) < 0.3).to(dtype), torch.randint(-3, 4, (16, 32)).to(dtype)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64]
)
def test_spikes_of_any_type(dtype, tmp_path):
    """Each spike meets 32 columns."""
    s, w = spikes_of(dtype)
    total = oj.count(recorded(tmp_path / "t", lambda: s @ w)).total
    assert (total["acs"], total["macs"]) == (32 * int(s.bool().sum()), 0)


@pytest.mark.parametrize(
    "call",
    {
        "transposed": lambda s, w: s.t().contiguous().t() @ w,
        "strided": lambda s, w: s.repeat_interleave(2, 0)[::2] @ w,
        "second factor": lambda s, w: w.t() @ s.t(),
        "einsum": lambda s, w: torch.einsum("bi,io->bo", s, w),
        "functional": lambda s, w: F.linear(s, w.t()),
    }.items(),
    ids=lambda item: item[0],
)
def test_spikes_of_any_layout_and_by_any_function(call, tmp_path):
    s, w = spikes_of(torch.float32)
    path = recorded(tmp_path / "t", lambda: call[1](s, w))
    total = oj.count(path, where="op=aten.*m*").total
    assert (total["acs"], total["macs"]) == (32 * int(s.sum()), 0)


def test_products_of_spikes_and_of_what_they_add_up_to(tmp_path):
    """Q·Kᵀ: the pairs of spikes that meet. Scores times V: each spike of V meets all 4 rows."""
    torch.manual_seed(0)
    q, k, v = ((torch.rand(2, 3, 4, 5) < 0.4).float() for _ in range(3))
    scores = q @ k.transpose(-2, -1)
    path = recorded(tmp_path / "t", lambda: (q @ k.transpose(-2, -1)) @ v)
    meet = int(scores.sum())
    total = oj.count(path, where="op=aten.bmm*").total
    assert (total["acs"], total["macs"]) == (meet + 4 * int(v.sum()), 0)
    graded = oj.count(path, where="op=aten.bmm*", spikes="graded").total
    assert graded["acs"] == meet + int(((scores != 0).float() @ v).sum())


class Adapted(nn.Module):
    """A frozen layer and two small ones beside it (LoRA): 8 to 4 by rank 2."""

    def __init__(self):
        super().__init__()
        self.in_features, self.out_features = 8, 4
        self.base_layer = nn.Linear(8, 4, bias=False)
        self.lora_a, self.lora_b = nn.Linear(8, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


def test_a_wrapped_layer_is_charged_once(tmp_path):
    """3·(8·4 + 8·2 + 2·4) MACs, in three layers; the wrapper is none."""
    net = Adapted().eval()
    path = recorded(tmp_path / "t", lambda: net(torch.rand(3, 8)), model=net)
    assert oj.count(path).total["macs"] == 3 * 56
    report = oj.energy(path, "simple")
    assert report.counts["weight_read_bytes"] == 3 * 56 * 4
    assert oj.energy(path, "lemaire").account.left_out_macs == 0


def test_a_model_recorded_twice_is_recorded_alike(tmp_path):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU()).eval(), torch.rand(2, 8)
    totals = [oj.count(recorded(tmp_path / name, lambda: net(x), model=net)).total for name in "ab"]
    assert totals[0] == totals[1]
    assert not net._forward_hooks and not net._forward_pre_hooks


def test_labels_may_hold_what_patterns_do(tmp_path):
    net = nn.Linear(8, 4)
    with oj.Recorder(tmp_path / "t", model=net) as recorder:
        with recorder.label("enc[0]"):
            net(torch.rand(2, 8))
        net(torch.rand(2, 8))
    assert oj.count(tmp_path / "t", where="label=enc[0]").total["macs"] == 64


def test_gradients_may_be_accumulated(tmp_path):
    """Two steps of four forward passes: 4·2·8·4 MACs forward in each."""
    torch.manual_seed(0)
    net = nn.Linear(8, 4, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with oj.Recorder(tmp_path / "t", model=net):
        for _ in range(2):
            for _ in range(4):
                (net(torch.rand(2, 8)).sum() / 4).backward()
            optimizer.step()
            optimizer.zero_grad()
    frame = oj.count(tmp_path / "t", by=["step", "stage"]).frame
    assert frame.filter(stage="forward")["macs"].to_list() == [256, 256]
    assert oj.open_trace(tmp_path / "t").manifest.steps == 2


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_backward_of_convolutions_is_twice_the_forward(groups, transposed, tmp_path):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    torch.manual_seed(0)
    net = kind(4, 6, 3, stride=2, groups=groups, bias=False)
    x = torch.rand(2, 4, 7, 7, requires_grad=True)
    path = recorded(tmp_path / "t", lambda: net(x).pow(2).sum().backward(), grad=True)
    frame = oj.count(path, by="stage", where="op=aten.convolution*").frame
    macs = dict(frame.select("stage", "dense_macs").iter_rows())
    assert macs["backward"] == 2 * macs["forward"] > 0


def test_a_padded_encoder_is_refused_or_unknown(tmp_path):
    """Its fast path works on nested tensors, whose sizes no signature has."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        net = nn.TransformerEncoder(layer, 2).eval()
        mask = torch.zeros(2, 5, dtype=torch.bool)
        mask[0, 3:] = True
        x = torch.rand(2, 5, 16)
        path = recorded(tmp_path / "t", lambda: net(x, src_key_padding_mask=mask), model=net)
    assert oj.count(path).total["flops"] is None
    for name in ("compute", "simple", "lemaire"):
        with pytest.raises(oj.TraceError) as caught:
            oj.energy(path, name)
        assert "eval()" not in str(caught.value) and "\n" not in str(caught.value)
