"""One account: each product is charged or left out, in every estimator, in dense MACs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule import count, open_trace, record  # noqa: E402
from opjoule.analyzers.energy import ESTIMATORS, estimate, estimate_simple  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402


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
