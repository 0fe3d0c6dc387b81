"""Lemaire: what it refuses, leaves out by name, and tells beside the figure."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import neuron
from torch import nn

from opjoule import Recorder
from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate, estimate_lemaire
from opjoule.analyzers.energy.lemaire.energies import STRUCTURAL, prices_of
from opjoule.schemas import ConfigError, TraceError
from opjoule.schemas.costs import LemaireConfig, Machine
from opjoule.tracer import record

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")


class Block(nn.Module):
    """A layer, functional attention (2 products of 2*3*4*3 = 72 MACs each) and a layer again."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = self.a(x)
        y = torch.bmm(torch.softmax(torch.bmm(y, y.transpose(1, 2)), -1), y)
        return self.b(y)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), neuron.IFNode(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def spiking(tmp_path_factory):
    return open_trace(
        record(small().eval(), (torch.rand(2, 8) * 3,), tmp_path_factory.mktemp("scope") / "trace")
    )


def test_attention_is_left_out_by_name_and_share(tmp_path):
    """MACs: two layers of 2*3*4*4 = 96, two products of 72: 144 of 336 are left out."""
    trace = open_trace(record(Block().eval(), (torch.rand(2, 3, 4),), tmp_path / "trace"))
    report = estimate_lemaire(trace)
    rows = {row[0]: row[1:] for row in report.left_out.rows()}
    assert rows["aten.bmm.default (Block)"] == (2, 144, pytest.approx(144 / 336))
    assert rows["aten._softmax.default (Block)"] == (1, 0, 0.0)
    assert len(rows) == 2
    assert "57.1% of the MACs" in report.coverage
    with pytest.raises(TraceError, match=r"does not cover aten\.bmm.*strict"):
        estimate_lemaire(trace, strict=True)


def test_modules_are_left_out_by_class(tmp_path):
    """Transposed: 3*3 positions * 2*4 channels * 2*2 taps; the layer: 6*6 positions * 4*3."""
    model = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 2, stride=2), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
    )
    trace = open_trace(record(model.eval(), (torch.rand(1, 2, 3, 3),), tmp_path / "trace"))
    report = estimate_lemaire(trace)
    transposed, pointwise = 9 * 2 * 4 * 4, 36 * 4 * 3
    assert report.left_out.rows() == [
        ("ConvTranspose2d", 1, transposed, pytest.approx(transposed / (transposed + pointwise))),
        ("BatchNorm2d", 1, 0, 0.0),
    ]
    assert set(report.rows["module"]) == {"Sequential.2"}


def test_dropout_flatten_and_relu_are_free(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.drop = nn.Linear(8, 6), nn.Linear(6, 3), nn.Dropout()

        def forward(self, x):
            return self.b(self.drop(F.relu(self.a(x.flatten(1)))))

    trace = open_trace(record(Plain().eval(), (torch.rand(2, 2, 4),), tmp_path / "trace"))
    assert estimate_lemaire(trace, strict=True).left_out.is_empty()


def test_refuses_training_mode(tmp_path):
    trace = open_trace(record(small().train(), (torch.rand(2, 8),), tmp_path / "trace"))
    with pytest.raises(TraceError, match=r"call model\.eval\(\)"):
        estimate_lemaire(trace)
    for revision in REVISIONS[1:]:
        assert estimate_lemaire(trace, revision=revision).total_pj > 0


def test_refuses_a_trace_without_layers(tmp_path):
    trace = open_trace(record(nn.Sigmoid().eval(), (torch.rand(2, 8),), tmp_path / "trace"))
    with pytest.raises(TraceError, match="no Linear or convolution module ran a product"):
        estimate_lemaire(trace)


class Ensemble(nn.Module):
    """Three networks of one shape, whose weights are stacked."""

    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(8, 2) for _ in range(3))

    def forward(self, x):
        stacked, _ = torch.func.stack_module_state(list(self.members))
        member = self.members[0]
        return torch.vmap(
            lambda weights, given: torch.func.functional_call(member, weights, (given,)), (0, None)
        )(stacked, x)


def test_stacked_weights_are_refused_as_of_another_size(tmp_path):
    trace = open_trace(record(Ensemble().eval(), torch.rand(4, 8), tmp_path / "trace"))
    with pytest.raises(TraceError) as caught:
        estimate_lemaire(trace)
    assert (
        "no Linear or convolution module ran a product with weights of its own size; those that "
        "ran are of Linear" in str(caught.value)
    )


def test_a_layer_in_training_mode_inside_an_inference_is_charged_and_named(tmp_path):
    """It does what it does in eval mode: all figures are those of the network in eval mode."""
    model, x = small().eval(), torch.rand(2, 8)
    wanted = estimate_lemaire(open_trace(record(model, (x,), tmp_path / "eval")))
    model[1].reset()
    model[0].train()
    report = estimate_lemaire(open_trace(record(model, (x,), tmp_path / "mixed")), strict=True)
    assert report.left_out.is_empty()
    assert report.total_pj == wanted.total_pj
    assert [line for line in report.warnings if line not in wanted.warnings] == [
        "1 module ran in training mode inside a model in eval mode and is charged (model.eval() "
        "does not reach a module in a plain list): Sequential.0"
    ]


def test_an_inference_beside_a_training_step(tmp_path):
    """--where training=false is the inference alone."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters())
    x = torch.rand(2, 8) * 3
    with Recorder(tmp_path / "trace", model=model) as recorder:
        with torch.no_grad(), recorder.label("inference"):
            model.eval()(x)
        model[1].reset()
        model.train()(x).sum().backward()
        optimizer.step()
    trace = open_trace(tmp_path / "trace")
    alone = open_trace(record(small().eval(), (x,), tmp_path / "alone"))
    wanted = estimate_lemaire(alone)
    for filters in ("training=false", "label=inference"):
        report = estimate_lemaire(trace, where=filters, strict=True)
        assert report.total_pj == pytest.approx(wanted.total_pj, rel=1e-12)
        assert report.samples == 2
    assert set(report.rows["label"]) == {"inference"}  # the last filter
    mixed = estimate_lemaire(trace)
    assert mixed.total_pj == pytest.approx(wanted.total_pj, rel=1e-12)
    assert mixed.left_out.rows() == [  # backward: one input is no gradient's, so 3 products
        ("backward passes (Sequential.2, Sequential.0)", 3, 168, pytest.approx(168 / 432)),
        ("passes in training mode (Sequential.0, Sequential.2)", 2, 132, pytest.approx(132 / 432)),
    ]


@pytest.mark.parametrize("revision", REVISIONS)
def test_module_filters_choose_rows(spiking, revision):
    whole = estimate_lemaire(spiking, revision=revision)
    parts = [
        estimate_lemaire(spiking, revision=revision, where=f"module={path}").total_pj
        for path in ("0", "1", "2")
    ]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(whole.total_pj, rel=1e-12)
    by_module = dict(whole.by("module").select("module", "energy_pj").rows())
    assert parts == pytest.approx([by_module[f"Sequential.{n}"] for n in range(3)])
    of_last = estimate_lemaire(spiking, revision=revision, where="module=2").input_types
    assert "Sequential.2" in of_last and "Sequential.0" not in of_last


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("where", ["module=0", "module=1", "op=aten.addmm*"])
def test_a_narrowed_trace_is_charged_as_the_filter(spiking, revision, where):
    """The command line narrows the trace, Python hands on the filter; by sample too."""
    told = estimate_lemaire(spiking, revision=revision, where=where)
    narrowed = estimate_lemaire(spiking.where(where), revision=revision)
    assert narrowed.total_pj == told.total_pj > 0
    assert narrowed.warnings == told.warnings
    assert narrowed.input_types == told.input_types
    by_sample = estimate(spiking.where(where), "lemaire", revision=revision).by("sample")
    assert by_sample["energy_pj"].sum() == pytest.approx(told.total_pj, rel=1e-12)


@pytest.mark.parametrize("where", ["op=aten.ge.Scalar", "op=aten.t.default"])
def test_ops_of_which_nothing_is_charged_are_refused(spiking, where):
    for ask in ({"where": where}, {}):
        trace = spiking if ask else spiking.where(where)
        with pytest.raises(TraceError, match="no Linear or convolution module ran a product"):
            estimate_lemaire(trace, **ask)


OF_NO_OP = ("neuron", "soma.forward")
ON_MACHINE = Machine.model_validate({
    "machine": {"name": "m", "technology": "t", "source": "s"},
    "term": [{"quantity": each, "price": "1 pJ"} for each in ("macs", "neuron_updates")],
})  # fmt: skip


@pytest.mark.parametrize("estimator", ["simple", "lemaire", "neuromc", "machine"])
def test_energies_of_ops_and_what_is_of_no_op_add_up(spiking, estimator):
    """What is charged for a whole neuron stands in a row of its own, and is of no op."""
    config = ON_MACHINE if estimator == "machine" else None
    whole = estimate(spiking, estimator, config)
    rows = dict(whole.by("op").select("op", "energy_pj").iter_rows())
    parts = [energy for op, energy in rows.items() if op in OF_NO_OP]
    assert len(parts) == 1
    for op in spiking.signatures["op"].unique().sort():
        try:
            part = estimate(spiking, estimator, config, where=f"op={op}")
        except TraceError:
            continue
        assert not set(OF_NO_OP) & set(part.by("op")["op"])
        parts.append(part.total_pj)
    assert sum(parts) == pytest.approx(whole.total_pj, rel=1e-12)
    assert max(parts) < whole.total_pj


@pytest.mark.parametrize("revision", REVISIONS)
def test_refuses_a_trace_without_statistics(tmp_path, revision):
    path = record(small().eval(), (torch.rand(2, 8),), tmp_path / "trace", statistics="none")
    with pytest.raises(TraceError, match="was not measured"):
        estimate_lemaire(open_trace(path), revision=revision)


def test_refuses_a_revision_that_does_not_exist(spiking):
    with pytest.raises(ConfigError, match="unknown revision 'paper' of lemaire"):
        estimate_lemaire(spiking, revision="paper")


def test_batch_and_steps_that_the_trace_does_not_know(tmp_path):
    """[T, N, C] without a neuron that tells: 4 steps of 2 samples, or 8 rows that say nothing."""
    model = nn.Sequential(nn.Linear(8, 5)).eval()
    x = (torch.rand(4, 2, 8) < 0.5).float()
    with torch.no_grad(), Recorder(tmp_path / "trace", model=model, batch_dim=None):
        model(x)
    trace = open_trace(tmp_path / "trace")
    report = estimate_lemaire(trace, batch=2, time_steps=4)
    assert (report.samples, report.batch, report.time_steps) == (2, 2, 4)
    assert report.details["buffer_sizes_bytes"]["inout_buffer_bytes"] == 8 * 4
    with pytest.raises(TraceError, match="give batch and time_steps"):
        estimate_lemaire(trace, batch=3, time_steps=7)


def test_rows_add_up_and_tell_where(spiking):
    report = estimate_lemaire(spiking)
    assert report.rows["energy_pj"].sum() == pytest.approx(report.total_pj, rel=1e-12)
    for keys in (("module",), ("stage",), ("op",), ("label",), ("step",), ("component",)):
        energies = report.by(*keys, exclusive=True)["energy_pj"]
        assert energies.sum() == pytest.approx(report.total_pj, rel=1e-12)
    columns = ["module", "stage", "op", "label", "step", "component"]
    assert report.rows.select(columns).is_duplicated().sum() == 0
    parts = dict(report.by("component").select("component", "energy_pj").rows())
    assert parts == pytest.approx(
        {name: report.breakdown_pj[f"{name}_pj"] for name in parts}, rel=1e-12
    )


@pytest.mark.parametrize("revision", REVISIONS)
def test_other_prices_need_no_trace(spiking, revision):
    report = estimate_lemaire(spiking, revision=revision)
    price = prices_of(report)
    for config in (
        LemaireConfig(),
        LemaireConfig(e_add_pj=0.7, e_mul_pj=1.3),
        LemaireConfig(word_bits=8, memory="piecewise"),
        LemaireConfig(memory_breakpoints=((0, 1), (64, 2), (512, 3), (1024, 9))),
    ):
        direct = estimate_lemaire(spiking, config, revision=revision)
        again = price(config)
        assert again.pop("total_pj") == pytest.approx(direct.total_pj, rel=1e-12)
        assert again == pytest.approx(direct.breakdown_pj, rel=1e-12)


def test_structural_fields_are_fields():
    assert set(LemaireConfig.model_fields) >= STRUCTURAL


def test_long_runs_tell_steps_on_request(spiking, tmp_path, monkeypatch):
    from opjoule.analyzers.energy.lemaire import report as lemaire_report

    model = small().eval()
    with torch.no_grad(), Recorder(tmp_path / "trace", model=model) as recorder:
        for _ in range(5):
            model(torch.rand(2, 8) * 3)
            model[1].reset()
            recorder.step()
    trace = open_trace(tmp_path / "trace")
    wanted = estimate_lemaire(trace)
    assert wanted.rows["step"].n_unique() == 5
    monkeypatch.setattr(lemaire_report, "MOST_STEPS", 4)
    report = estimate_lemaire(trace)
    assert report.rows["step"].null_count() == report.rows.height
    assert report.total_pj == pytest.approx(wanted.total_pj, rel=1e-12)
    assert report.by("step").sort("step")["energy_pj"].to_list() == pytest.approx(
        wanted.by("step").sort("step")["energy_pj"].to_list(), rel=1e-12
    )
