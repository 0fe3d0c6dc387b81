"""The mode of a forward pass: of the whole pass, and every product is charged or left out."""

from __future__ import annotations

import json

import polars as pl
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule import Recorder, count, open_trace, report, table  # noqa: E402
from opjoule.analyzers.energy import estimate  # noqa: E402
from opjoule.analyzers.workload.inference import forward_part  # noqa: E402
from opjoule.analyzers.workload.kinds import kinds_of  # noqa: E402
from opjoule.analyzers.workload.samples import samples_of  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402

ESTIMATORS = ["compute", "simple", "lemaire", "machine.compute"]
"""Estimators of inference that charge Linear layers."""

MAC_PJ = 4.6


class Hidden(nn.Module):
    """Two layers of 8 x 8; eval() does not reach the second one, which a plain list holds."""

    def __init__(self):
        super().__init__()
        self.a, self.hid = nn.Linear(8, 8), [nn.Linear(8, 8)]

    def forward(self, x):
        return self.hid[0](self.a(x))


class Layered(nn.Module):
    """The same two layers, both registered."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(self.a(x))


class Losing(nn.Module):
    """A layer of 8 x 8, and a loss with a product of 4 x 8 by 8 x 4 that is made as it is called.

    A fresh module is in training mode, as BERT's inline CrossEntropyLoss is.
    """

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x):
        return Contrast()(self.a(x))


class Contrast(nn.Module):
    def forward(self, y):
        return (y @ y.t()).logsumexp(1).mean()


def partly(model, name, *, training):
    """Return a model in the other mode than one module of it."""
    model.train(not training).get_submodule(name).train(training)
    return model


MIXED = {
    "in a plain list": (lambda: Hidden().eval(), 2 * 4 * 64),
    "set by train()": (lambda: partly(Layered(), "b", training=True), 2 * 4 * 64),
    "a loss made as it is called": (lambda: Losing().eval(), 4 * 64 + 4 * 4 * 8),
    "a fresh wrapper": (lambda: nn.Sequential(Layered().eval()), 2 * 4 * 64),
}
"""Inferences with modules in training mode, and their dense MACs at a batch of 4."""


@pytest.fixture
def traced(tmp_path):
    """Return a function that records inferences of a model, without gradients."""

    def run(model, calls=1):
        with Recorder(tmp_path / "trace", model=model) as recorder, torch.no_grad():
            for _ in range(calls):
                model(torch.rand(4, 8))
        return open_trace(recorder.path)

    return run


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", MIXED)
def test_what_an_inference_runs_is_charged_in_whichever_mode_its_modules_are(
    name, estimator, traced
):
    """Charged and left out are all products; only Lemaire leaves one out, that of no layer."""
    make, macs = MIXED[name]
    trace = traced(make())
    account = estimate(trace, estimator).account
    assert count(trace).total["dense_macs"] == macs
    assert account.charged_macs + account.left_out_macs == macs
    apart = estimator == "lemaire" and name == "a loss made as it is called"
    assert account.left_out_macs == (4 * 4 * 8 if apart else 0)


@pytest.mark.parametrize("name", MIXED)
def test_counters_of_an_estimate_are_those_of_count(name, traced):
    trace = traced(MIXED[name][0]())
    counted, counts = count(trace).total, estimate(trace, "compute").counts
    assert (counts["mac"], counts["ac"]) == (counted["macs"], counted["acs"])
    assert table(trace, ["macs"], per="total").frame["macs"].to_list() == [counted["macs"]]


def test_two_hidden_layers_cost_their_macs(traced):
    """2 * 4 * 64 MACs at 4.6 pJ; half of it was charged, as if it were all."""
    found = estimate(traced(Hidden().eval()), "compute", strict=True)
    assert found.total_pj == pytest.approx(2 * 4 * 64 * MAC_PJ)
    assert found.samples == 4
    assert found.warnings == (
        "1 module ran in training mode inside a model in eval mode and is charged (model.eval() "
        "does not reach a module in a plain list): Hidden.hid.0",
    )


def test_norms_that_do_other_work_in_training_mode_are_named(traced):
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout()).eval()
    model[1].train()
    (text,) = [
        line for line in estimate(traced(model), "compute").warnings if "training mode" in line
    ]
    assert text.endswith(": Sequential.1; in eval mode Sequential.1 would do other work")


def test_a_loss_in_training_mode_is_named_by_nothing(traced):
    """Nobody sets the mode of a loss."""
    assert not estimate(traced(Losing().eval()), "compute").warnings


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "spikesim"])
def test_a_part_in_eval_mode_of_a_training_pass_is_no_inference(estimator, traced):
    trace = traced(partly(Layered(), "b", training=False))
    with pytest.raises(TraceError, match=r"ran in training mode: call model\.eval\(\)"):
        estimate(trace, estimator)
    found = table(trace, ["macs"], per="total")
    assert found.frame["macs"].to_list() == [2 * 4 * 64]
    assert any("its forward passes ran in training mode" in line for line in found.footnotes)


@pytest.fixture
def both(tmp_path):
    """Return a trace of two training passes, with a frozen layer in one, and one inference.

    Each has 2 * 4 * 64 MACs in layers, and a product of 4 x 8 by 8 x 4 outside every module.
    """
    model = Layered()
    with Recorder(tmp_path / "both", model=model) as recorder, torch.no_grad():
        for mode in ("train", "frozen", "eval"):
            model.train(mode != "eval")
            if mode == "frozen":
                model.b.eval()
            y = model(torch.rand(4, 8))
            _ = y @ y.t()
            recorder.sample()
    return open_trace(recorder.path)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_passes_in_training_mode_are_left_out_by_name(estimator, both):
    """A third of the products is the inference; what its own product outside is, differs."""
    each = 2 * 4 * 64 + 4 * 4 * 8
    found = estimate(both, estimator)
    left = found.left_out.filter(what="passes in training mode (Layered.a, Layered.b, no module)")
    assert left.select("calls", "macs").rows() == [(6, 2 * each)]
    account = found.account
    assert account.charged_macs + account.left_out_macs == 3 * each
    assert account.share < 0.34
    assert found.samples == 4
    assert any("are no inference and left out: call model.eval()" in t for t in found.warnings)
    with pytest.raises(TraceError, match=r"\(strict\)"):
        estimate(both, estimator, strict=True)


def test_tables_say_that_they_leave_out_training(both):
    found = table(both, ["macs"], per="total")
    assert found.frame["macs"].to_list() == [2 * 4 * 64 + 4 * 4 * 8]
    assert any("passes in training mode (Layered.a, " in line for line in found.footnotes)


def test_calls_of_a_part_are_the_same_by_sums_and_one_by_one(both):
    """What tells the mode is not the flag of a module: b is in eval mode in a training pass too."""
    part = forward_part(both, eval_only=True)
    alone = part.with_tables(calls=part.calls)
    assert (alone.conditions, part.kept(kinds_of(both)) is None) == (None, False)
    for each in (part, alone):
        assert count(each).total["dense_macs"] == 2 * 4 * 64 + 4 * 4 * 8
    assert set(kinds_of(part).rows()) == set(kinds_of(alone).rows())


def test_samples_in_eval_mode_are_told_by_their_passes(both):
    assert samples_of(both).evaluated == 4


def test_a_loss_follows_the_model_of_its_sample(tmp_path):
    """A loss that is called by itself is in training mode, as everybody leaves it."""
    model, loss = nn.Linear(8, 8).eval(), Contrast()
    with Recorder(tmp_path / "trace") as recorder, torch.no_grad():
        loss(model(torch.rand(4, 8)))
    found = estimate(open_trace(recorder.path), "compute", strict=True)
    assert found.account.charged_macs == 4 * 64 + 4 * 4 * 8


def test_a_report_says_what_was_charged(traced):
    text = json.dumps(report(traced(Hidden().eval())).to_dict())
    assert text.count("ran in training mode inside a model in eval mode") >= 2


@pytest.fixture
def trained(tmp_path):
    """Two training steps of Linear(8, 8) with Adam at a batch of 4, and an evaluation of 4."""
    model = nn.Linear(8, 8, bias=False)
    optimizer = torch.optim.Adam(model.parameters())

    def evaluate():
        with torch.no_grad():
            model.eval()(torch.rand(4, 8)).argmax(1)

    with Recorder(tmp_path / "trained", model=model) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.mse_loss(model.train()(torch.rand(4, 8)), torch.zeros(4, 8)).backward()
            optimizer.step()
        evaluate()
    with Recorder(tmp_path / "alone", model=model) as alone:
        evaluate()
    return open_trace(recorder.path), open_trace(alone.path)


def test_what_an_optimizer_does_is_training(trained):
    """Neither filter keeps what has no mode. 64 parameters: a MAC for each and each sample."""
    trace, _ = trained
    whole = dict(count(trace, by="stage").frame.select("stage", "calls").iter_rows())
    training, inference = (count(trace, by="stage", where=f"training={t}") for t in TRUTH)
    assert whole["optimizer"] > 0
    of_training = dict(training.frame.select("stage", "calls").iter_rows())
    assert of_training["optimizer"] == whole["optimizer"]
    assert inference.frame["stage"].to_list() == ["forward"]
    assert training.total["dense_macs"] == 2 * 2 * 4 * 64  # forward, and the weights' gradients
    assert inference.total["dense_macs"] == 4 * 64
    ops = trace.signatures.select("signature_id", "packet").lazy()
    kept = [trace.where(f"training={t}").calls.select("seq") for t in TRUTH]
    others = trace.calls.join(pl.concat(kept), on="seq", how="anti").join(ops, on="signature_id")
    losses = {"aten.mse_loss", "aten.mse_loss_backward", "aten.ones_like", "aten.zeros"}
    assert set(others.collect()["packet"]) == {
        *losses, "aten.rand", "aten.argmax", "aten.detach"  # the last: gradients to parameters
    }  # fmt: skip


def test_an_evaluation_pays_for_no_optimizer(trained):
    """NeuroMC charges nothing outside modules but optimizers: both parts are the whole."""
    trace, alone = trained
    training, inference = (estimate(trace, "neuromc", where=f"training={t}") for t in TRUTH)
    wanted = estimate(alone, "neuromc")
    assert inference.by("stage")["stage"].to_list() == ["forward"]
    assert inference.total_pj == pytest.approx(wanted.total_pj, rel=1e-12)
    assert inference.per_sample_pj == pytest.approx(wanted.total_pj / 4, rel=1e-12)
    assert sorted(training.by("stage")["stage"]) == ["backward", "forward", "optimizer"]
    total = training.total_pj + inference.total_pj
    assert total == pytest.approx(estimate(trace, "neuromc").total_pj, rel=1e-12)
    found = table(trace, ["energy.neuromc"], where="training=false")
    assert found.frame["energy.neuromc"][0] == pytest.approx(inference.per_sample_pj, rel=1e-12)


@pytest.mark.parametrize("where", ["op=aten.mse_loss.default", "op=aten.mse_loss*"])
def test_a_filter_does_not_make_training_an_inference(where, trained):
    """The loss goes with the call of the model before it, also where a filter leaves that out."""
    trace, _ = trained
    with pytest.raises(TraceError, match="ran in training mode under op="):
        estimate(trace, "compute", where=where)
    found = table(trace, ["macs", "acs"], where=where, per="total")
    assert any("its forward passes ran in training mode" in line for line in found.footnotes)


def test_energies_by_ops_add_up_to_the_whole(trained):
    """The linear layer of the evaluation is all of it: 4 * 64 MACs; the loss is training."""
    trace, _ = trained
    charged = {}
    for op in trace.signatures["op"].unique().sort():
        try:
            charged[op] = estimate(trace, "compute", where=f"op={op}").total_pj
        except TraceError as error:
            assert "training mode" in str(error) or "no forward pass" in str(error)
    assert charged["aten.mm.default"] == pytest.approx(4 * 64 * MAC_PJ)
    assert sum(charged.values()) == pytest.approx(estimate(trace, "compute").total_pj)


TRUTH = ("true", "false")
