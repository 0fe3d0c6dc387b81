"""Time at the roof: counts times the figures of datasheets, by hand."""

from __future__ import annotations

import json

import polars as pl
import pytest

import opjoule as oj
from opjoule.schemas.roofs import Roof, load_roof, roof_names

# NVIDIA's whitepaper and datasheet of the H100 SXM5: FLOP and bytes a second.
FP32, BF16, BANDWIDTH = 66.9e12, 989.4e12, 3.35e12


def roof(flops, moved, peak):
    return max(flops / peak, moved / BANDWIDTH)


@pytest.fixture
def resnet18(record):
    """Record ResNet-18 (He et al. 2016) on one image; return the trace and the convolutions."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, narrow, wide, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(wide), nn.BatchNorm2d(wide)
            self.down = nn.Identity()
            if stride > 1:
                conv = nn.Conv2d(narrow, wide, 1, stride, bias=False)
                self.down = nn.Sequential(conv, nn.BatchNorm2d(wide))

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + self.down(x)).relu()

    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [b for n, w, s in widths for b in (Block(n, w, s), Block(w, w, 1))]
    model = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(512, 1000),
    ).eval()  # fmt: skip
    convs = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, x, y: convs.append((m.weight.shape, x[0].numel(), y.numel()))
            )

    def run():
        with torch.no_grad():
            model(torch.zeros(1, 3, 224, 224))

    path = record(run, model=model, statistics="none")
    return oj.open_trace(path), convs


def test_resnet18_is_counts_times_the_datasheet(resnet18):
    trace, convs = resnet18
    assert len(convs) == 20
    flops = [2 * size * weight[1:].numel() for weight, _, size in convs]
    # 1.814 billion multiply-accumulates, as torchvision states of its ResNet-18
    assert round((sum(flops) / 2 + 512 * 1000) / 1e9, 3) == 1.814
    moved = [4 * (weight.numel() + before + size) for weight, before, size in convs]
    times = [roof(f, b, FP32) for f, b in zip(flops, moved, strict=True)]
    found = oj.roofline(trace, by="op", device="h100")
    row = found.frame.filter(pl.col("op") == "aten.convolution.default").row(0, named=True)
    assert (row["calls"], row["flops"], row["bytes"]) == (20, sum(flops), sum(moved))
    assert row["time_s"] == pytest.approx(sum(times), rel=1e-12)
    assert row["compute_s"] == pytest.approx(sum(flops) / FP32, rel=1e-12)
    assert row["memory_s"] == pytest.approx(sum(moved) / BANDWIDTH, rel=1e-12)
    assert row["intensity"] == pytest.approx(sum(flops) / sum(moved), rel=1e-12)
    pairs = zip(flops, moved, strict=True)
    memory = sum(b / BANDWIDTH for f, b in pairs if b / BANDWIDTH > f / FP32)
    assert 0 < memory < sum(times)  # some layers are bound by each
    assert row["bound"] == ("memory" if memory > sum(times) / 2 else "compute")
    assert row["bound_share"] == pytest.approx(max(memory / sum(times), 1 - memory / sum(times)))
    assert row["share"] == pytest.approx(sum(times) / found.total["time_s"], rel=1e-12)
    assert found.frame["time_s"].sum() == pytest.approx(found.total["time_s"], rel=1e-12)


def test_a_gpt2_block_is_counts_times_the_datasheet(record):
    """In bfloat16, 512 tokens: the four linear layers, by their sizes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    tokens, width = 512, 768
    config = transformers.GPT2Config(n_embd=width, n_head=12, n_layer=1)
    config._attn_implementation = "sdpa"
    block = GPT2Block(config, layer_idx=0).eval().to(torch.bfloat16)

    def run():
        with torch.no_grad():
            block(torch.zeros(1, tokens, width, dtype=torch.bfloat16))

    trace = oj.open_trace(record(run, model=block, statistics="none"))
    times, sizes = {}, {
        "attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width),
    }  # fmt: skip
    for name, (before, after) in sizes.items():
        # a product and a sum for each weight and token, one sum for each bias and token
        flops = 2 * tokens * before * after + tokens * after
        moved = 2 * (tokens * before + before * after + after + tokens * after)
        times[name] = (roof(flops, moved, BF16), flops / BF16 > moved / BANDWIDTH)
    found = oj.roofline(trace, by=["module", "op"], device="h100", exclusive=True)
    for name, (time, by_compute) in times.items():
        (row,) = found.frame.filter(
            (pl.col("module") == f"GPT2Block.{name}") & (pl.col("op") == "aten.addmm.default")
        ).to_dicts()
        assert row["time_s"] == pytest.approx(time, rel=1e-12)
        assert row["bound"] == ("compute" if by_compute else "memory"), name
    # computed in fp32 instead, every one of them waits for the arithmetic
    slow = oj.roofline(trace, by="op", device="h100", precision="fp32").frame
    (row,) = slow.filter(pl.col("op") == "aten.addmm.default").to_dicts()
    flops = sum(2 * tokens * b * a + tokens * a for b, a in sizes.values())
    assert row["time_s"] == pytest.approx(flops / FP32, rel=1e-12)
    assert (row["bound"], row["bound_share"]) == ("compute", 1.0)


@pytest.fixture
def linear(record):
    """Record Linear(8, 16) on five rows: 1360 FLOP, 4 * (40 + 128 + 16 + 80) = 1056 bytes."""
    torch = pytest.importorskip("torch")
    model, x = torch.nn.Sequential(torch.nn.Linear(8, 16)).eval(), torch.ones(5, 8)

    def run():
        with torch.no_grad():
            model(x)

    return oj.open_trace(record(run, model=model))


@pytest.mark.parametrize(
    ("peak", "bandwidth", "time", "bound"),
    [
        (1360, 1056, 1.0, "compute"),  # both take a second: a tie is of compute
        ("1k", "1 MB/s", 1.36, "compute"),
        ("1 MFLOP/s", 528.0, 2.0, "memory"),
    ],
)
def test_peak_and_bandwidth_may_be_told(linear, peak, bandwidth, time, bound):
    found = oj.roofline(linear, peak=peak, bandwidth=bandwidth)
    rows = {row["module"]: row for row in found.frame.to_dicts()}
    assert set(rows) == {"Global", "Sequential", "Sequential.0"}
    for row in rows.values():
        assert row["time_s"] == pytest.approx(time)
        assert (row["bound"], row["share"], row["bound_share"]) == (bound, 1.0, 1.0)
    assert found.total["time_s"] == pytest.approx(time)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, 'a roofline needs a device ("h100"), or peak and bandwidth'),
        ({"peak": "1T"}, "or peak and bandwidth"),
        ({"device": "h10"}, "no device 'h10': did you mean h100?"),
        ({"device": "h100", "peak": "1T"}, "tell the device, or these two"),
        ({"device": "nowhere.toml"}, "nowhere.toml: cannot be read"),
        ({"peak": "1X", "bandwidth": "1T"}, "peak '1X': 'X' is not one of k, M, G, T, P"),
        ({"peak": "1T", "bandwidth": "1TiB/s"}, "bandwidth '1TiB/s'"),
        ({"peak": "0", "bandwidth": "1T"}, "a number above 0"),
        ({"peak": "-1", "bandwidth": "1T"}, "a number above 0"),
        ({"peak": float("nan"), "bandwidth": "1T"}, "a number above 0"),
        ({"device": "h100", "precision": "fp23"}, "unknown precision 'fp23': did you mean fp32?"),
        ({"device": "orin", "precision": "tf32"}, "no peak for tf32: there are fp32"),
        ({"device": "h100", "by": "modul"}, "did you mean module?"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(linear, options, says):
    with pytest.raises(oj.ConfigError) as caught:
        oj.roofline(linear, **options)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_precision_without_a_peak_has_no_time(record):
    """Orin's brief has no fp64; what runs in it is unknown, not free."""
    torch = pytest.importorskip("torch")
    a = torch.ones(4, 4, dtype=torch.float64)
    trace = oj.open_trace(record(lambda: a @ a))
    found = oj.roofline(trace, by="op", device="orin")
    row = found.frame.filter(pl.col("op").str.starts_with("aten.mm")).row(0, named=True)
    assert row["time_s"] is None and row["bound"] is None and row["unknown"] == 1
    assert any("1 call in fp64 without time" in note for note in found.notes)


def test_an_op_without_a_rule_has_no_time(record, blend):
    import torch

    found = oj.roofline(record(lambda: blend(torch.ones(3), torch.ones(3))), device="h100")
    assert any("1 call without time: their FLOPs or bytes" in note for note in found.notes)
    assert found.total["unknown"] == 1


@pytest.mark.parametrize("name", roof_names())
def test_devices_cite_their_datasheets(name):
    device = load_roof(name)
    assert "NVIDIA" in device.source and any(
        word in device.source for word in ("datasheet", "whitepaper", "Brief")
    )
    peaks = device.peaks_per_s
    # fp32 beside the narrower types in the order of their widths
    order = [peaks[each] for each in ("fp32", "tf32", "fp16", "fp8") if each in peaks]
    assert order == sorted(order) and peaks["fp16"] == peaks["bf16"] <= peaks["int8"]


def test_a_device_of_ones_own(linear, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "mine"\nsource = "measured"\nbytes_per_s = 1056\n[peaks_per_s]\nany = 1\n'
    )
    assert oj.roofline(linear, device=str(file)).total["time_s"] == 1360
    mine = Roof(title="mine", source="told", bytes_per_s=1.0, peaks_per_s={"fp32": 1e9})
    assert oj.roofline(linear, device=mine).total["time_s"] == 1056
    file.write_text('title = "mine"\nsource = "x"\nbytes_per_s = 1\n[peaks_per_s]\nfp31 = 1.0\n')
    with pytest.raises(oj.ConfigError, match=r"mine\.toml: Roof\.peaks_per_s"):
        oj.roofline(linear, device=str(file))


def test_plain_data(linear):
    data = json.loads(json.dumps(oj.roofline(linear, device="a100").to_dict()))
    assert data["roof"]["bytes_per_s"] == 2.039e12 and data["precisions"] == ["fp32"]
    assert "NVIDIA A100" in repr(oj.roofline(linear, device="a100"))
