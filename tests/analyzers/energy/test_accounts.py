"""One account: each product is charged or left out, in every estimator, in dense MACs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule import Recorder, count, energy, open_trace, record  # noqa: E402
from opjoule.analyzers.energy import ESTIMATORS, estimate, estimate_simple  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402
from opjoule.schemas.costs import SpikeSimConfig  # noqa: E402


class Vector(nn.Module):
    """A matrix by a vector outside every layer, and a convolution."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 8))
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x, image):
        return torch.mv(self.weight, x), self.conv(image)


class Twice(nn.Linear):
    """A layer that multiplies by its weights twice."""

    def forward(self, x):
        return super().forward(x) + torch.mm(x, self.weight.t())


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter beside it."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(8, 4)
        self.down = nn.Linear(8, 2, bias=False)
        self.up = nn.Linear(2, 4, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Itself(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)[0]


def nets():
    """Return networks by name, each with its inputs and the estimators that refuse it."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
    attention = Itself(16, 2, batch_first=True)
    tokens, image = torch.rand(2, 5, 16), torch.rand(2, 4, 6, 6)
    shapes = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 4, 2), nn.Conv2d(4, 2, 1)
    )
    return {
        "encoder": (encoder, (tokens,), {"lemaire", "neuromc", "spikesim"}),
        "attention": (attention, (tokens,), {"lemaire", "neuromc", "spikesim"}),
        "lstm": (nn.LSTM(8, 6), (torch.rand(3, 2, 8),), {"lemaire", "neuromc", "spikesim"}),
        "vector": (Vector(), (torch.rand(8), torch.rand(1, 1, 5, 5)), set()),
        "twice": (Twice(8, 4), (torch.rand(3, 8),), {"spikesim"}),
        "adapted": (Adapted(), (torch.rand(3, 8),), {"spikesim"}),
        "shapes": (shapes, (image,), set()),
    }


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Return the traces by name."""
    folder = tmp_path_factory.mktemp("accounts")
    return {
        name: open_trace(record(model.eval(), inputs, folder / name))
        for name, (model, inputs, _) in nets().items()
    }


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", nets())
def test_charged_and_left_out_are_all_products(name, estimator, traces):
    trace = traces[name]
    if estimator in nets()[name][2]:
        with pytest.raises(TraceError) as caught:
            estimate(trace, estimator)
        assert "\n" not in str(caught.value)
        return
    account = estimate(trace, estimator).account
    assert account.charged_macs > 0
    whole = count(trace, where="stage=forward").total["dense_macs"]
    assert account.charged_macs + account.left_out_macs == whole


def test_weights_are_read_by_every_product_that_has_them(traces):
    """Twice 3 x 8 by 8 x 4: 2 * 96 uses of 4 bytes; the bias of 4, once for each of 3 rows."""
    counts = estimate_simple(traces["twice"]).counts
    assert counts["weight_read_bytes"] == 2 * 3 * 8 * 4 * 4
    assert counts["bias_read_bytes"] == 3 * 4 * 4


def test_weights_that_pruning_renames_are_read_too(tmp_path):
    """It marks weights and skips none: 3 x 8 by 8 x 4 are 96 uses, and 12 of the bias."""
    from torch.nn.utils import parametrizations, prune

    pruned, normed = nn.Linear(8, 4), nn.Linear(8, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    parametrizations.weight_norm(normed)
    for name, layer in (("pruned", pruned), ("normed", normed)):
        trace = open_trace(record(layer.eval(), torch.rand(3, 8), tmp_path / name))
        counts = estimate_simple(trace).counts
        assert (counts["weight_read_bytes"], counts["bias_read_bytes"]) == (96 * 4, 12 * 4)


class Blended(nn.Module):
    """A layer of 2 x 4 x 4 MACs, then an op of another library in a module of its own."""

    def __init__(self, op):
        super().__init__()
        self.layer, self.rest = nn.Linear(4, 4, bias=False), Blend(op)

    def forward(self, x):
        return self.rest(self.layer(x))


class Blend(nn.Module):
    def __init__(self, op):
        super().__init__()
        self.op = op

    def forward(self, x):
        return self.op(x, x)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_op_of_another_library_may_be_a_product_in_every_estimate(tmp_path, blend, estimator):
    """Its share is unknown wherever it is asked; with the op filtered out all is charged."""
    if estimator == "spikesim":
        model, x = (
            nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), Blend(blend)),
            torch.ones(1, 1, 4, 4),
        )
    else:
        model, x = Blended(blend), torch.rand(2, 4)
    trace = open_trace(record(model.eval(), x, tmp_path / "t"))
    found = estimate(trace, estimator)
    assert found.account.charged_macs == 32 and found.account.share is None
    assert found.left_out["macs"].null_count() == 1 and not found.account.charges_nothing
    assert found.coverage.startswith("?") and "1 kind of unknown size" in found.coverage
    counts = count(trace)
    assert counts.coverage.macs_share is None and counts.total["dense_macs"] == 32
    assert "dense_macs" in counts.frame["at_least"][0].split()
    rest = trace.where("op=aten.*")
    assert estimate(rest, estimator).account.share == 1


def test_what_may_be_a_product_alone_refuses_nothing(tmp_path, blend):
    """Neurons and such an op: there is no product for certain, so their energy stands."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    model = nn.Sequential(neuron.IFNode(), Blend(blend)).eval()
    trace = open_trace(record(model, torch.rand(2, 4), tmp_path / "t"))
    found = estimate(trace, "neuromc")
    assert found.total_pj > 0 and found.account.share is None


class Force(nn.Module):
    """A force that is the gradient of an energy: 2 * 16 * 9 MACs of a convolution, 32 of a layer.

    Its backward pass has as many: the gradients of the inputs of both, and none of weights.
    """

    def __init__(self, way):
        super().__init__()
        self.conv, self.layer, self.way = nn.Conv2d(1, 1, 3), nn.Linear(16, 1), way

    def energy(self, x):
        return self.layer(self.conv(x).tanh().flatten(1)).sum()

    def forward(self, x):
        if self.way == "autograd":
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self.energy(x), x)[0]
        return torch.func.grad(self.energy)(x)


INFERENCES = ("compute", "simple", "lemaire", "spikesim", "machine.paper")


@pytest.mark.parametrize("estimator", INFERENCES)
@pytest.mark.parametrize("way", ["autograd", "func"])
def test_a_gradient_in_the_forward_pass_is_left_out_by_name(way, estimator, tmp_path):
    """Forward 2 * (16 * 9 + 16) = 320 dense MACs, backward 320: spikesim charges 288 of 640."""
    trace = open_trace(record(Force(way).eval(), torch.rand(2, 1, 6, 6), tmp_path / "t"))
    account = of_inference(trace, estimator).account
    assert account.charged_macs == (288 if estimator == "spikesim" else 320)
    assert account.charged_macs + account.left_out_macs == 640
    assert count(trace).total["dense_macs"] == 640
    backward = account.left_out.filter(what="backward passes (Force.layer, Force.conv)")
    assert backward.select("calls", "macs").rows() == [(2, 320)]


@pytest.mark.parametrize("estimator", INFERENCES)
def test_backward_products_warn_and_strict_refuses_them(estimator, tmp_path):
    """Eval mode, then a training step: charged + left out are the products of all stages."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(16, 2))
    with Recorder(tmp_path / "t", model=model):
        model.eval()(torch.rand(2, 1, 6, 6)).sum().backward()
        model.train()(torch.rand(2, 1, 6, 6)).sum().backward()
    trace = open_trace(tmp_path / "t")
    found = of_inference(trace, estimator)
    whole = count(trace).total["dense_macs"]
    assert found.account.charged_macs + found.account.left_out_macs == whole
    assert any(
        "backward passes (Sequential.2, Sequential.0) are left out, since forward passes alone are "
        "charged" in text
        for text in found.warnings
    )
    evaluated = trace.where("training=false")
    with pytest.raises(TraceError, match=r"backward passes .*\(strict\)"):
        of_inference(evaluated, estimator, strict=True, where="module=Sequential.0")
    alone = ["training=false", "stage=forward", "module=Sequential.0"]
    assert of_inference(trace, estimator, strict=True, where=alone).account.share == 1


def of_inference(trace, estimator, **options):
    if estimator.startswith("machine."):
        return energy(trace, machine=estimator.removeprefix("machine."), **options)
    config = SpikeSimConfig(with_gradients=True) if estimator == "spikesim" else None
    return estimate(trace, estimator, config, **options)
