"""Machines as files: each quantity by hand, prices and filters, and what a trace does not hold."""

from __future__ import annotations

import math
from itertools import product

import pytest

from opjoule import ConfigError, TraceError, check, compare, energy, sensitivity, sweep
from opjoule.analyzers.comparing.budgets import budget
from opjoule.analyzers.energy import estimate
from opjoule.analyzers.energy.row_keys import MOST_STEPS
from opjoule.analyzers.sweeping.machines import sweep_machines
from opjoule.schemas.costs import Machine, load_machine
from opjoule.schemas.quantities import QUANTITIES

torch = pytest.importorskip("torch")
nn = torch.nn

SPIKES = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
"""Two time steps of one sample: three spikes into four inputs."""


def machine(*terms, memory=(), **head):
    """Return a machine of terms; each is a quantity or a table, at 1 pJ if it says no price."""
    made = []
    for each in terms:
        term = {"quantity": each} if isinstance(each, str) else dict(each)
        if not {"memory", "price_by_bits", "price"} & set(term):
            term["price"] = "1 pJ"
        made.append(term)
    data = {"name": "mine", "source": "this test", **head}
    return Machine(machine=data, term=made, memory=list(memory))


@pytest.fixture
def layer(recorded):
    """Return a trace of Linear(4, 3) and an IF neuron, two steps of three spikes in all."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    net = nn.Sequential(nn.Linear(4, 3), neuron.IFNode(step_mode="m")).eval()
    with torch.no_grad():
        net[0].weight.fill_(0.25)
        net[0].bias.copy_(torch.tensor([0.0, 0.5, 2.0]))
    x = torch.tensor(SPIKES)[:, None]

    def run():
        with torch.no_grad():
            net(x)

    return recorded(run, model=net, statistics="full")


# Linear(4, 3): each of 3 spikes meets 3 outputs: 9 pairs. Dense: 2 steps x 4 x 3 = 24.
# Each of 2 x 3 outputs adds a bias: 6. Inputs 2 x 4 = 8, outputs 2 x 3 = 6.
# Membranes rise by 0.25 a spike and the bias: neuron 0: 0.5, 0.75: no spike; neuron 1: 1.0 fires,
# then 0.75; neuron 2: 2.5 fires, reset to 0, 2.25 fires: 3 spikes. States: 3 neurons x 2 steps.
BY_HAND = {
    "synops": 9,
    "dense_macs": 24,
    "weight_reads": 9,
    "weight_reads_dense": 24,
    "bias_reads": 6,
    "activation_reads": 8,
    "activation_writes": 6,
    "spikes_in": 3,
    "input_events": 3,
    "effective_acs": 9,
    "effective_macs": 0,
    "neuron_updates": 6,
    "neuron_spikes": 3,
    "spikes_out": 3,
    "state_reads": 6,
    "state_writes": 6,
    "samples": 1,
    "time_steps": 2,
}


def test_quantities_by_hand(layer):
    report = energy(layer, machine=machine(*BY_HAND))
    assert report.counts == BY_HAND
    assert report.total_pj == report.rows["energy_pj"].sum() == sum(BY_HAND.values())


def test_counters_are_those_of_the_count(layer):
    from opjoule import count

    total = count(layer.where("stage=forward")).total
    names = ("macs", "acs", "synops", "flops")
    assert energy(layer, machine=machine(*names)).counts == {n: total[n] for n in names}


def test_events_go_to_every_core_that_holds_outputs(layer):
    """3 outputs, 2 a core: 2 cores, so 3 spikes are 6 events."""
    assert energy(layer, machine=machine("input_events", neurons_per_core=2)).total_pj == 6
    assert energy(layer, machine=machine("input_events", neurons_per_core=3)).total_pj == 3


def test_bytes_by_kind_of_value(layer):
    """addmm reads 12 weights and 3 biases of 4 bytes; nobody else reads a parameter."""
    one = {"quantity": "bytes_read", "kind": "parameter", "price": "1 pJ/byte"}
    assert energy(layer, machine=machine(one)).total_pj == (12 + 3) * 4
    whole = energy(layer, machine=machine("bytes_read")).total_pj
    kinds = ("parameter", "buffer", "gradient", "neuron_state", "model_input", "activation")
    assert whole == sum(
        energy(layer, machine=machine({**one, "kind": kind})).total_pj for kind in kinds
    )
    inputs = energy(layer, machine=machine({**one, "kind": "model_input"})).total_pj
    assert inputs == 8 * 4


@pytest.mark.parametrize("mode", ["s", "m"])
def test_states_between_the_steps_of_one_call_are_told_of(mode, recorded):
    """2 neurons, 3 steps: 6 states are read in either mode; their bytes are warned of in one."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    net = nn.Sequential(neuron.IFNode(step_mode=mode)).eval()

    def run():
        for x in torch.rand(3, 1, 2) if mode == "s" else torch.rand(1, 3, 1, 2):
            net(x)

    trace = recorded(run, model=net)
    state = {"quantity": "bytes_read", "kind": "neuron_state", "name": "state"}
    report = energy(trace, machine=machine(state, "state_reads"))
    assert report.counts["state_reads"] == 6
    told = [text for text in report.warnings if text.startswith("state: of a neuron that steps")]
    assert len(told) == (mode == "m")
    assert not any("steps" in text for text in energy(trace, machine=machine("macs")).warnings)


def test_prices_by_the_bit_and_byte(layer):
    """9 weights: of 8 bits at 2 pJ a bit 144 pJ; as recorded, 4 bytes at 2 pJ a byte 72 pJ."""
    bits = {"quantity": "weight_reads", "price": "2 pJ/bit", "bits": 8}
    assert energy(layer, machine=machine(bits)).total_pj == 9 * 8 * 2
    recorded = {"quantity": "weight_reads", "price": "2 pJ/byte"}
    assert energy(layer, machine=machine(recorded)).total_pj == 9 * 4 * 2
    assert energy(layer, machine=machine({**recorded, "price": "2 pJ/bit"})).total_pj == 9 * 32 * 2
    half = energy(layer, machine=machine({**recorded, "bits": 4}))
    assert half.total_pj == 9 * 0.5 * 2


def test_a_memory_by_its_size(layer):
    """12 weights of 8 bits fill 12 bytes: half way from 8 to 16 bytes, (1 + 3) / 2 pJ a bit."""
    sram = {"name": "sram", "price_per_bit": {"at_bytes": [8.0, 16.0], "pj": [1.0, 3.0]}}
    term = {"quantity": "weight_reads", "memory": "sram", "capacity": "weights", "bits": 8}
    assert energy(layer, machine=machine(term, memory=[sram])).total_pj == 9 * 8 * 2
    # as recorded they fill 48 bytes: past the last point
    recorded = {**term, "bits": None}
    assert energy(layer, machine=machine(recorded, memory=[sram])).total_pj == 9 * 32 * 3
    fixed = {**term, "capacity": "8 B"}
    assert energy(layer, machine=machine(fixed, memory=[sram])).total_pj == 9 * 8 * 1
    flat = {"name": "sram", "price": "2 pJ/byte"}
    assert energy(layer, machine=machine(term, memory=[flat])).total_pj == 9 * 2


def test_a_price_by_the_width(layer):
    """At 6 bits half way from 4 to 8: (1 + 5) / 2 pJ."""
    term = {"quantity": "synops", "bits": 6, "price_by_bits": {"at_bits": [4.0, 8.0],
                                                               "pj": [1.0, 5.0]}}  # fmt: skip
    assert energy(layer, machine=machine(term)).total_pj == 9 * 3


def test_leakage_for_the_time_that_the_file_tells(layer):
    """3 mW for 2 ns of one sample: 6 pJ."""
    made = machine({"quantity": "seconds", "price": "3 mW"}, seconds_per_sample=2e-9)
    assert energy(layer, machine=made).total_pj == pytest.approx(6, rel=1e-12)


def test_filters_and_places(layer):
    linear = {"quantity": "acs", "where": "module=0"}
    neuron = {"quantity": "acs", "of": "neurons", "name": "n"}
    layers = {"quantity": "acs", "of": "layers", "name": "l"}
    others = {"quantity": "acs", "of": "others", "name": "o"}
    report = energy(layer, machine=machine({**linear, "name": "m"}, neuron, layers, others, "acs"))
    counts = report.counts
    assert counts["m"] == counts["l"] == 9  # the product adds its bias for free
    assert counts["l"] + counts["n"] + counts["o"] == counts["acs"]
    by_op = energy(layer, machine=machine({**linear, "where": ["op=aten.*mm*", "stage=forward"]}))
    assert by_op.total_pj == 9


@pytest.mark.parametrize(
    ("fits", "filters"),
    [
        (True, ("stage=forward", "step=0", "rank=0", "label=", "training=false")),
        (False, ("stage=backward", "step=7", "rank=9", "label=x", "training=true")),
    ],
)
def test_every_filter_goes_with_every_quantity(fits, filters, layer):
    """All of it or none of it; samples are of any mode."""
    names = [name for name, each in QUANTITIES.items() if not each.training and name != "seconds"]
    whole = energy(layer, machine=machine(*names)).counts
    for where in filters:
        some = [{"quantity": name, "where": where} for name in names]
        found = energy(layer, machine=machine(*some)).counts
        of_any = {"samples", "time_steps"} if where == "training=true" else set()
        kept = whole if fits else {name: whole[name] * (name in of_any) for name in names}
        assert found == kept, where


@pytest.mark.parametrize("where", ["stage=forward", "label=", "training=true"])
def test_terms_with_filters_tell_steps_apart_in_long_runs_too(where, recorded):
    """2 x 4 x 3 MACs a step, and as many for the gradient of the weights; steps past those kept."""
    net = nn.Linear(4, 3, bias=False)
    steps = MOST_STEPS + 1

    def run(recorder):
        for _ in range(steps):
            net(torch.rand(2, 4)).sum().backward()
            recorder.step()

    made = machine({"quantity": "dense_macs", "where": where}, scope="training")
    report = energy(recorded(run, model=net), machine=made)
    each = 24 if where == "stage=forward" else 48
    assert report.total_pj == steps * each
    assert report.by("step")["energy_pj"].to_list() == [each] * steps


def test_updates_by_optimizers_and_the_scope_of_training(recorded):
    """12 weights and 3 biases a step, two steps; the forward scope has no pass in eval mode."""
    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def run(recorder):
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.rand(5, 4)).sum().backward()
            optimizer.step()

    trace = recorded(run, model=net)
    products = {"quantity": "macs", "where": "op=aten.*mm*"}
    report = energy(trace, machine=machine("weight_writes", products, scope="training"))
    # forward 5 x 4 x 3 and the gradient of the weights, which is as many, each step
    assert report.counts == {"weight_writes": 2 * 15.0, "macs": 2 * 2 * 60.0}
    assert report.scope.stages == ("forward", "backward", "optimizer")
    by = report.by("stage", "component")
    assert by.filter(component="weight_writes")["stage"].to_list() == ["optimizer"]
    writes = [
        {"quantity": "weight_writes", "where": f"training={value}", "name": value}
        for value in ("true", "false")
    ]
    apart = energy(trace, machine=machine(*writes, products, scope="training")).counts
    assert (apart["true"], apart["false"]) == (30, 0)
    with pytest.raises(TraceError, match="training mode"):
        energy(trace, machine=machine("macs"))


OF_LAYERS = ("macs", "dense_macs", "weight_reads", "weight_reads_dense", "activation_reads",
             "activation_writes", "bias_reads", "bytes_written")  # fmt: skip


def trained(recorded, net, x, recompute=False):
    """Return the counts of `OF_LAYERS`, of layers and of all, of one step that trains `net`."""

    def run():
        y = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False) if recompute else net(x)
        (y * y).sum().backward()

    trace = recorded(run, model=net, statistics="full")
    terms = [{"quantity": name, "of": of, "name": f"{name} {of}"} for name in OF_LAYERS
             for of in ("layers", "all")]  # fmt: skip
    report = energy(trace, machine=machine(*terms, scope="training"))
    assert report.account.share == 1
    return {name: int(count) for name, count in report.counts.items()}


@pytest.mark.parametrize("wanted", [True, False], ids=["input's gradient", "weights' alone"])
@pytest.mark.parametrize("size", [4, 8], ids=["", "square"])
def test_a_linear_and_its_two_gradients(size, wanted, recorded):
    """x (5, 8) or (8, 8): each of the three products takes rows x 8 x size multiplications.

    The gradient of the input reads the output's gradient and one weight each time, and writes as
    many elements as the input has; that of the weights reads input and output's gradient. Where all
    sides are 8, both gradients have one signature.
    """
    rows = 8 if size == 8 else 5
    x = torch.rand(rows, 8, requires_grad=wanted)
    counts = trained(recorded, nn.Sequential(nn.Linear(8, size, bias=False)), x)
    each, inputs, outputs = rows * 8 * size, rows * 8, rows * size
    assert counts["macs layers"] == counts["macs all"] == (2 + wanted) * each
    assert counts["dense_macs layers"] == (2 + wanted) * each
    assert counts["weight_reads layers"] == counts["weight_reads_dense all"] == (1 + wanted) * each
    assert counts["activation_reads all"] == inputs + (inputs + outputs) + wanted * outputs
    assert counts["activation_writes all"] == outputs + wanted * inputs
    assert counts["bytes_written layers"] == 4 * (outputs + 8 * size + wanted * inputs)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", ""])
@pytest.mark.parametrize("wanted", [True, False], ids=["input's gradient", ""])
@pytest.mark.parametrize(
    ("made", "each", "outputs"),
    [
        # 5 x 4 x 4 positions, 4 x 2 channels, 3 x 3 taps
        (lambda: nn.Conv2d(2, 4, 3, padding=1), 5760, 5 * 4 * 16),
        # 5 x 4 x 4 inputs of 2 channels, each into 2 of 4 channels, 3 x 3 taps; 9 x 9 outputs
        (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), 2880, 5 * 4 * 81),
    ],
    ids=["convolution", "transposed"],
)
def test_a_convolution_and_its_two_gradients(made, each, outputs, wanted, frozen, recorded):
    """One call of the backward pass computes one gradient or both: each as a call of its own."""
    if frozen and not wanted:
        pytest.skip("it has no backward pass")
    x, layer = torch.rand(5, 2, 4, 4, requires_grad=wanted), made().requires_grad_(not frozen)
    counts, inputs = trained(recorded, nn.Sequential(layer), x), 5 * 2 * 16
    assert counts["macs layers"] == counts["macs all"] == (1 + wanted + (not frozen)) * each
    assert counts["weight_reads layers"] == counts["weight_reads_dense all"] == (1 + wanted) * each
    of_weights = 0 if frozen else inputs + outputs
    assert counts["activation_reads all"] == inputs + of_weights + wanted * outputs
    assert counts["activation_writes all"] == outputs + wanted * inputs
    assert counts["bias_reads all"] == outputs


def test_layers_that_are_run_again_for_their_gradients(recorded):
    """Two layers of 8 x 8 x 8: forward, again, and of each two gradients (the input needs one)."""
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    counts = trained(recorded, net, torch.rand(8, 8, requires_grad=True), recompute=True)
    # what was run again for the last layer's gradient is the input of that layer alone
    again = counts["macs layers"] // 512 - 6
    assert again in (1, 2)
    assert counts["macs layers"] == counts["macs all"] == (6 + again) * 512
    assert counts["weight_reads layers"] == (4 + again) * 512
    assert counts["activation_reads layers"] == (2 + again + 2 * 3) * 64


def test_another_product_in_a_layer_is_none_of_its_own(recorded):
    """A second matrix in a layer's forward: 3 products of 5 x 8 x 4 are its own, 3 are not."""

    class Adapted(nn.Linear):
        def __init__(self):
            super().__init__(8, 4, bias=False)
            self.low, self.high = (nn.Parameter(torch.rand(s)) for s in ((8, 5), (5, 4)))

        def forward(self, x):
            return super().forward(x) + x @ self.low @ self.high

    counts = trained(recorded, nn.Sequential(Adapted()), torch.rand(5, 8, requires_grad=True))
    assert counts["macs layers"] == counts["weight_reads layers"] * 3 // 2 == 3 * 160
    assert counts["macs all"] == 3 * (160 + 200 + 100)


def test_quantities_of_forward_passes_alone_say_so(recorded):
    """Nonzero pairs of gradients were not recorded: those products are left out, and it is told."""
    net = nn.Linear(8, 4, bias=False)
    x = torch.rand(5, 8) + 1
    trace = recorded(lambda: (net(x) ** 2).sum().backward(), model=net, statistics="full")
    report = energy(trace, machine=machine("effective_macs", "spikes_in", scope="training"))
    assert report.counts == {"effective_macs": 160, "spikes_in": 0}
    assert report.account.share == 0.5  # the gradient of the weights is not charged
    (told,) = report.warnings
    assert told == (
        "effective_macs, spikes_in: of forward passes alone, without the backward passes that ran"
    )
    forward = {"quantity": "effective_macs", "where": "stage=forward"}
    assert energy(trace, machine=machine(forward, scope="training")).warnings == ()


def test_what_was_not_recorded_is_told_and_not_zero(recorded):
    """Without statistics no spikes are known: the term is out of the total, in the coverage."""
    net = nn.Linear(4, 3).eval()
    trace = recorded(lambda: net(torch.rand(2, 4)), model=net, statistics="none")
    report = energy(trace, machine=machine("dense_macs", "spikes_in"))
    assert report.counts == {"dense_macs": 24.0} and report.total_pj == 24
    assert "spikes_in is not in the total: 1 call without spikes_in" in report.coverage
    assert any("needs statistics `synaptic` or `full`" in text for text in report.warnings)
    with pytest.raises(TraceError, match=r"spikes_in is not in the total.*\(strict\)"):
        energy(trace, machine=machine("dense_macs", "spikes_in"), strict=True)
    with pytest.raises(TraceError, match="spikes_in"):
        energy(trace, machine=machine("spikes_in"))
    assert sweep_machines(trace, [machine("dense_macs", "spikes_in")])["unknown"].to_list() == [
        ["spikes_in"]
    ]


def test_the_account_names_work_that_no_term_charges(recorded):
    """A layer of 12 MACs takes spikes and another, of 12 too, its outputs: half is charged."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4)).eval()
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    trace = recorded(lambda: net(x), model=net)
    report = energy(trace, machine=machine("synops"))
    assert report.total_pj > 0 and report.account.share == 0.5
    assert report.left_out["what"].to_list() == ["aten.addmm.default, dense input (no term)"]
    assert energy(trace, machine=machine("synops", "macs")).account.share == 1


def test_a_machine_for_spikes_charges_no_dense_network(recorded):
    """0 J would stand beside a spiking network's energy."""
    net = nn.Linear(4, 3).eval()
    trace = recorded(lambda: net(torch.rand(2, 4)), model=net)
    with pytest.raises(TraceError, match=r"charges none of the products .* prices spikes alone"):
        energy(trace, machine=machine("synops", "neuron_updates"))


def test_terms_that_match_nothing(layer):
    made = machine({"quantity": "macs", "where": "op=aten.adm*"}, "synops")
    (warning,) = energy(layer, machine=made).warnings
    assert "term 'macs' matches nothing of this trace under op=aten.adm*" in warning
    assert "did you mean" in warning
    (warning,) = energy(
        layer, machine=machine({"quantity": "macs", "where": "module=Sequential.9"}, "synops")
    ).warnings
    assert "term 'macs' matches nothing of this trace under module=Sequential.9" in warning
    assert "did you mean Sequential." in warning
    with pytest.raises(ConfigError, match="no module"):  # what a user asks of a trace at hand
        energy(layer, machine=machine("macs"), where="module=nowhere")


@pytest.mark.parametrize("seed", range(4))
def test_layers_by_brute_force(seed, recorded):
    """Every pair of a spike and an output that it meets, counted one by one."""
    torch.manual_seed(seed)
    stride, padding, groups = (1, 2)[seed % 2], seed % 3, (1, 2)[seed // 2]
    net = nn.Conv2d(2, 4, 3, stride=stride, padding=padding, groups=groups, bias=False).eval()
    x = (torch.rand(2, 2, 5, 6) < 0.3).float()
    out = net(x).shape
    pairs = 0
    for n, k, row, column in product(*map(range, out)):
        for c, i, j in product(range(2 // groups), range(3), range(3)):
            channel = (k // (4 // groups)) * (2 // groups) + c
            y, z = row * stride + i - padding, column * stride + j - padding
            if 0 <= y < 5 and 0 <= z < 6:
                pairs += int(x[n, channel, y, z])
    trace = recorded(lambda: net(x), model=net)
    outputs = math.prod(out[1:])
    names = ("synops", "weight_reads", "spikes_in", "input_events", "activation_writes")
    report = energy(trace, machine=machine(*names, neurons_per_core=7))
    spikes = int(x.sum())
    assert list(report.counts.values()) == [
        pairs, pairs, spikes, spikes * math.ceil(outputs / 7), 2 * outputs
    ]  # fmt: skip


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0", "spikingjelly-2026-08"])
def test_compute_as_a_file_is_the_estimator(revision, stored):
    file = energy(stored, machine="compute", revision=revision)
    own = energy(stored, "compute", revision=revision)
    assert file.total_pj == own.total_pj and file.breakdown_pj == own.breakdown_pj
    assert file.rows.equals(own.rows)
    assert file.account.charged_macs == own.account.charged_macs


@pytest.mark.parametrize("revision", ["source", "spikingjelly-2.0"])
def test_simple_as_a_file_is_the_estimator(revision, stored):
    """Every part to the last digit; the total adds four parts where the estimator adds three."""
    file = energy(stored, machine="simple", revision=revision)
    own = energy(stored, "simple", revision=revision)
    assert own.details["tool_acs"] == 0  # what SpikingJelly's own tool adds is no quantity
    assert file.breakdown_pj == {name: own.breakdown_pj[name] for name in file.breakdown_pj}
    assert math.isclose(file.total_pj, own.total_pj, rel_tol=1e-15)


def test_prices_of_papers_and_chips():
    """Horowitz's MAC and addition; KerasSpiking 0.3.0: 23.6 + 3.5 pJ, 81 pJ; nJ of SpiNNaker."""
    prices = {
        name: [term.price for term in load_machine(name).term.values()]
        for name in (
            "paper",
            "paper-fp16",
            "paper-int8",
            "loihi",
            "loihi-sanafe",
            "spinnaker",
            "spinnaker2",
        )
    }
    assert prices == {
        "paper": [4.6, 0.9],
        "paper-fp16": [1.5, 0.4],
        "paper-int8": [0.23, 0.03],
        "loihi": [pytest.approx(23.6 + 3.5, rel=1e-15), 81],
        "loihi-sanafe": [35.5, 111, 51.2, 21.6, 69.3],
        "spinnaker": [13300, 26000],
        "spinnaker2": [450, 2190],
    }


def test_the_dense_example_of_keras_spiking(recorded):
    """Its formula: price x connections x mean input x steps, and price x neurons x steps.

    Dense 784 to 128 has 100,352 connections and 128 neurons there.
    """
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 128, bias=False), neuron.IFNode(step_mode="m")).eval()
    x = (torch.rand(10, 1, 784) < 0.1).float()

    def run():
        with torch.no_grad():
            net(x)

    trace, mean = recorded(run, model=net), x.double().mean().item()
    for name, synop, update in (("loihi", 27.1e-12, 81e-12), ("spinnaker2", 450e-12, 2.19e-9)):
        joules = synop * 100_352 * mean * 10 + update * 128 * 10
        assert energy(trace, machine=name).total_pj == pytest.approx(joules * 1e12, rel=1e-12)


def test_paper_leaves_out_all_but_layers(layer):
    report = energy(layer, machine="paper")
    assert report.breakdown_pj == {"MAC_pj": 0.0, "SynOp_pj": 9 * 0.9}
    assert report.account.share == 1


def test_a_machine_in_sweeps(layer):
    made = sweep(layer, "machine.loihi", {"term.neuron update.price": [10, 20.0, "0.1 nJ"]}).frame
    assert made["total_pj"].to_list() == [9 * 27.1 + 6 * price for price in (10, 20, 100)]
    found = sensitivity(layer, "machine.loihi").frame
    assert found["constant"].to_list() == [
        "term.neuron update.price", "term.synaptic operation.price"
    ]  # fmt: skip
    assert found["energy_pj"].to_list() == pytest.approx([6 * 81, 9 * 27.1], rel=1e-9)


def test_many_machines_equal_each_alone(layer):
    sram = {"name": "sram", "price_per_bit": {"at_bytes": [8.0, 16.0], "pj": [1.0, 3.0]}}
    reads = {"quantity": "weight_reads", "memory": "sram", "capacity": "weights", "bits": 8}
    made = [
        load_machine("loihi"),
        load_machine("simple"),
        machine(reads, "synops", {"quantity": "seconds", "price": "1 W"}, memory=[sram],
                seconds_per_sample=1e-12),
        machine("synops", scope="training"),
    ]  # fmt: skip
    found = sweep_machines(layer, made)
    for row, each in zip(found.iter_rows(named=True), made, strict=True):
        report = energy(layer, machine=each)
        assert row["total_pj"] == pytest.approx(report.total_pj, rel=1e-15)
        assert row["per_sample_pj"] == pytest.approx(report.per_sample_pj, rel=1e-15)


def test_statement_and_by(layer):
    report = energy(layer, machine="loihi")
    assert report.estimator == "machine.loihi"
    text = report.statement()
    assert "on the machine loihi by opjoule" in text and "IEEE Micro 38(1), 2018" in text
    assert "not charged: multiply-accumulates of dense inputs" in text
    by = report.by("module", "component", exclusive=True)
    assert by.select("module", "component", "energy_pj").rows() == [
        ("Sequential.1", "neuron update", 6 * 81.0),
        ("Sequential.0", "synaptic operation", pytest.approx(9 * 27.1)),
    ]
    assert report.by("sample")["energy_pj"].sum() == pytest.approx(report.total_pj)


def test_a_machine_in_the_place_of_an_estimator(layer):
    assert estimate(layer, "machine.loihi").total_pj == energy(layer, machine="loihi").total_pj
    with pytest.raises(ConfigError, match="did you mean loihi"):
        estimate(layer, "machine.lohi")
    with pytest.raises(ConfigError, match="no default"):
        estimate(layer, "machine")
    with pytest.raises(ConfigError, match="stands in the place"):
        energy(layer, "compute", machine="loihi")


@pytest.mark.parametrize("folder", ["chips", "my chips, a=1"])
def test_a_machine_in_a_folder_in_limits_and_conditions(folder, layer, tmp_path):
    """9 synaptic operations at 2 pJ: 18 pJ; compared with itself it does not grow."""
    file = tmp_path / folder / "own.toml"
    file.parent.mkdir()
    file.write_text(
        '[machine]\nname = "own"\nsource = "here"\n[[term]]\nquantity = "synops"\nprice = "2 pJ"\n'
    )
    verdicts = check(layer, [f"energy.machine.{file}=18 pJ", f"energy.machine.{file} = 17 pJ"])
    assert list(verdicts.frame["verdict"]) == ["within", "over"]
    own = load_machine(str(file))
    compared = compare(layer, layer, energies={f"machine.{file}": own})
    (failure,) = compared.failures([f"energy.machine.{file}>=+0%", f"energy.machine.{file}>+0%"])
    assert failure.total.head == 18
    assert budget(f"twin_ratio.{file}>+5%").figure == f"twin_ratio.{file}"


def test_every_quantity_is_tested():
    """By hand above, or by a test of its own."""
    others = {"macs", "acs", "flops", "bytes_read", "bytes_written", "seconds",
              "optimizer_updates", "weight_writes"}  # fmt: skip
    assert set(BY_HAND) | others == set(QUANTITIES)


def test_bytes_written_are_results(layer):
    """The Linear returns 6 floats: 24 bytes, of an activation."""
    one = {"quantity": "bytes_written", "of": "layers", "price": "1 pJ/byte"}
    assert energy(layer, machine=machine(one)).total_pj == 24
