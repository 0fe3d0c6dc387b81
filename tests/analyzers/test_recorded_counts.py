"""Counts of models recorded on the spot: the same work gives the same figures, however run."""

from __future__ import annotations

import warnings

import polars as pl
import pytest

from opjoule.analyzers import count
from opjoule.analyzers.counting.coefficients import COUNTERS
from opjoule.analyzers.workload.modules import GLOBAL

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

REVISIONS = ("spikingjelly-2.0", "spikingjelly-2026-08")


@pytest.fixture(scope="session")
def jelly():
    """Return SpikingJelly's activation_based package; its own warnings are let pass."""
    pytest.importorskip("spikingjelly")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spikingjelly.activation_based.functional
        import spikingjelly.activation_based.layer
        import spikingjelly.activation_based.neuron
    return spikingjelly.activation_based


def row_of(frame, key, value):
    return frame.row(by_predicate=pl.col(key) == value, named=True)


# --- scopes ------------------------------------------------------------------------------------


def test_several_roots_and_what_runs_between(recorded):
    """Two models that nobody announced, each called by itself, and an addition of 6 outside."""
    first, second = nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh())

    @torch.no_grad()
    def run():
        second(first(torch.rand(2, 4)) + 1)

    frame = count(recorded(run), by="module").frame
    assert frame["module"].to_list() == [
        GLOBAL, "Linear", "Sequential", "Sequential.0", "Sequential.1",
    ]  # fmt: skip
    products = [2 * 2 * 4 * 3 + 6, 2 * 2 * 3 * 3 + 6]  # and the bias of 2x3
    found = dict(frame.select("module", "flops").rows())
    assert found["Linear"] == products[0]
    assert found["Sequential.0"] == products[1]
    assert found["Sequential"] == products[1] + found["Sequential.1"]
    rand = row_of(count(recorded(run), by="op").frame, "op", "aten.rand.default")["flops"]
    assert found[GLOBAL] == found["Linear"] + 6 + found["Sequential"] + rand


# --- modes -------------------------------------------------------------------------------------


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3), nn.Softmax(-1),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("rules", ["full", "torch", *REVISIONS])
def test_grad_no_grad_and_inference_mode_count_the_same(recorded, rules):
    model, x = network(), torch.rand(2, 2, 8, 8)
    found = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            trace = recorded(lambda: model(x), model=model)
        by_module = count(trace, by="module", rules=rules).frame
        found.append(by_module.select("module", *COUNTERS).fill_null(0))
    assert (found[0]["flops"] > 0).sum() > 3
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def spiking(jelly, mode):
    torch.manual_seed(0)
    layer, neuron = jelly.layer, jelly.neuron
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False), neuron.IFNode(), layer.MaxPool2d(2),
        layer.Flatten(), layer.Linear(64, 5), neuron.LIFNode(), layer.Linear(5, 2),
    )  # fmt: skip
    jelly.functional.set_step_mode(net, mode)
    return net.eval()


def test_a_loop_over_steps_counts_as_all_steps_at_once(recorded, jelly):
    """The first of 4 steps is silent: an input of zeros is dense, what a neuron wrote is spikes.

    By values alone, as SpikingJelly goes, the loop loses that step's MACs: a constant of zeros.
    """
    x = torch.rand(4, 3, 2, 8, 8)
    x[0] = 0
    single, multi = spiking(jelly, "s"), spiking(jelly, "m")

    @torch.no_grad()
    def loop():
        for step in x:
            single(step)

    @torch.no_grad()
    def at_once():
        multi(x)

    traces = [recorded(run, model=model) for run, model in ((loop, single), (at_once, multi))]
    in_loop, together = (count(trace).total for trace in traces)
    for counter in ("flops", "macs", "acs", "synops"):
        assert in_loop[counter] == together[counter]
    assert together["synops"] > 0
    assert together["macs"] == 4 * 3 * 64 * 4 * 2 * 9  # steps, images, sites, kernels of 2x3x3
    for revision in REVISIONS:
        in_loop, together = (count(trace, rules=revision).total["macs"] for trace in traces)
        assert in_loop * 4 == together * 3


# --- constants ---------------------------------------------------------------------------------


def test_sum_and_mean_have_the_same_multiplications_backwards(recorded):
    """The gradient of a sum is all ones, that of a mean all 1/6; neither is a train of spikes.

    Backward of 2x4 by 4x3: the weight's gradient 3x2 by 2x4, 24 MACs; the input's 2x3 by 3x4, 24.
    """
    layer, x = nn.Linear(4, 3), torch.rand(2, 4, requires_grad=True)
    macs, by_values = {}, {}
    for name in ("sum", "mean"):
        trace = recorded(lambda name=name: getattr(layer(x), name)().backward(), model=layer)
        found = count(trace, by="op", where=["stage=backward", "op=aten.mm"])
        macs[name] = found.total["macs"], found.total["synops"]
        by_values[name] = count(
            trace, where=["stage=backward", "op=aten.mm"], rules="spikingjelly-2.0"
        ).total
    assert macs["sum"] == macs["mean"] == (48, 0)
    # SpikingJelly goes by values: 6 ones meet 4 elements each, twice.
    assert (by_values["sum"]["macs"], by_values["sum"]["synops"]) == (0, 6 * 4 * 2)
    assert (by_values["mean"]["macs"], by_values["mean"]["synops"]) == (48, 0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_constant_is_spikes_if_a_neuron_wrote_it(recorded, jelly, level):
    """A neuron that never or always fires: 2x4 into a layer of 3; 8·level spikes meet 3 each."""
    node, layer = jelly.neuron.IFNode(v_reset=0.0), nn.Linear(4, 3, bias=False)
    driven = torch.full((2, 4), 2 * level)

    @torch.no_grad()
    def fires():
        layer(node(driven))

    @torch.no_grad()
    def dense():
        layer(torch.full((2, 4), level))

    products = "op=aten.mm"
    by_neuron = count(recorded(fires), where=products)
    assert (by_neuron.total["macs"], by_neuron.total["synops"]) == (0, 8 * level * 3)
    by_hand = count(recorded(dense), where=products)
    assert (by_hand.total["macs"], by_hand.total["synops"]) == (24, 0)
    for revision in REVISIONS:
        known = count(recorded(dense), where=products, rules=revision).total
        assert (known["macs"], known["synops"]) == (0, 8 * level * 3)
    assert by_neuron.coverage.decided == by_hand.coverage.decided == 1


# --- what a spike is ---------------------------------------------------------------------------

MADE = {
    "01": [0.0, 1.0, 0.0, 1.0],
    "-101": [-1.0, 0.0, 1.0, 1.0],
    "0a": [0.0, 0.5, 0.5, 0.0],
    "02": [0.0, 2.0, 2.0, 0.0],
    "0123": [0.0, 1.0, 2.0, 3.0],
    "any": [0.0, 0.25, 0.5, 3.0],
}
FIT = {
    "binary": {"01"},
    "ternary": {"01", "-101"},
    "scaled": {"01", "0a", "02"},
    "graded": {"01", "-101", "02", "0123"},
}


@pytest.mark.parametrize("mode", FIT)
def test_the_setting_decides_what_a_spike_is(recorded, mode):
    """Each made input of 1x4 meets a dense 4x5: as spikes nonzero·5 additions, else 20 MACs."""
    weights = torch.rand(4, 5) + 0.1
    inputs = {name: torch.tensor([data]) for name, data in MADE.items()}

    def run(recorder):
        for name, x in inputs.items():
            with recorder.label(name):
                torch.mm(x, weights)

    frame = count(recorded(run), by="label", where="op=aten.mm", spikes=mode).frame
    for row in frame.iter_rows(named=True):
        nonzero = sum(each != 0 for each in MADE[row["label"]])
        spikes = row["label"] in FIT[mode]
        expected = (nonzero * 5, nonzero * 5, 0) if spikes else (0, 0, 20)
        assert (row["synops"], row["acs"], row["macs"]) == expected, row["label"]
    assert frame.height == len(MADE)


# --- what was not measured ---------------------------------------------------------------------


@pytest.mark.parametrize("statistics", ["none", "synaptic"])
def test_without_statistics_nobody_knows(recorded, statistics):
    """FLOPs and bytes need no data; whether additions are spike-driven does."""
    spikes, weights = (torch.rand(6, 4) > 0.5).float(), torch.rand(4, 3)
    layer = nn.Linear(4, 3, bias=False)

    def run():
        torch.mm(spikes, weights)
        layer(spikes).sum().backward()

    full = count(recorded(run), where="op=aten.mm")
    found = count(recorded(run, statistics=statistics), where="op=aten.mm", by="stage")
    assert found.total["flops"] == full.total["flops"] == 3 * 2 * 6 * 4 * 3
    assert found.total["bytes"] == full.total["bytes"]
    if statistics == "none":
        for counter in ("synops", "macs", "acs"):
            assert found.total[counter] is None
            assert found.frame[counter].to_list() == [None, None]
        assert "3 calls lack statistics" in found.coverage.line()
    else:  # the operands of products are measured at this level
        assert found.total == full.total
        assert "lack statistics" not in found.coverage.line()


def test_an_addition_of_what_was_not_measured(recorded):
    """Of two tensors nobody knows if both are spikes; of a tensor and a number it is dense.

    What an optimizer adds is not measured at any level; weights and gradients are no spikes:
    SGD adds 3x4 of the gradient, at a rate, to 3x4 of the weights.
    """
    x, y = (torch.rand(2, 2, 4) > 0.5).float()
    layer = nn.Linear(4, 3, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, foreach=False)

    def run(recorder):
        with recorder.label("tensors"):
            x + y
        with recorder.label("number"):
            x + 1
        layer(x).sum().backward()
        with recorder.label("optimizer"):
            optimizer.step()

    acs = {}
    for statistics in ("none", "full"):
        trace = recorded(run, statistics=statistics)
        frame = count(trace, by="label", where="op=aten.add*").frame.drop_nulls("label")
        acs[statistics] = dict(frame.select("label", "acs").rows())
    spikes = int(x.sum() + y.sum())
    assert acs["none"] == {"tensors": None, "number": 8, "optimizer": 12}
    assert acs["full"] == {"tensors": spikes, "number": 8, "optimizer": 12}


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # PyTorch multiplies two sparse factors by it
def test_what_has_no_known_size_is_left_out_of_sums_and_told(recorded):
    """One product of two is known: its figures are the sum, the line tells of the other."""
    x = torch.rand(2, 3).to_sparse()
    dense = torch.rand(2, 3) + 0.1

    def run():
        torch.mm(dense, torch.ones(3, 4) / 2)
        torch.mm(x, x.t())

    found = count(recorded(run), by="op")
    assert "1 call is of unknown size (nested, sparse or packed tensors)" in found.coverage.line()
    assert "MACs and ACs are known of ? of the products" in found.coverage.line()
    assert found.coverage.macs_share is None
    assert found.total["macs"] == 2 * 3 * 4
    (row,) = found.frame.filter(pl.col("macs").is_not_null(), op="aten.mm.default").to_dicts()
    assert row["at_least"] == "flops bytes synops macs acs"  # of two sparse operands
    assert found.total["dense_macs"] is None


def test_sums_over_what_nobody_knows_are_lower_bounds_or_unknown(recorded):
    """Linear: a view, free, and a product that was not measured; ReLU: known to need no MAC."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU())
    frame = count(recorded(lambda: model(torch.rand(2, 3)), statistics="none"), by="module").frame
    rows = {row["module"]: row for row in frame.to_dicts()}
    linear, relu, everything = (rows[name] for name in ("Sequential.0", "Sequential.1", "Global"))
    assert (linear["macs"], linear["flops"], linear["at_least"]) == (None, 2 * 2 * 3 * 4, None)
    assert (relu["macs"], relu["at_least"]) == (0, None)
    # ReLU's 0 MACs are no lower bound of a network whose only product is unknown
    assert (everything["macs"], everything["flops"]) == (None, 2 * 2 * 3 * 4 + 8)
    assert (everything["dense_macs"], everything["at_least"]) == (2 * 3 * 4, None)


def test_what_spikingjelly_has_no_rule_for_makes_no_lower_bound(recorded):
    def run():
        x = torch.rand(2, 3)
        x @ x.t().tanh()  # 2.0 has no rule for tanh: by its definition it counts nothing

    (row,) = count(recorded(run), rules="spikingjelly-2.0").frame.to_dicts()
    assert (row["macs"], row["at_least"]) == (2 * 3 * 2, None)
