"""Figures by the definitions of other tools: by hand, and where a trace cannot give them."""

from __future__ import annotations

import json

import polars as pl
import pytest

import opjoule
from opjoule.analyzers.rules.flop_counter import FORMULAS

torch = pytest.importorskip("torch")
nn = torch.nn

SYNOPS = ("opjoule SynOps", "Norse SynOpsCounter", "sinabs synops", "paper formula SOPs")


def quietly(model, *inputs):
    """Return a function that runs a model without gradients."""

    def run():
        with torch.no_grad():
            model(*inputs)

    return run


def why(found, convention, figure):
    return found.frame.row(by_predicate=named(convention, figure), named=True)["why"]


def named(convention, figure):
    import polars as pl

    return (pl.col("convention") == convention) & (pl.col("figure") == figure)


def conv(c_in, c_out, **options):
    return nn.Conv2d(c_in, c_out, 3, bias=False, **options).eval()


def test_a_spike_in_a_corner(record):
    """It meets 2 · 2 outputs of each of 2 channels, k² of them by Norse's formula and by FLOPs.

    Rate 1/9 of 9 · 9 · 2 dense MACs, 18; 4 · 2 = 8 meet. The first layer takes spikes.
    """
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 0, 0] = 1
    found = opjoule.conventions(record(quietly(conv(1, 2, padding=1), x)))
    assert [found.total[name] for name in SYNOPS] == [8, 18, 8, 18]
    assert found.total["NeuroBench Effective_ACs"] == 8
    assert found.total["paper formula energy"] == pytest.approx(0.9 * 18)
    assert found.frame.filter(named("Norse", "SynOpsCounter"))["ratio"].item() == 18 / 8
    assert why(found, "Norse", "SynOpsCounter").startswith("+10 borders and strides")
    assert why(found, "paper formula", "SOPs").startswith("+10 borders")
    assert why(found, "sinabs", "synops") == "the same"


def test_borders_of_a_frame(record):
    """Spikes in each third place of 12 x 12, but the last row, 3 x 3 weights, 6 channels.

    Of 44 spikes 14 lie on the upper, left or right border: rows 0 to 10 with spikes at columns
    c with (12 r + c) % 3 = 0, so 0, 3, 6 and 9 in each: the first row has 4, of which one is in
    the corner; the other 10 rows have one each at the left border.
    """
    x = torch.zeros(1, 1, 12, 12)
    x[0, 0, :11, ::3] = 1
    corner, top, left = 1, 3, 10
    inside = 44 - corner - top - left
    exact = 6 * (4 * corner + 6 * top + 6 * left + 9 * inside)
    found = opjoule.conventions(record(quietly(conv(1, 6, padding=1), x)))
    assert found.total["Norse SynOpsCounter"] == 6 * 9 * 44 == 2376
    assert found.total["opjoule SynOps"] == found.total["sinabs synops"] == exact == 2112


def test_a_stride_of_two_meets_a_fourth(record):
    """16 x 16 spikes; 3 x 3, stride 2, no padding: 7 · 7 · 9 pairs, not 256 · 9; FLOPs know it.

    Of dense MACs 49 · 9 a share of 255 by 256; the spike that is missing would have met 1 output.
    """
    x = torch.ones(1, 1, 16, 16)
    x[0, 0, 0, 0] = 0
    found = opjoule.conventions(record(quietly(conv(1, 1, stride=2), x)))
    synops = [found.total[name] for name in SYNOPS]
    assert synops == [440, 255 * 9, 440, pytest.approx(441 * 255 / 256)]


class Coded(nn.Module):
    """An image that a first layer turns to spikes in each of 4 time steps."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv(2, 4), nn.Linear(4 * 4 * 4, 3, bias=False)

    def forward(self, x):
        for _ in range(4):
            spikes = (self.first(x) > 0).float()
            self.second(spikes.flatten(1))


def test_the_first_layer_once(record):
    """4.6 pJ for 16 · 4 · 2 · 9 = 1,152 MACs once; opjoule's own counts them in 4 time steps.

    The time steps are told by the user: the network has no neuron that a trace would know.
    """
    torch.manual_seed(0)
    x = torch.rand(3, 2, 6, 6)
    trace = record(quietly(net := Coded(), x), model=net)
    with torch.no_grad():
        spikes = float((net.first(x) > 0).sum()) * 4 / 3  # of one sample
    for options, times in (({}, 4), ({"batch": 3, "time_steps": 4}, 1)):
        found = opjoule.conventions(trace, **options)
        assert found.total["paper formula SOPs"] == pytest.approx(spikes * 3)
        energy = 0.9 * 3 * spikes + 4.6 * 1152 * times
        assert found.total["paper formula energy"] == pytest.approx(energy)
    assert found.total["opjoule energy"] == pytest.approx(0.9 * 3 * spikes + 4.6 * 1152 * 4)
    text = why(found, "paper formula", "energy")
    assert text == "-15.9 nJ the first layer once, not in each time step"
    assert found.total["sinabs synops"] is None
    assert "values of inputs, which a trace does not keep: Coded.first" in why(
        found, "sinabs", "synops"
    )
    assert found.total["sinabs synops of spikes"] == pytest.approx(3 * spikes)


def test_energy_is_that_of_the_machine(stored):
    inference = opjoule.open_trace(stored).where("label=inference", "stage=forward")
    told = opjoule.conventions(inference)
    found = told.total["opjoule energy"]
    assert not told.warnings
    assert found == pytest.approx(opjoule.energy(inference, machine="paper").per_sample_pj)


def test_neurobench_leaves_transposed_convolutions_out(record):
    """3 x 3 outputs of a 2 x 2 input: 4 · 4 dense MACs are opjoule's, none are NeuroBench's."""
    layer = nn.ConvTranspose2d(1, 1, 2, bias=False).eval()
    found = opjoule.conventions(record(quietly(layer, torch.rand(1, 1, 2, 2))))
    assert (found.total["opjoule dense MACs"], found.total["NeuroBench Dense"]) == (16, 0)
    assert why(found, "NeuroBench", "Dense") == "-16 in transposed convolutions"


def test_neurobench_and_recurrent_layers(record):
    cell = nn.LSTMCell(3, 2).eval()
    found = opjoule.conventions(record(quietly(cell, torch.rand(1, 3))))
    assert found.total["NeuroBench Dense"] is None
    assert why(found, "NeuroBench", "Dense").startswith("it counts LSTMCell by states")


def test_effective_operations_by_hand(record):
    """x = 1 0 2: of 12 pairs 4 meet the zero, of the other 8 one meets a zero weight."""
    layer = nn.Linear(3, 4, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.weight[0, 0] = 0
    found = opjoule.conventions(record(quietly(layer, torch.tensor([[1.0, 0.0, 2.0]]))))
    assert found.total["NeuroBench Effective_MACs"] == 7
    assert why(found, "NeuroBench", "Effective_MACs") == (
        "-4 zeros among the inputs; -1 zeros among the weights"
    )


def test_ternary_inputs_are_spikes_to_neurobench_alone(record):
    """-1, 0, 1, 1 by 5 outputs: 20 MACs to opjoule, 15 ACs to NeuroBench; other tools add 1."""
    layer = nn.Linear(4, 5, bias=False).eval()
    x = torch.tensor([[-1.0, 0.0, 1.0, 1.0]])
    found = opjoule.conventions(record(quietly(layer, x)))
    assert (found.total["opjoule MACs"], found.total["NeuroBench Effective_ACs"]) == (20, 15)
    assert why(found, "NeuroBench", "Effective_MACs") == "-20 what counts as spikes"
    assert why(found, "NeuroBench", "Effective_ACs") == "+15 what counts as spikes"
    assert found.total["sinabs synops"] is None  # (-1 + 0 + 1 + 1) · 5 are values, not counts


def test_without_statistics(record):
    layer = nn.Linear(4, 5).eval()
    found = opjoule.conventions(record(quietly(layer, torch.rand(2, 4)), statistics="none"))
    assert found.total["FlopCounterMode total FLOPs"] == 2 * 4 * 5
    assert found.total["NeuroBench Dense"] == 4 * 5
    for convention, figure in (
        ("opjoule", "SynOps"), ("SpikingJelly 2.0", "ACCounter"), ("paper formula", "energy"),
        ("NeuroBench", "Effective_MACs"), ("Norse", "SynOpsCounter"), ("sinabs", "synops"),
    ):  # fmt: skip
        assert found.total[f"{convention} {figure}"] is None
        assert "record with statistics" in why(found, convention, figure)


def test_a_network_without_spikes_has_no_formula(record):
    layer = nn.Linear(4, 5).eval()
    found = opjoule.conventions(record(quietly(layer, torch.rand(2, 4))))
    assert found.total["paper formula SOPs"] is None
    assert "no layer takes spikes" in why(found, "paper formula", "SOPs")


def test_flop_counter_has_these_formulas():
    """As registered by this PyTorch; others than its own are not ours to name."""
    from torch.utils.flop_counter import flop_registry

    names = {str(key) for key in flop_registry}
    theirs = {name for name in names if name.startswith("aten.") or name.startswith("flex")}
    assert theirs == FORMULAS


def test_what_flop_counter_has_no_formula_for(record):
    """Attention of the CPU: 2 · 2 · 3 · 3 · (4 + 4) FLOPs for 1 · 2 heads of 3 by 4."""
    q = torch.rand(1, 2, 3, 4)
    attention = nn.functional.scaled_dot_product_attention
    found = opjoule.conventions(record(quietly(attention, q, q, q)), per="total")
    assert found.total["FlopCounterMode total FLOPs"] == 0
    rows = found.differences.filter(convention="FlopCounterMode")
    parts = dict(rows.select("what", "amount").rows())
    op = "aten._scaled_dot_product_flash_attention_for_cpu.default"
    assert parts[f"no formula for {op}"] == -2 * 2 * 3 * 3 * (4 + 4)


def test_what_figures_are_of(stored):
    """6 samples in 2 steps."""
    by = {per: opjoule.conventions(stored, per=per) for per in ("sample", "step")}
    for name, value in by["step"].total.items():
        if value is not None:
            assert by["sample"].total[name] * 6 == pytest.approx(value * 2)
    assert "other stages (backward, optimizer)" in by["sample"].warnings[-1]


def test_a_result_like_others(stored):
    found = opjoule.conventions(stored)
    data = json.loads(json.dumps(found.to_dict()))
    assert {row["convention"] for row in data["rows"]} == {
        "opjoule", "FlopCounterMode", "SpikingJelly 2.0", "SpikingJelly 2026-08", "NeuroBench",
        "paper formula", "Norse", "sinabs",
    }  # fmt: skip
    assert all(row["definition"] for row in data["rows"])
    assert all(row["why"] for row in data["rows"] if row["convention"] != "opjoule")
    for text in (found.to_markdown(), found.to_latex(), repr(found), found._repr_html_()):
        assert "FlopCounterMode" in text


def test_lower_bounds_are_not_compared(record, blend):
    """An op that nothing covers: FLOPs are a lower bound, of which no difference is taken."""
    layer = nn.Linear(4, 5, bias=False).eval()

    def run():
        with torch.no_grad():
            y = layer(torch.rand(2, 4))
            blend(y, y)

    found = opjoule.conventions(record(run), per="total")
    assert why(found, "opjoule", "FLOPs").startswith("a lower bound")
    bound = found.frame.filter(pl.col("at_least"))
    assert bound.filter(named("opjoule", "FLOPs"))["value"].item() == 2 * 2 * 4 * 5
    assert set(bound["convention"]) == {"opjoule"} and "| ≥ 80 |" in found.to_markdown()
    assert found.total["FlopCounterMode total FLOPs"] == 2 * 2 * 4 * 5
    assert why(found, "FlopCounterMode", "total FLOPs") == "opjoule's own figure is not exact"
    assert found.frame.filter(named("FlopCounterMode", "total FLOPs"))["ratio"].item() is None


def test_what_is_assumed_is_marked(record):
    """5 outputs of 8 inputs of which a quarter are spikes: 2 · 2 · 5 of a batch of 2."""
    layer = nn.Linear(8, 5, bias=False).eval()
    trace = record(quietly(layer, torch.rand(2, 8)), statistics="none")
    found = opjoule.conventions(trace, assume="spikes=0.25@Linear", per="total")
    assert found.total["opjoule SynOps"] == found.total["sinabs synops"] == 2 * 2 * 5
    assert found.warnings[0].startswith("assumed")
    (figures, _) = found.page().sheets
    cells = dict(figures.frame.select("kind", "shown").rows())
    assert cells["synops"].endswith("(assumed)") and "assumed" not in cells["flops"]


def silent():
    """Return Linear(3, 4), a neuron that never fires, and Linear(4, 2)."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    node = neuron.IFNode(v_threshold=1e6)
    return nn.Sequential(nn.Linear(3, 4, bias=False), node, nn.Linear(4, 2, bias=False)).eval()


@pytest.mark.parametrize(
    ("frames", "differ"),
    [
        # the same counts in each step, another order of the same counts, other counts
        ([[2, 0, 3]] * 2, False),
        ([[2, 0, 3], [0, 3, 2]], False),
        ([[2, 0, 3], [2, 1, 3]], True),
    ],
)
def test_frames_of_counts_are_taken_for_an_image(record, frames, differ):
    """Linear(3, 4) on whole numbers at two steps: 4.6 pJ x 12 once, and a difference of as much.

    Nothing fires, so the second layer adds nothing. Other elements are known by how many are zero
    or one, and by the extremes; frames in one call are not told apart.
    """
    net = silent()
    steps = torch.tensor(frames, dtype=torch.float32)[:, None]

    def run():
        with torch.no_grad():
            for x in steps:
                net(x)

    found = opjoule.conventions(record(run, model=net))
    assert found.total["paper formula energy"] == pytest.approx(4.6 * 12)
    text = why(found, "paper formula", "energy")
    assert text.startswith("-55.2 pJ the first layer once, not in each time step")
    assert ("Sequential.0 takes other inputs in other time steps" in text) == differ


def test_a_new_sample_is_no_other_time_step(record):
    """Two samples of two steps each, an image each."""
    net = silent()

    def run():
        with torch.no_grad():
            for image in ([[0.5, 0.2, 0.1]], [[0.7, 0.0, 1.0]]):
                net[1].reset()
                for _ in range(2):
                    net(torch.tensor(image))

    text = why(opjoule.conventions(record(run, model=net)), "paper formula", "energy")
    assert "the first layer once" in text and "other inputs" not in text


def test_a_linear_has_no_borders_and_its_signs_are_a_matter_of_what_is_a_spike(record):
    """[-1, 0, 1, 1] and [0, 1, 0, 0] by 4 x 5: SOPs 4 * 5 = 20, binary SynOps 5; 20 MACs by -1."""
    layer = nn.Linear(4, 5, bias=False).eval()
    signed, plain = torch.tensor([[-1.0, 0, 1, 1]]), torch.tensor([[0.0, 1, 0, 0]])

    def run():
        with torch.no_grad():
            layer(signed), layer(plain)

    found = opjoule.conventions(record(run), per="total")
    assert (found.total["paper formula SOPs"], found.total["opjoule SynOps"]) == (20, 5)
    assert why(found, "paper formula", "SOPs") == "+15 what counts as spikes"
    assert "borders" not in why(found, "paper formula", "energy")
    energies = found.total["paper formula energy"], found.total["opjoule energy"]
    assert energies == (pytest.approx(0.9 * 20), pytest.approx(0.9 * 5 + 4.6 * 20))
    (term,) = found.differences.filter(named("paper formula", "energy")).to_dicts()
    assert term["amount"] == pytest.approx(energies[0] - energies[1])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_size_that_is_not_known_is_no_matter_of_statistics(record):
    """Rows of two lengths in a nested tensor, beside dense ones: no shape tells how many."""
    layer, rows = nn.Linear(4, 5).eval(), torch.rand(3, 4)
    found = opjoule.conventions(
        record(lambda: (layer(rows), layer(torch.nested.nested_tensor([rows[:1], rows[1:]])))),
        samples=3,
    )
    assert found.total["opjoule dense MACs"] is None
    assert why(found, "opjoule", "dense MACs").startswith("a size is not recorded (nested, sparse")
    assert not any("record with statistics" in text for text in found.frame["why"])
