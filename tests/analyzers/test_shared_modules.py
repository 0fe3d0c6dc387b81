"""Modules that several callers share: counted under each, their parameters once."""

from __future__ import annotations

import copy
from dataclasses import replace

import polars as pl
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule.analyzers import compare, count, energy, report  # noqa: E402
from opjoule.analyzers.reporting.tree import tree_of  # noqa: E402
from opjoule.analyzers.workload.parameters import parameters_of  # noqa: E402
from opjoule.cli.contents import contents  # noqa: E402


class Block(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class Sh(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.a, self.b = Block(first), Block(second)
        self.last = nn.Linear(10, 10, bias=False)

    def forward(self, x):
        return self.last(self.b(self.a(x)))


def net(*, shared):
    torch.manual_seed(0)
    layer = nn.Linear(10, 10, bias=False)
    return Sh(layer, layer if shared else copy.deepcopy(layer)).eval()


@pytest.fixture
def trace(recorded):
    model = net(shared=True)
    return recorded(lambda: model(torch.rand(4, 10)), model=model)


def test_each_caller_counts_what_it_called(trace):
    """4 x 10 x 10 x 2 = 800 FLOP a product, three of them."""
    rows = count(trace, by="module").frame
    assert list(rows.select("module", "flops").iter_rows()) == [
        ("Global", 2400),
        ("Sh", 2400),
        ("Sh.a", 800),
        ("Sh.a.layer", 800),
        ("Sh.b", 800),
        ("Sh.b.layer", 800),
        ("Sh.last", 800),
    ]


@pytest.mark.parametrize(
    ("pattern", "flops"),
    [("Sh.b*", 800), ("Sh.a", 800), ("b.layer", 800), ("*.layer", 1600), ("Sh", 2400)],
)
def test_filters_find_it_under_each_path(trace, pattern, flops):
    assert count(trace, by="total", where=f"module={pattern}").total["flops"] == flops


def test_parameters_are_counted_once(trace):
    """Two matrices of 10 x 10; Sh, a, b, layer and last are five modules."""
    (model,) = contents(trace)["models"]
    assert (model["parameters"], model["bytes"], model["modules"]) == (200, 800, 5)


def test_the_calls_of_a_further_path_do_not_change_the_weights(recorded):
    """One network, run with the second block and without it: its weights are the same."""
    model, x = net(shared=True), torch.rand(4, 10)
    whole = recorded(lambda: model(x), model=model)
    part = recorded(lambda: model.last(model.a(x)), model=model)
    said = " ".join(compare(whole, part).warnings)
    assert "weights" not in said


def five(neuron, *, shared):
    spike = neuron.surrogate
    one = spike()
    return nn.Sequential(*(neuron(one if shared else spike()) for _ in range(5)))


class Steep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        slope = torch.sigmoid(4 * x)
        return gradient * slope * (1 - slope) * 4


class Surrogate(nn.Module):
    def forward(self, x):
        return Steep.apply(x)


class Fire(nn.Module):
    """A neuron that calls its surrogate as a module, as those of older SpikingJelly do."""

    surrogate = Surrogate

    def __init__(self, surrogate_function):
        super().__init__()
        self.surrogate_function = surrogate_function

    def forward(self, x):
        return self.surrogate_function(x * 2 - 0.5)


def test_neurons_that_share_a_surrogate_cost_what_others_do(recorded):
    """Five neurons of the same work each, whether each has a surrogate of its own or not."""
    from opjoule.tracer import NeuronRule

    found = {}
    for shared in (False, True):
        model = five(Fire, shared=shared)
        x = torch.linspace(0, 1, 40).view(4, 10).requires_grad_()
        trace = recorded(
            lambda model=model, x=x: model(x).sum().backward(),
            model=model,
            neurons=[NeuronRule(Fire, kind="IF")],
        )
        rows = count(trace, by="module").frame
        flops = dict(rows.select("module", "flops").iter_rows())
        calls = dict(rows.select("module", "calls").iter_rows())
        found[shared] = (flops, calls, energy.estimate_neuromc(trace).total_pj)
        each = {(flops[f"Sequential.{k}"], calls[f"Sequential.{k}"]) for k in range(5)}
        assert len(each) == 1
    assert found[True] == found[False]


def test_a_shared_convolution_has_one_set_of_crossbars(recorded):
    """Its calls cost what two layers cost; the chip holds its weights once."""
    chips = {}
    for shared in (False, True):
        torch.manual_seed(0)
        conv = nn.Conv2d(4, 4, 3, padding=1)
        pair = nn.Sequential(Block(conv), Block(conv if shared else copy.deepcopy(conv))).eval()
        x = torch.rand(2, 4, 8, 8)
        with torch.no_grad():
            trace = recorded(lambda pair=pair, x=x: pair(x), model=pair)
        chips[shared] = energy.estimate_spikesim(trace)
    assert chips[True].total_pj == chips[False].total_pj
    assert [chips[shared].details["xbar_elements"] for shared in (False, True)] == [2, 1]


class Tied(nn.Module):
    """As language models: the last layer multiplies with the table of the embedding."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(64, 32)
        self.head = nn.Linear(32, 64, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x):
        return self.head(self.emb(x))


@pytest.fixture
def tied(recorded):
    model = nn.Sequential(Tied(), nn.Linear(64, 2))
    return model, recorded(lambda: model(torch.arange(4)[None]), model=model)


def test_tied_weights_are_counted_once(tied):
    """64 x 32 = 2,048 and 64 x 2 + 2 = 130, as `parameters()` says, of 4 bytes each."""
    model, trace = tied
    assert sum(p.numel() for p in model.parameters()) == 2048 + 130
    (held,) = contents(trace)["models"]
    assert (held["parameters"], held["bytes"]) == (2178, 4 * 2178)
    drawn = tree_of(report(trace))
    place = [head.key for head in drawn.heads].index("parameters")
    assert drawn.top.cells[place].value == drawn.rows[0].cells[place].value == "2178"


def test_each_module_says_what_it_holds_with_those_below(tied):
    """What PyTorch says of each: the embedding and the head have 2,048 each, and together."""
    model, trace = tied
    told = count(trace, by="module").modules(wide=True)
    shown = dict(told.select("module", "parameters").iter_rows())
    for name, module in model.named_modules():
        path = f"Sequential.{name}" if name else "Sequential"
        assert shown[path] == sum(p.numel() for p in module.parameters())


def test_a_shared_module_holds_its_parameters_under_each_path(trace):
    """10 x 10 in `a` and in `b`, which call one layer; 200 in all."""
    sums = dict(parameters_of(trace).select("module", "parameters").iter_rows())
    assert sums == {"Global": 200, "Sh": 200, "Sh.a": 100, "Sh.a.layer": 100, "Sh.b": 100,
                    "Sh.b.layer": 100, "Sh.last": 100}  # fmt: skip


def test_traces_without_numbers_count_a_shared_module_once(trace, tied):
    """Older traces: two paths of one module are known to be one, tied weights are not."""
    for each, total in ((trace, 200), (tied[1], 2 * 2048 + 130)):
        ids = each.modules.schema["parameter_ids"]
        older = each.modules.with_columns(parameter_ids=pl.lit(None, ids))
        sums = parameters_of(replace(each, modules=older))
        sums = dict(sums.select("module", "parameters").iter_rows())
        assert sums["Global"] == total
