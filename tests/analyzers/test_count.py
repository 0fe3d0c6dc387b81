"""Counting adds up whichever way it is told apart, and says null where nobody knows."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.analyzers import SPIKE_MODES, OpRule, count, open_trace
from opjoule.analyzers.counting.count import BY
from opjoule.analyzers.counting.evaluate import COUNTERS, FIGURES
from opjoule.analyzers.rules import rule_sets
from opjoule.analyzers.rules.rule import Figures
from opjoule.analyzers.workload.modules import GLOBAL
from opjoule.schemas import STAGES, ConfigError, RuleError, TraceError
from opjoule.schemas.arrow import SCHEMAS

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


@pytest.fixture(scope="module")
def trace():
    return open_trace(STORED)


# --- additivity --------------------------------------------------------------------------------

FILTERS = ("stage=forward", "stage=backward,optimizer", "step=0", "step=1:", "label=training",
           "module=Sequential", "module=0,5", "op=aten.add*", "training=false", "rank=0",
           "step=99")  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    by=st.lists(st.sampled_from(BY), max_size=4),
    where=st.lists(st.sampled_from(FILTERS), max_size=2),
    rules=st.sampled_from(sorted(rule_sets())),
    spikes=st.sampled_from(SPIKE_MODES),
)
def test_rows_add_up_to_the_total(trace, by, where, rules, spikes):
    """Whatever the keys: a call is in one row, or with modules in one row of Global."""
    found = count(trace.where(*where), by=by, rules=rules, spikes=spikes)
    rows = found.frame.filter(module=GLOBAL) if "module" in by else found.frame
    calls = trace.where(*where).calls.select(pl.len()).collect().item()
    assert rows["calls"].sum() == calls == found.coverage.calls
    for figure in FIGURES:
        assert rows[figure].dtype == pl.Int64
        assert rows[figure].sum() == (found.total[figure] or 0)
    keys = [key for key in dict.fromkeys(by) if key != "total"]
    assert found.frame.columns == [*keys, "calls", *FIGURES, "intensity", "at_least"]
    assert not keys or not found.frame.select(keys).is_duplicated().any()


@pytest.mark.parametrize(
    "parts",
    [
        [f"stage={stage}" for stage in STAGES],
        ["step=0", "step=1:"],
        ["label=inference", "label=training", "label="],
        ["training=true", "training=false"],
    ],
    ids=str,
)
def test_parts_of_a_trace_add_up(trace, parts):
    inside = "module=Sequential"  # every call there has a training flag
    whole = count(trace, where=inside).total
    each = [count(trace.where(inside, part)).total for part in parts]
    assert whole == {name: sum(total[name] for total in each) for name in FIGURES}


def test_a_module_is_what_ran_in_it_and_its_children(trace):
    """Its own calls, taken by their module number, and the rows of its children."""
    frame = count(trace, by="module").frame
    rows = {row["module"]: row for row in frame.iter_rows(named=True)}
    numbers = {path: number for number, path in trace.modules.select("module_id", "path").rows()}
    assert len(rows) > 5
    for path, row in rows.items():
        if path == GLOBAL:
            continue
        own = count(narrowed(trace, pl.col("module_id") == numbers[path]))
        children = [r for p, r in rows.items() if p.rpartition(".")[0] == path]
        for name in COUNTERS:
            assert row[name] == own.total[name] + sum(child[name] for child in children)


def narrowed(trace, condition):
    import dataclasses

    return dataclasses.replace(trace, calls=trace.calls.filter(condition))


def test_what_ran_outside_every_module_is_in_global_alone(trace):
    rows = count(trace, by="module").frame
    everything = rows.row(by_predicate=pl.col("module") == GLOBAL, named=True)
    inside = rows.row(by_predicate=pl.col("module") == "Sequential", named=True)
    outside = count(narrowed(trace, pl.col("module_id").is_null())).total
    assert outside["flops"] > 0  # the loss and the optimizer
    for name in COUNTERS:
        assert everything[name] == inside[name] + outside[name]


def test_intensity_is_flops_by_byte(trace):
    for row in count(trace, by="op").frame.iter_rows(named=True):
        expected = row["flops"] / row["bytes"] if row["bytes"] else None
        assert row["intensity"] == (pytest.approx(expected) if expected is not None else None)


# --- order -------------------------------------------------------------------------------------


def test_rows_are_in_the_order_in_which_one_reads(trace):
    modules = count(trace, by="module").frame["module"].to_list()
    assert modules[0] == GLOBAL
    tree = [path for path in trace.modules.sort("module_id")["path"] if path in modules]
    assert modules[1:] == tree
    stages = count(trace, by="stage").frame["stage"].to_list()
    assert stages == [stage for stage in STAGES if stage in stages]
    ops = count(trace, by="op").frame["op"].to_list()
    ran = trace.calls.collect().sort("seq").join(
        trace.signatures, on="signature_id", maintain_order="left"
    )["op"].unique(maintain_order=True).to_list()  # fmt: skip
    assert ops == ran
    steps = count(trace, by=["step", "stage"]).frame.select("step", "stage").rows()
    assert steps == sorted(steps, key=lambda row: (row[0], STAGES.index(row[1])))


def test_keys_come_in_the_order_asked_and_once(trace):
    assert count(trace, by=["op", "stage", "op"]).frame.columns[:3] == ["op", "stage", "calls"]


# --- what nobody knows -------------------------------------------------------------------------


def test_nothing_counts_nothing(trace):
    """No call at all is 0, not unknown."""
    nothing = trace.where("step=99")
    found = count(nothing)
    assert found.total == dict.fromkeys(FIGURES, 0)
    assert found.frame.rows() == [(0, 0, 0, 0, 0, 0, 0, None, None)]
    assert count(nothing, by="op").frame.is_empty()


def test_rules_that_know_no_op_of_a_row(trace):
    """SpikingJelly's sets have no classes: what they do not name is null in its row."""
    found = count(trace, by="op", rules="spikingjelly-2.0")
    unknown = found.frame.filter(pl.col("flops").is_null())
    assert {"aten.lerp_.Scalar", "aten.sqrt.default"} <= set(unknown["op"])
    assert sorted(unknown["op"]) == sorted(found.coverage.uncovered)
    assert unknown.select(COUNTERS).null_count().row(0) == (unknown.height,) * 5


# --- numbers of any size -----------------------------------------------------------------------


def with_shapes(stored_rows, op, sizes):
    """Return signatures in which each operand of an op has other sizes."""
    for row in stored_rows:
        if row["op"] == op:
            for operand in row["operands"]:
                operand["shape"] = sizes[operand["role"], operand["slot"]]
                operand["numel"] = math.prod(operand["shape"])
                operand["bytes"] = 0
    return pa.Table.from_pylist(stored_rows, schema=SCHEMAS["signatures"])


def mm_of(resign, n):
    """Return the stored trace, its products mm of n x n by n x n."""
    rows = pq.read_table(STORED / "signatures.parquet").to_pylist()
    square = {("in", 0): [n, n], ("in", 1): [n, n], ("out", 0): [n, n]}
    return open_trace(resign("signatures.parquet", with_shapes(rows, "aten.mm.default", square)))


def test_counts_are_whole_numbers_beyond_what_floats_hold(resign, trace):
    calls = trace.where("op=aten.mm").calls.collect().height
    n = 2**19 + 1  # 2·n^3 is about 2^58 and ends in 2: no float64 holds it
    found = count(mm_of(resign, n), where="op=aten.mm").total["flops"]
    assert found == calls * 2 * n**3
    assert int(float(found)) != found


def test_sums_that_do_not_fit_are_refused_not_wrapped(resign, trace):
    """Each call fits 64 bits, all together do not."""
    calls = trace.where("op=aten.mm").calls.collect().height
    flops = 2 * 1_600_000**3
    assert flops < 2**63 < calls * flops
    with pytest.raises(TraceError, match=r"the flops add up to more than 2\*\*63"):
        count(mm_of(resign, 1_600_000))


# --- rules of one's own, and refusals ----------------------------------------------------------


def test_a_rule_of_ones_own_is_asked_first(trace):
    rule = OpRule("mine", ("aten.addmm",), lambda call: Figures(flops=7, bytes=call.written))
    rows = count(trace, by="op", extra_rules=[rule]).frame
    mine = rows.row(by_predicate=pl.col("op") == "aten.addmm.default", named=True)
    assert (mine["flops"], mine["macs"]) == (7 * mine["calls"], 0)


def test_two_rules_of_ones_own_for_one_op(trace):
    rules = [OpRule(name, ("mine.op.default",), lambda call: Figures()) for name in ("a", "b")]
    with pytest.raises(RuleError, match=r"two rules claim mine\.op\.default: families a and b"):
        count(trace, extra_rules=rules)


def test_a_rule_that_fails_is_named(trace):
    rule = OpRule("mine", ("aten.addmm",), lambda call: Figures(flops=1 // 0))
    with pytest.raises(RuleError, match=r"aten\.addmm\.default: its rule cannot count") as caught:
        count(trace, extra_rules=[rule])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (
            {"by": "colour"},
            "unknown by='colour': expected some of total, module, class, op, stage, label, step, ",
        ),
        ({"by": ["op", "x"]}, "unknown by='x'"),
        ({"rules": "magic"}, "'magic'"),
        ({"spikes": "loud"}, "unknown spikes='loud': expected one of binary, ternary, scaled"),
        ({"where": "stage"}, "invalid filter 'stage'"),
        ({"where": ["step=0", "step=x"]}, "'x' is not a valid step"),
    ],
    ids=str,
)
def test_a_question_that_means_nothing(trace, question, says):
    with pytest.raises(ConfigError) as caught:
        count(trace, **question)
    assert says in str(caught.value)
