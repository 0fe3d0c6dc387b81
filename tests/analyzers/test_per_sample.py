"""Figures of one sample or step: batches of different sizes, spread, and two traces."""

from __future__ import annotations

from statistics import stdev

import pytest

import opjoule
from opjoule.analyzers.workload.divisors import per_text
from opjoule.analyzers.workload.samples import samples_of
from opjoule.schemas import ConfigError, TraceError

torch = pytest.importorskip("torch")
nn = torch.nn

FLOPS = 2 * 8 * 4
"""Of a sample in Linear(8, 4) without bias: 8 multiplications and additions for each of 4."""


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)).eval()


@pytest.fixture
def batches(recorded):
    """Return a trace of three batches: of 4, 4 and 2 samples."""

    def run():
        model = net()
        with torch.no_grad():
            for size in (4, 4, 2):
                model(torch.rand(size, 8))

    return recorded(run)


@pytest.mark.parametrize("key", ["step", "sample"])
def test_a_step_is_divided_by_its_own_samples(batches, key):
    frame = opjoule.count(batches, by=[key, "op"], where="op=aten.mm", per="sample").frame
    assert frame["flops"].to_list() == [4 * (FLOPS + 16), 4 * (FLOPS + 16), 2 * (FLOPS + 16)]
    assert frame["flops_per_sample"].to_list() == [FLOPS + 16] * 3


def test_every_other_row_is_divided_by_all_samples(batches):
    counts = opjoule.count(batches, by="module", per="sample")
    rows = {row["module"]: row for row in counts.frame.iter_rows(named=True)}
    assert rows["Sequential.0"]["flops_per_sample"] == FLOPS
    assert counts.units == 10
    assert counts.each["flops"] == counts.total["flops"] / 10
    assert "per sample: the whole divided by 10 samples" in repr(counts)
    steps = opjoule.count(batches, per="step")
    assert steps.each["flops"] == counts.total["flops"] / 3


def test_filters_leave_the_samples_what_they_are(batches):
    for where in ("module=*.0", "op=aten.mm", "stage=forward"):
        assert opjoule.count(batches, where=where, per="sample").units == 10
    assert opjoule.count(batches, where="step=2", per="sample").units == 2


def test_spread_over_batches_of_one_size(recorded):
    """The rates of three single samples: 2, 4 and 6 of 8 inputs are spikes, 4 outputs each."""

    def run():
        model = nn.Sequential(nn.Linear(8, 4, bias=False)).eval()
        with torch.no_grad():
            for ones in (2, 4, 6):
                model(torch.tensor([[1.0] * ones + [0.0] * (8 - ones)]))

    trace = recorded(run)
    row = opjoule.count(trace, spread=True).frame.row(0, named=True)
    assert row["acs_per_sample"] == (8 + 16 + 24) / 3
    assert row["acs_std"] == pytest.approx(stdev([8, 16, 24]))
    assert row["flops_std"] == 0
    report = opjoule.energy(trace, "compute")
    each = report.by(spread=True).row(0, named=True)
    assert each["per_sample_pj"] == pytest.approx(0.9 * 16)
    assert each["std_pj"] == pytest.approx(0.9 * stdev([8, 16, 24]))
    assert report.by("sample").sort("sample")["energy_pj"].to_list() == pytest.approx(
        [0.9 * 8, 0.9 * 16, 0.9 * 24]
    )


def test_a_module_that_did_not_run_in_a_sample_has_0_there(recorded):
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.Linear(8, 4, bias=False) for _ in range(2))

        def forward(self, x, first):
            return self.one(x) if first else self.two(x)

    def run():
        model = Either().eval()
        with torch.no_grad():
            for first in (True, True, False):
                model(torch.rand(1, 8), first)

    frame = opjoule.count(recorded(run), by="module", spread=True).frame
    rows = {row["module"]: row for row in frame.iter_rows(named=True)}
    assert rows["Either.one"]["flops_std"] == pytest.approx(stdev([FLOPS, FLOPS, 0]))
    assert rows["Either"]["flops_std"] == 0


def test_batches_weigh_as_much_as_they_have_samples(recorded):
    """Means 8 (of 4 samples) and 20 (of 2): mean 12, deviation √((4·16 + 2·64) / 6 · 2 / 1)."""

    def run():
        model = nn.Sequential(nn.Linear(8, 4, bias=False)).eval()
        with torch.no_grad():
            model(torch.tensor([[1.0] * 2 + [0.0] * 6]).expand(4, 8).contiguous())
            model(torch.tensor([[1.0] * 5 + [0.0] * 3]).expand(2, 8).contiguous())

    row = opjoule.count(recorded(run), spread=True).frame.row(0, named=True)
    assert row["acs_per_sample"] == 12
    assert row["acs_std"] == pytest.approx(((4 * 16 + 2 * 64) / 6 * 2) ** 0.5)


@pytest.mark.parametrize("name", ["compute", "simple", "lemaire", "neuromc", "spikesim"])
def test_energies_by_sample_add_up(stored, name):
    report = opjoule.energy(stored, name)
    assert report.by("sample")["energy_pj"].sum() == pytest.approx(report.total_pj)


def test_a_comparison_says_of_how_many_samples_an_energy_is(recorded):
    """4 samples in training mode and 2 in eval mode: counters are of 6, the energy is of 2."""
    model = net()

    def run():
        model.train()(torch.rand(4, 8))
        with torch.no_grad():
            model.eval()(torch.rand(2, 8))

    trace = recorded(run)
    found = opjoule.compare(trace, trace, energies=["compute"], per="sample")
    assert found.unit_line().startswith("per sample: BASE has 6 samples, HEAD has 6 samples")
    assert found.unit_line().endswith("; the energy of compute is of 2 and 2")
    alone = opjoule.energy(trace, "compute")
    assert found.total["energy.compute"].base == pytest.approx(alone.total_pj / 2)
    same = opjoule.compare(trace, trace, where="training=false", energies=["compute"], per="sample")
    assert "the energy of" not in same.unit_line()


def test_two_traces_are_compared_by_sample(recorded):
    model, inputs = net(), torch.ones(2, 8)

    def of(times):
        def run():
            with torch.no_grad():
                for _ in range(times):
                    model(inputs)

        return recorded(run)

    base, head = of(1), of(5)
    found = opjoule.compare(base, head, energies=["compute"])
    assert found.unit_line().startswith("per sample: BASE has 2 samples, HEAD has 10 samples")
    assert {total.mark for total in found.totals.values()} == {"equal"}
    assert set(found.rows["mark"]) == {"equal"}
    assert found.changes("flops").is_empty()
    whole = opjoule.compare(base, head, per="total")
    doubt = "a guess in BASE and HEAD"
    assert whole.unit_line() == (
        f"of the whole recordings (BASE has 2 samples, HEAD has 10 samples; {doubt})"
    )
    assert whole.totals["flops"].ratio == 5
    alike = opjoule.compare(base, base)
    assert alike.per == "total"
    assert alike.page().lead[0] == f"of the whole recordings (2 samples each; {doubt})"


TOLD = (
    "3 of 6 samples ran in eval mode: figures of one {} are of evaluation and training together; "
    "ask for them apart, with --where label=..., step=... or training=..."
)


@pytest.mark.parametrize("by", ["total", "module", "op", "stage"])
@pytest.mark.parametrize("per", ["sample", "step"])
def test_figures_of_evaluation_and_training_together_are_told(stored, per, by):
    """The stored trace has an inference of 3 samples and a training step of 3."""
    found = opjoule.count(stored, by, per=per)
    assert found.warnings == (TOLD.format(per),)
    assert found.to_dict()["warnings"].count(TOLD.format("sample")) == 1
    assert any(TOLD.format(per) in line for line in found.page().below)
    for where in ("label=training", "training=false", "step=0"):
        alone = opjoule.count(stored, by, per=per, where=where)
        assert alone.warnings == () and alone.to_dict()["warnings"] == []


def test_rows_that_have_samples_of_their_own_are_of_one_mode(stored):
    """The step, label or sample tells them apart; figures of everything, in JSON, are of both."""
    for by in ("step", "label", "sample", ["module", "label"]):
        found = opjoule.count(stored, by, per="sample")
        assert found.warnings == ()
        assert found.to_dict()["warnings"] == [TOLD.format("sample")]
    assert opjoule.count(stored, "rank", per="sample").warnings == (TOLD.format("sample"),)


def test_totals_are_of_both_modes_and_say_so_where_they_are_divided(stored):
    """JSON has the figures of one sample beside the total."""
    found = opjoule.count(stored)
    assert found.warnings == ()
    assert found.to_dict()["warnings"] == [TOLD.format("sample")]


def test_whoever_divides_by_samples_of_both_modes_says_so(stored):
    """By the same sentence: checks, comparisons, conventions; not limits and figures of a total."""
    told = TOLD.format("sample")
    assert told in opjoule.check(stored, {"flops": "1G/sample"}).warnings
    assert opjoule.check(stored, {"flops": "1G"}).warnings == ()
    assert told in opjoule.compare(stored, stored, per="sample").warnings
    assert told not in opjoule.compare(stored, stored).warnings
    assert told in opjoule.conventions(stored).warnings
    assert told not in opjoule.conventions(stored, per="total").warnings
    energies = told.replace("figures", "energies")
    assert energies in opjoule.energy(stored, "compute", revision="spikingjelly-2.0").warnings
    assert energies in opjoule.energy(stored, "lemaire", revision="spikingjelly-2.0").warnings
    assert energies not in opjoule.energy(stored, "compute").warnings  # of the evaluation alone


def test_a_teacher_beside_its_student(recorded):
    """2 samples of the teacher in eval mode, 2 of the student in training mode."""
    teacher, student = torch.nn.Linear(4, 3).eval(), torch.nn.Linear(4, 3)

    def run():
        x = torch.rand(2, 4)
        with torch.no_grad():
            wanted = teacher(x)
        torch.nn.functional.mse_loss(student(x), wanted).backward()

    trace = recorded(run)
    (text,) = opjoule.count(trace, per="sample").warnings
    assert text.startswith("2 of 4 samples ran in eval mode: figures of one sample are of eval")
    assert opjoule.count(trace, per="sample", where="training=true").warnings == ()


def test_modes_are_told_where_samples_are_not_known(recorded):
    """Chains of calls are told apart by their mode, whatever the user says of samples."""
    net = torch.nn.Linear(4, 3)

    def run():
        net.train()(torch.rand(2, 4)).sum().backward()
        with torch.no_grad():
            net.eval()(torch.rand(2, 4))

    trace = recorded(run, model=net)
    (_, text) = opjoule.count(trace, per="sample", samples=7).warnings
    assert text.startswith("1 of 2 inferences ran in eval mode: figures of one sample are of eval")


def test_what_is_not_known_is_refused(recorded):
    trace = recorded(lambda: torch.ones(3) + 1)
    with pytest.raises(TraceError, match="not known how many samples there are: give --samples N"):
        opjoule.count(trace, per="sample")
    assert opjoule.count(trace, per="sample", samples=3).each["flops"] == 1
    with pytest.raises(ConfigError, match="unknown per='day'"):
        opjoule.count(trace, per="day")


def test_a_sweep_of_one_sample(batches):
    whole = opjoule.sweep(batches, "compute", {"e_mac_pj": [1.0, 2.0]})
    each = opjoule.sweep(batches, "compute", {"e_mac_pj": [1.0, 2.0]}, per="sample")
    # 32 + 8 MACs a sample
    assert each.frame["energy_mac_per_sample_pj"].to_list() == [40, 80]
    assert each.frame.drop("energy_mac_per_sample_pj", "energy_ac_per_sample_pj").equals(
        whole.frame
    )


def test_a_last_batch_that_is_smaller_is_no_reason_to_tell_one_size(recorded):
    """8 samples in batches of 3, 3 and 2: `--batch 3` would make them 9."""
    layer = nn.Linear(4, 2).eval()

    def run():
        with torch.no_grad():
            for size in (3, 3, 2):
                layer(torch.rand(size, 4))

    trace = recorded(run, model=layer)
    text = per_text(samples_of(trace), "sample")
    assert text == "per sample: the whole divided by 8 samples (a guess: --samples corrects it)"
    told = samples_of(trace, 3)
    assert any("batch=3 replaces what differs: 2, 3" in each for each in told.warnings)
