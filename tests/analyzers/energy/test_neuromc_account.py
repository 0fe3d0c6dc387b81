"""NeuroMC's account: each product of a trace is charged or left out with its dense MACs."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import neuron, surrogate  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from opjoule.analyzers import count, open_trace  # noqa: E402
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc  # noqa: E402
from opjoule.schemas import ConfigError, TraceError  # noqa: E402
from opjoule.tracer import Recorder  # noqa: E402

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")
REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "cases.py"


class Called(nn.Module):
    """Layers, and a function of them and the inputs."""

    def __init__(self, call, **layers):
        super().__init__()
        for name, each in layers.items():
            setattr(self, name, each)
        self.call = call

    def forward(self, *inputs):
        return self.call(self, *inputs)


class Twice(nn.Linear):
    """A layer that runs two products."""

    def forward(self, x):
        return F.linear(F.linear(x, self.weight), self.weight)


class Recurrent(neuron.IFNode):
    """A neuron with a product of its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def neuronal_charge(self, x):
        self.v = self.v + self.fc(x)


class Muon(torch.optim.Optimizer):
    """An optimizer that multiplies matrices."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.ndim == 2:
                p.add_(p.grad @ p.grad.t() @ p.grad, alpha=-0.01)


def encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def pruned():
    first = nn.Linear(8, 8)
    prune.l1_unstructured(first, "weight", 0.5)
    return nn.Sequential(first, parametrizations.weight_norm(nn.Linear(8, 4)))


def adapted():
    return Called(
        lambda m, x: m.base(x) + (x @ m.a) @ m.b,
        base=nn.Linear(8, 4), a=nn.Parameter(torch.rand(8, 2)), b=nn.Parameter(torch.rand(2, 4)),
        in_features=8, out_features=4,
    )  # fmt: skip


CASES = {
    "encoder": lambda: (encoder(), torch.rand(2, 5, 16)),
    "attention": lambda: (
        Called(lambda m, x: m.mha(x, x, x)[0], mha=nn.MultiheadAttention(16, 2)),
        torch.rand(5, 2, 16),
    ),
    "attention in one kernel": lambda: (
        Called(lambda m, x: m.fc(F.scaled_dot_product_attention(x, x, x)), fc=nn.Linear(8, 4)),
        torch.rand(2, 2, 5, 8),
    ),
    "LSTM and Linear": lambda: (
        Called(lambda m, x: m.fc(m.lstm(x)[0]), lstm=nn.LSTM(6, 7), fc=nn.Linear(7, 3)),
        torch.rand(4, 2, 6),
    ),
    "mv": lambda: (
        Called(lambda m, x: m.fc(torch.mv(m.w, x)), fc=nn.Linear(4, 3), w=nn.Parameter(
            torch.rand(4, 8))),
        torch.rand(8),
    ),
    "grouped, transposed, strided": lambda: (
        nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=4), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),
            nn.Conv2d(4, 6, 3, stride=2),
        ),
        torch.rand(2, 8, 6, 6).requires_grad_(),
    ),
    "three dimensions": lambda: (
        nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.Flatten(), nn.Linear(3, 2)),
        torch.rand(2, 2, 2, 2, 2),
    ),
    "two products in a layer": lambda: (Twice(8, 8), torch.rand(3, 8)),
    "pruned and normed": lambda: (pruned(), torch.rand(3, 8)),
    "LoRA": lambda: (adapted(), torch.rand(3, 8)),
    "product in a neuron": lambda: (
        nn.Sequential(nn.Linear(8, 6), Recurrent(), nn.Linear(6, 3)),
        torch.rand(4, 8),
    ),
    "checkpoint": lambda: (
        Called(
            lambda m, x: checkpoint(m.inner, x, use_reentrant=False),
            inner=nn.Sequential(nn.Linear(8, 8), neuron.LIFNode(), nn.Linear(8, 4)),
        ),
        torch.rand(3, 8).requires_grad_(),
    ),
}  # fmt: skip


def recorded(path, model, *inputs, train=True, optimizer=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Recorder(path, model=model), torch.set_grad_enabled(train):
            output = model(*inputs)
            if train:
                output.pow(2).sum().backward()
            if optimizer is not None:
                optimizer.step()
    return open_trace(path)


def assert_adds_up(trace):
    """Assert charged + left out = the dense MACs that `count` gives, of the whole and of parts."""
    for revision in REVISIONS:
        for where in (None, "stage=forward", "stage=backward"):
            part = trace if where is None else trace.where(where)
            dense = count(part).total["dense_macs"]
            try:
                report = estimate_neuromc(part, revision=revision)
            except TraceError as error:
                # Nothing of this part is charged, or nothing ran in it.
                assert "can charge none" in str(error) or not dense
                continue
            account = report.account
            assert account.charged_macs + account.left_out_macs == dense, (revision, where)
            assert report.left_out["macs"].sum() == account.left_out_macs


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_charged_and_left_out_are_all_products(tmp_path, make):
    torch.manual_seed(0)
    assert_adds_up(recorded(tmp_path / "trace", *make()))


def test_all_products_of_the_reference_cases(tmp_path):
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    cases = sys.modules[name]
    for each in cases.CASES:
        case = cases.build(each)
        inputs = case.inputs if isinstance(case.inputs, tuple) else (case.inputs,)
        assert_adds_up(recorded(tmp_path / each, case.model, *inputs, train=case.train))


def test_source_charges_products_wherever_they_run(tmp_path):
    """In neurons, in layers that run two, and again in a backward pass: all but 3-d and kernels."""
    whole = {"mv", "grouped, transposed, strided", "two products in a layer", "pruned and normed",
             "LoRA", "product in a neuron", "checkpoint"}  # fmt: skip
    for name in sorted(whole):
        torch.manual_seed(0)
        report = estimate_neuromc(recorded(tmp_path / name, *CASES[name]()))
        assert report.account.share == 1, name
        # MACs at the resolution of a strided convolution's input are actions, no products.
        strided = name.startswith("grouped")
        assert (report.counts["mac"] > report.account.charged_macs) == strided


def test_what_is_left_out_by_hand(tmp_path):
    """Linear 8 -> 4 of 3 rows: 96 MACs, and 96 for its weight gradient.

    The optimizer's g·gᵀ·g with g 4 x 8: 4·8·4 and 4·4·8, 256 in two calls.
    """
    model = nn.Linear(8, 4)
    trace = recorded(tmp_path / "muon", model, torch.rand(3, 8), optimizer=Muon(model.parameters()))
    report = estimate_neuromc(trace)
    assert report.account.charged_macs == 2 * 96
    assert report.left_out.filter(what="aten.mm.default").rows() == [
        ("aten.mm.default", 2, 256, 256 / (192 + 256))
    ]
    with pytest.raises(TraceError, match=r"aten\.mm\.default \(calls=2\)"):
        estimate_neuromc(trace, strict=True)


def test_what_spikingjelly_drops_is_left_out_but_not_refused(tmp_path):
    """Twice 8 -> 8, 3 rows: the second product of 192 MACs equals the first, so it is dropped.

    Backward: four products of 192, of which none is equal to a layer's.
    """
    trace = recorded(tmp_path / "twice", Twice(8, 8, bias=False), torch.rand(3, 8), train=False)
    for revision in REVISIONS[1:]:
        report = estimate_neuromc(trace, revision=revision, strict=True)
        assert report.account.charged_macs == 192
        assert report.left_out.rows() == [("aten.mm.default (not counted)", 1, 192, 0.5)]
    assert estimate_neuromc(trace, strict=True).account.charged_macs == 2 * 192


def test_pruned_and_normed_layers_are_layers(tmp_path):
    """3 rows, 8 -> 8 and 8 -> 4: 192 + 96 MACs, under the name of linear layers."""
    report = estimate_neuromc(recorded(tmp_path / "pruned", pruned(), torch.rand(3, 8)))
    macs = report.rows.filter(component="mac").group_by("op").agg(pl.col("amount").sum())
    assert dict(macs.iter_rows()) == {
        "linear.forward": 192 + 96,
        "linear.backward.grad_input": 96,
        "linear.backward.grad_weight": 192 + 96,
    }


def test_kernels_of_whole_layers_are_refused_in_one_line(tmp_path):
    trace = recorded(tmp_path / "eval", encoder().eval(), torch.rand(2, 5, 16), train=False)
    said = (
        r"NeuroMC can charge none of the products \(2 calls\): there are no fragments for "
        r"aten\._transformer_encoder_layer_fwd\.default\. Record plain matmuls"
    )
    for revision in REVISIONS:
        with pytest.raises(TraceError, match=said):
            estimate_neuromc(trace, revision=revision)


def test_nested_tensors_are_refused_in_one_line(tmp_path):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    model = Called(
        lambda m, x: m.net(x, src_key_padding_mask=padding), net=nn.TransformerEncoder(layer, 2)
    ).eval()
    trace = recorded(tmp_path / "nested", model, torch.rand(2, 5, 16), train=False)
    with pytest.raises(TraceError, match=r"sizes were not recorded of .* enable_nested_tensor"):
        estimate_neuromc(trace)


def as_once_recorded(trace):
    """Return a trace as before shared modules had several paths: all at the first one."""
    first = trace.modules.select("rank", "module_id", "same_as").drop_nulls().lazy()

    def at_first(table):
        joined = table.join(first, on=["rank", "module_id"], how="left")
        return joined.with_columns(module_id=pl.coalesce("same_as", "module_id")).drop("same_as")

    return replace(
        trace,
        modules=trace.modules.filter(pl.col("same_as").is_null()),
        calls=at_first(trace.calls),
        module_calls=at_first(trace.module_calls),
    )


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.sigmoid(x)


class Surrogate(nn.Module):
    def forward(self, x):
        return Fire.apply(x)


@pytest.mark.parametrize("shared", [True, False])
def test_a_surrogate_that_neurons_share_is_charged_for_each(tmp_path, shared):
    """Five neurons of 16 values: 5·16 times the add-ons of a value.

    Forward: mux + add + mul + 3 comp = 1.56225 pJ and 24.8564467847 of memory; backward: mux +
    2 add + 4 mul = 4.37825 and 23.9491987118.
    """
    one = Surrogate()
    model = nn.Sequential(
        *(neuron.IFNode(surrogate_function=one if shared else Surrogate()) for _ in range(5))
    )
    trace = recorded(tmp_path / "trace", model, torch.rand(2, 8).requires_grad_())
    for each in (trace, as_once_recorded(trace)):
        report = estimate_neuromc(each)
        energy = dict(report.by("op").select("op", "energy_pj").iter_rows())
        assert energy == pytest.approx(
            {
                "soma.forward": 5 * 16 * (1.56225 + 24.8564467847),
                "soma.backward": 5 * 16 * (4.37825 + 23.9491987118),
            },
            rel=1e-9,
        )


def test_default_surrogates_of_spikingjelly_are_shared(tmp_path):
    """A default argument is one module in all neurons of a class; each has its own backward."""
    spike = surrogate.ATan()
    layers = [nn.Linear(8, 8) for _ in range(3)]
    model = nn.Sequential(
        *(m for fc in layers for m in (fc, neuron.LIFNode(surrogate_function=spike)))
    )
    report = estimate_neuromc(recorded(tmp_path / "trace", model, torch.rand(2, 8)))
    backward = report.rows.filter(op="soma.backward", component="extra_compute")
    assert backward.select("module", "fragments").rows() == [
        (f"Sequential.{place}", 1) for place in (5, 3, 1)
    ]


def test_the_same_question_gives_the_same_bytes(tmp_path):
    """Many calls in several steps, so that group-bys run in parallel."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), neuron.LIFNode(), nn.Linear(8, 4), neuron.LIFNode())
    with Recorder(tmp_path / "trace", model=model) as recorder:
        for step in range(30):
            with recorder.label(f"part {step % 3}"):
                model(torch.rand(5 + step % 4, 8)).sum().backward()
            for each in (model[1], model[3]):
                each.reset()
            recorder.step()
    for revision in REVISIONS:
        answers = {
            json.dumps(
                estimate_neuromc(open_trace(tmp_path / "trace"), revision=revision).to_dict()
            )
            for _ in range(6)
        }
        assert len(answers) == 1


def test_every_product_as_dense(tmp_path):
    """`spikes="none"`: the same MACs, on the cores of dense values, at add + mul each."""
    x = (torch.rand(4, 8) < 0.5).float()
    trace = recorded(tmp_path / "trace", nn.Linear(8, 4), x)
    assert set(estimate_neuromc(trace).details["counts_by_core_type"]) == {"fp_soma", "wg"}
    dense = estimate_neuromc(trace, spikes="none")
    assert set(dense.details["counts_by_core_type"]) == {"ann_fe", "ann_we"}
    assert dense.breakdown_pj["mac_pj"] == pytest.approx(2 * 4 * 8 * 4 * (0.548 + 0.812))
    with pytest.raises(ConfigError, match="spikes='ternary' is not available"):
        estimate_neuromc(trace, spikes="ternary")
    with pytest.raises(ConfigError, match="spikes='none' is not available"):
        estimate_neuromc(trace, spikes="none", revision="spikingjelly-2.0")


def test_neurons_of_another_kind_than_lif_are_named(tmp_path):
    """All are charged mux, add, mul and three comparisons an output, which are LIF's."""
    net = nn.Sequential(
        nn.Linear(8, 8), neuron.LIFNode(), nn.Linear(8, 8), neuron.IFNode(),
        nn.Linear(8, 8), neuron.NonSpikingIFNode(),
    ).eval()  # fmt: skip
    with Recorder(tmp_path / "t", model=net), torch.no_grad():
        net(torch.rand(2, 8))
    trace = open_trace(tmp_path / "t")
    (text,) = [each for each in estimate_neuromc(trace).warnings if "of another kind" in each]
    assert "2 neurons of another kind are charged as one: IFNode, NonSpikingIFNode" in text
    assert "comparisons and spikes of those that give their membrane potential too" in text
    alone = estimate_neuromc(trace, where="module=Sequential.1")
    assert not any("of another kind" in each for each in alone.warnings)
