"""Whole models: FLOPs beside FlopCounterMode's, and how much of them the rules reach."""

from __future__ import annotations

import warnings

import polars as pl
import pytest

from opjoule.analyzers import count

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

NEVER_BY_CLASS = ("mm", "conv", "attention", "rnn", "lstm", "gru", "norm", "linear")


def assert_covered(counts):
    """Check that 99 % are counted by rule or free, 5 % by class at most, nothing that weighs."""
    shares = counts.coverage.shares
    assert shares["rule"] + shares["free"] >= 0.99
    assert shares["rule_bytes"] + shares["free_bytes"] >= 0.99
    assert shares["class"] <= 0.05 and shares["class_bytes"] <= 0.05
    frame = counts.coverage.frame
    rough = frame.filter(pl.col("how").is_in(["class", "uncovered"]))["op"].to_list()
    assert not [op for op in rough if any(word in op for word in NEVER_BY_CLASS)]
    assert frame["unmeasured"].sum() == 0
    assert all(figure is not None for figure in counts.total.values())


@pytest.fixture
def transformers():
    """Return transformers; its models are built from configurations, nothing is fetched."""
    return pytest.importorskip("transformers")


def gpt(transformers, attention):
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=100, n_positions=32, bos_token_id=0,
        eos_token_id=0, attn_implementation=attention, loss_type="ForCausalLM",
    )  # fmt: skip
    model, ids = transformers.GPT2LMHeadModel(config), torch.arange(32).view(2, 16)
    return model, lambda: model(ids, labels=ids).loss


def bert(transformers, attention):
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        vocab_size=100, max_position_embeddings=32, attn_implementation=attention,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    ids, labels = torch.arange(32).view(2, 16), torch.tensor([0, 1])
    return model, lambda: model(ids, attention_mask=torch.ones_like(ids), labels=labels).loss


def resnet(transformers, attention):
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], layer_type="basic",
        num_labels=10,
    )  # fmt: skip
    model = transformers.ResNetForImageClassification(config)
    image, labels = torch.rand(2, 3, 32, 32), torch.tensor([1, 2])
    return model, lambda: model(pixel_values=image, labels=labels).loss


@pytest.mark.slow
@pytest.mark.parametrize("build_model", [gpt, bert, resnet])
@pytest.mark.parametrize("training", [True, False])
def test_flops_equal_flop_counter_mode(recorded, transformers, build_model, training):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, loss = build_model(transformers, "eager")
        model.train(training)
        with FlopCounterMode(display=False) as counter:
            loss().backward()
        trace = recorded(lambda: loss().backward(), model=model)
    assert count(trace, rules="torch").total["flops"] == counter.get_total_flops() > 0
    assert_covered(count(trace))


@pytest.mark.slow
@pytest.mark.parametrize("build_model", [gpt, bert])
def test_fused_attention_changes_no_products(recorded, transformers, build_model):
    """Forward, fused and eager attention are the same products; FlopCounterMode misses one."""
    found = []
    for attention in ("eager", "sdpa"):
        torch.manual_seed(0)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            model, loss = build_model(transformers, attention)
            trace = recorded(loss, model=model.eval())
        assert_covered(count(trace))
        found.append(count(trace, rules="torch").total["flops"])
        ops = set(trace.signatures["packet"])
    assert "aten._scaled_dot_product_flash_attention_for_cpu" in ops
    assert found[0] == found[1]


def spiking_network():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    model = nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), neuron.LIFNode(),
        layer.MaxPool2d(2), layer.Conv2d(8, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8),
        neuron.LIFNode(), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(8 * 4 * 4, 10),
    )  # fmt: skip
    functional.set_step_mode(model, "m")
    return model, functional.reset_net


@pytest.mark.parametrize("form", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_a_spiking_networks_training_step(recorded, form):
    torch.manual_seed(0)
    model, reset = spiking_network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **form)
    x, target = (torch.rand(4, 2, 2, 16, 16) < 0.3).float(), torch.tensor([1, 2])

    def step():
        reset(model)
        optimizer.zero_grad()
        F.cross_entropy(model(x).mean(0), target).backward()
        optimizer.step()

    step()
    counts = count(recorded(step, model=model))
    assert_covered(counts)
    assert counts.total["synops"] > 0


def test_recurrent_layers(recorded):
    x = torch.rand(5, 3, 8)
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        model = kind(8, 16, 2)
        assert_covered(count(recorded(lambda m=model: m(x)[0].sum().backward(), model=model)))
    # every weight meets 15 rows: forward once, backward twice
    lstm = nn.LSTM(8, 16, 2, bidirectional=True)
    terms = 15 * sum(w.numel() for w in lstm.parameters() if w.ndim == 2)
    counts = count(recorded(lambda: lstm(x)[0].sum().backward(), model=lstm), by=["op"])
    macs = {row["op"]: row["macs"] for row in counts.frame.iter_rows(named=True)}
    units = 15 * 16 * 4  # 1 - t·t and 1 - u·u in the gradients of each
    assert macs["aten.mkldnn_rnn_layer.default"] == terms
    assert macs["aten.mkldnn_rnn_layer_backward.default"] == 2 * terms + 2 * units
    assert counts.total["dense_macs"] == 3 * terms


def test_transformer_encoder(recorded):
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.TransformerEncoder(layer, 2)
    x = torch.rand(2, 6, 16)
    found = []
    for training in (False, True):
        model.train(training)
        with torch.set_grad_enabled(training):
            trace = recorded(lambda: model(x), model=model)
        counts = count(trace)
        assert_covered(counts)
        found.append((counts.total, set(trace.signatures["packet"])))
    assert "aten._transformer_encoder_layer_fwd" in found[0][1]
    assert "aten._transformer_encoder_layer_fwd" not in found[1][1]
    # the fused layer counts what its parts count
    (fused, _), (parts, _) = found
    for name in ("flops", "macs", "acs", "dense_macs"):
        assert fused[name] == parts[name] > 0


def test_sum_and_mean_take_the_same_macs(recorded):
    torch.manual_seed(0)
    model, reset = spiking_network()
    x = (torch.rand(4, 2, 2, 16, 16) < 0.3).float()
    found = []
    for reduce in (torch.sum, torch.mean):

        def run(reduce=reduce):
            reset(model)
            reduce(model(x)).backward()

        run()
        found.append(count(recorded(run, model=model)).total["macs"])
    assert found[0] == found[1] > 0
