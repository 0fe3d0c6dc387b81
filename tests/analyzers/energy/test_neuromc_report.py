"""NeuroMC's reports: stages, sums, filters, what is left out, what is refused; a stored trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy.estimators import default_config, estimate
from opjoule.analyzers.energy.neuromc.energies import prices_of
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc
from opjoule.analyzers.energy.neuromc.run import read_off
from opjoule.analyzers.energy.report import KEYS
from opjoule.schemas import ConfigError, TraceError
from opjoule.schemas.costs import NeuroMCConfig, NeuroMCStage, changed, load_config

STORED = Path(__file__).resolve().parents[2] / "data" / "spiking-1"
REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")


@pytest.fixture(scope="module")
def stored():
    """Return a stored trace: inference and training step of conv, norm, IF, pool, linear, LIF."""
    return open_trace(STORED)


def test_a_stored_trace_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from opjoule.analyzers import open_trace\n"
        "from opjoule.analyzers.energy import estimate_neuromc\n"
        f"report = estimate_neuromc(open_trace({str(STORED)!r}))\n"
        "print(report.counts['mac'], sorted(report.details['energy_by_stage']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Forward twice: 6 images of 4·8·8 outputs with 9 taps of one channel are 13824, Linear 64 -> 5
    # six times 1920. Backward: the convolution's weights 13824, both gradients of the Linear 1920.
    assert done.stdout.split(maxsplit=1)[0] == str(3 * 13824 + 4 * 1920)
    assert "['backward', 'forward', 'optimizer']" in done.stdout


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_figure_adds_up(stored, revision):
    report = estimate(stored, "neuromc", revision=revision)
    assert report.revision == revision
    whole = report.total_pj
    assert report.rows["energy_pj"].sum() == pytest.approx(whole, rel=1e-12)
    for key in KEYS:
        assert report.by(key, exclusive=True)["energy_pj"].sum() == pytest.approx(whole, rel=1e-12)
    assert sum(report.breakdown_pj.values()) == pytest.approx(whole, rel=1e-12)
    told = report.details
    for field in ("stage", "op", "core_type", "process_key"):
        assert sum(told[f"energy_by_{field}"].values()) == pytest.approx(whole, rel=1e-12)
    compute, memory = told["energy_compute_pj"], told["energy_memory_pj"]
    assert compute + memory == pytest.approx(whole, rel=1e-12)
    levels = told["energy_by_memory_level_dir"].values()
    assert sum(sum(by.values()) for by in levels) == pytest.approx(memory, rel=1e-12)
    bits = report.rows.filter(pl.col("component").str.ends_with("memory"))["amount"].sum()
    assert sum(told["memory_bits_by_level"]["totals"].values()) == bits
    macs = report.rows.filter(component="mac")["amount"].sum()
    assert macs == report.counts["mac"] == told["primitive_counts"]["totals"]["mac"]
    ran = report.rows.group_by("module", "stage", "op", "label", "step").agg(
        pl.col("fragments").max()
    )
    assert ran["fragments"].sum() == report.counts["fragments"] == len(told["mapping_summary"])


@pytest.mark.parametrize("revision", REVISIONS)
def test_parts_of_a_run_add_up_to_it(stored, revision):
    """Filters cut a run apart; backward calls still find the forward products they come from."""
    whole = estimate_neuromc(stored, revision=revision)
    parts = [
        estimate_neuromc(stored, revision=revision, where=f"stage={stage}")
        for stage in ("forward", "backward", "optimizer")
    ]
    assert sum(part.total_pj for part in parts) == pytest.approx(whole.total_pj, rel=1e-12)
    assert [part.scope.stages for part in parts] == [("forward",), ("backward",), ("optimizer",)]
    labels = [
        estimate_neuromc(stored, revision=revision, where=f"label={label}").total_pj
        for label in ("inference", "training")
    ]
    assert sum(labels) == pytest.approx(whole.total_pj, rel=1e-12)


def test_other_prices_need_no_trace(stored):
    report = estimate_neuromc(stored)
    at = prices_of(report)
    config = changed(NeuroMCConfig(), {"e_mul_pj": 2.0, "memories.sram_6mb.read_bits": 64})
    again = estimate_neuromc(stored, config)
    found = at(config)
    assert found.pop("total_pj") == pytest.approx(again.total_pj, rel=1e-12)
    assert found == pytest.approx(again.breakdown_pj, rel=1e-12)
    assert again.total_pj > report.total_pj


def test_what_has_no_evidence_is_said(stored):
    report = estimate_neuromc(stored)
    (text,) = [text for text in report.warnings if "no external evidence" in text]
    assert text.startswith("batch norm, Adam: ")
    assert "no external evidence for batch norm, Adam" in report.statement()
    proven = estimate_neuromc(stored, where=["module=2", "label=training"])
    assert [text for text in proven.warnings if "of another kind" not in text] == []
    assert "evidence" not in proven.statement()


def test_training_and_evaluation_in_one_mean_are_said(stored):
    """One inference and one training step of three samples each."""
    report = estimate_neuromc(stored)
    (text,) = [text for text in report.warnings if "eval mode" in text]
    assert text.startswith("3 of 6 samples ran in eval mode: energies of one sample are of eval")
    parts = [estimate_neuromc(stored, where=f"label={name}") for name in ("inference", "training")]
    assert [part.samples for part in parts] == [3, 3]
    assert not [text for part in parts for text in part.warnings if "eval mode" in text]
    assert sum(part.total_pj for part in parts) == pytest.approx(report.total_pj, rel=1e-12)


def test_pooling_is_left_out_by_name_and_refused_under_strict(stored):
    report = estimate_neuromc(stored)
    assert report.left_out.select("what", "calls", "macs_share").rows() == [
        ("aten.max_pool2d_with_indices.default", 2, 0.0),
        ("aten.max_pool2d_with_indices_backward.default", 1, 0.0),
    ]
    with pytest.raises(TraceError, match=r"max_pool2d_with_indices\.default \(calls=2\)"):
        estimate_neuromc(stored, strict=True)
    # The loss is composed outside every module.
    assert any("are not modelled" in text and "pow" in text for text in report.warnings)


def test_nothing_to_charge_is_an_error(stored):
    with pytest.raises(TraceError, match="the filters leave none"):
        estimate_neuromc(stored.where("stage=recompute"))
    with pytest.raises(TraceError, match="max_pool2d_with_indices"):
        estimate_neuromc(stored, where=["module=3", "stage=forward"])
    with pytest.raises(ConfigError, match="unknown revision 'spikingjelly' of neuromc"):
        estimate_neuromc(stored, revision="spikingjelly")


def test_stages_are_the_user_s_where_declared(stored):
    plain = estimate_neuromc(stored)
    assert set(plain.details["energy_by_stage"]) == {"forward", "backward", "optimizer"}
    config = NeuroMCConfig(stages={"training": NeuroMCStage()})
    staged = estimate_neuromc(stored, config)
    assert set(staged.details["energy_by_stage"]) == {"forward", "training"}
    assert staged.total_pj == pytest.approx(plain.total_pj, rel=1e-12)
    named = estimate_neuromc(stored, NeuroMCConfig(stage_options="names"))
    assert set(named.details["energy_by_stage"]) == {"inference", "training"}


def test_source_grants_reused_weights_only_if_told(stored):
    """Reads of 2·(36 + 320) weights of 16 bits less: once in SRAM, twice in a register."""
    stages = {"inference": NeuroMCStage(reuse_weights=True)}
    plain = estimate_neuromc(stored).total_pj
    assert estimate_neuromc(stored, NeuroMCConfig(stages=stages)).total_pj == pytest.approx(plain)
    granted = NeuroMCConfig(stages=stages, weight_reuse="stages")
    each = 5.302477904 + 2 * 0.14416 / 7.1 * 2
    calls = {"conv.forward": 1, "linear.forward": 1}
    for op, number in calls.items():
        rows = estimate_neuromc(stored, where="label=inference").rows.filter(op=op)
        assert rows.filter(component="mac")["fragments"].sum() == number
    saved = (36 + 320) * each
    assert plain - estimate_neuromc(stored, granted).total_pj == pytest.approx(saved, rel=1e-9)
    small = changed(granted, {"capacity_bits.fp_conv_in_w": 36 * 16})  # the Linear's do not fit
    found = plain - estimate_neuromc(stored, small).total_pj
    assert found == pytest.approx(36 * each, rel=1e-9)


def test_batch_norm_s_backward_can_be_left_unmodelled(stored):
    """Its operations cost nothing then, its memory is charged all the same."""
    config = NeuroMCConfig(stages={"training": NeuroMCStage(batch_norm_backward=False)})
    on, off = estimate_neuromc(stored), estimate_neuromc(stored, config)
    ops = on.rows.filter(op="bn.backward", component="extra_compute")["energy_pj"].sum()
    # 2·3 images of 4·64 values, two steps in multi-step mode: 7c additions, 3c + 22CT products.
    c, each = 2 * 3 * 4 * 64, 4 * 2
    assert ops == pytest.approx(7 * c * 0.548 + (3 * c + 22 * each) * 0.812, rel=1e-12)
    assert on.total_pj - off.total_pj == pytest.approx(ops, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "phase", "batch", "step", "norm"),
    [
        ("forward", "forward", False, False, True),
        ("b0 t0 forward", "forward", False, False, True),
        ("b1_t0_forward", "forward", True, False, True),
        ("t3 Backward", "backward", False, True, True),
        ("backward_b2_t12_without_bp_bn", "backward", True, True, False),
        ("weight update t1", "optimizer", False, True, True),
        ("optimizer", "optimizer", False, False, True),
        ("block1 net2", "forward", False, False, True),
    ],
)
def test_options_read_off_a_name(name, phase, batch, step, norm):
    stage = read_off(name)
    assert (stage.name, stage.phase) == (name, phase)
    found = (stage.batch_reused, stage.step_reused, stage.norm_modelled)
    assert found == (batch, step, norm)


def test_revision_2026_08_reads_stages_off_their_names(tmp_path):
    """Linear 8 -> 4, batch 2, dense: at t1 its 32 weights (512 bits, they fit) are not read again.

    Once each in register and SRAM: 32·(0.14416/7.1·2 + 5.302477904) pJ less than at t0.
    """
    torch = pytest.importorskip("torch")
    from opjoule.tracer import Recorder

    model = torch.nn.Linear(8, 4)
    with Recorder(tmp_path / "trace", model=model) as recorder, torch.no_grad():
        for t in range(2):
            with recorder.label(f"forward t{t}"):
                model(torch.rand(2, 8))
    trace = open_trace(tmp_path / "trace")
    revision = "spikingjelly-2026-08"
    stages = {f"forward t{t}": NeuroMCStage() for t in range(2)}
    config = changed(default_config("neuromc", revision), {"stages": stages})
    by = estimate_neuromc(trace, config, revision=revision).details["energy_by_stage"]
    saved = 32 * (0.14416 / 7.1 * 2 + 5.302477904)
    assert by["forward t0"] - by["forward t1"] == pytest.approx(saved, rel=1e-9)
    fragments = estimate_neuromc(trace, config, revision=revision).details["mapping_summary"]
    assert [one["t_type"] for one in fragments] == [0, 1]
    # 511 bits would not hold them.
    tight = changed(config, {"capacity_bits.fp_conv_in_w": 511})
    by = estimate_neuromc(trace, tight, revision=revision).details["energy_by_stage"]
    assert by["forward t0"] == pytest.approx(by["forward t1"], rel=1e-12)


def test_sizes_of_2026_08_are_a_preset():
    config = load_config("neuromc", preset="spikingjelly-2026-08")
    assert config == default_config("neuromc", "spikingjelly-2026-08")
    assert config.capacity_bits.fp_conv_in_w == 18432
    assert default_config("neuromc") == load_config("neuromc", preset="32nm") == NeuroMCConfig()
