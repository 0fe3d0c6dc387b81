"""NeuroMC by SpikingJelly's names: figures, refusals, stages by hand beside SpikingJelly's own."""

from __future__ import annotations

import re
import warnings
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from opjoule import op_counter, record
from opjoule.schemas import ConfigError, RecordError, TraceError

RELEASE, TUTORIAL = "spikingjelly-2.0", "spikingjelly-2026-08"


def same(mine, theirs, path=""):
    """Assert that two trees of plain data are equal, floats to 1e-9."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), path
        for key, value in theirs.items():
            same(mine[key], value, f"{path}.{key}")
    elif isinstance(theirs, float):
        assert mine == pytest.approx(theirs, rel=1e-9), path
    elif isinstance(theirs, list) and theirs and not isinstance(theirs[0], str):
        assert len(mine) == len(theirs), path
        for place, value in enumerate(theirs):
            same(mine[place], value, f"{path}.{place}")
    else:
        assert mine == theirs, path


def estimated(case, **options):
    """Estimate a case as the golden figures were made."""
    if case.train:
        options |= {"target": case.target, "loss_fn": case.loss_fn, "optimizer": case.optimizer}
    return op_counter.estimate_neuromc_runtime_energy(case.model, case.inputs, **options)


@pytest.mark.parametrize("name", [RELEASE, TUTORIAL])
def test_equals_golden(name, case_name, build, golden, revision):
    revision(name)
    energies = golden[name][case_name]["energies"]
    theirs = energies.get("neuromc-forward") or energies["neuromc-train"]
    case = build(case_name)
    if "refused" in theirs:
        # "... does not support these aten ops: aten.max_pool2d_with_indices.default (calls=1)"
        said = theirs["refused"].partition("aten ops: ")[2].split(" (calls")[0]
        said = said or "aten.convolution.default (3-d)"  # "... does not support nn.Conv3d yet."
        with pytest.raises(TraceError, match=re.escape(said)):
            estimated(case)
        return
    report = estimated(case)
    for field, value in theirs.items():
        same(getattr(report, field), value, field)
    assert report.revision == name


def test_parameters_and_gradients_stay_as_they_are(build):
    case = build("train_snn_adamw")
    before = [p.detach().clone() for p in case.model.parameters()]
    held = [torch.ones_like(p) for p in case.model.parameters()]
    for parameter, gradient in zip(case.model.parameters(), held, strict=True):
        parameter.grad = gradient
    estimated(case)
    for parameter, value, gradient in zip(case.model.parameters(), before, held, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is gradient
        assert torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("name", ["tutorial_snn", "two_convs"])
def test_a_trace_gives_what_the_model_gives(name, build, golden, tmp_path):
    case = build(name)
    path = record(case.model, case.inputs, tmp_path / "t", grad=True)
    report = op_counter.estimate_neuromc_runtime_energy(path)
    theirs = golden[RELEASE][name]["energies"]["neuromc-forward"]
    for field, value in theirs.items():
        same(getattr(report, field), value, field)
    with pytest.raises(RecordError, match="a trace holds what was run: leave loss_fn"):
        op_counter.estimate_neuromc_runtime_energy(path, loss_fn=F.mse_loss)


def spiking():
    from spikingjelly.activation_based import neuron

    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        neuron.IFNode(v_threshold=0.2),
        nn.Flatten(),
        nn.Linear(4 * 36, 5),
    )


def staged(module, model, optimizer):
    """Profile an online step of two time steps, stage by stage."""
    from spikingjelly.activation_based import functional

    functional.reset_net(model)
    torch.manual_seed(2)
    x, target = torch.rand(2, 3, 2, 6, 6), torch.rand(3, 5)
    profiler = module.NeuroMCEnergyProfiler()
    profiler.bind_model(model)
    profiler.bind_optimizer(optimizer)
    optimizer.zero_grad(set_to_none=True)
    with profiler:
        for t in range(2):
            with profiler.stage(f"step {t}", phase="forward", reuse_weights=t > 0):
                output = model(x[t])
            with profiler.suspend():
                loss = F.mse_loss(output, target)
            with profiler.stage(f"back {t}", phase="backward", batch_norm_backward=t > 0):
                loss.backward()
            with profiler.stage(f"update {t}", phase="optimizer"):
                profiler.record_optimizer_step(f"update {t}")
            functional.detach_net(model)
    return profiler


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p),
        lambda p: torch.optim.AdamW(p),
    ],
)
def test_stages_by_hand_beside_spikingjelly(make, original):
    mine = staged(op_counter, model := spiking(), make(model.parameters()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, at SpikingJelly's hooks
        theirs = staged(original, model := spiking(), make(model.parameters()))
    report, wanted = mine.get_report(), asdict(theirs.get_report())
    for field in wanted.keys() - {"model_info", "memory_config", "warnings"}:
        same(getattr(report, field), wanted[field], field)
    assert set(report.energy_by_stage) == {
        f"{what} {t}" for what in ("step", "back", "update") for t in range(2)
    }
    assert mine.get_total() == pytest.approx(theirs.get_total(), rel=1e-9)
    same(mine.get_counts(), theirs.get_counts())


def test_what_is_suspended_costs_nothing():
    layer, x = nn.Linear(8, 4, bias=False), torch.rand(2, 8)
    totals = []
    for suspended in (False, True):
        profiler = op_counter.NeuroMCEnergyProfiler()
        profiler.bind_model(layer)
        with profiler:
            layer(x)
            if suspended:
                with profiler.suspend():
                    layer(x)
        totals.append(profiler.get_total())
    assert totals[0] == totals[1] > 0


def test_the_report_may_be_read_inside_the_context():
    layer, x = nn.Linear(8, 4, bias=False), torch.rand(2, 8)
    profiler = op_counter.NeuroMCEnergyProfiler()
    profiler.bind_model(layer)
    with profiler:
        layer(x)
        once = profiler.get_report()
        layer(x)
        twice = profiler.get_report()
    # MACs of one call: 2 * 8 * 4 = 64
    assert once.primitive_counts["totals"]["mac"] == 64
    assert twice.primitive_counts["totals"]["mac"] == 128
    assert profiler.get_report() == twice


def test_use_out_of_order_is_refused():
    layer = nn.Linear(8, 4, bias=False)
    profiler = op_counter.NeuroMCEnergyProfiler()
    with pytest.raises(RecordError, match=r"call bind_model\(model\) before entering it"):
        profiler.__enter__()
    profiler.bind_model(layer)
    with pytest.raises(RecordError, match="has profiled nothing"):
        profiler.get_report()
    with pytest.raises(RecordError, match="stage: enter the NeuroMCEnergyProfiler first"):
        profiler.stage("a").__enter__()
    with pytest.raises(RecordError, match="record_optimizer_step: enter"):
        profiler.record_optimizer_step()
    x = torch.rand(1, 8)
    with profiler:
        layer(x)
        with pytest.raises(RecordError, match=r"call bind_optimizer\(optimizer\) before"):
            profiler.record_optimizer_step()
        with profiler.stage("a"), pytest.raises(RecordError, match="inside another stage"):
            profiler.stage("b").__enter__()
        with pytest.raises(ConfigError, match="phase = 'sideways': choose from forward, backward"):
            profiler.stage("c", phase="sideways").__enter__()
        with pytest.raises(ConfigError, match="stage 'a' had other options before"):
            profiler.stage("a", reuse_weights=True).__enter__()
        with pytest.raises(RecordError, match="is entered already"):
            profiler.__enter__()


def test_an_optimizer_without_a_loss_is_refused():
    layer = nn.Linear(8, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(RecordError, match="optimizer needs loss_fn"):
        op_counter.estimate_neuromc_runtime_energy(layer, torch.rand(1, 8), optimizer=optimizer)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "nesterov"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5), "dampening"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize"),
        (lambda p: torch.optim.RMSprop(p), "RMSprop"),
    ],
)
def test_optimizers_outside_the_model_are_refused_by_name(make, said):
    layer = nn.Linear(8, 4)
    with pytest.raises(TraceError, match=said):
        op_counter.estimate_neuromc_runtime_energy(
            layer, torch.rand(2, 8), target=torch.rand(2, 4), loss_fn=F.mse_loss,
            optimizer=make(layer.parameters()),
        )  # fmt: skip


def test_a_refusal_comes_with_the_report(original):
    """What is not supported does not disturb the run; here it names the model."""
    layer, x = nn.Sequential(nn.Linear(8, 4), nn.Softmax(1)), torch.rand(2, 8)
    for module in (op_counter, original):
        profiler = module.NeuroMCEnergyProfiler()
        profiler.bind_model(layer)
        with profiler:
            layer(x)
        with pytest.raises((TraceError, ValueError), match=r"aten\._softmax\.default"):
            profiler.get_report()
    with pytest.raises(TraceError, match=r"^Sequential: NeuroMC has no fragment"):
        op_counter.estimate_neuromc_runtime_energy(layer, x)


def test_without_strict_the_part_that_is_covered_is_estimated(build):
    case = build("norm_pool_mlp_eval")
    report = estimated(case, strict=False)
    assert report.energy_total_pj > 0
    assert any("max_pool2d_with_indices" in text for text in report.warnings)


def test_the_hardware_is_spikingjellys(original):
    mine, theirs = op_counter.MemoryHierarchyConfig(), original.MemoryHierarchyConfig()
    assert asdict(mine) == asdict(theirs)


def test_a_memory_of_ones_own_is_priced(original):
    layer, x = nn.Linear(8, 4, bias=False).eval(), torch.rand(2, 8)
    totals = []
    for module in (op_counter, original):
        config = module.MemoryHierarchyConfig()
        for name, spec in list(config.memory_instances.items()):
            if "conv_in_w" in name:
                config.memory_instances[name] = replace(spec, r_cost=3 * spec.r_cost)
        report = module.estimate_neuromc_runtime_energy(layer, x, memory_config=config)
        totals.append(report.energy_total_pj)
    plain = original.estimate_neuromc_runtime_energy(layer, x).energy_total_pj
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)
    assert totals[0] != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r_cost": -1.0}, "memories.reg_16b.read_pj = -1"),
        ({"w_bw": 0}, "memories.reg_16b.write_bits = 0"),
    ],
)
def test_a_memory_that_means_nothing_is_refused(change, said):
    config = op_counter.MemoryHierarchyConfig()
    config.memory_instances["reg_16b"] = replace(config.memory_instances["reg_16b"], **change)
    with pytest.raises(ConfigError, match=said):
        op_counter.estimate_neuromc_runtime_energy(
            nn.Linear(2, 2), torch.rand(1, 2), memory_config=config
        )
    del config.memory_instances["reg_16b"]
    with pytest.raises(ConfigError, match="lacks the memories reg_16b"):
        config.validate()
