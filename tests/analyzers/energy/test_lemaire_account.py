"""Lemaire: every product of a network is charged or left out by name, with its dense MACs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import polars as pl  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from opjoule import Recorder, count, open_trace, record  # noqa: E402
from opjoule.analyzers.energy import estimate_lemaire  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")


class Inside(nn.Module):
    """Runs a module on tokens, then a layer of 8 to 3."""

    def __init__(self, module):
        super().__init__()
        self.inner, self.head = module, nn.Linear(8, 3)

    def forward(self, x):
        y = self.inner(x)
        return self.head(y[0] if isinstance(y, tuple) else y)


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)


class TwoProducts(nn.Linear):
    """A layer that runs a second product of its own: x W + (x A) B."""

    def __init__(self):
        super().__init__(8, 8)
        self.a, self.b = nn.Parameter(torch.rand(8, 2)), nn.Parameter(torch.rand(2, 8))

    def forward(self, x):
        return (x @ self.a) @ self.b + super().forward(x)


class Wrapped(nn.Module):
    """LoRA: a layer with two thin ones beside it."""

    def __init__(self):
        super().__init__()
        self.base, self.down, self.up = nn.Linear(8, 8), nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Vectors(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.rand(8, 8))

    def forward(self, x):
        return torch.stack([torch.mv(self.matrix, row) for row in x.flatten(0, 1)])


class Convolutions(nn.Sequential):
    """Transposed, grouped, strided and dilated ones; hands on [1, 8]."""

    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 5)), nn.ConvTranspose2d(1, 4, 2, stride=2, groups=1),
            nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 2, stride=2, dilation=2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


def pruned():
    layer = nn.Linear(8, 8)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


INSIDE = {
    "fused encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "fused attention": lambda: SelfAttention(8, 2, batch_first=True),
    "sequence-first attention": lambda: SelfAttention(8, 2),
    "LSTM": lambda: nn.LSTM(8, 8, bias=False, batch_first=True),
    "GRU": lambda: nn.GRU(8, 8, num_layers=2, batch_first=True),
    "mv": Vectors,
    "two products in a layer": TwoProducts,
    "LoRA": Wrapped,
    "pruned": pruned,
    "norm": lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()),
}


def of_part(trace, where=()):
    """Return the dense MACs of the forward products, by the rules."""
    return count(trace, where=["stage=forward", *where]).total["dense_macs"]


def in_account(trace, revision, where=()):
    account = estimate_lemaire(trace, revision=revision, where=list(where)).account
    return account.charged_macs + account.left_out_macs


@pytest.mark.parametrize("name", INSIDE)
def test_charged_and_left_out_are_the_products(name, tmp_path):
    torch.manual_seed(0)
    model = Inside(INSIDE[name]()).eval()
    trace = open_trace(record(model, (torch.rand(2, 5, 8),), tmp_path / "trace"))
    for revision in REVISIONS:
        assert in_account(trace, revision) == of_part(trace) > 0


def test_of_convolutions(tmp_path):
    model = nn.Sequential(Convolutions(), nn.Linear(8, 3)).eval()
    trace = open_trace(record(model, (torch.rand(1, 5, 5),), tmp_path / "trace"))
    for revision in REVISIONS:
        assert in_account(trace, revision) == of_part(trace) > 0
    found = estimate_lemaire(trace).left_out.filter(what="ConvTranspose2d")
    assert found["macs"].to_list() == [5 * 5 * 4 * 4]


def test_of_a_part(tmp_path):
    model = Inside(TwoProducts()).eval()
    trace = open_trace(record(model, (torch.rand(2, 5, 8),), tmp_path / "trace"))
    for where in (["module=inner"], ["module=head"], ["op=aten.addmm"], ["module=inner", "step=0"]):
        for revision in REVISIONS:
            assert in_account(trace, revision, where) == of_part(trace, where) > 0


def test_of_training_and_inference(tmp_path):
    """The training step is left out: as many MACs as the inference has, and its backward pass."""
    model = Inside(nn.Linear(8, 8))
    x = torch.rand(2, 5, 8)
    with Recorder(tmp_path / "trace", model=model):
        model.train()(x).sum().backward()
        with torch.no_grad():
            model.eval()(x)
    trace = open_trace(tmp_path / "trace")
    for revision in REVISIONS:
        assert in_account(trace, revision) == count(trace).total["dense_macs"]
    share = of_part(trace) / count(trace).total["dense_macs"]
    assert estimate_lemaire(trace).account.share == pytest.approx(share / 2)
    found = estimate_lemaire(trace, revision="spikingjelly-2.0")
    assert found.account.share == pytest.approx(share)


def test_a_second_product_of_a_layer_is_named(tmp_path):
    """10 rows: 8*8 MACs a row are charged, 8*2 and 2*8 of the two others are not."""
    trace = open_trace(
        record(TwoProducts().eval(), (torch.rand(10, 8),), tmp_path / "trace", batch_dim=0)
    )
    report = estimate_lemaire(trace)
    assert report.account.charged_macs == report.counts["mac"] == 640
    assert report.left_out.select("what", "calls", "macs").rows() == [
        ("aten.mm.default (TwoProducts)", 2, 320)
    ]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_layer_in_one_kernel_is_refused_with_what_to_do(revision, tmp_path):
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    trace = open_trace(record(model, (torch.rand(2, 5, 8),), tmp_path / "trace"))
    with pytest.raises(TraceError, match=r"_transformer_encoder_layer_fwd.*set_fastpath_enabled"):
        estimate_lemaire(trace, revision=revision)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        plain = open_trace(record(model, (torch.rand(2, 5, 8),), tmp_path / "plain"))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    # Charged are the two layers of the feed-forward network: 10 rows, 2 * 8 * 16 MACs each.
    account = estimate_lemaire(plain).account
    assert account.charged_macs == 10 * 2 * 8 * 16
    assert account.left_out_macs == of_part(plain) - 2560


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_of_unknown_size(tmp_path):
    """A padded encoder in eval mode: nothing about eval(), and no share that is not known."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    class Padded(nn.Module):
        def __init__(self, head):
            super().__init__()
            self.encoder, self.head = nn.TransformerEncoder(layer, 1), head

        def forward(self, x):
            return self.head(self.encoder(x, src_key_padding_mask=mask))

    x = torch.rand(2, 5, 8)
    alone = open_trace(record(Padded(nn.Identity()).eval(), (x,), tmp_path / "alone"))
    with pytest.raises(TraceError, match="sizes not recorded") as refused:
        estimate_lemaire(alone)
    assert "eval()" not in str(refused.value)
    headed = open_trace(record(Padded(nn.Linear(8, 3)).eval(), (x,), tmp_path / "headed"))
    report = estimate_lemaire(headed)
    assert report.account.charged_macs == 10 * 8 * 3
    assert report.account.share is None
    fused = pl.col("what").str.starts_with("aten._transformer_encoder_layer_fwd")
    assert report.left_out.filter(fused)["macs"].to_list() == [None]
    assert report.coverage.startswith("? of the MACs")


def test_a_model_in_training_mode_is_refused_whatever_part_is_in_eval_mode(tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).train()
    model[1].eval()
    trace = open_trace(record(model, (torch.rand(2, 8),), tmp_path / "trace"))
    with pytest.raises(TraceError, match=r"ran in training mode.*call model\.eval\(\)"):
        estimate_lemaire(trace)
