"""SpikingJelly's estimators by its names: its figures, its refusals, models and traces alike."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from dataclasses import asdict

import pytest
import torch
from torch import nn

from opjoule import op_counter, open_trace, record
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


def fields(report, theirs):
    """Return a report's fields that a golden one has, warnings apart."""
    return {name: getattr(report, name) for name in theirs if name != "warnings"}


def figures(theirs):
    return {name: value for name, value in theirs.items() if name != "warnings"}


@pytest.fixture(scope="module")
def recorded(build, tmp_path_factory):
    """Return a function that records the inference of a case once, in eval mode."""
    folder, known = tmp_path_factory.mktemp("energy"), {}

    def trace(name):
        if name not in known:
            case = build(name)
            known[name] = record(case.model.eval(), case.inputs, folder / name)
        return known[name]

    return trace


@pytest.mark.parametrize("preset", ["fp32", "fp16", "int8"])
def test_compute_equals_golden(preset, case_name, build, golden):
    theirs = golden[TUTORIAL][case_name]["energies"][f"compute-{preset}"]
    case = build(case_name)
    costs = getattr(op_counter.ComputeEnergyCostConfig, preset)()
    config = op_counter.ComputeEnergyConfig(cost_config=costs)
    report = op_counter.estimate_compute_energy(case.model, case.inputs, config=config)
    same(fields(report, theirs), figures(theirs))
    assert report.warnings == theirs["warnings"]
    assert (report.revision, report.config) == (TUTORIAL, config)


def test_simple_equals_golden(case_name, build, golden):
    theirs = golden[RELEASE][case_name]["energies"]["simple"]
    case = build(case_name)
    report = op_counter.estimate_simple_energy(case.model, case.inputs)
    same(fields(report, theirs), figures(theirs))
    assert report.warnings == theirs["warnings"]
    assert report.revision == RELEASE


@pytest.mark.parametrize("name", [RELEASE, TUTORIAL])
def test_lemaire_equals_golden(name, case_name, build, golden, revision):
    from spikingjelly.activation_based.neuron import BaseNode

    revision(name)
    theirs = golden[name][case_name]["energies"]["lemaire"]
    case = build(case_name)
    if name == TUTORIAL and sum(isinstance(m, BaseNode) for m in case.model.modules()) > 1:
        pytest.skip("that figure counts the first neuron alone: an artefact of how it was made")
    config = op_counter.LemaireEnergyConfig(strict=False)
    report = op_counter.estimate_lemaire_energy(case.model, case.inputs, config=config)
    same(fields(report, theirs), figures(theirs))
    assert bool(report.warnings) == bool(theirs["warnings"])
    assert report.revision == name


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        (RELEASE, op_counter.estimate_spikesim_energy),
        (TUTORIAL, op_counter.estimate_spikesim_event_energy),
    ],
)
def test_spikesim_equals_golden(name, estimate, case_name, recorded, golden):
    energies = golden[name][case_name]["energies"]
    keys = [key for key in energies if key.startswith("spikesim")]
    assert len(keys) == 8
    # The estimator is compared by each of them elsewhere: here two a case, others in the next.
    for key in keys[list(golden[name]).index(case_name) % 4 :: 4]:
        theirs = energies[key]
        _, mode, device, size = key.split("-")
        config = op_counter.SpikeSimEnergyConfig(
            activity_mode=mode, device=device, xbar_size=int(size)
        )
        report = estimate(recorded(case_name), config=config, strict=False)
        same(fields(report, theirs), figures(theirs))
        assert bool(report.warnings) == bool(theirs["warnings"])
        assert report.revision == name


LEMAIRE = op_counter.LemaireEnergyConfig(strict=False)


@pytest.mark.parametrize(
    ("estimate", "options"),
    [
        (op_counter.estimate_compute_energy, {}),
        (op_counter.estimate_simple_energy, {}),
        (op_counter.estimate_lemaire_energy, {"config": LEMAIRE}),
        (op_counter.estimate_spikesim_energy, {"strict": False}),
        (op_counter.estimate_spikesim_event_energy, {"strict": False}),
    ],
)
@pytest.mark.parametrize("name", ["spiking_conv_variants", "single_step_lif"])
def test_a_trace_gives_what_the_model_gives(name, estimate, options, build, recorded):
    case = build(name)
    told = estimate(case.model.eval(), case.inputs, **options)
    for trace in (recorded(name), str(recorded(name)), open_trace(recorded(name))):
        read = estimate(trace, **options)
        assert asdict(read) | {"energy": None} == asdict(told) | {"energy": None}


def test_a_trace_is_costed_without_torch(recorded, golden):
    path = recorded("tutorial_snn")
    statement = (
        "import sys, json; sys.modules['torch'] = None; from opjoule import op_counter as o; "
        f"p = {str(path)!r}; "
        "print(json.dumps([o.estimate_compute_energy(p).energy_total_pj, "
        "o.estimate_simple_energy(p).energy_total_pj, o.estimate_lemaire_energy(p).total_pj]))"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    old, new = golden[RELEASE]["tutorial_snn"], golden[TUTORIAL]["tutorial_snn"]
    assert json.loads(done.stdout) == pytest.approx(
        [
            new["energies"]["compute-fp32"]["energy_total_pj"],
            old["energies"]["simple"]["energy_total_pj"],
            old["energies"]["lemaire"]["total_pj"],
        ],
        rel=1e-9,
    )


def test_inputs_as_users_have_them():
    # 2 * 4 * 8 = 64 MACs at 4.6 pJ
    layer, x = nn.Linear(8, 4, bias=False).eval(), torch.rand(2, 8)
    for inputs in (x, (x,), [x], {"input": x}):
        report = op_counter.estimate_compute_energy(layer, inputs)
        assert report.energy_total_pj == pytest.approx(294.4)


def test_inputs_go_with_a_model_and_only_with_one(recorded):
    with pytest.raises(RecordError, match="Linear is not a trace, so inputs are needed to run it"):
        op_counter.estimate_compute_energy(nn.Linear(2, 2))
    with pytest.raises(RecordError, match="a trace was recorded with its inputs: leave inputs out"):
        op_counter.estimate_compute_energy(recorded("dense_linear"), torch.rand(2, 8))


def test_an_error_of_the_model_comes_through():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        op_counter.estimate_simple_energy(nn.Linear(8, 4).eval(), torch.rand(2, 7))


def test_ignored_modules_are_not_charged():
    # 2 * 8 * 8 = 128 MACs of the first layer; the others are ignored, also below a Sequential
    class Block(nn.Sequential):
        pass

    model = nn.Sequential(nn.Linear(8, 8), Block(nn.Linear(8, 4), nn.Linear(4, 4))).eval()
    config = op_counter.ComputeEnergyConfig(extra_ignore_modules=[Block])
    report = op_counter.estimate_compute_energy(model, torch.rand(2, 8), config=config)
    assert report.counts["mac"] == 128
    simple = op_counter.SimpleEnergyConfig(extra_ignore_modules=[Block])
    counts = op_counter.estimate_simple_energy(model, torch.rand(2, 8), config=simple).counts
    assert (counts["mac"], counts["weight_read_bytes"]) == (128, 512)


def test_nothing_counted_is_a_warning_and_an_error_if_strict(original):
    x = torch.rand(2, 3)
    ours = op_counter.estimate_simple_energy(nn.ReLU().eval(), x)
    theirs = original.estimate_simple_energy(nn.ReLU().eval(), x)
    assert len(ours.warnings) == len(theirs.warnings) == 1
    for module, error in ((op_counter, TraceError), (original, RuntimeError)):
        config = module.SimpleEnergyConfig(strict=True)
        with pytest.raises(error):
            module.estimate_simple_energy(nn.ReLU().eval(), x, config=config)


def test_no_spikes_are_not_nothing(original):
    """SpikingJelly calls it nothing only if no op had a rule: zeros into a product had one."""
    layer, x = nn.Linear(3, 4, bias=False).eval(), torch.zeros(2, 3)
    for module in (op_counter, original):
        report = module.estimate_simple_energy(
            layer, x, config=module.SimpleEnergyConfig(strict=True)
        )
        assert (report.energy_total_pj, report.warnings) == (0.0, [])


def test_lemaires_strictness_is_the_revisions(build, revision, original):
    """2.0 refuses a batch norm unless it is told not to; August 2026 leaves it out."""
    case = build("norm_pool_mlp_eval")
    for module, error in ((op_counter, TraceError), (original, Exception)):
        with pytest.raises(error, match="BatchNorm2d"):
            module.estimate_lemaire_energy(case.model, case.inputs)
    revision(TUTORIAL)
    assert op_counter.estimate_lemaire_energy(case.model, case.inputs).total_pj > 0


def test_spikesim_in_training_mode(original):
    """Refused by default; without strict a warning comes first, and nothing is charged."""
    model, x = nn.Conv2d(2, 3, 3), torch.rand(1, 2, 5, 5)
    for module in (op_counter, original):
        with pytest.raises((TraceError, ValueError), match=r"call model\.eval\(\)"):
            module.estimate_spikesim_energy(model, x)
        report = module.estimate_spikesim_energy(model, x, strict=False)
        assert "call model.eval()" in report.warnings[0]
        assert report.energy_total_pj == 0


def test_spikesim_wants_if_or_lif(original):
    from spikingjelly.activation_based import neuron

    model = nn.Sequential(nn.Conv2d(2, 3, 3), neuron.QIFNode()).eval()
    x = torch.rand(1, 2, 5, 5)
    totals = []
    for module in (op_counter, original):
        with pytest.raises((TraceError, ValueError), match="QIFNode"):
            module.estimate_spikesim_energy(model, x)
        with pytest.raises((TraceError, ValueError), match="QIFNode"):
            module.estimate_spikesim_energy(model, x, strict=True)
        report = module.estimate_spikesim_energy(model, x, strict=False)
        assert any("QIFNode" in text for text in report.warnings)
        config = module.SpikeSimEnergyConfig(require_if_lif_neurons=False)
        totals.append(module.estimate_spikesim_energy(model, x, config=config).energy_total_pj)
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)


@pytest.mark.parametrize(("field", "value"), [("e_mac_pj", -1), ("e_ac_pj", float("nan"))])
def test_costs_that_mean_nothing_are_refused(field, value):
    """Where they are made, as SpikingJelly does, and where they are used: they can be changed."""
    with pytest.raises(ConfigError, match=f"{field} = {value}"):
        op_counter.ComputeEnergyCostConfig(**{field: value})
    config = op_counter.ComputeEnergyConfig()
    setattr(config.cost_config, field, value)
    with pytest.raises(ConfigError, match=f"{field} = {value}"):
        op_counter.estimate_compute_energy(nn.Linear(2, 2), torch.rand(1, 2), config=config)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"xbar_size": 0}, "xbar_size = 0"),
        ({"device": "flash"}, "device = 'flash'"),
        ({"adc_pj": -2.0}, "adc_pj = -2"),
    ],
)
def test_crossbars_that_mean_nothing_are_refused(options, said):
    config = op_counter.SpikeSimEnergyConfig(**options)
    model = nn.Conv2d(2, 3, 3).eval()
    with pytest.raises(ConfigError, match=said):
        op_counter.estimate_spikesim_energy(model, torch.rand(1, 2, 5, 5), config=config)


def test_lemaires_memory_cost(original):
    """Linear between four points: at 4 KiB half of 10/4, at 20 KiB between 10/4 and 20/4."""
    mine, theirs = op_counter.LemaireEnergyCostConfig(), original.LemaireEnergyCostConfig()
    assert mine.memory_cost_pj(4096) == pytest.approx(1.25)
    assert mine.memory_cost_pj(20480) == pytest.approx(3.75)
    for size in (0, 1, 4096, 8192, 20480, 32768, 500000, 1048576, 1 << 30):
        assert mine.memory_cost_pj(size) == pytest.approx(theirs.memory_cost_pj(size))
    falling = ((0.0, 0.0), (8192.0, 2.5), (4096.0, 5.0), (1048576.0, 25.0))
    with pytest.raises(ConfigError, match="increasing"):
        op_counter.LemaireEnergyCostConfig(memory_breakpoints=falling)


def test_what_lemaires_config_does_not_take_over_is_refused():
    with pytest.raises(ConfigError, match="Describe a neuron"):
        op_counter.LemaireEnergyConfig(extra_state_rules={nn.ReLU: len})
    with pytest.raises(ConfigError, match="enable_sparse_memory_estimation = False"):
        op_counter.LemaireEnergyConfig(enable_sparse_memory_estimation=False)


def test_the_source_is_asked_for_with_the_revision(revision):
    revision("source")
    layer, x = nn.Linear(8, 4, bias=False).eval(), torch.ones(2, 8)
    # All ones are no spikes by provenance: 64 MACs; SpikingJelly goes by the values: 64 ACs.
    report = op_counter.estimate_compute_energy(layer, x)
    assert (report.counts["mac"], report.counts["ac"]) == (64, 0)
    assert report.revision == "source"
    assert "SpikingJelly" not in report.note
    assert op_counter.estimate_simple_energy(layer, x).counts["mac"] == 64
    with pytest.raises(TraceError, match=r"call model\.eval\(\)"):
        op_counter.estimate_compute_energy(nn.Linear(8, 4), x)
    revision(RELEASE)
    report = op_counter.estimate_compute_energy(layer, x)
    assert (report.counts["mac"], report.counts["ac"]) == (0, 64)
    assert 'opjoule.op_counter.revision = "source"' in report.note
    assert report.note in report.statement()


def test_the_report_keeps_the_config_as_it_was():
    config = op_counter.ComputeEnergyConfig()
    report = op_counter.estimate_compute_energy(
        nn.Linear(8, 4, bias=False).eval(), torch.rand(2, 8), config=config
    )
    config.cost_config.e_mac_pj = 99.0
    assert report.config.cost_config.e_mac_pj == 4.6


def test_verbose_logs_what_was_counted(caplog):
    config = op_counter.ComputeEnergyConfig(verbose=True)
    with caplog.at_level(logging.INFO, "opjoule.op_counter"):
        op_counter.estimate_compute_energy(
            nn.Linear(8, 4, bias=False).eval(), torch.rand(2, 8), config=config
        )
    told = [entry.getMessage() for entry in caplog.records]
    assert told == [f"aten.mm.default in Linear: 64 MAC, {64 * 4.6} pJ"]


def test_names_and_defaults_are_spikingjellys(original):
    """Configs of names that 2.0 has: the same fields, in the same order, with the same defaults."""
    names = ("SimpleEnergyConfig", "SimpleEnergyCostConfig", "LemaireEnergyCostConfig",
             "SpikeSimEnergyConfig")  # fmt: skip
    for name in names:
        theirs = asdict(getattr(original, name)())
        assert list(asdict(getattr(op_counter, name)()).items()) == list(theirs.items()), name
    theirs = asdict(original.LemaireEnergyConfig())
    mine = asdict(op_counter.LemaireEnergyConfig())
    assert {name: mine[name] for name in theirs if name != "strict"} == {
        name: value for name, value in theirs.items() if name != "strict"
    }
    for preset in ("fp32", "fp16", "int8"):
        mine = getattr(op_counter.SimpleEnergyCostConfig, preset)()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert asdict(mine) == asdict(getattr(original.SimpleEnergyCostConfig, preset)())
