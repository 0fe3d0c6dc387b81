"""Quantization: by hand, and which ops PyTorch runs for it.

x is 2 x 5 float32: 10 elements, 40 bytes; a mask of them 10 bytes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opjoule.analyzers.rules.functions import Cost, cost_of

X, MASK = ("self", (2, 5)), ("mask", (2, 5), "bool")
SCALE, ZERO = ("scale", (5,)), ("zero_point", (5,), "int32")
ONE, NULL = ("scale", (1,)), ("zero_point", (1,), "int32")
SWITCHES = [(name, (1,), "int64") for name in ("observer_on", "fake_quant_on")]
RANGE = [("running_min", (1,)), ("running_max", (1,))]


def test_formulas():
    # / round + max min - *; the shift there and back are additions
    assert cost_of("fake_quantize") == Cost(7, acs=2)
    # / round + max min
    assert cost_of("quantize") == Cost(5, acs=1)
    # - *
    assert cost_of("dequantize") == Cost(2, acs=1)
    # min max - / max, / round - max min
    assert cost_of("choose_qparams") == Cost(10, acs=2)
    # / round +, >= <= and, g·factor, - · - /, <, - of the limit, ·, and -g·factor·scale
    assert cost_of("fake_quantize_backward") == Cost(17, macs=1, acs=3)


@pytest.mark.parametrize(
    ("op", "operands", "results", "expected"),
    [
        ("fake_quantize_per_tensor_affine", [X], [(2, 5)], (70, 80, 0, 0, 20)),
        ("fake_quantize_per_tensor_affine_cachemask", [X], [(2, 5), MASK], (70, 90, 0, 0, 20)),
        # five scales of 4 bytes and zero points of 4 are read
        ("fake_quantize_per_channel_affine_cachemask", [X, SCALE, ZERO], [(2, 5), MASK],
         (70, 90 + 40, 0, 0, 20)),
        ("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
         [X, ONE, NULL, SWITCHES[1]], [(2, 5), MASK], (70, 90 + 16, 0, 0, 20)),
        ("_fake_quantize_learnable_per_channel_affine", [X, SCALE, ZERO], [(2, 5)],
         (70, 120, 0, 0, 20)),
        ("fake_quantize_per_tensor_affine_cachemask_backward", [("grad", (2, 5)), MASK], [(2, 5)],
         (10, 90, 0, 0, 0)),
        # 17 an element; scale's and zero point's gradients are sums of 10 to 5 each
        ("_fake_quantize_learnable_per_channel_affine_backward",
         [("grad", (2, 5)), X, SCALE, ZERO], [(2, 5), (5,), (5,)],
         (170 + 10, 160 + 40, 0, 10, 30 + 10)),
        # 9 comparisons each way, two averages of 3 (a MAC each), a scale of 10, quantization
        ("_fused_moving_avg_obs_fq_helper", [X, *SWITCHES, *RANGE, ONE, NULL], [(2, 5), MASK],
         (18 + 6 + 10 + 70, 90 + 16 + 16, 0, 2, 2 + 2 + 20)),
        ("quantize_per_tensor", [X], [("", (2, 5), "int8")], (50, 50, 0, 0, 10)),
        ("quantize_per_tensor.tensors",
         [("tensors", (2, 5), "float32", 0), ("tensors", (3,), "float32", 1)],
         [("", (2, 5), "int8"), ("", (3,), "int8")], (65, 52 + 13, 0, 0, 13)),
        ("quantize_per_channel", [X, SCALE, ZERO], [("", (2, 5), "int8")], (50, 90, 0, 0, 10)),
        ("quantize_per_tensor_dynamic", [X], [("", (2, 5), "int8")],
         (18 + 10 + 50, 50, 0, 0, 2 + 10)),
        ("dequantize.self", [("self", (2, 5), "int8")], [(2, 5)], (20, 50, 0, 0, 10)),
    ],
)  # fmt: skip
def test_by_hand(figures, op, operands, results, expected):
    found = figures(op, operands, results)
    assert (found["how"], found["family"], found["dense_macs"]) == ("rule", "quantization", 0)
    names = ("flops", "bytes", "synops", "macs", "acs")
    assert tuple(found[name] for name in names) == expected
    spiking = figures(op, operands, results, spikes=("in0",))
    assert tuple(spiking[name] for name in names) == expected  # as of other functions


torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule import count, energy  # noqa: E402
from opjoule.analyzers.energy import ESTIMATORS  # noqa: E402


class Quantized(nn.Module):
    """8 x 6 elements, quantized in one of several ways, by 6 x 4 weights: 192 MACs."""

    def __init__(self, quantize):
        super().__init__()
        self.quantize, self.layer = quantize, nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.layer(self.quantize(x))


def by_channel(x):
    return torch.fake_quantize_per_channel_affine(
        x, torch.full((6,), 0.1), torch.zeros(6, dtype=torch.int32), 1, 0, 255
    )


def by_a_learned_scale(x):
    return torch._fake_quantize_learnable_per_tensor_affine(
        x, torch.full((1,), 0.1), torch.zeros(1), 0, 255, 1.0
    )


def by_an_observer(x):
    found = [torch.tensor([value]) for value in (float("inf"), -float("inf"), 1.0, 0)]
    return torch.fused_moving_avg_obs_fake_quant(
        x, torch.tensor(1), torch.tensor(1), *found[:3], found[3].int(), 0.01, 0, 255, -1
    )


def there_and_back(x):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.quint8).dequantize()


def as_exported(x):
    pytest.importorskip("torch.ao.quantization.fx._decomposed")
    ops, args = torch.ops.quantized_decomposed, (0.1, 0, 0, 255, torch.uint8)
    return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *args), *args)


WAYS = {
    "exported": (as_exported, 7 * 48),
    "tensor": (lambda x: torch.fake_quantize_per_tensor_affine(x, 0.05, 0, 0, 255), 7 * 48),
    "channel": (by_channel, 7 * 48),
    "learned": (by_a_learned_scale, 7 * 48),
    "observer": (by_an_observer, 7 * 48 + 2 * 47 + 16),
    "there and back": (there_and_back, 7 * 48),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # quantized tensors are deprecated
@pytest.mark.parametrize("way", WAYS)
def test_what_pytorch_runs_is_covered_and_every_estimate_agrees(recorded, way):
    quantize, flops = WAYS[way]
    model, x = Quantized(quantize).eval(), torch.rand(8, 6)
    with torch.no_grad():
        trace = recorded(lambda: model(x), model=model)
    found = count(trace, where="module=Quantized")
    assert not found.coverage.uncovered and found.coverage.macs_share == 1
    assert found.frame["at_least"].to_list() == [None]
    assert found.total["flops"] == flops + 2 * 192
    assert found.total["macs"] - (2 if way == "observer" else 0) == found.total["dense_macs"] == 192
    estimates = energy(trace, [name for name in ESTIMATORS if name != "spikesim"])
    assert [each.account.share for each in estimates.values()] == [1.0] * 4
    assert [each.account.charged_macs for each in estimates.values()] == [192] * 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantization_aware_training(recorded):
    """The modules that PyTorch prepares, forward and backward: every op has a rule."""
    quantization = pytest.importorskip("torch.ao.quantization")
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU()).train()
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    model = quantization.prepare_qat(model)
    trace = recorded(lambda: model(torch.rand(8, 6)).sum().backward(), model=model)
    found = count(trace, by="op")
    assert "aten._fused_moving_avg_obs_fq_helper.default" in found.frame["op"].to_list()
    assert not found.coverage.uncovered and found.coverage.macs_share == 1


PACKED = {
    # x is quantized first: 2·23 comparisons, a scale of 10, 24·5; a scale for each result
    "dynamic": (2 * 96 + 12 + 46 + 10 + 120, 24 * 4 + 12 * 4 + 32),
    "static": (2 * 96 + 12, 24 + 12 + 32),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("way", PACKED)
def test_packed_linear_layers_are_products_of_known_size(recorded, way):
    """3 rows, 8 -> 4: 96 MACs; bytes: the input, the result, 32 weights of one byte each."""
    quantization = pytest.importorskip("torch.ao.quantization")
    if not torch.backends.quantized.supported_engines:
        pytest.skip("PyTorch was built without quantized kernels")
    model = nn.Sequential(
        quantization.QuantStub(), nn.Linear(8, 4), quantization.DeQuantStub()
    ).eval()
    x = torch.randn(3, 8)
    if way == "dynamic":
        model = quantization.quantize_dynamic(model[1:2], {nn.Linear}, dtype=torch.qint8)
    else:
        model.qconfig = quantization.default_qconfig
        model = quantization.prepare(model)
        model(x)
        model = quantization.convert(model)
    with torch.no_grad():
        trace = recorded(lambda: model(x), model=model)
    found = count(trace, where="op=quantized*")
    assert (found.total["flops"], found.total["bytes"]) == PACKED[way]
    assert found.total["macs"] == found.total["dense_macs"] == 96
    assert found.coverage.macs_share == 1
    assert count(trace, rules="torch", where="op=quantized*").total["flops"] == 192


def test_packed_linear_layers_and_their_activations(of_five, build):
    from opjoule.analyzers.rules import rule_set

    call = build("relu", [("X", (3, 8))], [(3, 4)])
    for name, flops in (("linear_relu", 24), ("linear_leaky_relu", 36), ("linear", 12)):
        renamed = replace(call, op=f"quantized.{name}.default", packet=f"quantized.{name}")
        how, family, figures = rule_set("full").figures(renamed)
        assert (how, family, figures.flops) == ("rule", "product", 192 + flops)
