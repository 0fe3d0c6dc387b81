"""What compute and simple energy do not know: never a figure that passes for the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import polars as pl  # noqa: E402
from torch import nn  # noqa: E402

from opjoule import (  # noqa: E402
    Recorder,
    check,
    compare,
    energy,
    open_trace,
    record,
    table,
)
from opjoule.analyzers.energy import estimate_compute, estimate_simple  # noqa: E402
from opjoule.analyzers.reporting.report import report as page_of  # noqa: E402
from opjoule.analyzers.reporting.tree import tree_of  # noqa: E402
from opjoule.schemas import ConfigError, TraceError  # noqa: E402
from opjoule.schemas.costs import load_config  # noqa: E402

BOTH = pytest.mark.parametrize("estimate", [estimate_compute, estimate_simple])
REVISIONS = pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])


class Net(nn.Module):
    """A dense layer of 2 * 8 * 4 = 64 MACs, and one of 2 * 3 * 5 = 30 that spikes drive."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 4, bias=False)
        self.spiking = nn.Linear(3, 5, bias=False)

    def forward(self, x, spikes):
        return self.dense(x), self.spiking(spikes)


X = torch.linspace(0.1, 0.9, 16).reshape(2, 8)
SPIKES = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def partly(tmp_path):
    """Return a trace in which the input of the spiking layer was not measured."""
    trace = open_trace(record(Net().eval(), (X, SPIKES), tmp_path / "t"))
    (number,) = trace.modules.filter(path="Net.spiking")["module_id"]
    hidden = [
        pl.when(pl.col("module_id") != number).then(name).alias(name)
        for name in ("in0_class", "in0_nonzero", "overlap", "active_outputs")
    ]
    return replace(trace, calls=trace.calls.with_columns(hidden))


@BOTH
@REVISIONS
def test_refuses_a_trace_without_statistics(estimate, revision, tmp_path):
    trace = open_trace(record(Net().eval(), (X, SPIKES), tmp_path / "t", statistics="none"))
    with pytest.raises(TraceError) as caught:
        estimate(trace, revision=revision)
    text = str(caught.value)
    assert "no product (2 calls) was measured (statistics='none')" in text
    assert "Record with statistics='synaptic' or 'full'" in text and "\n" not in text


@BOTH
@REVISIONS
def test_what_was_not_measured_is_left_out_by_name(estimate, revision, partly):
    report = estimate(partly, revision=revision)
    assert (report.counts["mac"], report.counts["ac"]) == (64, 0)
    assert report.left_out.rows() == [
        ("aten.mm.default (not measured)", 1, 30, pytest.approx(30 / 94))
    ]
    assert any(
        "1 call was not measured or is of unknown size (31.9% of the MACs) and is left out: the "
        "total is a lower bound" in text
        for text in report.warnings
    )
    inputs = "spikes into 0 of 1 products and convolutions; 1 more was not measured"
    assert report.input_types == inputs
    statement = report.statement()
    assert "Left out: 1 kind of operations (1 call, 31.9% of the MACs)" in statement
    with pytest.raises(TraceError, match=r"1 call was not measured.*\(strict\)"):
        estimate(partly, revision=revision, strict=True)


class Scaled(nn.Module):
    def forward(self, x):
        return torch.ops.opjoule_gaps.doubled(x)


@torch.library.custom_op("opjoule_gaps::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_shares_that_are_not_known_are_not_told_as_the_whole(partly, tmp_path):
    """MACs of an op of one's own are not known: what is left out is at least the rest."""
    trace = open_trace(record(nn.Sequential(nn.Linear(8, 4), Scaled()).eval(), X, tmp_path / "own"))
    report = estimate_compute(trace)
    assert report.left_out.rows() == [("opjoule_gaps.doubled.default", 1, None, None)]
    assert "1 kind of operations (1 call, ? of the MACs)." in report.statement()


@BOTH
def test_spikes_may_be_ternary(estimate, tmp_path):
    """[1, -1, 0; 0, 0, -1]: three that are not zero meet 5 outputs each; binary: 30 MACs."""
    layer = nn.Linear(3, 5, bias=False).eval()
    ternary = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
    trace = open_trace(record(layer, ternary, tmp_path / "t"))
    binary = estimate(trace)
    assert (binary.counts["mac"], binary.counts["ac"]) == (30, 0)
    report = estimate(trace, spikes="ternary")
    assert (report.counts["mac"], report.counts["ac"]) == (0, 15)
    if estimate is estimate_simple:  # and a weight of 4 bytes for each
        assert report.counts["weight_read_bytes"] == 15 * 4
    assert "ternary spikes into 1 of 1 products" in report.statement()
    assert report.to_dict()["details"]["spikes"] == "ternary"
    assert report.by("step")["energy_pj"].sum() == pytest.approx(report.total_pj)
    with pytest.raises(ConfigError, match="unknown spikes='signed': expected one of binary, "):
        estimate(trace, spikes="signed")
    with pytest.raises(
        ConfigError, match=r"not available in this model and revision: expected binary$"
    ):
        estimate(trace, spikes="ternary", revision="spikingjelly-2.0")


@BOTH
def test_work_outside_modules_is_told(estimate, tmp_path):
    """Outputs of two calls added up outside: 2 * 4 additions at 0.9 pJ, in a row of no module."""
    layer = nn.Linear(8, 4, bias=False).eval()
    with Recorder(tmp_path / "t", model=layer) as recorder, torch.no_grad():
        layer(X) + layer(X)
    trace = open_trace(recorder.path)
    report = estimate(trace)
    outside = report.rows.filter(pl.col("module").is_null())
    assert outside.select("op", "count").rows() == [("aten.add.Tensor", 8)]
    share = 8 * 0.9 / report.total_pj
    (text,) = [text for text in report.warnings if "outside every module" in text]
    assert text.startswith(f"{share:.1%} of the energy is of work outside every module")
    inside = estimate(trace, where="module=*", strict=True)
    assert inside.total_pj == pytest.approx(report.total_pj - 8 * 0.9)
    assert not [text for text in inside.warnings if "outside" in text]


@pytest.fixture
def half(tmp_path, blend):
    """Return a trace of 64 MACs, and of an op of another library that may multiply too."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4, bias=False)

        def forward(self, x):
            out = self.layer(x)
            return blend(out, out)

    return open_trace(record(Half().eval(), X, tmp_path / "half"))


def test_an_energy_with_an_unknown_part_is_a_lower_bound_wherever_it_stands(half, tmp_path):
    """64 MACs at 4.6 pJ are 294.4 pJ, of 2 samples; the op of one's own costs more than 0."""
    whole = open_trace(record(nn.Linear(8, 4, bias=False).eval(), X, tmp_path / "whole"))
    report = energy(half, "compute")
    assert report.at_least and report.account.unknown == ("mine.blend.default",)
    assert report.to_dict()["at_least"] and not energy(whole, "compute").at_least
    text = report.to_markdown()
    assert "total ≥ 294 pJ (294.4 pJ), ≥ 147 pJ a sample" in text and "≥ energy" in text
    assert "Energy: at least 147.2 pJ a sample (294.4 pJ in all)." in report.statement()
    every = energy(half, ["compute", "neuromc"])
    assert every.frame["at_least"].to_list() == [True, True]
    assert "≥ 294 pJ" in every.to_markdown().split("\n\n")[0]

    columns = ["energy.compute", "ratio.energy.compute"]
    found = table({"whole": whole, "half": half}, columns)
    assert found.frame["at_least"].to_list() == [None, "energy.compute"]
    rows = [line for line in found.to_markdown().splitlines() if "147" in line]
    assert [line.count("≥") for line in rows] == [0, 2]

    compared = compare(whole, half, energies=["compute"])
    total = compared.total["energy.compute"]
    assert (total.base, total.head, total.difference) == (294.4, 294.4, None)
    same = compare(half, half, energies=["compute"]).total["energy.compute"]
    assert (same.difference, same.mark) == (0, "equal")

    tree = tree_of(page_of(half))
    place = [head.title for head in tree.heads].index("compute")
    texts = {row.path: row.cells[place].text for row in (tree.top, *tree.rows)}
    assert texts == {"": "≥ 147 pJ", "Half": "≥ 147 pJ", "Half.layer": "147 pJ"}


def test_a_limit_takes_no_lower_bound_for_within(half):
    (verdict,) = check(half, ["energy.compute=1nJ"]).verdicts
    assert verdict.verdict == "unknown"
    assert verdict.why == "at least 294 pJ; unknown for mine.blend.default"
    (allowed,) = check(half, ["energy.compute=1nJ"], allow_unknown=True).verdicts
    assert (allowed.verdict, allowed.text) == ("within", "≥ 294 pJ")
    (over,) = check(half, ["energy.compute=200pJ"]).verdicts
    assert (over.verdict, over.text) == ("over", "≥ 294 pJ")


@BOTH
def test_nothing_but_what_may_be_a_product_is_refused(estimate, tmp_path, blend):
    """An op of another library alone: its energy is not 0, it is not known."""

    class Blended(nn.Module):
        def forward(self, x):
            return blend(x, x)

    trace = open_trace(record(Blended().eval(), X, tmp_path / "t"))
    with pytest.raises(TraceError) as caught:
        energy(trace, estimate.__name__.removeprefix("estimate_"))
    assert "nothing can be charged: how much mine.blend.default multiplies" in str(caught.value)


def test_passes_that_are_no_inference_make_no_lower_bound(half, tmp_path, blend):
    """What ran in training mode is not spoken of, so its unknown parts are none of the energy."""
    layer = nn.Linear(8, 4, bias=False)

    class Trained(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            out = self.layer(x)
            return blend(out, out) if self.training else out

    model = Trained()
    with Recorder(tmp_path / "t", model=model) as recorder, torch.no_grad():
        model.train()(X)
        model.eval()(X)
    report = energy(open_trace(recorder.path), "compute")
    assert report.total_pj == pytest.approx(64 * 4.6)
    assert not report.at_least and report.account.left_out_macs is None


def test_the_share_of_accumulations_is_of_products_without_their_bias(tmp_path):
    """[[1, 1], [1, 0]] by 2 x 4: 3 ones meet 4 outputs, 12 of 2 * 2 * 4 = 16; 8 more are biases."""
    spikes = torch.tensor([[1.0, 1], [1, 0]])
    trace = open_trace(record(nn.Linear(2, 4).eval(), spikes, tmp_path / "t"))
    text = energy(trace, "compute").statement()
    assert "where 75.0% of the dense multiply-accumulates are left as accumulations" in text


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float32])
def test_types_that_the_constants_are_not_of_are_named(estimate, dtype, tmp_path):
    """64 MACs in the type, and 30 in 32 bits: constants of one's own are of the type they are."""
    model = Net().eval()
    model.dense.to(dtype)
    trace = open_trace(record(model, (X.to(dtype), SPIKES), tmp_path / "t"))
    told = [text for text in estimate(trace).warnings if "the constants are of" in text]
    if dtype == torch.float32:
        assert told == []
        return
    name = {torch.bfloat16: "bf16", torch.float64: "fp64"}[dtype]
    assert len(told) == 1
    assert told[0].startswith(
        f"the constants are of fp32, but {64 / 94:.1%} of the MACs ran in {name}: "
    )
    kind = estimate.__name__.removeprefix("estimate_")
    own = estimate(trace, load_config(kind, preset="fp16"))
    assert not any("the constants are of" in text for text in own.warnings)
