"""NeuroMC against its own code's stored output, fragment by fragment, formula and recording."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from opjoule.analyzers.energy.neuromc.actions import actions_of
from opjoule.analyzers.energy.neuromc.energies import priced
from opjoule.analyzers.energy.neuromc.fragments import CORES, Fragment, Loops, bits_of
from opjoule.analyzers.energy.neuromc.variant import SOURCE
from opjoule.schemas.costs import NeuroMCConfig

FILE = Path(__file__).resolve().parents[2] / "reference" / "neuromc-source.json"
ROWS = json.loads(FILE.read_text())["rows"]
ROLES = {"fe": "forward", "be": "grad_input", "we": "grad_weight"}
COMPUTE, BASE = ("mac", "extra_compute"), ("base_memory",)


def _fragments(row):
    """Return the core fragment of a stored row and, forward and for inputs, the neuron's add-on."""
    role = ROLES[row["phase"]]
    core = CORES[role][1]
    c, k, fy, fx, oy, ox = (row[name] for name in ("C", "K", "FY", "FX", "OY", "OX"))
    if role == "grad_weight":  # the source names its loops by what the array sees
        fy, fx, oy, ox = oy, ox, fy, fx
    loops = Loops(c=c, k=k, oy=oy, ox=ox, fy=fy, fx=fx)
    outputs = {"fe": k * oy * ox, "be": c * oy * ox, "we": c * k * fy * fx}[row["phase"]]
    phase = "forward" if role == "forward" else "backward"
    core_fragment = Fragment(
        op="conv", stage="s", phase=phase, core=core, loops=loops, macs=loops.total,
        weights=c * k * fy * fx, outputs=outputs, input_bits=bits_of(core),
    )  # fmt: skip
    if role == "grad_weight":
        return [core_fragment]
    neuron = Fragment(op="soma", stage="s", phase=phase, core=core, process="with_sg", loops=loops)
    return [core_fragment, neuron]


def _priced(fragments, config):
    return priced(actions_of(fragments, SOURCE, config), [1] * len(fragments), config)


@pytest.mark.parametrize("row", ROWS, ids=[row["case"] for row in ROWS])
def test_formulas_give_every_stored_row(row):
    config = NeuroMCConfig()
    energy = _priced(_fragments(row), config)
    parts = dict(energy.group_by("component").agg(pl.col("energy_pj").sum()).iter_rows())
    compute = sum(parts.get(name, 0.0) for name in COMPUTE)
    assert compute == pytest.approx(row["compute_pj"], rel=1e-9)
    assert parts["base_memory"] == pytest.approx(row["base_memory_pj"], rel=1e-9)
    # Totals are stored to twelve digits.
    assert sum(parts.values()) == pytest.approx(row["total_pj"], rel=1e-11)


def test_add_ons_of_a_neuron_to_the_last_digit():
    """One value, forward and backward, from the constants that NeuroMC's output is made of.

    Forward: 2·5.792676768 + 2·92.68282828/16 + 3·7.176767677/16 + 2·(4·r16 + 3·r1); backward:
    4·5.792676768 + 7.176767677/16 + 2·(4·r16 + r1), of which 2·5.792676768 are 92.68282828/16.
    """
    r1, r16 = 0.00901 / 7.1 * 2, 0.14416 / 7.1 * 2
    forward = 2 * 5.792676768 + 2 * 92.68282828 / 16 + 3 * 7.176767677 / 16 + 2 * (4 * r16 + 3 * r1)
    backward = 4 * 5.792676768 + 7.176767677 / 16 + 2 * (4 * r16 + r1)
    config = NeuroMCConfig()
    for phase, wanted in (("forward", forward), ("backward", backward)):
        one = Fragment(op="soma", stage="s", phase=phase, core="fp_soma", process="with_sg")
        energy = _priced([one], config)
        found = energy.filter(component="extra_memory")["energy_pj"].sum()
        assert found == pytest.approx(wanted, rel=1e-8)


SAME_SIZE = [row for row in ROWS if row["case"] != "r18_be_l17"]
"""Rows of layers with stride 1; the other one is in test_neuromc_counts."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the report of one training step of neuron, convolution, neuron at a given size."""
    torch = pytest.importorskip("torch")
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    from opjoule.analyzers import open_trace
    from opjoule.analyzers.energy.neuromc.report import estimate_neuromc
    from opjoule.tracer import Recorder

    folder = tmp_path_factory.mktemp("rows")

    def run(c, k, kernel, side, batch=1, steps=1, **options):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            neuron.IFNode(),
            torch.nn.Conv2d(c, k, kernel, padding=kernel // 2, bias=False),
            neuron.IFNode(),
        )
        path = folder / f"{c}-{k}-{kernel}-{side}-{batch}-{steps}"
        if not path.exists():
            x = (torch.rand(batch, c, side, side) * 2).requires_grad_()
            with Recorder(path, model=model) as recorder:
                for _ in range(steps):
                    model(x).sum().backward()
                    for each in (model[0], model[2]):
                        each.reset()
                    recorder.step()
        return estimate_neuromc(open_trace(path), **options)

    return run


def _sum(report, ops, modules, components):
    rows = report.rows.filter(pl.col("component").is_in(components))
    wanted = pl.any_horizontal(
        (pl.col("op") == op) & (pl.col("module") == f"Sequential.{module}")
        for op, module in zip(ops, modules, strict=True)
    )
    return rows.filter(wanted)["energy_pj"].sum()


ALL = ("mac", "extra_compute", "base_memory", "extra_memory")
OPS = {
    "fe": (("conv.forward", "soma.forward"), (1, 2)),
    "be": (("conv.backward.grad_input", "soma.backward"), (1, 0)),
    "we": (("conv.backward.grad_weight",), (1,)),
}


@pytest.mark.parametrize("row", SAME_SIZE, ids=[row["case"] for row in SAME_SIZE])
def test_a_recorded_layer_gives_the_stored_row(trained, row):
    kernel, side = (row["OY"], row["FY"]) if row["phase"] == "we" else (row["FY"], row["OY"])
    report = trained(row["C"], row["K"], kernel, side)
    ops, modules = OPS[row["phase"]]
    assert _sum(report, ops, modules, COMPUTE) == pytest.approx(row["compute_pj"], rel=1e-6)
    assert _sum(report, ops, modules, BASE) == pytest.approx(row["base_memory_pj"], rel=1e-6)
    assert _sum(report, ops, modules, ALL) == pytest.approx(row["total_pj"], rel=1e-6)


def test_batches_and_steps_cost_as_many_stored_rows_where_weights_are_read_for_each(trained):
    """NeuroMC's workloads split batch and time: two samples in three steps are six fragments."""
    rows = {row["case"]: row for row in ROWS}
    config = NeuroMCConfig(weight_reads="sample")
    report = trained(512, 128, 1, 7, batch=2, steps=3, config=config)
    fe = _sum(report, *OPS["fe"], ALL)
    assert fe == pytest.approx(6 * rows["r50_fe_l111"]["total_pj"], rel=1e-6)
    once = trained(512, 128, 1, 7, batch=2, steps=3)
    # Once a call: three reads of 512·128 weights less, in SRAM and twice in a register.
    saved = 3 * 512 * 128 * (5.302477904 + 2 * 0.14416 / 7.1 * 2)
    assert fe - _sum(once, *OPS["fe"], ALL) == pytest.approx(saved, rel=1e-9)
    assert any("weights are read once a call" in text for text in once.warnings)
    assert not any("weights are read once a call" in text for text in report.warnings)
