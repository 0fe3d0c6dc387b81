"""Two real recordings compared: figures by arithmetic, reasons, marks, and what adds up."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opjoule.analyzers import compare, count, open_trace
from opjoule.analyzers.counting.evaluate import COUNTERS
from opjoule.analyzers.energy import estimate_compute
from opjoule.schemas import ConfigError, TraceError

torch = pytest.importorskip("torch")
import opjoule  # noqa: E402

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
BATCH = 5


class Net(torch.nn.Sequential):
    """Two linear layers."""


class Renamed(Net):
    """The same under another name."""


def net(hidden=16, *, root=Net, middle=None, bias=True):
    torch.manual_seed(0)
    return root(
        torch.nn.Linear(8, hidden, bias=bias), middle or torch.nn.ReLU(), torch.nn.Linear(hidden, 4)
    ).eval()


@pytest.fixture
def record(tmp_path):
    """Return a function that records an inference of a network and returns the path."""

    def run(name, model, *, inputs=None, **options):
        inputs = torch.ones(BATCH, 8) if inputs is None else inputs
        return opjoule.record(model, inputs, tmp_path / name, grad=False, **options)

    return run


def changes(comparison, figure):
    return comparison.changes(figure).to_dicts()


def test_a_widened_layer_is_the_reason(record):
    found = compare(record("base", net(16)), record("head", net(32)), energies=["compute"])
    # 5 rows by 8 x h, a multiplication and an addition each, and h biases a row; then h x 4 and 4
    first, second = 2 * 5 * 8 * 16, 2 * 5 * 16 * 4
    assert [
        (row["module"], row["op"], row["stage"], row["mark"], row["difference"], row["reason"])
        for row in changes(found, "flops")
    ] == [
        ("Net.0", "aten.addmm.default", "forward", "changed", first + 5 * 16,
         "self shape 16 -> 32; mat2 shape 8x16 -> 8x32"),
        ("Net.2", "aten.addmm.default", "forward", "changed", second,
         "mat1 shape 5x16 -> 5x32; mat2 shape 16x4 -> 32x4"),
        ("Net.1", "aten.relu.default", "forward", "changed", 5 * 16, "self shape 5x16 -> 5x32"),
    ]  # fmt: skip
    total = found.totals["flops"]
    assert total.difference == first + 5 * 16 + second + 5 * 16
    assert total.mark == "changed"
    assert total.ratio == pytest.approx(total.head / total.base)
    assert any("weights have other shapes: Net.0.weight 16x8" in text for text in found.warnings)
    assert not any("inputs" in text for text in found.warnings)


def test_sides_are_what_count_and_the_estimators_give(record):
    paths = record("base", net(16)), record("head", net(24))
    found = compare(*paths, energies=["compute"])
    for path, side in zip(paths, ("base", "head"), strict=True):
        totals = count(open_trace(path)).total
        assert all(getattr(found.totals[name], side) == totals[name] for name in COUNTERS)
        energy = estimate_compute(open_trace(path)).total_pj
        assert getattr(found.totals["energy.compute"], side) == energy


def test_the_same_recorded_twice_is_equal(record):
    found = compare(record("base", net()), record("head", net()), energies=["compute"])
    assert set(found.rows["mark"]) == {"equal"}
    assert all(total.mark == "equal" and total.difference == 0 for total in found.totals.values())
    assert found.warnings == ()
    conditions = [f"{name}>+0%" for name in found.totals] + [f"{n}<+0%" for n in found.totals]
    assert found.failures(conditions) == []


def test_a_renamed_root_and_a_wrapped_model_align(record):
    base = record("base", net())
    wrapped = torch.nn.ModuleDict({"inner": net(root=Renamed)})

    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = wrapped

        def forward(self, x):
            return self.parts["inner"](x)

    for name, model, root in (
        ("renamed", net(root=Renamed), "Renamed"),
        ("wrapped", Wrapper().eval(), "Wrapper.parts.inner"),
    ):
        found = compare(base, record(name, model))
        assert set(found.rows["mark"]) == {"equal"}
        moved = dict(found.rows.select("module", "module_base").unique().iter_rows())
        assert moved[f"{root}.2"] == "Net.2"
        assert found.failures(["flops>+0%"]) == []
        assert any("modules have other paths: took Net" in text for text in found.warnings)


def test_added_and_removed_modules_are_one_row_each(record):
    block = torch.nn.Sequential(torch.nn.Linear(16, 16, bias=False), torch.nn.Tanh())
    base, head = record("base", net()), record("head", net(middle=block))
    found = compare(base, head)
    top = {row["module"]: row for row in changes(found, "flops")}
    # Net.1 is a Sequential in place of the ReLU: same path, other class; its layers are new
    assert top["Net.1"]["mark"] == "removed"
    assert top["Net.1"]["reason"] == "ReLU -> Sequential; op is gone here"
    added = top["Net.1.0"]
    assert (added["mark"], added["op"], added["stage"]) == ("added", None, None)
    # 5 rows by 16 x 16; the weight is transposed by a view first
    assert (added["base"], added["head"], added["difference"]) == (0, 2 * 5 * 256, 2 * 5 * 256)
    assert added["reason"] == "module is new: 1 call, aten.mm"
    (removed,) = (r for r in changes(compare(head, base), "flops") if r["module"] == "Net.1.0")
    assert (removed["mark"], removed["difference"]) == ("removed", -2 * 5 * 256)
    assert removed["reason"] == "module is gone: 1 call, aten.mm"


def test_an_op_in_the_place_of_another(record):
    found = compare(record("base", net(bias=True)), record("head", net(bias=False)))
    reasons = {row["op"]: row["reason"] for row in changes(found, "flops")}
    assert reasons == {
        "aten.addmm.default": "op is gone here, now aten.mm",
        "aten.mm.default": "op is new here, in place of aten.addmm",
    }


def test_more_calls(record):
    class Twice(torch.nn.Module):
        def __init__(self, times):
            super().__init__()
            self.times, self.layer = times, torch.nn.Linear(8, 8)

        def forward(self, x):
            for _ in range(self.times):
                x = self.layer(x)
            return x

    found = compare(record("base", Twice(2)), record("head", Twice(6)))
    (row,) = changes(found, "flops")
    assert (row["module"], row["reason"]) == ("Twice.layer", "calls 2 -> 6")
    assert row["difference"] == 4 * (2 * 5 * 8 * 8 + 5 * 8)


def test_inputs_that_are_no_longer_spikes(record):
    spikes = (torch.arange(BATCH * 8).reshape(BATCH, 8) % 2).float()
    more = spikes.clone()
    more[0] = 1
    base = record("base", net(), inputs=spikes)
    found = compare(base, record("more", net(), inputs=more))
    # 20 of 40 are ones, then 24; each meets 16 outputs
    row = changes(found, "synops")[0]
    assert row["reason"] == "spike rate of mat1 50.0 % -> 60.0 %"
    assert (row["base"], row["difference"]) == (20 * 16, 4 * 16)
    assert changes(found, "flops") == []
    found = compare(base, record("dense", net(), inputs=spikes + 0.5))
    row = changes(found, "macs")[0]
    assert row["reason"] == "mat1 is no longer spikes"
    assert row["difference"] == 5 * 8 * 16
    assert any(text.startswith("the inputs were not the same") for text in found.warnings)


def test_later_inputs_that_differ_are_told(tmp_path):
    paths = []
    for name, last in (("base", 1.0), ("head", 0.5)):
        model = net()
        with opjoule.Recorder(tmp_path / name, model=model), torch.no_grad():
            model(torch.ones(BATCH, 8))
            model(torch.full((BATCH, 8), last))
        paths.append(tmp_path / name)
    assert compare(*paths).warnings == ("later inputs were not the same, only the first was",)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_is_recomputed_is_no_input(reentrant, tmp_path):
    """Two training steps on the same inputs, plain and with layers that are run again."""

    class Block(torch.nn.Module):
        def __init__(self, again):
            super().__init__()
            self.a, self.b, self.again = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), again

        def inner(self, x):
            x = x + self.a(x)
            return x + self.b(x)

        def forward(self, x):
            if not self.again:
                return self.inner(x)
            return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=reentrant)

    for name in ("plain", "checkpoint"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), Block(name == "checkpoint"))
        with opjoule.Recorder(tmp_path / name, model=model):
            for _ in range(2):
                model(torch.rand(BATCH, 8)).sum().backward()
    found = compare(tmp_path / "plain", tmp_path / "checkpoint")
    assert found.warnings == ()
    rows = changes(found, "flops")
    assert rows and all(row["stage"] == "recompute" for row in rows)
    assert {row["module"] for row in rows} >= {"Sequential.1"}
    counts = opjoule.count(tmp_path / "checkpoint", samples="per-call", by="sample").frame
    first, second = counts["flops"]
    assert counts["sample"].to_list() == [0, 1]
    assert second - first == 3 * (8 * 8 + 8)  # the gradients of three layers are added up


def test_later_inputs_are_told_of_only_where_somebody_knows(record, tmp_path):
    """Three recordings of the same first input; what came second, and what was measured, differ."""
    first = torch.ones(BATCH, 8)

    def of(name, second, statistics):
        model = net()
        with opjoule.Recorder(tmp_path / name, model=model, statistics=statistics), torch.no_grad():
            for inputs in (first, second):
                model(inputs)
        return tmp_path / name

    base = of("base", first * 2, "full")
    unmeasured = of("unmeasured", first * 2, "none")
    differs = "later inputs were not the same, only the first was"
    unknown = "later inputs cannot be compared: one side did not measure them"
    texts = compare(base, unmeasured).warnings
    assert differs not in texts and unknown in texts
    assert not {differs, unknown} & set(compare(base, of("spikes", first * 2, "synaptic")).warnings)
    assert differs in compare(base, of("other", first * 3, "synaptic")).warnings
    # another size is known without measuring
    texts = compare(base, of("larger", torch.ones(BATCH + 1, 8), "none")).warnings
    assert differs in texts and unknown not in texts
    # the only input is the first, of which there is a fingerprint
    texts = compare(record("one", net()), record("none", net(), statistics="none")).warnings
    assert "statistics full -> none" in texts and not {differs, unknown} & set(texts)


def test_other_circumstances_are_told(record):
    base = record("base", net())
    other = net()
    with torch.no_grad():
        other[0].weight.add_(1)
    head = record("head", other, inputs=torch.ones(3, 8), statistics="synaptic")
    file = head / "trace.json"
    manifest = json.loads(file.read_text())
    manifest["environment"]["packages"]["torch"] = "9.9"
    manifest["checksum"] = None
    file.write_text(json.dumps(manifest))
    texts = compare(base, head, energies=["compute"]).warnings
    now = torch.__version__
    for expected in (
        "the inputs were not the same: counts that depend on data differ for that alone",
        "the weights were not the same: their shapes are, their values are not",
        "batch 5 -> 3",
        "statistics full -> synaptic",
        f"torch {now} -> 9.9",
    ):
        assert expected in texts, texts
    told = "energy.compute is of 5 -> 3 samples"
    assert not any(text.startswith(told) for text in texts)  # figures are those of one sample
    whole = compare(base, head, energies=["compute"], per="total")
    assert any(text.startswith(told) for text in whole.warnings)


def spiking(folder, mode, steps=4, batch=3):
    """Record a network in single-step mode, called once a time step, or in multi-step mode."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), neuron.IFNode(step_mode=mode)).eval()
    x = torch.ones(steps, batch, 8)
    with opjoule.Recorder(folder, model=model), torch.no_grad():
        if mode == "m":
            model(x)
        else:
            for each in x:
                model(each)
    return folder


def test_a_loop_over_time_steps_is_of_the_same_samples_as_one_call(tmp_path):
    """3 samples of 4 time steps: 4 calls of one each, or one call of 4."""
    loop, call = spiking(tmp_path / "loop", "s"), spiking(tmp_path / "call", "m")
    texts = [text for text in compare(loop, call).warnings if "time steps" in text]
    assert texts == ["time steps in one call of the model 1 -> 4"]
    longer = compare(loop, spiking(tmp_path / "longer", "s", steps=6)).warnings
    assert [text for text in longer if "time steps" in text] == ["time steps of a sample 4 -> 6"]
    larger = compare(loop, spiking(tmp_path / "larger", "s", batch=5)).warnings
    assert [text for text in larger if "batch" in text] == ["batch 3 -> 5"]
    told = compare(loop, tmp_path / "longer", time_steps=4).warnings
    assert not any(text.startswith("time steps of a sample") for text in told)


def test_time_steps_that_one_side_does_not_know_of_its_calls_are_not_compared(tmp_path):
    """A model that loops over time itself: the neurons tell the time steps, no call of it does."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")

    class Looping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.neuron = torch.nn.Linear(8, 4), neuron.IFNode()

        def forward(self, x):
            return sum(self.neuron(self.layer(x)) for _ in range(4))

    model = Looping().eval()
    with opjoule.Recorder(tmp_path / "looping", model=model), torch.no_grad():
        model(torch.ones(3, 8))
    texts = compare(tmp_path / "looping", spiking(tmp_path / "loop", "s")).warnings
    assert not any("time steps" in text for text in texts)


def test_what_estimators_warn_of_is_said_once(record):
    """One line for both sides, or of the side that it is true of; of samples without estimators."""
    base = record("base", net(middle=torch.nn.Tanh()))
    head = record("head", net(middle=torch.nn.Sigmoid()))
    found = compare(base, head, energies=["compute", "neuromc"], samples=7)
    lines = [line.removeprefix("warning: ") for line in found.page().below]
    reports = (*found.base.reports.values(), *found.head.reports.values())
    texts = {text for report in reports for text in report.warnings}
    assert len(texts) > 2
    for text in texts:
        assert sum(text in line for line in lines) == 1, text
    (samples,) = (line for line in lines if "samples=7" in line)
    assert samples == "samples=7 replaces what was recorded: 5 (a guess)"
    (tanh,) = (line for line in lines if "aten.tanh" in line)
    assert tanh.startswith("neuromc, BASE: left out: ")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_rows_of_a_lower_bound_bear_its_sign(record):
    """Of a product on nested rows the size is not known; the other has 5 x 4 x `hidden` MACs."""

    class Halves(torch.nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, hidden), torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.a(x), self.b(torch.nested.nested_tensor([x[:2], x[2:]]))

    x = torch.randn(5, 4)
    found = compare(*(record(name, Halves(n), inputs=x) for name, n in (("base", 3), ("head", 5))))
    rows = found.by("module")
    assert rows["macs_base"].to_list() == [60, 60, 60, None]
    assert ["macs" in (each or "").split() for each in rows["base_at_least"]] == [
        True, True, False, False,
    ]  # fmt: skip
    shown = found.page("macs", by="module").sheets[-1].frame
    assert shown.select("mark", "base", "head").rows() == [
        ("changed", "≥ 60", "≥ 100"), ("changed", "≥ 60", "≥ 100"), ("changed", "60", "100"),
        ("unknown", "?", "?"),
    ]  # fmt: skip


def test_what_became_unknown_fails_and_is_never_a_saving(record):
    base, head = record("base", net()), record("head", net(), statistics="none")
    found = compare(base, head)
    total = found.totals["macs"]
    assert (total.difference, total.ratio, total.mark) == (None, None, "unknown")
    (failure,) = found.failures(["macs>+1000%"])
    assert "unknown" in failure.why
    assert failure.culprits["op"][0] == "aten.addmm.default"
    assert any(text.startswith("macs of 0 calls in BASE and 2 in HEAD") for text in found.warnings)
    # nobody knows on either side: nothing to compare, and said so
    same = compare(head, record("again", net(), statistics="none"))
    assert same.rows["macs_difference"].null_count() == 2
    assert any(text.startswith("macs of 2 calls in BASE and 2 in HEAD") for text in same.warnings)


def test_what_a_set_of_spikingjelly_does_not_know_counts_nothing(record):
    """By its definition, so nothing of it is unknown: other totals are what SpikingJelly counts."""
    base, head = record("base", net()), record("head", net(middle=torch.nn.LogSigmoid()))
    found = compare(base, head, rules="spikingjelly-2.0")
    assert "aten.log_sigmoid_forward.default" in found.head.coverage.uncovered
    totals = count(head, rules="spikingjelly-2.0").total
    assert all(found.totals[name].head == totals[name] for name in COUNTERS)
    assert all(total.difference is not None for total in found.totals.values())
    assert not any("unknown" in text for text in found.warnings)


def test_filters_narrow_both_sides(record):
    block = torch.nn.Sequential(torch.nn.Linear(16, 16, bias=False), torch.nn.Tanh())
    base, head = record("base", net()), record("head", net(32))
    found = compare(base, head, where="module=Net.0")
    assert set(found.rows["module"]) == {"Net.0"}
    assert found.totals["flops"].base == 2 * 5 * 8 * 16 + 5 * 16
    other = record("other", net(middle=block))
    found = compare(base, other, where=["module=Net.1.0", "stage=forward"])
    assert (found.totals["flops"].base, found.totals["flops"].head) == (0, 2 * 5 * 256)
    assert (
        found.warnings[0]
        == "BASE has no module that fits module=Net.1.0: nothing of it is compared"
    )
    with pytest.raises(ConfigError, match=r"module=Nowhere"):
        compare(base, head, where="module=Nowhere")
    with pytest.raises(ConfigError, match="colour"):
        compare(base, head, where="colour=red")


def test_other_rules_and_spikes_hold_for_both(record):
    base, head = record("base", net(16)), record("head", net(32))
    found = compare(base, head, rules="torch")
    # FlopCounterMode counts products only: 2 · 5 · (8 · 16 + 16 · 4)
    assert found.totals["flops"].difference == 2 * 5 * (8 * 16 + 16 * 4)
    assert (found.rules, found.spikes) == ("torch", "binary")
    with pytest.raises(ConfigError, match="magic"):
        compare(base, head, rules="magic")
    with pytest.raises(ConfigError, match="loud"):
        compare(base, head, spikes="loud")
    with pytest.raises(ConfigError, match="nonsense"):
        compare(base, head, energies=["nonsense"])
    with pytest.raises(ConfigError, match="no figure"):
        found.changes("energy.compute")
    with pytest.raises(ConfigError, match="was not compared"):
        found.failures(["energy.compute>+0%"])
    with pytest.raises(ConfigError, match="colour"):
        found.by("colour")


def test_an_estimator_that_does_not_fit_says_whose_trace(record):
    base, head = record("base", net()), record("head", net().train())
    with pytest.raises(TraceError, match=r"head.*model\.eval\(\)"):
        compare(base, head, energies=["compute"])


def test_sums_by_keys_are_those_of_the_rows(record):
    found = compare(record("base", net(16)), record("head", net(32)))
    for keys in (("module",), ("op",), ("stage",), ("module", "stage"), ()):
        frame = found.by(*keys, exclusive=True)
        assert frame["flops_difference"].sum() == found.totals["flops"].difference
        assert frame["bytes_head"].sum() == found.totals["bytes"].head
    (row,) = found.by().to_dicts()
    assert row["mark"] == "changed"


def test_several_ranks(tmp_path):
    """Two ranks of one model: rows are over both, modules are told apart by path, not number."""
    base = tmp_path / "base"
    shutil.copytree(STORED, base / "rank=00000")
    for rank in (1,):
        shutil.copytree(STORED, base / f"rank={rank:05}")
    for rank in (0, 1):
        file = base / f"rank={rank:05}" / "trace.json"
        manifest = json.loads(file.read_text()) | {"rank": rank, "world_size": 2}
        file.write_text(json.dumps(manifest))
    assert compare(STORED, base).totals["flops"].mark == "equal"  # of one sample
    found = compare(STORED, base, per="total")
    assert found.totals["flops"].head == 2 * found.totals["flops"].base
    assert "ranks 1 -> 2" in found.warnings
    reasons = {row["reason"] for row in changes(found, "flops")}
    assert all(reason.startswith("calls ") for reason in reasons)


def test_json_is_plain(record):
    found = compare(record("base", net()), record("head", net(32)), energies=["compute"])
    data = json.loads(json.dumps(found.to_dict()))
    assert data["totals"][1]["figure"] == "flops"
    assert {row["mark"] for row in data["rows"]} == {"changed", "equal"}
    assert data["head"]["energies"]["compute"]["config"]["e_mac_pj"] == 4.6
    assert data["changes"]["flops"][0]["module"] == "Net.0"


@st.composite
def networks(draw):
    """Draw layers of a random network: convolutions with any geometry, and what is between."""
    layers, channels = [], 2
    for place in range(draw(st.integers(1, 3))):
        out = draw(st.sampled_from([2, 4, 6]))
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        groups = draw(st.sampled_from([1, 2]))
        layers.append(
            (f"conv{place}", torch.nn.Conv2d(channels, out, kernel, stride, 1, groups=groups))
        )
        channels = out
        if draw(st.booleans()):
            layers.append((f"norm{place}", torch.nn.BatchNorm2d(channels)))
        if draw(st.booleans()):
            layers.append((f"act{place}", draw(st.sampled_from([torch.nn.ReLU, torch.nn.Tanh]))()))
    model = torch.nn.Sequential()
    for name, layer in layers:
        model.add_module(name, layer)
    return model.eval()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(base=networks(), head=networks(), batch=st.integers(1, 2), spiking=st.booleans())
def test_differences_add_up(base, head, batch, spiking):
    """For any two networks: rows and reasons add up to the difference of the totals."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = torch.rand(batch, 2, 6, 6)
        inputs = (inputs < 0.3).float() if spiking else inputs
        paths = [
            opjoule.record(model, inputs, Path(folder) / name, grad=False)
            for name, model in (("base", base), ("head", head))
        ]
        found = compare(*paths, energies=["compute"])
        totals = [count(open_trace(path)).total for path in paths]
        for name in COUNTERS:
            difference = totals[1][name] - totals[0][name]
            assert found.totals[name].difference == difference
            assert found.rows[f"{name}_difference"].sum() == difference
            assert found.changes(name)["difference"].sum() == difference
        energies = [estimate_compute(open_trace(path)).total_pj for path in paths]
        difference = energies[1] - energies[0]
        for frame, column in (
            (found.rows, "energy.compute_difference"),
            (found.changes("energy.compute"), "difference"),
        ):
            found_sum = frame[column].sum()
            assert math.isclose(found_sum, difference, rel_tol=1e-6, abs_tol=1e-6 * max(energies))
        keys = found.rows.select("module", "op", "stage")
        assert keys.is_unique().all()
        assert found.rows.filter(pl.col("mark") == "added")["flops_base"].sum() == 0
