"""`loihi-sanafe` beside SANA-FE, which simulates the same network: single cores, random weights."""

from __future__ import annotations

import itertools
import random
import warnings

import pytest

from opjoule import energy
from opjoule.schemas.costs import load_machine

torch = pytest.importorskip("torch")
neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sanafe = pytest.importorskip("sanafe")
nn = torch.nn

UNITS = {"synapse": "current_based", "dendrite": "accumulator", "soma": "leaky_integrate_fire"}


def attributes(**energies):
    """Return attributes in which nothing takes time: prices alone are compared."""
    names = [name.partition("_")[2] for name in energies]
    return {
        **{name: f"{price}e-12" for name, price in energies.items()},
        **{f"latency_{name}": "0.0" for name in names},
    }


def one_core(path, inputs):
    """Write a chip of one core with the machine's prices; its input neurons cost nothing."""
    prices = {name: term.price for name, term in load_machine("loihi-sanafe").term.items()}
    hops = {f"energy_{way}_hop": 0.0 for way in ("north", "east", "south", "west")}
    free = attributes(energy_access_neuron=0.0, energy_update_neuron=0.0, energy_spike_out=0.0)
    soma = attributes(
        energy_access_neuron=prices["neuron read"],
        energy_update_neuron=prices["neuron write"],
        energy_spike_out=prices["neuron spike"],
    )
    units = {
        "axon_in": [("in", attributes(energy_message_in=0.0))],
        "synapse": [("synapse", {"model": "current_based", **attributes(
            energy_process_spike=prices["synaptic operation"])})],
        "dendrite": [("dendrite", {"model": "accumulator", **attributes(energy_update=0.0)})],
        "soma": [("fires", {"model": "leaky_integrate_fire", **soma}),
                 (f'"input[0..{inputs - 1}]"', {"model": "input", **free})],
        "axon_out": [("out", attributes(energy_message_out=prices["spike packet"]))],
    }  # fmt: skip

    def braces(told):
        return "{" + ", ".join(f"{name}: {value}" for name, value in told.items()) + "}"

    lines = [
        "architecture:",
        "  name: chip",
        "  attributes: {topology: mesh, width: 1, height: 1, link_buffer_size: 16,"
        " sync_model: fixed, latency_sync: 0.0}",
        "  tile:",
        "    - name: tile",
        f"      attributes: {braces(attributes(**hops))}",
        "      core:",
        "        - name: core",
        "          attributes: {buffer_position: soma, buffer_inside_unit: false,"
        " max_neurons_supported: 1024}",
    ]
    for kind, made in units.items():
        lines += [f"          {kind}:"]
        lines += [f"            - {{name: {n}, attributes: {braces(a)}}}" for n, a in made]
    path.write_text("\n".join(lines))
    return sanafe.load_arch(str(path))


def simulated(chip, x, weights):
    """Run the network on SANA-FE; a layer hands its spikes on in the next step."""
    net, core = sanafe.Network(), chip.tiles[0].cores[0]
    below = net.create_neuron_group("input", x.shape[2])
    for i, train in enumerate(x[:, 0].T.int().tolist()):
        below[i].set_attributes(model_attributes={"spikes": train}, soma_hw_name=f"input[{i}]")
        below[i].map_to_core(core)
    for number, weight in enumerate(weights):
        fires = {"threshold": 1.0, "reset": 0.0, "leak_decay": 1.0}
        group = net.create_neuron_group(f"layer{number}", len(weight), model_attributes=fires)
        for j, row in enumerate(weight.tolist()):
            group[j].set_attributes(soma_hw_name="fires")
            group[j].map_to_core(core)
            for i, one in enumerate(row):
                below[i].connect_to_neuron(group[j], {"weight": one})
        below = group
    made = sanafe.SpikingChip(chip)
    made.load(net)
    steps = len(x) + len(weights) + 1
    return steps, made.sim(steps)


@pytest.mark.parametrize("seed", range(20))
def test_synapses_packets_and_spikes_are_equal(seed, recorded, tmp_path, capfd):
    """Weights are sixteenths, as its potentials are rounded: all spikes are the same.

    It fires above 1, SpikingJelly's neuron from 1 on: no potential is between 1 and 1 + 1/16.
    """
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    sizes = [draw.randint(3, 40) for _ in range(draw.randint(2, 4))]
    steps = draw.randint(3, 12)
    x = torch.rand(steps, 1, sizes[0], generator=generator) < draw.uniform(0.1, 0.6)
    weights = [
        torch.randint(-8, 17, (above, below), generator=generator) / 16
        for below, above in itertools.pairwise(sizes)
    ]
    layers = []
    for weight in weights:
        layers += [nn.Linear(weight.shape[1], weight.shape[0], bias=False)]
        layers[-1].weight = nn.Parameter(weight)
        layers += [neuron.IFNode(v_threshold=1 + 1 / 32, v_reset=0.0, step_mode="m")]
    net = nn.Sequential(*layers).eval()

    def run():
        with torch.no_grad():
            net(x.float())

    report = energy(recorded(run, model=net, statistics="full"), machine="loihi-sanafe")
    ran, theirs = simulated(one_core(tmp_path / "chip.yaml", sizes[0]), x, weights)
    capfd.readouterr()  # it reports its progress

    parts = {name.removesuffix("_pj"): pj for name, pj in report.breakdown_pj.items()}
    assert parts["synaptic operation"] == pytest.approx(theirs["energy"]["synapse"] * 1e12)
    assert parts["spike packet"] == pytest.approx(theirs["energy"]["network"] * 1e12)
    assert report.counts["spike packet"] == theirs["packets_sent"]
    fired = theirs["neurons_fired"] - int(x.sum())
    assert report.counts["neuron spike"] == fired

    # The last layer fires some steps later: neurons are read that much longer.
    neurons = sum(sizes[1:])
    assert report.counts["neuron read"] == report.counts["neuron write"] == neurons * steps
    written = theirs["energy"]["soma"] * 1e12 - 51.2 * neurons * ran - 69.3 * fired
    writes = written / 21.6
    assert writes == pytest.approx(round(writes)) and 0 <= round(writes) <= neurons * ran
