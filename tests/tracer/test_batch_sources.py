"""Where batch and time steps are known from: told, observed or guessed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from opjoule.schemas import RecordError
from opjoule.tracer import Recorder

x = torch.rand


def known(trace, path):
    """Return (batch, its source, time steps, their source) of the calls at a path, once each."""
    columns = ("batch", "batch_from", "time_steps", "time_steps_from")
    found = list(dict.fromkeys(tuple(c[n] for n in columns) for c in trace.calls_of(path)))
    return found[0] if len(found) == 1 else found


TOLD, OBSERVED, GUESSED = ((source, None, None) for source in ("told", "observed", "guessed"))
UNKNOWN = (None, None, None, None)


def decoder(batch_first):
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=batch_first), 1)


B, T = 4, 7

LAYERS = {
    "Linear": (nn.Linear(8, 3), (x(B, 8),), (B, *GUESSED)),
    "Linear, one": (nn.Linear(8, 3), (x(8),), (1, *TOLD)),
    "Conv1d, one": (nn.Conv1d(8, 2, 3), (x(8, 5),), (1, *TOLD)),
    "Conv2d": (nn.Conv2d(3, 2, 3), (x(B, 3, 5, 5),), (B, *GUESSED)),
    "Conv2d, one": (nn.Conv2d(3, 2, 3), (x(3, 5, 5),), (1, *TOLD)),
    "ConvTranspose3d, one": (nn.ConvTranspose3d(3, 2, 3), (x(3, 5, 5, 5),), (1, *TOLD)),
    "LSTM": (nn.LSTM(8, 2), (x(T, B, 8),), (B, *TOLD)),
    "LSTM, batch first": (nn.LSTM(8, 2, batch_first=True), (x(B, T, 8),), (B, *TOLD)),
    "LSTM, one": (nn.LSTM(8, 2), (x(T, 8),), (1, *TOLD)),
    "LSTM with state": (nn.LSTM(8, 2), (x(T, B, 8), (x(1, B, 2), x(1, B, 2))), (B, *TOLD)),
    "GRU, batch first, one": (nn.GRU(8, 2, batch_first=True), (x(T, 8),), (1, *TOLD)),
    "LSTMCell": (nn.LSTMCell(8, 2), (x(B, 8),), (B, *TOLD)),
    "LSTMCell, one": (nn.LSTMCell(8, 2), (x(8),), (1, *TOLD)),
    # Packed: 5 + 3 steps in one dimension, of two sequences.
    "LSTM, packed": (nn.LSTM(8, 2), (pack_sequence([x(5, 8), x(3, 8)]),), (2, *TOLD)),
    "LSTM, packed, unsorted": (
        nn.LSTM(8, 2),
        (pack_sequence([x(3, 8), x(5, 8)], enforce_sorted=False),),
        (2, *TOLD),
    ),
    "attention": (nn.MultiheadAttention(8, 2), (x(T, B, 8),) * 3, (B, *TOLD)),
    "attention, one": (nn.MultiheadAttention(8, 2), (x(T, 8),) * 3, (1, *TOLD)),
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False),
        (x(T, B, 8),),
        (B, *TOLD),
    ),
    "decoder": (decoder(False), (x(T, B, 8), x(5, B, 8)), (B, *TOLD)),
    "decoder, batch first": (decoder(True), (x(B, T, 8), x(B, 5, 8)), (B, *TOLD)),
    "Transformer": (
        nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        (x(B, T, 8), x(B, 5, 8)),
        (B, *TOLD),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_says_of_its_input(trace_of, name):
    layer, given, expected = LAYERS[name]
    trace = trace_of(lambda: layer(*given), model=layer)
    assert known(trace, type(layer).__name__) == expected


class Net(nn.Module):
    """Calls a function of its modules."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *given):
        return self.run(self, *given)


def image_net():
    return Net(
        lambda net, x: net.head(net.pool(net.conv(net.pre(x))).flatten(-3)),
        pre=nn.Identity(),
        conv=nn.Conv2d(3, 4, 3),
        pool=nn.MaxPool2d(2),
        head=nn.Linear(36, 10),
    )


def test_one_image_without_a_batch(trace_of):
    """(C, H, W): the convolution shows it, for what ran before it too; 4 x 3 x 3 = 36 features."""
    trace = trace_of(lambda: image_net()(x(3, 8, 8)))
    assert known(trace, "Net") == (1, *OBSERVED)
    assert known(trace, "Net.conv") == (1, *TOLD)
    for name in ("pre", "pool", "head"):
        assert known(trace, f"Net.{name}") == (1, *OBSERVED)


def test_a_batch_of_images_is_a_guess(trace_of):
    trace = trace_of(lambda: image_net()(x(2, 3, 8, 8)))
    for path in ("Net", "Net.pre", "Net.conv", "Net.pool", "Net.head"):
        assert known(trace, path) == (2, *GUESSED)


def test_a_flattened_image_without_a_batch(trace_of):
    net = Net(lambda net, x: net.fc(x.flatten()), fc=nn.Linear(64, 2))
    assert known(trace_of(lambda: net(x(8, 8))), "Net") == (1, *OBSERVED)


def test_a_loop_over_samples_is_no_single_sample(trace_of):
    """The layer takes one of them at a time; the model took all four."""
    net = Net(lambda net, x: [net.fc(each) for each in x], fc=nn.Linear(8, 2))
    trace = trace_of(lambda: net(x(B, 8)))
    assert known(trace, "Net") == (B, *GUESSED)
    assert known(trace, "Net.fc") == (1, *TOLD)


def text(**options):
    return Net(
        lambda net, ids: net.head(net.rnn(net.embed(ids))[0]),
        embed=nn.Embedding(9, 8),
        rnn=nn.LSTM(8, 4, **options),
        head=nn.Linear(4, 2),
    )


def test_text_with_the_batch_first(trace_of):
    """What was compared with the guess before the layer confirmed it is observed too."""
    trace = trace_of(lambda: text(batch_first=True)(torch.randint(9, (B, T))))
    for path in ("Net", "Net.embed", "Net.head"):
        assert known(trace, path) == (B, *OBSERVED)
    assert known(trace, "Net.rnn") == (B, *TOLD)


def test_text_with_the_sequence_first(trace_of):
    """The first dimension, 7, was guessed, the layer says 4: what was read by it is taken back."""
    trace = trace_of(lambda: text()(torch.randint(9, (T, B))))
    assert known(trace, "Net") == (B, *OBSERVED)
    assert known(trace, "Net.embed") == UNKNOWN
    assert known(trace, "Net.rnn") == (B, *TOLD)
    assert known(trace, "Net.head") == (B, *OBSERVED)


def test_one_text(trace_of):
    trace = trace_of(lambda: text()(torch.randint(9, (T,))))
    assert known(trace, "Net") == known(trace, "Net.embed") == (1, *OBSERVED)


def test_windows_of_an_attention_layer_do_not_speak_of_the_model(trace_of):
    """4 samples are cut into 8 windows of 5: the layer's batch is not the model's."""

    def run(net, x):
        return net.attend(*(net.embed(x).view(8, 5, 8),) * 3)[0]

    attend = nn.MultiheadAttention(8, 2, batch_first=True)
    trace = trace_of(lambda: Net(run, embed=nn.Linear(3, 8), attend=attend)(x(B, 10, 3)))
    assert known(trace, "Net") == known(trace, "Net.embed") == (B, *GUESSED)
    assert known(trace, "Net.attend") == (8, *TOLD)


def pair():
    return Net(
        lambda net, a, b: net.image(a).mean() + net.text(b).mean(),
        image=nn.Linear(5, 6),
        text=nn.Linear(3, 6),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((x(4, 5), x(8, 3)), UNKNOWN),
        ((x(4, 5), x(4, 3)), (4, *GUESSED)),
        ((x(1, 5), x(8, 3)), UNKNOWN),
    ],
    ids=["disagree", "agree", "one and eight"],
)
def test_inputs_that_disagree_are_no_guess(trace_of, given, expected):
    trace = trace_of(lambda: pair()(*given))
    assert known(trace, "Net") == known(trace, "Net.image") == expected


@pytest.mark.parametrize(
    "first",
    [torch.tensor(0.5), torch.arange(7), torch.ones(7, 7, dtype=torch.bool), None],
    ids=["scalar", "positions", "mask", "none"],
)
def test_what_has_no_batch_does_not_speak(trace_of, first):
    net = Net(lambda net, first, x: net.fc(x), fc=nn.Linear(5, 6))
    trace = trace_of(lambda: net(first, x(B, 5)))
    assert known(trace, "Net") == known(trace, "Net.fc") == (B, *GUESSED)


def test_two_sequences_that_the_layers_explain(trace_of):
    """(5, B, 8) and (7, B, 8) disagree in front; the decoder says where the batch is."""
    net = Net(lambda net, a, b: net.decode(a, b), decode=decoder(False))
    trace = trace_of(lambda: net(x(5, B, 8), x(T, B, 8)))
    assert known(trace, "Net") == (B, *OBSERVED)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_dim": 0}, (T, *TOLD)),
        ({"batch_dim": 1}, (B, *TOLD)),
        ({"batch_dim": 1, "time_dim": 0}, (B, "told", T, "told")),
        ({"time_dim": 0}, (B, "guessed", T, "told")),
        ({"time_dim": 1}, (T, "guessed", B, "told")),
        ({}, (T, *GUESSED)),
        ({"batch_dim": "auto"}, (T, *GUESSED)),
        ({"batch_dim": None}, UNKNOWN),
    ],
)
def test_what_the_user_said(trace_of, options, expected):
    trace = trace_of(lambda: nn.Linear(5, 2)(x(T, B, 5)), **options)
    assert known(trace, "Linear") == expected


def test_what_the_user_said_comes_before_what_modules_tell(trace_of):
    trace = trace_of(lambda: nn.LSTM(8, 4)(x(T, B, 8)), batch_dim=0)
    assert known(trace, "LSTM") == (T, *TOLD)


def test_what_is_no_dimension_is_refused(tmp_path):
    for options in ({"batch_dim": "first"}, {"time_dim": "auto"}, {"batch_dim": 1.0}):
        with pytest.raises(RecordError, match="is not the number of a dimension"):
            Recorder(tmp_path / "trace", **options)


def test_neurons(jelly, trace_of):
    """Single steps of a batch confirm it; all steps at once show where the input has both."""
    single = nn.Sequential(nn.Linear(5, 6), jelly.neuron.IFNode())
    trace = trace_of(lambda: single(x(B, 5)), model=single)
    assert known(trace, "Sequential") == (B, "observed", 1, "observed")
    assert known(trace, "Sequential.0") == (B, "observed", 1, "observed")
    assert known(trace, "Sequential.1") == (B, "told", 1, "told")
    multi = nn.Sequential(nn.Linear(5, 6), jelly.neuron.IFNode(step_mode="m"))
    trace = trace_of(lambda: multi(x(T, B, 5)), model=multi)
    assert known(trace, "Sequential") == (B, "observed", T, "observed")
    assert known(trace, "Sequential.1") == (B, "told", T, "told")


def test_a_spiking_network_on_one_image(jelly, trace_of):
    """Neurons and pooling take channels first, and say batch 1 behind an unbatched convolution."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), jelly.neuron.IFNode(), nn.Flatten(0), nn.Linear(36, 2)
    )
    trace = trace_of(lambda: net(x(3, 8, 8)), model=net)
    assert {call["batch"] for call in trace.module_calls} == {1}
    assert {call["time_steps"] for call in trace.module_calls} == {1}
    assert trace.manifest["notes"] == []


def test_sequence_layers_of_snntorch(trace_of):
    snn = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(5, 6), snn.StateLeaky(beta=0.9, channels=6))
    trace = trace_of(lambda: net(x(T, B, 5)), model=net)
    assert known(trace, "Sequential.1") == (B, "told", T, "told")
    assert known(trace, "Sequential") == (B, "observed", T, "observed")


def test_sequence_layers_of_norse(trace_of):
    norse = pytest.importorskip("norse.torch")
    for layer in (norse.LIF(), norse.LIFRecurrent(5, 5)):
        name = type(layer).__name__
        trace = trace_of(lambda layer=layer: layer(x(T, B, 5)), model=layer)
        assert known(trace, name) == (B, "told", T, "told")
        assert trace.modules[0]["neuron"] == "LIF"


def test_two_threads_do_not_mix(trace_of):
    """What is taken back in one thread's call is not taken back in another's."""
    import threading

    images, texts = image_net(), text()

    def run(recorder):
        def other():
            with recorder.join():
                images(x(2, 3, 8, 8))

        thread = threading.Thread(target=other)
        embed = texts.embed
        texts.run = lambda net, ids: (
            thread.start(),
            thread.join(),
            net.head(net.rnn(embed(ids))[0]),
        )[-1]
        texts(torch.randint(9, (T, B)))

    trace = trace_of(run, takes_recorder=True)
    found = {row["path"]: known(trace, row["path"]) for row in trace.modules}
    assert found["Net"] == (B, *OBSERVED)
    assert found["Net.embed"] == UNKNOWN
    assert found["Net#2"] == found["Net#2.conv"] == (2, *GUESSED)
