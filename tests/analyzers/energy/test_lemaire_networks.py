"""Lemaire, revision source, on what networks are made of: every count by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from opjoule import Recorder, record
from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.schemas.costs import LemaireConfig, NeuronOperations
from opjoule.tracer import NeuronRule


def e(words, bits=32):
    """The authors' energy of an access to a memory of so many words."""
    return 13.2 + 1.09e-5 * words * bits


@pytest.fixture
def run(tmp_path):
    """Return a function that records a model on inputs, one call each, and opens the trace."""

    def recorded(model, *inputs, **options):
        path = tmp_path / f"trace-{len(list(tmp_path.iterdir()))}"
        with torch.no_grad(), Recorder(path, model=model.eval(), **options):
            for x in inputs:
                model(x)
        return open_trace(path)

    return recorded


def terms(report, path):
    rows = report.details["terms"].iter_rows(named=True)
    return {row["what"]: row["count"] for row in rows if row["layer"] == path}


def filled(model, weight=1.0):
    for parameter in model.parameters():
        nn.init.constant_(parameter, weight)
    return model


def events(*shape, ones=()):
    x = torch.zeros(*shape)
    for place in ones:
        x[place] = 1
    return x


class TestHybrid:
    """Direct encoding: one pass of a sparse formal layer, potentials and bias at every step."""

    def test_convolution(self, run):
        """2 -> 4, k3, p1 on 4x4; 5 of 32 elements are not zero, in each of 3 steps; LIF."""
        model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), neuron.LIFNode(v_threshold=1e9))
        x = events(1, 2, 4, 4, ones=[(0, 0, 0, 0), (0, 0, 1, 2), (0, 0, 3, 3), (0, 1, 1, 1),
                                     (0, 1, 2, 2)]) * 0.5  # fmt: skip
        report = estimate_lemaire(run(filled(model), x, x, x))
        found = terms(report, "Sequential.0")
        assert found["mac"] == pytest.approx(64 * 2 * 9 * 5 / 32)  # 180, L11
        assert found["mul"] == 64  # leak, no factor T
        assert found["ac"] == 64  # bias, once; no spikes, no reset
        assert found["read_in"] == 5
        assert found["read_params"] == 5 * 4 * 9
        assert found["read_bias"] == 3 * 64
        assert found["read_potential"] == found["write_potential"] == 15 * 36 + 3 * 64
        assert found["acc_addr"] == 5 * 36
        assert found["mac_addr"] == 2 * 5
        assert found["write_out"] == 0
        assert "other values into Sequential.0" in report.input_types

    def test_linear(self, run):
        """8 -> 4, 3 of 8 not zero, 3 steps, a neuron that fires 4 times at each; IF.

        As published: 8*4 MACs at 3/8 are 12, at 3.2 pJ, and 4 + 12 additions at 0.1 pJ: 40.0 pJ;
        addresses are 3/8 * 4 additions.
        """
        model = nn.Sequential(nn.Linear(8, 4), neuron.IFNode(v_threshold=1.0))
        x = events(1, 8, ones=[(0, 0), (0, 3), (0, 5)]) * 0.7
        trace = run(filled(model), x, x, x)
        report = estimate_lemaire(trace)
        assert terms(report, "Sequential.0") == {
            "mac": 12, "ac": 4 + 12, "read_in": 3, "read_params": 3 * 4, "read_bias": 3 * 4,
            "read_potential": 9 * 4 + 12, "write_potential": 9 * 4 + 12, "acc_addr": 3 * 4,
            "write_out": 12,
        }  # fmt: skip
        assert report.breakdown_pj["ops_pj"] == pytest.approx(40.0)
        assert report.breakdown_pj["inout_pj"] == pytest.approx((3 + 12) * e(1000))
        theirs = LemaireConfig(linear_address_every_spike=False)
        assert terms(estimate_lemaire(trace, theirs), "Sequential.0")["acc_addr"] == 3 / 8 * 4

    def test_off_it_is_a_dense_pass_at_every_step(self, run):
        model = nn.Sequential(nn.Linear(8, 4), neuron.IFNode(v_threshold=1e9))
        x = torch.full((1, 8), 0.5)
        x[0, 0] = 0.25
        report = estimate_lemaire(run(filled(model), x, x), LemaireConfig(hybrid_first_layer=False))
        found = terms(report, "Sequential.0")
        assert found["mac"] == found["read_params"] == 2 * 32
        assert found["read_in"] == 2 * 8
        assert found["read_potential"] == found["write_potential"] == 2 * 4  # the neuron's

    def test_one_step_at_a_time_or_all_together(self, run):
        torch.manual_seed(0)
        single = nn.Sequential(nn.Conv2d(2, 3, 3), neuron.LIFNode(v_threshold=0.3))
        x = torch.rand(2, 2, 5, 5)
        one = estimate_lemaire(run(single, x, x, x, x))
        multi = nn.Sequential(layer.Conv2d(2, 3, 3), neuron.LIFNode(v_threshold=0.3))
        multi.load_state_dict(single.state_dict(), strict=False)
        functional.set_step_mode(multi, "m")
        other = estimate_lemaire(run(multi, torch.stack([x] * 4)))
        assert one.time_steps == other.time_steps == 4
        assert terms(one, "Sequential.0").keys() == terms(other, "Sequential.0").keys()
        assert other.total_pj == pytest.approx(one.total_pj, rel=1e-12)


class TestGroups:
    def test_spiking(self, run):
        """8 -> 8 in 4 groups: an input reaches 2 * 9 outputs."""
        model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), neuron.IFNode(1e9))
        x = events(1, 8, 5, 5, ones=[(0, c, 2, 2) for c in range(6)])
        trace = run(filled(model), x)
        found = terms(estimate_lemaire(trace), "Sequential.0")
        assert found["synop"] == found["read_params"] == found["acc_addr"] == 6 * 2 * 9
        ignored = estimate_lemaire(trace, LemaireConfig(respect_groups=False))
        assert terms(ignored, "Sequential.0")["synop"] == 6 * 8 * 9  # their code, Q3

    def test_formal(self, run):
        """Depthwise, 8 channels, k3 on 5x5: 1800 MACs; their code has 14400."""
        trace = run(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8)), torch.rand(1, 8, 5, 5))
        assert terms(estimate_lemaire(trace), "Sequential.0")["mac"] == 1800
        ignored = estimate_lemaire(trace, LemaireConfig(respect_groups=False))
        assert terms(ignored, "Sequential.0")["mac"] == 14400


class TestBias:
    @pytest.mark.parametrize(("policy", "bias", "acs"), [
        ("always", True, 560), ("always", False, 560), ("if_bias", True, 560),
        ("if_bias", False, 360),
    ])  # fmt: skip
    def test_additions(self, run, policy, bias, acs):
        """L6: conv 8 -> 8, k3 on 5x5, 5 spikes in, none out: 5 * 72 synapses and 200 of bias."""
        model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=bias), neuron.IFNode(1e9))
        x = events(1, 8, 5, 5, ones=[(0, c, 2, 2) for c in range(5)])
        report = estimate_lemaire(run(model, x), LemaireConfig(bias_additions=policy))
        assert report.counts["ac"] == acs
        assert terms(report, "Sequential.0").get("read_bias", 0) == 200 * bias


class TestMemories:
    def test_readout_without_a_neuron_keeps_its_potentials(self, run):
        """L13: linear 64 -> 5, 16 spikes: 80 + 5 reads and writes; nothing is written out."""
        model = nn.Sequential(nn.Identity(), neuron.IFNode(0.5), nn.Linear(64, 5))
        x = events(1, 64, ones=[(0, n) for n in range(16)])
        found = terms(estimate_lemaire(run(model, x)), "Sequential.2")
        assert found["read_potential"] == found["write_potential"] == 16 * 5 + 5
        assert "write_out" not in found

    def test_potentials_of_a_plain_linear_in_a_multi_step_network(self, run):
        """L10: [T, N, C] = [4, 1, 8] into nn.Linear(8, 5): the memory holds 5 words, not 20."""
        model = nn.Sequential(nn.Linear(8, 5), neuron.IFNode(1e9, step_mode="m"))
        x = events(4, 1, 8, ones=[(0, 0, 0), (1, 0, 2), (3, 0, 7)])
        report = estimate_lemaire(run(filled(model, 0.5), x))
        assert report.details["buffer_sizes_bytes"]["potential_buffer_bytes"] == 5 * 4
        assert (report.samples, report.time_steps) == (1, 4)
        potentials = report.details["layers"]["potentials_pj"][0]
        assert potentials == pytest.approx(2 * (3 * 5 + 4 * 5) * e(5))

    def test_no_clamp(self, run):
        """L4: 9 MiB of weights: 836.12 pJ an access, where SpikingJelly stops at 100 pJ a word."""
        model = nn.Sequential(nn.Conv2d(512, 512, 3), neuron.IFNode(1e9))
        x = events(1, 512, 3, 3, ones=[(0, 0, 1, 1)])
        report = estimate_lemaire(run(model, x))
        reads = 512 * 9
        assert report.details["layers"]["weights_pj"][0] / reads == pytest.approx(836.12, abs=0.01)


class TestSpikes:
    """L12: what is a spike tensor is decided by where it comes from as well."""

    def test_a_dense_input_of_ones_is_none(self, run):
        model = nn.Sequential(nn.Linear(64, 5))
        report = estimate_lemaire(run(model, torch.ones(1, 64)))
        assert report.counts["mac"] == 320
        assert report.counts["synop"] == 0
        assert "constant inputs of Sequential.0 taken for no spikes" in report.input_types
        spiking = run(nn.Sequential(*model, neuron.IFNode()), torch.ones(1, 64))
        assert terms(estimate_lemaire(spiking), "Sequential.0")["mac"] == 320
        by_values = LemaireConfig(spikes_by_provenance=False)
        assert terms(estimate_lemaire(spiking, by_values), "Sequential.0")["synop"] == 320
        theirs = estimate_lemaire(run(model, torch.ones(1, 64)), revision="spikingjelly-2.0")
        assert theirs.counts["synop"] == 320

    def test_all_ones_from_a_neuron_are(self, run):
        model = nn.Sequential(nn.Linear(4, 6), neuron.IFNode(0.5), nn.Linear(6, 3))
        report = estimate_lemaire(run(filled(model), torch.full((1, 4), 0.5)))
        assert terms(report, "Sequential.2")["synop"] == 6 * 3
        assert "constant inputs of Sequential.2 taken for spikes" in report.input_types

    def test_a_network_without_neurons_and_spikes_is_formal(self, run):
        """An image of zeros and ones is dense to a formal network: 8*4 MACs, whatever it holds."""
        x = events(1, 8, ones=[(0, 1), (0, 4)])
        report = estimate_lemaire(run(nn.Linear(8, 4), x))
        assert (report.counts["mac"], report.counts["synop"]) == (32, 0)

    def test_neurons_that_no_rule_knows(self, run):
        """A comparison makes spikes, so the network is spiking: 6 spikes reach 3 outputs each."""

        class Compared(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

            def forward(self, x):
                return self.b((self.a(x) > 0.5).float())

        report = estimate_lemaire(run(filled(Compared()), torch.full((1, 4), 0.5)), time_steps=1)
        assert terms(report, "Compared.b")["synop"] == 6 * 3

    def test_constant_calls_are_what_the_others_are(self, run):
        """Two spikes, then all ones, then none: 10 spikes of 4 outputs."""
        model = nn.Sequential(nn.Linear(8, 4), neuron.IFNode(1e9))
        inputs = events(1, 8, ones=[(0, 1), (0, 2)]), torch.ones(1, 8), torch.zeros(1, 8)
        assert terms(estimate_lemaire(run(model, *inputs)), "Sequential.0")["synop"] == 10 * 4

    @pytest.mark.parametrize("mode", ["circular", "replicate", "reflect"])
    def test_padding_by_a_copy(self, run, mode):
        """What enters the module counts, two spikes, not what the padded copy holds."""
        model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, padding_mode=mode), neuron.IFNode(1e9))
        x = events(1, 1, 4, 4, ones=[(0, 0, 0, 0), (0, 0, 1, 1)])
        found = terms(estimate_lemaire(run(model, x)), "Sequential.0")
        assert (found["read_in"], found["synop"]) == (2, 2 * 9 * 3)

    def test_a_silent_step_does_not_make_a_layer_dense(self, run):
        """Events in the first step only; in the second all zeros."""
        model = nn.Sequential(nn.Linear(8, 4), neuron.IFNode(1e9))
        report = estimate_lemaire(run(model, events(1, 8, ones=[(0, 1)]), events(1, 8)))
        found = terms(report, "Sequential.0")
        assert found["synop"] == 4
        assert "mac" not in found


class TestNeurons:
    def test_leak_is_a_mac_a_step(self, run):
        model = nn.Sequential(nn.Linear(8, 4), neuron.LIFNode(v_threshold=1e9))
        x = events(2, 8, ones=[(0, 1), (1, 5)])
        found = terms(estimate_lemaire(run(model, x, x, x)), "Sequential.0")
        assert found["mac"] == 3 * 2 * 4

    def test_behind_batch_norm_and_pooling(self, run):
        """The neuron after conv, norm and pooling is the convolution's: 4 * 2 * 2 potentials."""
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), neuron.IFNode(1e9)
        )
        x = events(1, 2, 4, 4, ones=[(0, 0, 1, 1)])
        report = estimate_lemaire(run(model, x))
        found = terms(report, "Sequential.0")
        assert found["read_potential"] == 36 + 16
        assert found["write_out"] == 0
        assert report.left_out["what"].to_list() == ["BatchNorm2d", "MaxPool2d"]
        assert report.by("module").filter(module="Sequential.3").height == 1

    def test_behind_batch_norm_their_code_sees_none(self, run):
        """LIF: no leak (Q6), no spikes written, a potential for each of the 4 * 4 * 4 outputs."""
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), neuron.LIFNode(v_threshold=0.0)
        )
        trace = run(model, events(1, 2, 4, 4, ones=[(0, 0, 1, 1)]))
        found = terms(estimate_lemaire(trace), "Sequential.0")
        assert found["mac"] == 64
        assert found["write_out"] > 0
        found = terms(
            estimate_lemaire(trace, LemaireConfig(neurons_behind_others=False)), "Sequential.0"
        )
        assert found["read_potential"] == 36 + 64
        assert {"mac", "write_out"}.isdisjoint(found)

    def test_parametric_lif_leaks(self, run):
        model = nn.Sequential(nn.Linear(8, 4), neuron.ParametricLIFNode(v_threshold=1e9))
        trace = run(model, events(1, 8, ones=[(0, 1)]))
        assert terms(estimate_lemaire(trace), "Sequential.0")["mac"] == 4

    def test_a_sum_of_layers_is_charged_once(self, run):
        """Two layers into one neuron: its potentials belong to the one that ran last.

        One spike to 4 outputs each, 4 potentials and 4 leaks of the neuron; each layer adds its
        bias of 4 and the spike's 4. Their code sees no neuron, and 4 potentials in both layers.
        """

        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 4)
                self.node = neuron.LIFNode(v_threshold=1e9)

            def forward(self, x):
                return self.node(self.a(x) + self.b(x))

        trace = run(Two(), events(1, 8, ones=[(0, 1)]))
        report = estimate_lemaire(trace, strict=True)
        theirs = estimate_lemaire(trace, LemaireConfig(neurons_behind_others=False))
        for each, leaks, first, last in ((report, 4, 4, 8), (theirs, None, 8, 8)):
            a, b = terms(each, "Two.a"), terms(each, "Two.b")
            assert (a["read_potential"], b["read_potential"]) == (first, last)
            assert (a.get("mac"), b.get("mac")) == (None, leaks)
            assert a["ac"] == b["ac"] == a["synop"] == b["synop"] == 4

    def test_your_own(self, run):
        class Counter(nn.Module):
            def forward(self, x):
                return (x > 1e9).float()

        model = nn.Sequential(nn.Linear(8, 4), Counter())
        rules = [NeuronRule(Counter)]
        trace = run(model, events(1, 8, ones=[(0, 1)]), neurons=rules)
        bare = estimate_lemaire(trace)
        assert bare.left_out["what"].to_list() == ["Counter"]
        operations = NeuronOperations(macs_per_step=2, acs_per_step=3)
        report = estimate_lemaire(
            trace, LemaireConfig(neurons={"Counter": operations}), strict=True
        )
        found = terms(report, "Sequential.0")
        assert found["mac"] == 2 * 4
        assert found["ac"] == 4 + 3 * 4
        assert found["read_potential"] == 4 + 4
        assert report.warnings == ()
        # The operations of a neuron that is not there change nothing, so they are told.
        slip = LemaireConfig(neurons={**LemaireConfig().neurons, "Countre": operations})
        typo = estimate_lemaire(trace, slip)
        assert typo.total_pj == bare.total_pj
        (text,) = set(typo.warnings) - set(bare.warnings)
        assert text.startswith("neurons.Countre = ")
        assert text.endswith("is of no neuron of the trace, whose classes are Counter")


class TestSums:
    """Q4: two 4x4x4 inputs: 128 reads, 64 writes, 64 additions; their code has 24, 4, 12."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x) + x

    @pytest.mark.parametrize("batch", [1, 3])
    def test_formal(self, run, batch):
        report = estimate_lemaire(run(self.Residual(), torch.rand(batch, 4, 4, 4)), strict=True)
        assert terms(report, "Residual") == {
            "read_in": 128 * batch, "write_out": 64 * batch, "ac": 64 * batch,
            "acc_addr": 64 * batch,
        }  # fmt: skip
        theirs = LemaireConfig(sum_every_element=False)
        trace = run(self.Residual(), torch.rand(batch, 4, 4, 4))
        assert terms(estimate_lemaire(trace, theirs), "Residual") == {
            "read_in": 24 * batch, "write_out": 4 * batch, "ac": 12 * batch,
            "acc_addr": 12 * batch,
        }  # fmt: skip
        table = report.details["layers"].filter(layer="Residual")
        assert table["in_out_pj"][0] == pytest.approx(192 * batch * e(64))

    @pytest.mark.parametrize("batch", [1, 3])
    def test_positions_are_no_connection_whatever_the_batch(self, run, batch):
        """Positions looked up, learned or stored: of their sums with [B, 7, 4], one shape if B = 1.

        What is left is the residual sum: 28 elements a sample, 56 reads, 28 writes.
        """

        class Tokens(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(7, 4)
                self.learned = nn.Parameter(torch.rand(1, 9, 4))
                self.register_buffer("stored", torch.rand(1, 9, 4))
                self.register_buffer("places", torch.arange(7)[None])
                self.layer = nn.Linear(4, 4)

            def forward(self, x):
                x = x + self.table(self.places) + self.learned[:, :7] + self.stored[:, :7]
                return x + self.layer(x)

        report = estimate_lemaire(run(Tokens(), torch.rand(batch, 7, 4)))
        assert terms(report, "Tokens") == {
            "read_in": 56 * batch, "write_out": 28 * batch, "ac": 28 * batch,
            "acc_addr": 28 * batch,
        }  # fmt: skip
        assert ("aten.add.Tensor (Tokens)", 3) in report.left_out.select("what", "calls").rows()

    @pytest.mark.parametrize("batch", [1, 2])
    def test_of_a_bert_those_around_attention_and_feed_forward(self, run, batch):
        """2 layers, 7 tokens of 16: two sums of 112 elements a layer; embeddings' are left out."""
        bert = pytest.importorskip("transformers").models.bert
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = bert.BertConfig(
            **sizes, intermediate_size=32, vocab_size=50, attn_implementation="eager"
        )
        report = estimate_lemaire(run(bert.BertModel(config), torch.randint(0, 50, (batch, 7))))
        sums = report.rows.filter(op="aten.add.Tensor", component="ops")
        assert dict(sums.select("module", "count").rows()) == {
            f"BertModel.encoder.layer.{n}.{part}output": 112 * batch
            for n in (0, 1)
            for part in ("attention.", "")
        }
        named = report.left_out.filter(what="aten.add.Tensor (BertModel.embeddings)")
        assert named["calls"].to_list() == [2]

    def test_free_in_a_spiking_network(self, run):
        model = nn.Sequential(self.Residual(), neuron.IFNode(1e9))
        report = estimate_lemaire(run(model, events(1, 4, 4, 4, ones=[(0, 0, 0, 0)])), strict=True)
        assert terms(report, "Sequential.0") == {}


class TestSumsOfSpikes:
    """A residual sum of spikes is spikes, as many as its elements add up to."""

    class Residual(nn.Module):
        def __init__(self, sums=1):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 6), *(nn.Linear(6, 6) for _ in range(sums))])
            self.nodes = nn.ModuleList([neuron.IFNode(0.5) for _ in self.layers])
            self.last = nn.Linear(6, 3)

        def forward(self, x):
            first, *others = zip(self.layers, self.nodes, strict=True)
            y = first[1](first[0](x))
            for layer_of, node in others:
                y = y + node(layer_of(y))
            return self.last(y)

    @pytest.mark.parametrize("sums", [1, 2, 4])
    def test_of_one_after_the_other(self, run, sums):
        """Every neuron fires: each element is 1 + sums, 6 of them, each spike to 3 outputs."""
        trace = run(filled(self.Residual(sums)), torch.full((1, 4), 0.5))
        report = estimate_lemaire(trace)
        spikes = 6 * (1 + sums)
        found = terms(report, "Residual.last")
        assert found["synop"] == found["read_params"] == found["acc_addr"] == spikes * 3
        assert found["read_in"] == spikes
        assert found["read_potential"] == spikes * 3 + 3
        assert "Residual.last as sums of spikes" in report.input_types
        found = terms(estimate_lemaire(trace, LemaireConfig(sums_of_spikes=False)), "Residual.last")
        assert found["mac"] == 6 * 3
        assert "synop" not in found

    def test_of_a_silent_neuron(self, run):
        """Nothing added is nothing: 6 spikes."""
        model = filled(self.Residual())
        model.nodes[1].v_threshold = 1e9
        report = estimate_lemaire(run(model, torch.full((1, 4), 0.5)))
        assert terms(report, "Residual.last")["synop"] == 6 * 3

    @pytest.mark.parametrize("other", [0.5, 2.0])
    def test_with_what_is_no_spikes_is_none(self, run, other):
        class Shifted(self.Residual):
            def forward(self, x):
                return self.last(self.nodes[0](self.layers[0](x)) + torch.full((1, 6), other))

        report = estimate_lemaire(run(filled(Shifted()), torch.full((1, 4), 0.5)))
        assert terms(report, "Shifted.last")["mac"] == 6 * 3


class Mapped(nn.Module):
    """A network that is given one input after the other by torch.vmap."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.vmap(self.inner)(x)


@pytest.mark.parametrize("kind", ["linear", "convolution", "spikes"])
def test_a_mapped_network_costs_what_its_batch_costs(kind, tmp_path):
    """Its modules are told of one input, its products run on all four: the batch is the same."""
    torch.manual_seed(0)
    layers = {
        "linear": nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)),
        "convolution": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 2, stride=2)),
        "spikes": nn.Sequential(nn.Linear(8, 16, bias=False)),
    }[kind].eval()
    x = torch.rand(4, 3, 8, 8) if kind == "convolution" else torch.rand(4, 8)
    x = (x < 0.5).float() if kind == "spikes" else x
    plain, mapped = (
        estimate_lemaire(open_trace(record(net, x, tmp_path / name)), batch=4)
        for name, net in (("plain", layers), ("mapped", Mapped(layers).eval()))
    )
    assert mapped.breakdown_pj == pytest.approx(plain.breakdown_pj, rel=1e-12)
    assert mapped.account.charged_macs == plain.account.charged_macs
    assert mapped.counts["mac"] == plain.counts["mac"]
    assert mapped.details["buffer_sizes_bytes"] == plain.details["buffer_sizes_bytes"]


class Recurrent(nn.Module):
    """An IF neuron with recurrent weights inside, as snnTorch's RLeaky has them."""

    def __init__(self):
        super().__init__()
        self.recurrent = filled(nn.Linear(4, 4), 0.25)

    def forward(self, x, spikes, v):
        v = v + x + self.recurrent(spikes)
        spikes = (v >= 1).float()
        return spikes, v - spikes


class Inside(nn.Module):
    """3 -> 4, and the recurrent neuron, over the steps of an input."""

    def __init__(self):
        super().__init__()
        self.layer, self.neuron = filled(nn.Linear(3, 4)), Recurrent()

    def forward(self, x):
        spikes = v = torch.zeros(x.shape[1], 4)
        for frame in x:
            spikes, v = self.neuron(self.layer(frame), spikes, v)
        return spikes


class Plain(nn.Module):
    def forward(self, x, v):
        v = v + x
        spikes = (v >= 1).float()
        return spikes, v - spikes


class WrittenOut(nn.Module):
    """The same network, its recurrent layer beside the neuron."""

    def __init__(self):
        super().__init__()
        self.layer, self.recurrent = filled(nn.Linear(3, 4)), filled(nn.Linear(4, 4), 0.25)
        self.neuron = Plain()

    def forward(self, x):
        spikes = v = torch.zeros(x.shape[1], 4)
        for frame in x:
            spikes, v = self.neuron(self.layer(frame) + self.recurrent(spikes), v)
        return spikes


def test_recurrent_weights_inside_a_neuron_cost_what_they_do_beside_it(run):
    """The potentials of 4 neurons in 2 steps of a sample are read once: 8, and 4 for each spike.

    Two spikes go into the layer; all 4 neurons fire at the first step (v = 1.25 + 1), and their 4
    spikes go through the recurrent layer at the second.
    """
    x = events(2, 1, 3, ones=[(0, 0, 0), (1, 0, 2)])
    rules = [NeuronRule(Recurrent, kind="IF"), NeuronRule(Plain, kind="IF")]
    told = {"neurons": rules, "batch_dim": 1, "time_dim": 0}
    inside, beside = (estimate_lemaire(run(each, x, **told)) for each in (Inside(), WrittenOut()))
    assert inside.total_pj == beside.total_pj
    ours, theirs = (
        sum(terms(report, path)["read_potential"] for path in paths)
        for report, paths in (
            (inside, ("Inside.layer", "Inside.neuron.recurrent")),
            (beside, ("WrittenOut.layer", "WrittenOut.recurrent")),
        )
    )
    assert ours == theirs == 2 * 4 + 4 * 4 + 2 * 4


class Steps(nn.Module):
    """2 -> 4 and an IF neuron in four steps; what goes in is told by name."""

    def __init__(self, way):
        super().__init__()
        self.layer, self.neuron, self.way = filled(nn.Linear(2, 4)), neuron.IFNode(), way

    def forward(self, x):
        frames = WAYS[self.way](x)
        for frame in frames:
            spikes = self.neuron(self.layer(frame))
        return spikes


class Whole(nn.Module):
    """The same, all four steps at once."""

    def __init__(self, way):
        super().__init__()
        self.layer, self.neuron, self.way = filled(nn.Linear(2, 4)), neuron.IFNode(), way
        self.neuron.step_mode = "m"

    def forward(self, x):
        return self.neuron(self.layer(WAYS[self.way](x)))


WAYS = {
    "the same": lambda x: [x[0]] * 4,
    "the same, scaled anew each time": lambda x: (x[0] * 2 for _ in range(4)),
    "steps of a repeated tensor": lambda x: x[:1].repeat(4, 1, 1),
    "steps of an expanded tensor": lambda x: x[:1].clone().expand(4, -1, -1),
    "a stack of one tensor": lambda x: torch.stack([x[0]] * 4),
    "other frames": lambda x: x,
    "other noise each time": lambda x: torch.stack([x[0] + torch.rand(1, 2) for _ in range(4)]),
}
REPEATED = list(WAYS)[:5]


@pytest.mark.parametrize("kind", [Steps, Whole])
@pytest.mark.parametrize("way", WAYS)
def test_a_layer_is_named_that_may_get_other_values_at_each_step(run, way, kind):
    """One pass of 2·4 MACs is charged whatever goes in; where steps differ, the report says so."""
    if kind is Whole and way.startswith("the same"):
        pytest.skip("a list of single steps")
    x = torch.linspace(0.1, 0.8, 8).reshape(4, 1, 2)
    path = f"{kind.__name__}.layer"
    trace = run(kind(way), x, batch_dim=1, time_dim=0)
    report = estimate_lemaire(trace)
    assert terms(report, path)["mac"] == 2 * 4
    named = [text for text in report.warnings if text.startswith(f"{path} takes values")]
    assert len(named) == (way not in REPEATED)
    every = estimate_lemaire(trace, LemaireConfig(hybrid_first_layer=False))
    assert terms(every, path)["mac"] == 4 * 2 * 4
    assert not any("same at each time step" in text for text in every.warnings)
