"""Each product once: the true MACs where SpikingJelly's revisions miscount (N1 to N6)."""

from __future__ import annotations

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc  # noqa: E402
from opjoule.schemas.costs import NeuroMCConfig  # noqa: E402
from opjoule.tracer import Recorder  # noqa: E402

RELEASES = ("spikingjelly-2.0", "spikingjelly-2026-08")


@pytest.fixture
def recorded(tmp_path):
    """Return a function that records a forward pass, with `train` the backward pass of its sum."""

    def run(model, *inputs, train=False):
        path = tmp_path / "trace"
        with Recorder(path, model=model, overwrite=True) as recorder:
            output = model(*inputs)
            if train:
                with recorder.suspend():
                    loss = (output * torch.rand_like(output)).sum()
                loss.backward()
        return open_trace(path)

    torch.manual_seed(0)
    return run


def macs(trace, revision="source", **filters):
    """Return the MACs of rows that fit, e.g. stage="backward"."""
    rows = estimate_neuromc(trace, revision=revision).rows.filter(component="mac", **filters)
    return rows["amount"].sum()


@pytest.mark.parametrize(("needs_input", "true", "twice"), [(True, 192, 384), (False, 96, 192)])
def test_n1_backward_products_of_a_linear(recorded, needs_input, true, twice):
    """Linear 8 -> 4, batch 3: 3·8·4 = 96 MACs for each gradient; SpikingJelly counts both twice."""
    x = torch.rand(3, 8).requires_grad_(needs_input)
    trace = recorded(nn.Linear(8, 4), x, train=True)
    assert macs(trace, stage="backward") == true
    if needs_input:
        assert macs(trace, op="linear.backward.grad_input") == 96
    assert macs(trace, op="linear.backward.grad_weight") == 96
    for revision in RELEASES:
        assert macs(trace, revision, stage="backward") == twice


def test_n1_of_a_spiking_network(recorded):
    """Linear 16 -> 24, IF, Linear 24 -> 4, batch 4: the first gives one gradient, the second two.

    4·16·24 = 1536 and 2 · 4·24·4 = 768: 2304 in the backward pass. Cores by the layers' inputs:
    both take spikes.
    """
    from spikingjelly.activation_based import neuron

    model = nn.Sequential(nn.Linear(16, 24), neuron.IFNode(v_threshold=0.1), nn.Linear(24, 4))
    trace = recorded(model, (torch.rand(4, 16) < 0.5).float(), train=True)
    assert macs(trace, stage="backward") == 1536 + 768
    counts = estimate_neuromc(trace).details["counts_by_core_type"]
    assert {core: by["mac"] for core, by in counts.items() if by["mac"]} == {
        "fp_soma": 1536 + 384,
        "bp_grad": 384,
        "wg": 1536 + 384,
    }
    for revision in RELEASES:
        assert macs(trace, revision, stage="backward") == 2 * (1536 + 768)


def test_n2_linear_on_three_dimensions(recorded):
    """(2, 5, 8) -> 4: 2·5·8·4 = 320; SpikingJelly adds 2·8·4 = 64 without the middle dimension."""
    trace = recorded(nn.Linear(8, 4), torch.rand(2, 5, 8))
    assert macs(trace) == 320
    for revision in RELEASES:
        assert macs(trace, revision) == 384


def test_n3_functional_product_of_a_module_s_size(recorded):
    """fc(8, 8) and F.linear(8, 8), batch 3: 2 · 3·8·8 = 384; SpikingJelly drops the second."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8, bias=False)
            self.weight = nn.Parameter(torch.rand(8, 8))

        def forward(self, x):
            return F.linear(self.fc(x), self.weight)

    trace = recorded(Both(), torch.rand(3, 8))
    assert macs(trace) == 384
    assert macs(trace, module="Both") == macs(trace, module="Both.fc") == 192
    for revision in RELEASES:
        assert macs(trace, revision) == 192


def test_n4_groups_divide(recorded):
    """Conv2d(8, 8, 3, groups 8) on 5 x 5: 8·9·25 = 1800, forward and each gradient."""
    model = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    trace = recorded(model, torch.rand(1, 8, 5, 5).requires_grad_(), train=True)
    for op in ("forward", "backward.grad_input", "backward.grad_weight"):
        assert macs(trace, op=f"conv.{op}") == 1800
    for revision in RELEASES:
        assert macs(trace, revision, op="conv.forward") == 14400


def test_n5_transposed_convolution(recorded):
    """ConvTranspose2d(4, 4, 2, stride 2) on 3 x 3: 4·4·4·9 = 576; SpikingJelly has 6 x 6: 2304."""
    model = nn.ConvTranspose2d(4, 4, 2, stride=2)
    trace = recorded(model, torch.rand(1, 4, 3, 3).requires_grad_(), train=True)
    for op in ("forward", "backward.grad_input", "backward.grad_weight"):
        assert macs(trace, op=f"conv.{op}") == 576
    for revision in RELEASES:
        assert macs(trace, revision, stage="forward") == 2304


@pytest.fixture(scope="module")
def strided(tmp_path_factory):
    """Return S-ResNet18's stride-2 layer 64 -> 128 on 56 x 56 behind a neuron, trained."""
    from spikingjelly.activation_based import neuron

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("strided") / "trace"
    conv = nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False)
    model = nn.Sequential(neuron.IFNode(), conv)
    with Recorder(path, model=model):
        model((torch.rand(1, 64, 56, 56) * 2).requires_grad_()).sum().backward()
    return open_trace(path)


def test_n6_strided_gradients_at_the_resolution_of_the_input(strided):
    """The source's workload has zeros set between gradients: 64·128·9·56·56 = 231211008 MACs.

    Its stored row r18_be_l17 has 618007336.374 pJ with the gradient's add-on; its weight gradient
    costs 263933665 pJ. At the output's 28 x 28 there are 57802752 MACs, which PyTorch multiplies.
    """
    report = estimate_neuromc(strided)
    rows = report.rows
    for role in ("grad_input", "grad_weight"):
        assert (
            rows.filter(op=f"conv.backward.{role}", component="mac")["amount"].item() == 231211008
        )
    core = rows.filter(pl.col("op").is_in(["conv.backward.grad_input", "soma.backward"]))
    assert core["energy_pj"].sum() == pytest.approx(618007336.374, rel=1e-9)
    weight = rows.filter(op="conv.backward.grad_weight")["energy_pj"].sum()
    assert weight == pytest.approx(263933665, rel=1e-8)


def test_n6_as_spikingjelly_has_it_and_switched_off(strided):
    """2.0: 57802752 MACs; the core 347020329 pJ with its add-on, the weights' gradient 66276622."""
    rows = estimate_neuromc(strided, revision="spikingjelly-2.0").rows
    assert rows.filter(op="conv.backward.grad_input", component="mac")["amount"].item() == 57802752
    core = rows.filter(pl.col("op").is_in(["conv.backward.grad_input", "soma.backward"]))
    assert core["energy_pj"].sum() == pytest.approx(347020329, rel=1e-8)
    weight = rows.filter(op="conv.backward.grad_weight")["energy_pj"].sum()
    assert weight == pytest.approx(66276622, rel=1e-8)
    config = NeuroMCConfig(strided_backward="output")
    off = estimate_neuromc(strided, config).rows.filter(component="mac", stage="backward")
    assert off["amount"].to_list() == [57802752, 57802752]


def test_attention_s_gradients_by_what_they_read(recorded):
    """q·kᵀ and its product with v, 2 x 5 x 8: 2·5·8·5 = 400 each, and each of four gradients."""

    class Attention(nn.Module):
        def forward(self, q, k, v):
            return torch.bmm(torch.bmm(q, k.transpose(1, 2)), v)

    q, k, v = ((torch.rand(2, 5, 8) < 0.5).float().requires_grad_() for _ in range(3))
    trace = recorded(Attention(), q, k, v, train=True)
    assert macs(trace, stage="forward") == 800
    assert macs(trace, stage="backward") == 1600
    fragments = estimate_neuromc(trace).details["mapping_summary"]
    cores = sorted(one["core_type"] for one in fragments if one["phase"] == "backward")
    # The first product takes spikes, the second a dense matrix.
    assert cores == ["ann_be", "ann_we", "bp_grad", "wg"]


def test_weight_gradients_of_square_layers_keep_apart(recorded):
    """Batch, inputs and outputs alike: only what a product reads tells which gradient it is."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    trace = recorded(model, torch.rand(8, 8).requires_grad_(), train=True)
    report = estimate_neuromc(trace)
    counts = report.rows.filter(component="mac").group_by("op").agg(pl.col("fragments").sum())
    assert dict(counts.iter_rows()) == {
        "linear.forward": 2,
        "linear.backward.grad_input": 2,
        "linear.backward.grad_weight": 2,
    }
    assert not any("were not recorded" in text for text in report.warnings)


def test_constants_are_no_spikes(recorded):
    """`sum().backward()` starts with ones: dense in source, spikes by their values elsewhere."""
    x = torch.ones(3, 8)
    trace = recorded(nn.Linear(8, 4), x)
    assert set(estimate_neuromc(trace).details["counts_by_core_type"]) == {"ann_fe"}
    for revision in RELEASES:
        report = estimate_neuromc(trace, revision=revision)
        assert set(report.details["counts_by_core_type"]) == {"fp_soma"}


def test_what_runs_again_in_the_backward_pass_counts_again_but_not_in_spikingjelly(recorded):
    """A checkpoint over Linear 8 -> 8 and 8 -> 4, batch 3: 192 and 96 MACs, twice that back.

    Only the first runs again: for the second all that its gradients need is there by then.
    """
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    trace = recorded(Checkpointed(), torch.rand(3, 8).requires_grad_(), train=True)
    stages = ("forward", "recompute", "backward")
    assert [macs(trace, stage=stage) for stage in stages] == [288, 192, 576]
    assert estimate_neuromc(trace).scope.stages == stages
    report = estimate_neuromc(trace, revision="spikingjelly-2026-08")
    assert any("ran again inside the backward pass" in text for text in report.warnings)
    assert "recompute" not in report.details["energy_by_stage"]


class Mixture(nn.Module):
    """Convolutions, a Linear on three dimensions, attention, a functional product."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.third = nn.Conv2d(12, 12, 3, padding=1, dilation=2)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.line = nn.Conv1d(6, 4, 3)
        self.mix = nn.Linear(10, 7)
        self.weight = nn.Parameter(torch.rand(5, 7))

    def forward(self, x):
        x = self.up(self.third(self.second(self.first(x))))
        x = self.mix(self.line(x.flatten(2)[:, :, :12]))
        x = torch.bmm(torch.bmm(x, x.transpose(1, 2)), x)
        return F.linear(x, self.weight)


def test_macs_are_those_of_torch_s_flop_counter(recorded):
    """Every product once: half the FLOPs that `FlopCounterMode` counts, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    model, x = Mixture(), torch.rand(2, 3, 12, 12)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    model.zero_grad()
    report = estimate_neuromc(
        recorded(model, x, train=True), NeuroMCConfig(strided_backward="output")
    )
    assert 2 * report.counts["mac"] == counter.get_total_flops()
    assert report.left_out.is_empty()
