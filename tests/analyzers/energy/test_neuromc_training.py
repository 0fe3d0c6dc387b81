"""NeuroMC on training: online learning, pauses, optimizers, and what it does not cover there."""

from __future__ import annotations

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy.neuromc.actions import operations_of  # noqa: E402
from opjoule.analyzers.energy.neuromc.fragments import Fragment, Loops  # noqa: E402
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc  # noqa: E402
from opjoule.analyzers.energy.neuromc.traffic import extra_moves  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402
from opjoule.schemas.costs import NeuroMCConfig, NeuroMCStage  # noqa: E402
from opjoule.tracer import Recorder, record  # noqa: E402

READ, WRITE = 458.1830181 / 256, 375.0422185 / 256
"""A bit of the optimizer's memory, in pJ."""


def spiking():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), neuron.LIFNode(v_threshold=0.2), nn.Linear(6, 3))


def online(path, optimizer_of, steps=3, pause=False):
    """Record online learning: forward, backward and optimizer at every time step."""
    model = spiking()
    optimizer = optimizer_of(model.parameters())
    with Recorder(path, model=model) as recorder:
        for t in range(steps):
            optimizer.zero_grad()
            with recorder.label(f"t{t}"):
                output = model(torch.rand(4, 8))
            if pause:
                with recorder.suspend():
                    loss = F.mse_loss(output, torch.zeros(4, 3))
            else:
                loss = F.mse_loss(output, torch.zeros(4, 3))
            with recorder.label(f"t{t} backward"):
                loss.backward()
            with recorder.label(f"t{t} update"):
                optimizer.step()
            functional.detach_net(model)
            recorder.step()
    return open_trace(path)


def test_online_learning_by_stage_and_step(tmp_path):
    """Forward 4·(48 + 18) MACs a step, backward 4·48 and 2 · 4·18, and one optimizer fragment."""
    trace = online(tmp_path / "trace", lambda p: torch.optim.Adam(p))
    names = [f"t{t}{what}" for t in range(3) for what in ("", " backward", " update")]
    config = NeuroMCConfig(stages={name: NeuroMCStage() for name in names})
    report = estimate_neuromc(trace, config, strict=True)
    assert set(report.details["energy_by_stage"]) == set(names)
    macs = report.rows.filter(component="mac").group_by("label").agg(pl.col("amount").sum())
    wanted = {f"t{t}": 4 * (48 + 18) for t in range(3)}
    wanted |= {f"t{t} backward": 4 * 48 + 2 * 4 * 18 for t in range(3)}
    assert dict(macs.iter_rows()) == wanted
    assert report.by("step")["energy_pj"].len() == 3
    assert report.rows.filter(op="adam")["label"].unique().sort().to_list() == names[2::3]
    # Membrane potentials go on: one backward of the neuron a step.
    gradients = report.rows.filter(op="soma.backward", component="extra_compute")
    assert gradients["fragments"].to_list() == [1, 1, 1]


def test_a_pause_for_the_loss_changes_nothing(tmp_path):
    """Values have new numbers after it; gradients are still told apart."""
    plain = estimate_neuromc(online(tmp_path / "a", lambda p: torch.optim.SGD(p, lr=0.1)))
    paused = estimate_neuromc(
        online(tmp_path / "b", lambda p: torch.optim.SGD(p, lr=0.1), pause=True)
    )
    assert paused.total_pj == pytest.approx(plain.total_pj, rel=1e-12)
    assert paused.details["energy_by_op"] == pytest.approx(plain.details["energy_by_op"])
    assert not any("were not recorded" in text for text in paused.warnings)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_by_hand(tmp_path, momentum, decay):
    """n = 8·6 + 6 + 6·3 + 3 = 75 parameters of 32 bits, in three steps.

    Each step reads parameters and gradients and writes parameters; with momentum it writes the
    buffer, and from the second step on reads it. Additions and products: n each, again for weight
    decay, and again for momentum once the buffer exists.
    """
    trace = online(
        tmp_path / "trace",
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=momentum, weight_decay=decay),
    )
    report = estimate_neuromc(trace)
    n, held = 75, 2 if momentum else 0
    rows = report.rows.filter(op="sgd")
    reads, writes = 3 * 2 + held, 3 * (1 + bool(momentum))
    memory = rows.filter(component="extra_memory")["energy_pj"].sum()
    assert memory == pytest.approx(32 * n * (reads * READ + writes * WRITE), rel=1e-12)
    times = 3 * (1 + bool(decay)) + held
    compute = rows.filter(component="extra_compute")["energy_pj"].sum()
    assert compute == pytest.approx(times * n * (0.548 + 0.812), rel=1e-12)


def test_adam_by_hand(tmp_path):
    """v = 6 + 3 elements of 1-d parameters, m = 48 + 18 of the others, in one step.

    Operations: 8v + 4m additions, 22v + 11m products, 2v + m roots. Elements read: y, b, dy, db and
    eight moments of v each, w, dw and four of m; written: the moments and the updated parameters.
    Registers once at each.
    """
    report = estimate_neuromc(online(tmp_path / "trace", lambda p: torch.optim.AdamW(p), steps=1))
    v, m, r32 = 9, 66, 2 * 0.14416 / 7.1 * 2
    rows = report.rows.filter(op="adamw")
    compute = (8 * v + 4 * m) * 0.548 + (22 * v + 11 * m) * 0.812 + (2 * v + m) * 0.514
    found = rows.filter(component="extra_compute")["energy_pj"].sum()
    assert found == pytest.approx(compute, rel=1e-12)
    reads, writes = 12 * v + 6 * m, 10 * v + 5 * m
    memory = reads * (32 * READ + r32) + writes * (32 * WRITE + r32)
    found = rows.filter(component="extra_memory")["energy_pj"].sum()
    assert found == pytest.approx(memory, rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (lambda p: torch.optim.RMSprop(p), "optimizer RMSprop"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "nesterov=True"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5), "dampening=0.5"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "SGD with maximize=True"),
        (lambda p: torch.optim.Adam(p, maximize=True), "Adam with maximize=True"),
        (lambda p: torch.optim.Adam(p, amsgrad=True), "Adam with amsgrad=True"),
        (lambda p: torch.optim.Adam(p, weight_decay=0.1), "Adam with weight_decay=0.1"),
        (lambda p: torch.optim.AdamW(p, amsgrad=True), "AdamW with amsgrad=True"),
        (
            lambda p: torch.optim.AdamW(p, amsgrad=True, maximize=True),
            "AdamW with amsgrad=True, maximize=True",
        ),
    ],
)
def test_other_optimizers_are_named(tmp_path, optimizer, name):
    trace = online(tmp_path / "trace", optimizer, steps=2)
    with pytest.raises(TraceError, match=name):
        estimate_neuromc(trace, strict=True)
    report = estimate_neuromc(trace)
    (row,) = report.left_out.filter(pl.col("what").str.contains(name, literal=True)).rows()
    assert row[1:] == (2, 0, 0.0)
    assert "optimizer" not in report.details["energy_by_stage"]
    assert sum(name in text and "left out" in text for text in report.warnings) == 1


def test_groups_of_an_optimizer_are_left_out_one_by_one(tmp_path):
    """Weights decay, biases do not: Adam is charged for the 6 + 3 biases alone."""

    def made(parameters):
        weights, biases = [], []
        for each in parameters:
            (weights if each.dim() > 1 else biases).append(each)
        decayed = {"params": weights, "weight_decay": 0.1}
        return torch.optim.Adam([decayed, {"params": biases}])

    report = estimate_neuromc(online(tmp_path / "trace", made, steps=1))
    rows = report.rows.filter(op="adam", component="extra_compute")
    assert rows["energy_pj"].sum() == pytest.approx(
        9 * (8 * 0.548 + 22 * 0.812 + 2 * 0.514), rel=1e-12
    )
    assert "optimizer Adam with weight_decay=0.1" in report.left_out["what"].to_list()


def test_adamw_is_charged_with_its_decay_which_has_no_term(tmp_path):
    """One formula is of both; what is for the decay is said, and only where weights decay."""
    makes = {
        "adam": lambda p: torch.optim.Adam(p),
        "adamw": lambda p: torch.optim.AdamW(p),
        "still": lambda p: torch.optim.AdamW(p, weight_decay=0),
    }
    found = {
        name: estimate_neuromc(online(tmp_path / name, make, steps=1), strict=False)
        for name, make in makes.items()
    }
    totals = [report.details["energy_by_stage"]["optimizer"] for report in found.values()]
    assert totals[0] == totals[1] == totals[2]
    said = {name for name, report in found.items() if any(map(_of_decay, report.warnings))}
    assert said == {"adamw"}


def _of_decay(text):
    return text == "AdamW is charged as Adam is: no term is for its weight decay"


@pytest.mark.parametrize("revision", ["spikingjelly-2.0", "spikingjelly-2026-08"])
def test_spikingjelly_charges_adam_whatever_its_options_are(tmp_path, revision):
    """Under strict it refuses what SpikingJelly refuses: options of SGD, and none of Adam."""

    def optimizer_pj(name, **options):
        trace = online(tmp_path / name, lambda p: torch.optim.Adam(p, **options), steps=1)
        report = estimate_neuromc(trace, revision=revision)
        assert not any("optimizer" in text for text in report.warnings)
        return report.details["energy_by_stage"]["optimizer"]

    assert optimizer_pj("plain") == optimizer_pj("more", amsgrad=True, weight_decay=0.1) > 0


def test_networks_without_spikes_and_mixed_ones(tmp_path):
    """Formal layers run on dense cores; behind a neuron, spiking ones."""
    model = nn.Sequential(
        nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), neuron.IFNode(), nn.Linear(6, 3)
    )
    path = record(
        model, torch.rand(4, 8), tmp_path / "trace",
        loss_fn=F.cross_entropy, target=torch.tensor([0, 1, 2, 0]),
    )  # fmt: skip
    trace = open_trace(path)
    report = estimate_neuromc(trace)
    cores = report.details["counts_by_core_type"]
    assert {core: by["mac"] for core, by in cores.items() if by["mac"]} == {
        "ann_fe": 4 * (48 + 36),
        "fp_soma": 4 * 18,
        "ann_be": 4 * 36,
        "ann_we": 4 * (48 + 36),
        "bp_grad": 4 * 18,
        "wg": 4 * 18,
    }
    # ReLU is left out; the loss is not modelled.
    names = report.left_out["what"].to_list()
    assert names == ["aten.relu.default", "aten.threshold_backward.default"]
    assert any("aten._log_softmax.default" in text for text in report.warnings)


def test_shares_of_what_is_left_out(tmp_path):
    """Linear 8 -> 8 on 4 rows: 256 MACs; a 3-d convolution 2 -> 3 with 8 taps at one place: 48."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.volume = nn.Linear(8, 8), nn.Conv3d(2, 3, 2)

        def forward(self, x, v):
            return self.fc(x), self.volume(v)

    path = record(Both(), (torch.rand(4, 8), torch.rand(1, 2, 2, 2, 2)), tmp_path / "trace")
    report = estimate_neuromc(open_trace(path))
    assert report.left_out.rows() == [
        ("aten.convolution.default (3-d)", 1, 48, pytest.approx(48 / (256 + 48)))
    ]
    assert report.account.charged_macs == 256
    assert report.coverage.startswith("84.2% of the MACs")


def test_single_and_multi_step_networks_cost_the_same_but_for_batch_norm(tmp_path):
    """Weights read for each sample and step; batch norm has one set of statistics a step there."""
    totals = []
    for mode in "sm":
        torch.manual_seed(0)
        model = nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(), layer.Flatten(), layer.Linear(64, 3)
        ).eval()
        functional.set_step_mode(model, mode)
        x = torch.rand(3, 2, 2, 4, 4)
        with Recorder(tmp_path / mode, model=model), torch.no_grad():
            model(x) if mode == "m" else [model(each) for each in x]
        config = NeuroMCConfig(weight_reads="sample")
        totals.append(estimate_neuromc(open_trace(tmp_path / mode), config).total_pj)
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_batch_norm_by_hand():
    """o = 36·20·2·5 values, 20 channels in 5 steps: as in the golden case active_multi_step."""
    forward = Fragment(
        op="bn.forward", stage="s", phase="forward", core="ann_bn", process="with_bn",
        loops=Loops(batch=2, steps=5, c=20, k=20, oy=36),
    )  # fmt: skip
    assert operations_of(forward) == {
        "add": 3 * 7200 + 2 * 100, "mul": 3 * 7200 + 4 * 100, "sqrt": 100,
    }  # fmt: skip
    moved = {"rh2l": 0, "wl2h": 0}
    for move in extra_moves(forward):
        if move.level == "sram":
            moved[move.direction] += move.elements
    # Read: mean twice, variance, root, y, b once a channel and step, n and xi once a value.
    assert moved == {"rh2l": 6 * 100 + 2 * 7200, "wl2h": 3 * 100 + 2 * 7200}
