"""No count without telling how far it reaches; strict turns each gap into an error."""

from __future__ import annotations

import threading
from dataclasses import replace

import polars as pl
import pytest

from opjoule.analyzers import Coverage, OpRule, count, coverage, open_trace
from opjoule.analyzers.counting.coverage import HOW
from opjoule.analyzers.counting.evaluate import FIGURES
from opjoule.analyzers.rules.rule import Figures
from opjoule.schemas import RuleError

BLEND = "mine.blend.default"


@pytest.fixture
def blended(recorded, blend):
    """Return a trace of 3 calls of an unknown op on 2x4 floats, 2 of them in Blender.inner."""
    torch = pytest.importorskip("torch")

    class Inner(torch.nn.Module):
        def forward(self, x, y):
            return blend(x, y)

    class Blender(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.inner = Inner()

        def forward(self, x, y):
            return self.inner(self.linear(x), y)

    model, (x, y) = Blender(), torch.rand(2, 2, 4)

    @torch.no_grad()
    def run():
        model(x, y)
        model(x, y)
        blend(x, y)

    return recorded(run, model=model)


# --- what nothing covers -----------------------------------------------------------------------


def test_an_unknown_op_is_null_in_its_row_and_listed(blended):
    found = count(blended, by="op")
    row = found.frame.row(by_predicate=pl.col("op") == BLEND, named=True)
    assert row["calls"] == 3
    assert [row[figure] for figure in FIGURES] == [None] * 6
    known = found.frame.filter(pl.col("op") != BLEND)
    assert found.total == {figure: known[figure].sum() for figure in FIGURES}
    assert found.coverage.macs_share is None  # the op may be a product
    assert found.coverage.uncovered == [BLEND]
    first = found.coverage.frame.row(0, named=True)  # uncovered ops come first
    # 3 calls, each of two operands and a result of 2x4 floats.
    assert first == {
        "op": BLEND, "how": "uncovered", "family": "", "calls": 3, "bytes": 3 * 3 * 32,
        "dense_macs": None, "unmeasured": 0,
    }  # fmt: skip
    assert f"not counted: {BLEND} (" in found.coverage.line()


def test_by_module_the_rest_of_a_row_stands(blended):
    rows = {row["module"]: row for row in count(blended, by="module").frame.iter_rows(named=True)}
    assert rows["Blender.inner"]["flops"] is None  # it ran nothing else
    linear = 2 * (2 * 2 * 4 * 4 + 8)  # two calls, 2x4 by 4x4 and a bias
    assert rows["Blender"]["flops"] == rows["Blender.linear"]["flops"] == linear


def test_strict_names_op_calls_and_first_module(blended):
    with pytest.raises(RuleError) as caught:
        count(blended, strict=True)
    assert str(caught.value) == (
        f"{BLEND}: no rule covers it (3 calls, first in Blender.inner). "
        "Give it one (extra_rules), or count without strict."
    )


def test_a_rule_of_ones_own_covers_it(blended):
    """An addition and a division for each of 8 elements."""
    rule = OpRule("mine", ("mine.blend",), lambda call: Figures(2 * call.out.numel, call.moved))
    found = count(blended, by="op", extra_rules=[rule], strict=True)
    row = found.frame.row(by_predicate=pl.col("op") == BLEND, named=True)
    assert (row["flops"], row["bytes"], row["macs"]) == (3 * 16, 3 * 96, 0)
    assert found.coverage.uncovered == []
    listed = coverage(blended, extra_rules=[rule]).frame.row(
        by_predicate=pl.col("op") == BLEND, named=True
    )
    assert (listed["how"], listed["family"]) == ("rule", "mine")


# --- shares and lines --------------------------------------------------------------------------


def made(rows) -> Coverage:
    schema = {"op": pl.String, "how": pl.String, "family": pl.String, "calls": pl.Int64,
              "bytes": pl.Int64, "unmeasured": pl.Int64}  # fmt: skip
    return Coverage(pl.DataFrame(rows, schema=schema, orient="row"))


def test_shares_by_calls_and_by_bytes_of_what_is_no_view():
    found = made(
        [
            ("x.a", "uncovered", "", 1, 100, 0),
            ("x.b", "rule", "product", 5, 700, 0),
            ("x.c", "class", "pointwise", 2, 200, 0),
            ("x.d", "free", "view", 2, 9000, 0),
        ]
    )
    assert found.calls == 10
    assert found.shares == {
        "rule": 0.5, "class": 0.2, "free": 0.2, "uncovered": 0.1,
        "rule_bytes": 0.7, "class_bytes": 0.2, "free_bytes": 0.0, "uncovered_bytes": 0.1,
    }  # fmt: skip
    assert found.line() == (
        "coverage: of 10 calls 50 % by rule, 20 % free, 20 % by class, 10 % not counted; "
        "not counted: x.a (10 % of the bytes)"
    )


def test_a_share_is_0_or_100_only_if_it_is():
    found = made([("x.a", "uncovered", "", 1, 1, 0), ("x.b", "rule", "f", 10**6, 10**6, 0)])
    assert "99.9 % by rule, 0 % free, 0 % by class, <0.1 % not counted" in found.line()


def test_many_ops_are_not_all_named():
    found = made([(f"x.{name}", "uncovered", "", 1, 1, 0) for name in "abcde"])
    assert "not counted: x.a, x.b, x.c and 2 more (100 % of the bytes)" in found.line()


def test_nothing_is_covered_by_nothing(stored):
    found = count(open_trace(stored).where("step=99")).coverage
    assert found.calls == 0
    assert set(found.shares.values()) == {0.0}
    assert found.line().startswith("coverage: of 0 calls 0 % by rule")


@pytest.mark.parametrize("rules", ["full", "torch", "spikingjelly-2.0", "spikingjelly-2026-08"])
def test_every_call_is_in_the_coverage_once(stored, rules):
    trace = open_trace(stored)
    found = coverage(trace, rules=rules)
    assert found.calls == trace.manifest.rows["calls"]
    assert set(found.frame["how"]) <= set(HOW)
    ops = trace.calls.collect().join(trace.signatures, on="signature_id")["op"]
    listed = found.frame.group_by("op").agg(pl.col("calls").sum())
    assert dict(listed.rows()) == dict(ops.value_counts().rows())
    assert found.frame.equals(count(trace, rules=rules).coverage.frame)
    assert (found.uncovered == []) is (rules in ("full", "torch"))


def test_coverage_is_of_the_part_that_was_asked_for(stored):
    found = coverage(open_trace(stored), where=["stage=forward", "op=aten.addmm"])
    assert found.frame["op"].to_list() == ["aten.addmm.default"]


# --- provenance --------------------------------------------------------------------------------


def test_only_constants_that_could_be_spikes_count_as_decided(recorded):
    """A bias of zeros is a constant that would fit, but nothing hangs on it."""
    torch = pytest.importorskip("torch")
    layer, x = torch.nn.Linear(4, 3), torch.rand(2, 4)
    torch.nn.init.zeros_(layer.bias)
    ones = torch.ones(2, 4)

    @torch.no_grad()
    def with_a_bias():
        layer(x)

    @torch.no_grad()
    def with_ones():
        layer(ones)
        layer(x)

    assert count(recorded(with_a_bias)).coverage.decided == 0
    found = count(recorded(with_ones)).coverage
    assert found.decided == 1
    assert "in 1 product provenance decided if a constant is spikes" in found.line()


# --- statistics and hidden work ----------------------------------------------------------------


def test_the_share_of_the_products_is_told(recorded):
    """One product of two was measured: 24 of 24 + 40 dense MACs."""
    torch = pytest.importorskip("torch")
    matrix, other = torch.rand(3, 4), torch.rand(4, 5)

    def run():
        (torch.rand(2, 3) @ matrix) @ other

    trace = recorded(run)
    assert count(trace).coverage.macs_share == 1
    assert "dense MACs" not in count(trace).coverage.line()
    lost = pl.when(pl.col("seq") == pl.col("seq").max()).then(None)
    calls = trace.calls.with_columns(in0_class=lost.otherwise("in0_class"))
    found = count(replace(trace, calls=calls))
    assert (found.total["macs"], found.total["dense_macs"]) == (24, 64)
    assert found.frame["at_least"][0] == "synops macs acs"
    assert found.coverage.macs_share == 24 / 64
    assert (
        "MACs and ACs are known of 37.5 % of the products, by dense MACs" in found.coverage.line()
    )
    assert found.coverage.frame.filter(op="aten.mm.default")["dense_macs"].item() == 64
    dense = count(replace(trace, calls=calls), spikes="none", strict=True)
    assert (dense.total["macs"], dense.coverage.macs_share) == (64, 1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_products_of_no_known_size_make_no_figure(recorded):
    """An encoder that packs its padded input: its layers are all there is to count."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    net = torch.nn.TransformerEncoder(layer, 2).eval()
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 3:] = True

    @torch.no_grad()
    def run():
        net(torch.rand(2, 5, 16), src_key_padding_mask=padding)

    trace = recorded(run)
    assert "aten._transformer_encoder_layer_fwd" in set(trace.signatures["packet"])
    for rules in ("full", "torch"):
        found = count(trace, rules=rules)
        for figure in ("flops", "macs", "acs", "synops", "dense_macs"):
            assert found.total[figure] is None, figure
        assert found.frame["at_least"].item() is None
        assert found.coverage.macs_share is None
        assert "known of ? of the products" in found.coverage.line()
        with pytest.raises(RuleError, match="the size of its operands is not known"):
            count(trace, rules=rules, strict=True)


def test_strict_refuses_what_was_not_measured(recorded):
    torch = pytest.importorskip("torch")
    trace = recorded(lambda: torch.mm(torch.rand(2, 3), torch.rand(3, 4)), statistics="none")
    with pytest.raises(RuleError, match=r"aten\.mm\.default: its operands were not measured \(1 c"):
        count(trace, strict=True)


def test_work_in_a_thread_that_did_not_join_is_told(recorded):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))

    def run():
        model(torch.rand(2, 4))
        worker = threading.Thread(target=model, args=(torch.rand(2, 4),))
        worker.start()
        worker.join()

    trace = recorded(run, model=model)
    found = count(trace, where="op=aten.addmm")
    assert found.frame["calls"][0] == 1
    assert found.coverage.hidden == 2  # the container and the layer
    assert "2 calls were hidden (opjoule info names them)" in found.coverage.line()
    with pytest.raises(RuleError, match="1 call not seen: "):
        count(trace, strict=True)


def test_a_thread_that_joins_is_counted(recorded):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(4, 3)

    def run(recorder):
        def work():
            with recorder.join():
                model(torch.rand(2, 4))

        model(torch.rand(2, 4))
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()

    found = count(recorded(run, model=model), where="op=aten.addmm", strict=True)
    assert found.frame["calls"][0] == 2
    assert found.coverage.hidden == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "coverage: of 1 call 100 % by rule, 0 % free, 0 % by class, 0 % not counted; 1 call "
            "lacks statistics: its MACs, ACs or SynOps are unknown; in 1 product provenance "
            "decided if a constant is spikes; 1 backward call belongs to no known module; 1 "
            "call was hidden (opjoule info names it)"),
        (2, "coverage: of 2 calls 100 % by rule, 0 % free, 0 % by class, 0 % not counted; 2 calls "
            "lack statistics: their MACs, ACs or SynOps are unknown; in 2 products provenance "
            "decided if a constant is spikes; 2 backward calls belong to no known module; 2 "
            "calls were hidden (opjoule info names them)"),
    ],
)  # fmt: skip
def test_the_line_speaks_of_one_and_of_many(number, said):
    found = made([("x.a", "rule", "product", number, 8, number)])
    found = replace(found, decided=number, unattributed=number, hidden=number)
    assert found.line() == said


def test_calls_of_no_known_module_are_told(stored):
    """Backward calls whose node no forward call claims."""
    import dataclasses

    trace = open_trace(stored)
    lost = pl.when(pl.col("stage") == "backward").then(None)
    calls = trace.calls.with_columns(
        module_id=lost.otherwise("module_id"), forward_seq=lost.otherwise("forward_seq")
    )
    backward = trace.where("stage=backward").calls.collect().height
    found = coverage(dataclasses.replace(trace, calls=calls))
    assert found.unattributed == backward > 0
    assert f"{backward} backward calls belong to no known module" in found.line()
