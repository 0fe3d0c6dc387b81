"""Reports made by hand: sums, shares, figures of a sample, plain data and the statement."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from opjoule.analyzers.energy import EnergyReport, Scope
from opjoule.analyzers.workload.account import account_of
from opjoule.analyzers.workload.modules import scopes_in
from opjoule.analyzers.workload.samples import Samples, unknown_samples
from opjoule.schemas import ConfigError
from opjoule.schemas.costs import ComputeConfig, LemaireConfig, SpikeSimConfig

SCOPE = Scope(
    title="A model",
    source="A. Author, A paper, 2023",
    stages=("forward", "backward"),
    technology="45 nm CMOS",
    covers="arithmetic",
    leaves_out="memory",
)
ROWS = pl.DataFrame(
    {
        "module": ["Net.a", "Net.a", "Net.b", None],
        "stage": ["forward", "forward", "forward", "backward"],
        "op": ["conv", "conv", "mm", "mm"],
        "label": [None, None, "x", "x"],
        "step": [0, 1, 0, 1],
        "component": ["mac", "ac", "mac", "mac"],
        "energy_pj": [1.0, 2.0, 4.0, 8.0],
    }
)
SAMPLED = Samples(
    pl.DataFrame(
        {
            "rank": [0, 0],
            "sample": [0, 1],
            "batch": [3, 3],
            "time_steps": [4, 4],
            "batch_from": ["told", "told"],
            "time_steps_from": ["told", "guessed"],
        }
    ),
    places=pl.DataFrame(
        {
            "rank": [0, 0, 0, 0],
            "sample": [0, 0, 1, 1],
            "number": [0, 0, 1, 1],
            "step": [0, 0, 1, 1],
            "label": [None, "x", None, "x"],
            "batch": [3, 3, 3, 3],
        }
    ),
)
"""Each sample runs in a step of its own, under both labels."""

REPORT = EnergyReport(
    estimator="compute",
    revision="source",
    total_pj=15.0,
    breakdown_pj={"mac_pj": 13.0, "ac_pj": 2.0},
    counts={"mac": 3.0},
    rows=ROWS,
    config=ComputeConfig().model_dump(),
    scope=SCOPE,
    account=account_of(
        990, pl.DataFrame({"what": ["softmax", "conv"], "calls": [2, 3], "macs": [0, 10]})
    ),
    sampled=SAMPLED,
    input_types="2 of 3 inputs are spikes, 90 % zeros",
)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), [(15.0,)]),
        (("stage",), [("backward", 8.0), ("forward", 7.0)]),
        (("label",), [("x", 12.0), (None, 3.0)]),
        (("step",), [(1, 10.0), (0, 5.0)]),
        (("op", "component"), [("mm", "mac", 12.0), ("conv", "ac", 2.0), ("conv", "mac", 1.0)]),
    ],
)
def test_by_adds_up_highest_first(keys, expected):
    frame = REPORT.by(*keys)
    assert frame.select(*keys, "energy_pj").rows() == expected
    assert frame.columns == [*keys, "energy_pj", "share", "per_sample_pj"]
    assert frame["share"].to_list() == [row[-1] / 15 for row in expected]
    samples = 3 if "step" in keys else 6  # a step has one of the two batches
    each = [row[-1] / samples for row in expected]
    assert frame["per_sample_pj"].to_list() == pytest.approx(each)


MODULES = pl.DataFrame(
    {
        "rank": pl.Series([0, 0, 0, 1, 1, 1], dtype=pl.Int32),
        "module_id": pl.Series([0, 1, 2, 0, 1, 2], dtype=pl.Int32),
        "parent_id": pl.Series([None, 0, 0, None, 0, 0], dtype=pl.Int32),
        "path": ["Net", "Net.a", "Net.b"] * 2,
    }
)
"""The same tree in two ranks."""


def test_a_module_includes_those_below_it():
    """Net.a 1 + 2 and Net.b 4 are in Net; 8 outside every module in Global alone."""
    report = replace(REPORT, scopes=scopes_in(MODULES))
    inclusive = [("Global", 15.0), ("Net", 7.0), ("Net.b", 4.0), ("Net.a", 3.0)]
    assert report.by("module").select("module", "energy_pj").rows() == inclusive
    own = [(None, 8.0), ("Net.b", 4.0), ("Net.a", 3.0)]
    frame = report.by("module", exclusive=True).select("module", "energy_pj")
    assert frame.rows() == own
    several = report.by("module", "component").select("module", "component", "energy_pj").rows()
    assert several[:3] == [("Global", "mac", 13.0), ("Net", "mac", 5.0), ("Net.b", "mac", 4.0)]
    assert sum(energy for module, _, energy in several if module == "Global") == 15.0


def test_a_key_named_twice_counts_once():
    assert REPORT.by("stage", "stage").equals(REPORT.by("stage"))


def test_by_refuses_what_energies_do_not_have():
    with pytest.raises(ConfigError, match="unknown by='modules': expected some of module, stage"):
        REPORT.by("modules")


def test_a_sample():
    assert REPORT.per_sample_pj == 2.5
    for unknown in (unknown_samples(), replace(SAMPLED, told=0)):
        report = replace(REPORT, sampled=unknown)
        assert report.per_sample_pj is None
        assert report.by("stage")["per_sample_pj"].to_list() == [None, None]


def test_nothing_is_no_division_by_zero():
    report = replace(REPORT, total_pj=0.0, rows=ROWS.with_columns(energy_pj=pl.lit(0.0)))
    assert report.by("stage")["share"].to_list() == [0.0, 0.0]
    assert report.per_sample_pj == 0.0


def test_steps_of_a_long_run_are_counted_when_they_are_asked_for():
    asked = []

    def recount(keys):
        asked.append(keys)
        return ROWS

    coarse = ROWS.with_columns(step=pl.lit(None, pl.Int32))
    report = replace(REPORT, rows=coarse, recount=recount)
    assert report.by("module").rows() == REPORT.by("module").rows()
    assert not asked
    assert report.by("step", "component").rows() == REPORT.by("step", "component").rows()
    assert asked == [["step"]]


def test_plain_data_is_json():
    details = {"table": pl.DataFrame({"x": [1]}), "deep": {3: [1.5, (2,)]}}
    report = replace(REPORT, details=details)
    back = json.loads(json.dumps(report.to_dict()))
    assert back["total_pj"] == 15.0
    assert back["per_sample_pj"] == 2.5
    assert back["rows"] == ROWS.to_dicts()
    assert back["config"] == {"e_mac_pj": 4.6, "e_ac_pj": 0.9}
    assert back["details"] == {"table": [{"x": 1}], "deep": {"3": [1.5, [2]]}}
    assert back["statement"] == report.statement()


def test_the_statement_says_everything_that_a_paper_needs():
    text = REPORT.statement()
    for fact in (
        "2.5 pJ a sample (15 pJ in all)",
        "compute estimator of opjoule",
        "A model, revision source, 45 nm CMOS; default constants",
        "Stages: forward, backward",
        "Charged: arithmetic; not charged: memory",
        "2 of 3 inputs are spikes, 90 % zeros",
        "Batch 3, time steps 4 (a guess), averaged over 6 samples",
        "Coverage: 99.0% of the MACs of the products are charged, 5 calls are left out",
        "Left out: 2 kinds of operations (5 calls, 1.0% of the MACs)",
        "A. Author, A paper, 2023",
    ):
        assert fact in text
    assert "\n" not in text and ".." not in text and "None" not in text


def test_the_statement_marks_samples_of_guessed_batches_that_vary():
    varying = SAMPLED.frame.with_columns(batch=pl.Series([3, 5]), batch_from=pl.lit("guessed"))
    text = replace(REPORT, sampled=replace(SAMPLED, frame=varying)).statement()
    assert "averaged over 8 samples (a guess)" in text and "batch" not in text.lower()
    told = replace(SAMPLED, frame=varying, told=8)
    assert "averaged over 8 samples." in replace(REPORT, sampled=told).statement()


def test_the_statement_claims_no_average_that_nobody_knows():
    text = replace(REPORT, sampled=unknown_samples()).statement()
    assert "15 pJ for the whole recording" in text
    assert "averaged" not in text and "a sample" not in text and "None" not in text


def test_the_statement_tells_no_share_that_is_not_known():
    left = pl.DataFrame({"what": ["a", "b"], "calls": [2, 3], "macs": [10, None]})
    report = replace(REPORT, account=account_of(990, left))
    assert "2 kinds of operations (5 calls, ? of the MACs)" in report.statement()


@pytest.mark.parametrize(
    ("estimator", "config", "said"),
    [
        ("spikesim", SpikeSimConfig(), "; default constants."),
        ("spikesim", SpikeSimConfig(device="sram"), "default constants but device = sram."),
        ("compute", ComputeConfig(e_mac_pj=1.5), "default constants but e_mac_pj = 1.5."),
        (
            "lemaire",
            LemaireConfig(word_bits=8),
            "but e_add_pj = 0.03, e_mul_pj = 0.2, word_bits = 8.",
        ),
        ("lemaire", LemaireConfig(neurons={}), "but neurons.IF.macs_per_step"),
    ],
)
def test_the_statement_names_the_cost_regime(estimator, config, said):
    report = replace(REPORT, estimator=estimator, config=config.model_dump())
    assert said in report.statement()
