"""A spiking network beside its quantized twin: by hand, and what was published."""

from __future__ import annotations

import pytest

from opjoule import ConfigError, TraceError, breakeven, check, compare, energy, table
from opjoule.schemas.costs import Machine

torch = pytest.importorskip("torch")
neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
nn = torch.nn


def machine(**terms):
    """Return a machine: quantity -> price in pJ."""
    made = [{"quantity": name, "price": f"{price} pJ"} for name, price in terms.items()]
    return Machine(machine={"name": "mine", "source": "this test"}, term=made)


@pytest.fixture
def spiking(recorded):
    """Return a function that records a network on an input, its neurons not firing."""

    def made(*layers, x, levels=1e6):
        net = nn.Sequential(
            *(each for layer in layers
              for each in (layer, neuron.IFNode(v_threshold=levels, step_mode="m")))
        ).eval()  # fmt: skip

        def run():
            with torch.no_grad():
                net(x)

        return recorded(run, model=net, statistics="full")

    return made


def frames(steps, inputs, spikes):
    """Return `spikes` ones in steps x 1 x inputs, spread over the steps."""
    x = torch.zeros(steps * inputs)
    x[torch.arange(spikes) * (steps * inputs) // max(spikes, 1)] = 1
    assert int(x.sum()) == spikes
    return x.reshape(steps, 1, inputs)


def test_by_hand(spiking):
    """Linear(4, 2), three steps, 6 of 12 inputs spike, two neurons.

    SNN: 6 x 2 = 12 synaptic operations at 1 pJ, 3 x 2 updates at 2 pJ: 24 pJ. Twin: 4 x 2 = 8
    multiply-accumulates at 4 pJ: 32 pJ, with activations of 2 bits: 4 levels. The updates cost 12
    whatever spikes; 20 are left for 20 operations, so for 10 spikes of 12.
    """
    trace = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    found = breakeven(trace, machine=machine(synops=1, macs=4, neuron_updates=2))
    assert (found.time_steps, found.bits, found.wins) == (3, 2, True)
    for row in found.frame.iter_rows(named=True):
        assert (row["energy_pj"], row["twin_pj"], row["ratio"]) == (24, 32, 0.75)
        assert row["rate"] == 0.5 and row["breakeven_rate"] == pytest.approx(10 / 12)
    assert found.frame["layer"].to_list() == ["Global", "Sequential.0"]
    assert found.frame["verdict"][0] == (
        "wins: 0.750 times the twin's energy at 50.0 %; it wins below 83.3 %"
    )


def test_the_crossovers_that_were_published(spiking):
    """256 inputs, 128 neurons, 10 outputs, as in the reimplementation that prints them.

    Mostly the weights: b bits by 8 T bits, as 3/40 = 7.5 % and 4/80 = 5 %.
    """
    found = [
        breakeven(
            spiking(
                nn.Linear(256, 128, bias=False),
                nn.Linear(128, 10, bias=False),
                x=frames(steps, 256, 40),
            )
        ).breakeven_rate
        for steps in range(5, 11)
    ]
    assert [round(100 * rate, 2) for rate in found] == [7.50, 6.25, 5.36, 6.25, 5.56, 5.00]
    assert round(100 * sum(found) / 6, 2) == 5.99


def test_a_network_below_and_one_above_the_rate(spiking):
    """5 steps: it breaks even near 7.5 %; recorded at 6.25 % and at 8.75 % the verdict flips."""
    inputs, found = 64, {}
    for percent in (6.25, 8.75):
        x = frames(5, inputs, round(5 * inputs * percent / 100))
        found[percent] = breakeven(spiking(nn.Linear(inputs, 32, bias=False), x=x))
        assert found[percent].rate == pytest.approx(percent / 100)
    low, high = found.values()
    assert low.wins and not high.wins and low.rate < low.breakeven_rate < high.rate
    assert low.breakeven_rate == pytest.approx(high.breakeven_rate, rel=1e-12)
    assert low.frame["verdict"][0].startswith("wins") and "loses" in high.frame["verdict"][0]
    at_it = breakeven(
        spiking(
            nn.Linear(inputs, 32, bias=False),
            x=frames(5, inputs, round(low.breakeven_rate * 5 * inputs)),
        )
    )
    assert at_it.ratio == pytest.approx(1, abs=0.05)


def test_as_a_limit(spiking):
    """24 pJ by the twin's 32 as in `test_by_hand`, on a machine without updates 12 by 32."""
    trace = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    ratio = breakeven(trace).ratio
    assert check(trace, f"twin_ratio={ratio * 1.01}") and not check(trace, "twin_ratio=0.001")
    found = check(trace, ["twin_ratio.paper=1", "twin_ratio.paper=0.1", "twin_ratio=9@*.0"])
    paper = breakeven(trace, machine="paper").ratio  # 12 synaptic operations, 8 MACs
    assert paper == pytest.approx(12 * 0.9 / (8 * 4.6))
    assert [each.value for each in found.verdicts] == [paper, paper, ratio]
    assert [each.verdict for each in found.verdicts] == ["within", "over", "within"]
    assert found.failures[0].line() == "twin_ratio.paper=0.1: 0.293; most by Sequential.0: 0.293"
    for limit, says in (
        ("twin_ratio.papr=1", "did you mean paper"),
        ("twin_ratio=1k", "twin_ratio has no unit: write a number alone"),
        ("twin_ratio=1/sample", "of one sample already"), ("twin_ratios=1", "twin_ratio"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            check(trace, limit)


@pytest.fixture
def dense(recorded):
    """Return a trace of a network without spikes."""
    net = nn.Linear(4, 2, bias=False).eval()
    return recorded(lambda: net(torch.rand(3, 1, 4)), model=net, statistics="full")


def test_a_network_without_spikes_has_no_twin(spiking, dense):
    """Nowhere: not in `breakeven`, a limit of the whole or of layers, or beside one with spikes."""
    given = {"batch": 1, "time_steps": 3}
    found = breakeven(dense, **given)
    assert found.ratio is None and not found.wins and found.breakeven_rate is None
    for limit in ("twin_ratio=1", "twin_ratio=1@Linear"):
        (verdict,) = check(dense, limit, **given).verdicts
        assert verdict.verdict == "unknown"
        assert verdict.why == "none of its layers has spikes as input, so it has no quantized twin"
    trace = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    (verdict,) = check(trace, "twin_ratio=1@Sequential").verdicts
    assert verdict.why == "no layer fits: ratios to a twin are of layers, and of the whole"
    beside = compare(trace, dense, twins=["twin_ratio"], **given)
    total = beside.total["twin_ratio"]
    assert (total.head, total.difference, total.mark) == (None, None, "unknown")
    assert set(beside.changes("twin_ratio")["mark"]) == {"removed"}


def test_in_a_comparison(spiking):
    """Recorded at 4 and at 6 of 12 spikes: 4 x 2 and 6 x 2 synaptic operations by 8 MACs."""
    base = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 4))
    head = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    figure = "twin_ratio.paper"
    found = compare(base, head, twins=[figure])
    total = found.total[figure]
    assert total.base == breakeven(base, machine="paper").ratio
    assert total.base == pytest.approx(8 * 0.9 / (8 * 4.6))
    assert total.head == pytest.approx(12 * 0.9 / (8 * 4.6)) and total.ratio == pytest.approx(1.5)
    (row,) = found.changes(figure).to_dicts()
    assert (row["module"], row["mark"]) == ("Sequential.0", "changed")
    assert row["reason"] == "spike rate 33.3 % -> 50.0 %"
    (failure,) = found.failures([f"{figure}>0.2", f"{figure}>1", f"{figure}>+60%"])
    assert failure.culprits["module"].to_list() == ["Sequential.0"]
    totals, explained = found.page([figure]).sheets
    assert "energy by its twin's (paper)" in totals.frame["figure"].to_list()
    assert [each.title for each in explained.columns][1:] == ["where", "why"]
    assert figure in {each["figure"] for each in found.to_dict()["totals"]}
    with pytest.raises(ConfigError, match="no parts that add up"):
        found.plot(figure)
    same = compare(base, base, twins=["twin_ratio"])
    assert same.total["twin_ratio"].mark == "equal" and not same.changes("twin_ratio").height


def test_as_columns_of_a_table(spiking, recorded):
    """A network without spikes has no twin; a footnote says so, and how the other one fares."""
    snn = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    net = nn.Linear(4, 2).eval()
    ann = recorded(lambda: net(torch.full((1, 4), 0.5)), model=net, statistics="full")
    columns = ["twin_ratio", "input_rate", "breakeven_rate", "twin_ratio.paper"]
    found, twin = table({"SNN": snn, "ANN": ann}, columns), breakeven(snn)
    assert found.total["SNN"] == {
        "twin_ratio": twin.ratio, "breakeven_rate": twin.breakeven_rate,
        "input_rate": 0.5,
        "twin_ratio.paper": breakeven(snn, machine="paper").ratio,
    }  # fmt: skip
    assert set(found.total["ANN"].values()) == {None}
    head = found.to_markdown().partition("\n|:")[0]
    assert "Energy by its twin's (paper)" in head and "Wins below an input rate of" in head
    assert any(each.startswith("ANN has no quantized twin") for each in found.footnotes)
    assert f"SNN: {twin.lines()[0]}." in found.footnotes
    with pytest.raises(ConfigError, match="did you mean paper"):
        table({"SNN": snn}, ["twin_ratio.papr"])


def test_a_convolution_and_two_samples(recorded):
    """4 of 2 x 2 x 1 x 3 x 3 inputs spike; 2 x 2 kernels, one channel: 4 outputs a sample and step.

    Dense: 4 x 4 multiply-accumulates a sample. A spike in the middle meets 4 outputs: 16 in all, 8
    a sample.
    """
    net = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False)).eval()
    node = neuron.IFNode(v_threshold=1e6)
    x = torch.zeros(2, 2, 1, 3, 3)
    x[..., 1, 1] = 1

    def run():
        with torch.no_grad():
            for step in x:
                node(net(step))

    trace = recorded(run, model=nn.ModuleList([net, node]), statistics="full")
    found = breakeven(trace, machine=machine(synops=1, macs=1), batch=2, time_steps=2, samples=2)
    assert found.frame["energy_pj"][0] == 8 and found.frame["twin_pj"][0] == 16
    assert found.rate == pytest.approx(1 / 9)


def test_dense_layers_run_as_often_as_they_ran(spiking):
    """A dense first layer at every step costs T times its twin, whatever spikes."""
    x = torch.rand(4, 1, 6)
    found = breakeven(spiking(nn.Linear(6, 5, bias=False), x=x), machine=machine(macs=1))
    assert (found.frame["energy_pj"][0], found.frame["twin_pj"][0]) == (4 * 30, 30)
    assert found.rate is None and "its input is no spikes" in found.frame["verdict"][1]
    assert "none of its layers takes spikes" in found.total["verdict"]
    assert "loses" not in found.lines()[0]


def test_what_costs_too_much_without_spikes_never_wins(spiking):
    """6 updates at 10 pJ cost more than a twin of 32 pJ."""
    trace = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    found = breakeven(trace, machine=machine(synops=1, macs=4, neuron_updates=10))
    assert found.breakeven_rate == 0 and "never" in found.to_markdown()
    assert "there is no rate at which it wins" in found.frame["verdict"][0]


def test_the_network_that_was_recorded_stands_beside(spiking, recorded):
    """The same layers with ReLU need what the twin needs."""
    net = nn.Sequential(nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 4, bias=False))
    net = net.eval()
    ann = recorded(lambda: net(torch.rand(1, 64) + 0.1), model=net, statistics="full")
    snn = spiking(nn.Linear(64, 32, bias=False), nn.Linear(32, 4, bias=False),
                  x=frames(5, 64, 20))  # fmt: skip
    found = breakeven(snn, ann)
    assert found.ann_pj == pytest.approx(found.frame["twin_pj"][0], rel=1e-12)
    assert any("recorded to compare with" in line for line in found.lines())


def test_widths_of_the_twin(spiking):
    """Weights of 8 bits, the twin's of 3, at 1 pJ a bit: 20 x 2 x 8 and 8 x 2 x 3."""
    term = {"quantity": "weight_reads", "price": "1 pJ/bit", "bits": 8, "twin_bits": "activation"}
    made = Machine(machine={"name": "mine", "source": "this test"}, term=[term])
    trace = spiking(nn.Linear(8, 2, bias=False), x=frames(7, 8, 20))
    found = breakeven(trace, machine=made)
    assert (found.frame["energy_pj"][0], found.frame["twin_pj"][0]) == (20 * 2 * 8, 8 * 2 * 3)
    fixed = Machine(machine=made.machine, term=[{**term, "twin_bits": 4}])
    assert breakeven(trace, machine=fixed).frame["twin_pj"][0] == 8 * 2 * 4


def test_what_is_refused(spiking, recorded):
    trace = spiking(nn.Linear(4, 2, bias=False), x=frames(3, 4, 6))
    with pytest.raises(ConfigError, match="loihi charges nothing of the quantized twin"):
        breakeven(trace, machine="loihi")
    with pytest.raises(ConfigError, match="bytes_read of a twin"):
        breakeven(trace, machine=machine(bytes_read=1, macs=1))
    with pytest.raises(ConfigError, match="is of inference"):
        training = machine(macs=1).model_dump()
        training["machine"]["scope"] = "training"
        breakeven(trace, machine=Machine(**training))
    net = nn.Linear(4, 2).eval()
    bare = recorded(lambda: net(torch.rand(4)), model=net)
    with pytest.raises(
        TraceError, match=r"time steps \(--time-steps, time_steps=\)\. No neurons are known in it"
    ):
        breakeven(bare, machine=machine(macs=1))
    unmeasured = recorded(lambda: net(torch.rand(2, 4)), model=net, statistics="none")
    with pytest.raises(TraceError, match="was not recorded"):
        breakeven(unmeasured, machine=machine(spikes_in=1, macs=1), time_steps=2, batch=2)


class Attention(nn.Module):
    """Spikes q (B, 3, 2) of neurons, q q^T q without weights, and a layer on the result."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
        self.fires = neuron.IFNode(step_mode="m")
        nn.init.constant_(self.first.weight, 1.0)

    def forward(self, x):
        q = self.fires(self.first(x))
        return self.last(q @ q.transpose(-1, -2) @ q)


@pytest.fixture
def attention(recorded):
    """Return a trace of two steps of ones in q: Linear 2 x 3 x 4, products 2 x 18 each, 2 x 3 x 2.

    12 of 24 + 36 + 36 + 12 dense MACs are those of the last layer, whose input is 3 x 1 x 2.
    """
    net, x = Attention().eval(), torch.ones(2, 1, 3, 2)
    x[1, :, 0] = 0
    with torch.no_grad():
        return recorded(lambda: net(x), model=net, statistics="full", batch_dim=1, time_dim=0)


def test_what_the_machine_leaves_out_is_named_wherever_the_ratio_stands(attention):
    """Both products of the attention have no term: 72 of 108 MACs, on both sides."""
    found = breakeven(attention)
    beside = energy(attention, machine="yan-dram")
    assert found.account.charged_macs == beside.account.charged_macs == 36
    assert found.left_out.equals(beside.left_out) and found.left_out["macs"].to_list() == [72]
    assert found.account.share == found.twin_account.share == pytest.approx(1 / 3)
    assert found.twin_account.charged_macs == 36 / 2  # one step
    line = "33.3% of the MACs of the products are charged, 2 calls are left out"
    assert found.coverage == beside.coverage == line
    assert found.warnings == beside.warnings and "--spikes graded" in found.warnings[0]
    assert breakeven(attention, spikes="graded").warnings == ()
    told = found.to_dict()
    assert told["coverage"] == line and told["warnings"] == list(found.warnings)
    assert told["left_out"][0]["macs"] == 72 and told["charged_share"] == found.account.share
    assert "aten.bmm.default, spike input (no term)" in found.to_markdown()
    for shown in (
        found.to_markdown(),
        "\n".join(table({"net": attention}, ["breakeven_rate"]).footnotes),
        check(attention, "twin_ratio=9").to_markdown(),
        compare(attention, attention, twins=["twin_ratio"]).to_markdown(),
    ):
        assert line in shown and "--spikes graded counts it" in shown
    data = table({"net": attention}, ["twin_ratio"]).to_dict()
    assert data["coverage"][1] == f"net, twin on yan-dram: {line}" and len(data["coverage"]) == 2
    assert data["warnings"] == []  # the hint is in the coverage of the counts
    assert "--spikes graded counts it" in data["coverage"][0]
    sides = compare(attention, attention, twins=["twin_ratio"]).to_dict()
    assert sides["head"]["twins"]["twin_ratio"]["coverage"] == line


def test_a_twin_that_is_charged_less_of_is_told(attention):
    """Synaptic operations of everything, multiply-accumulates of layers: of its twin 18 of 54."""
    terms = [
        {"quantity": "synops", "price": "1 pJ"},
        {"quantity": "macs", "of": "layers", "price": "1 pJ"},
    ]
    made = Machine(machine={"name": "mine", "source": "this test"}, term=terms)
    found = breakeven(attention, machine=made)
    assert found.account.share == 1 and found.twin_account.share == pytest.approx(1 / 3)
    assert found.coverage == (
        "100.0% of the MACs of the products are charged; of the twin: 33.3% of the MACs of the "
        "products are charged, 2 calls are left out"
    )


def test_what_is_left_out_of_the_network_to_compare_with(attention):
    """As its own network to compare with, dense: what it lacks of it is told too."""
    found = breakeven(attention, attention)
    assert found.ann_account.share == pytest.approx(1 / 3)
    assert f"; of the network to compare with: {found.account.line()}" in found.coverage
    assert len(found.warnings) == len(set(found.warnings))


def test_no_rate_is_told_where_no_spike_enters(recorded):
    """Neurons fire by the bias of a layer whose input is zeros: its rate says nothing."""
    net = nn.Sequential(nn.Linear(4, 2), neuron.IFNode(step_mode="m")).eval()
    nn.init.constant_(net[0].bias, 2.0)
    x = torch.zeros(3, 1, 4)

    def run(recorder):
        with torch.no_grad():
            net(recorder.spikes(x))

    found = breakeven(recorded(run, model=net, statistics="full"))
    assert found.rate == 0 and found.breakeven_rate is None
    assert found.total["verdict"].endswith("; no spike entered it")
