"""How many samples a call of a model holds, where layers inside see something else."""

from __future__ import annotations

import functools
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import opjoule as oj  # noqa: E402
from opjoule.tracer import RecordingWarning  # noqa: E402

x = torch.rand
B, T = 3, 5


class Net(nn.Module):
    """Calls a function of its modules; `p` is a parameter."""

    def __init__(self, run, p=None, **modules):
        super().__init__()
        self.run, self.p = run, None if p is None else nn.Parameter(p)
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *given):
        return self.run(self, *given)


@pytest.fixture
def samples(tmp_path):
    """Return a function from a run, or a model and its inputs, to samples, origin and notes."""

    def found(net, *given, **options):
        run = net if not given else functools.partial(net.eval(), *given)
        with warnings.catch_warnings(record=True) as told, torch.no_grad():
            warnings.simplefilter("always", RecordingWarning)
            with oj.Recorder(tmp_path / "trace", overwrite=True, **options):
                run()
        sampled = oj.energy(tmp_path / "trace", "compute").sampled
        return sampled.samples, sampled.batch_from, " ".join(str(each.message) for each in told)

    return found


def conditioned():
    """Return images of (16, 1, 8, 8), and one vector for all of them: (8,)."""
    return Net(
        lambda net, x, t: net.out(functional.silu(net.conv(x) + net.time(t)[:, None, None])),
        time=nn.Linear(8, 4),
        conv=nn.Conv2d(1, 4, 3, padding=1),
        out=nn.Conv2d(4, 1, 3, padding=1),
    )


def read_out(layer, *latents, take=lambda made: made[0].mean(0)):
    """Return a network that adds to each sample what a layer makes of learned latents."""
    run = lambda net, x: net.fc(x) + take(net.layer(*[net.p] * len(latents)))  # noqa: E731
    return Net(run, p=latents[0], fc=nn.Linear(8, 8), layer=layer)


image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0), nn.Linear(144, 2))
vector = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))

ONE_INSIDE = {
    "a vector for all samples": (conditioned(), (x(16, 1, 8, 8), x(8)), 16),
    # (8,) has as many elements as two samples of four numbers
    "as many elements": (
        Net(lambda n, t, x: n.fc(x) * n.time(t), time=nn.Linear(8, 4), fc=nn.Linear(4, 4)),
        (x(8), x(2, 4)),
        2,
    ),
    "weights that a layer makes": (
        Net(lambda n, x: x @ n.make(n.p).view(8, 4), p=x(5), make=nn.Linear(5, 32)),
        (x(16, 8),),
        16,
    ),
    "latents, LSTM": (read_out(nn.LSTM(8, 8), x(6, 8)), (x(16, 8),), 16),
    "latents, attention": (read_out(nn.MultiheadAttention(8, 2), *[x(6, 8)] * 3), (x(16, 8),), 16),
    "latents, convolution": (
        read_out(nn.Conv1d(3, 8, 3), x(3, 7), take=lambda made: made.mean(1)),
        (x(16, 8),),
        16,
    ),
    "a loop over vectors": (
        Net(lambda n, x: torch.stack([n.net(row) for row in x]), net=vector),
        (x(16, 8),),
        16,
    ),
    "a loop over images": (
        Net(lambda n, x: torch.stack([n.net(row) for row in x]), net=image),
        (x(5, 3, 8, 8),),
        5,
    ),
    "windows": (
        Net(
            lambda n, x: n.attend(*(n.embed(x).view(8, 5, 8),) * 3)[0],
            embed=nn.Linear(3, 8),
            attend=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        (x(4, 10, 3),),
        4,
    ),
    "a part of the batch at a time": (
        Net(lambda n, x: torch.cat([n.net(part) for part in x.split(3)]), net=vector),
        (x(10, 8),),
        10,
    ),
}


@pytest.mark.parametrize("name", ONE_INSIDE)
def test_what_a_layer_takes_alone_does_not_speak_of_the_model(samples, name):
    """The batch is dimension 0 of the model's input: a guess, and called one."""
    net, given, many = ONE_INSIDE[name]
    assert samples(net, *given) == (many, "guessed", "")


def test_all_layers_take_one_sample(samples):
    """(C, H, W) goes in as a whole; of (T, F), which a loop runs through, one answer comes out."""
    assert samples(image, x(3, 8, 8)) == (1, "observed", "")
    net = Net(lambda n, x: sum(n.net(step) for step in x), net=vector)
    many, origin, note = samples(net, x(T, 8))
    assert (many, origin) == (1, "guessed")
    assert "is 5, but its layers take one sample alone, which is believed" in note


def test_inputs_that_disagree_and_one_sample_inside(samples):
    """4 and 5 rows, and a layer that takes a vector: unknown, not 1."""
    net = Net(
        lambda n, a, b, t: n.a(a).mean() + n.b(b).mean() + n.t(t).mean(),
        a=nn.Linear(6, 2), b=nn.Linear(2, 2), t=nn.Linear(3, 2),
    )  # fmt: skip
    assert samples(net, x(4, 6), x(5, 2), x(3))[:2] == (None, None)


def step(net, frame, v):
    """Return spikes and state of a neuron that is written by hand."""
    v = 0.9 * v + net.fc(frame)
    spikes = (v > 0.3).float()
    return spikes, v - spikes


def summed(net, frames):
    """Loop over the first dimension; return the sum over time."""
    v, out = torch.zeros(frames.shape[1], 7), 0
    for frame in frames:
        spikes, v = step(net, frame, v)
        out = out + net.out(spikes)
    return out


def stacked(net, frames):
    """Loop over the first dimension; return each step."""
    v, out = torch.zeros(frames.shape[1], 7), []
    for frame in frames:
        spikes, v = step(net, frame, v)
        out.append(net.out(spikes))
    return torch.stack(out)


LOOPS = {
    "summed": (summed, x(T, B, 6)),
    "stacked": (stacked, x(T, B, 6)),
    "encoded": (lambda net, x: summed(net, net.encode(x)), x(T, B, 6)),
    "pixels in a row": (lambda net, x: net.out(net.fc(x.flatten(0, 1)).view(T, B, 7).mean(0)),
                        x(T, B, 6)),
    "cell": (lambda net, x: net.out(functools.reduce(lambda h, e: net.cell(e, h), x, None)),
             x(T, B, 6)),
    "tokens": (lambda net, x: net.out(
        functools.reduce(lambda h, e: net.cell(e, h), net.embed(x), None)),
        torch.randint(9, (T, B))),
}  # fmt: skip


def looping(run):
    return Net(run, encode=nn.Linear(6, 6), fc=nn.Linear(6, 7), out=nn.Linear(7, 2),
               cell=nn.GRUCell(6, 7), embed=nn.Embedding(9, 6))  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_layers_that_take_dimension_1_of_the_input(samples, name):
    """(T, B, ...): no layer takes 5 samples, each takes 3. Believed, with a word."""
    run, given = LOOPS[name]
    many, origin, note = samples(looping(run), given)
    assert (many, origin) == (B, "guessed")
    assert f"{list(given.shape)} is 5, but its layers take a batch of 3, dimension 1" in note
    assert samples(looping(run), given, batch_dim=1, time_dim=0) == (B, "told", "")


def test_a_loop_over_time_behind_the_batch_is_clear(samples):
    net = looping(lambda net, x: summed(net, x.transpose(0, 1)))
    assert samples(net, x(B, T, 6)) == (B, "guessed", "")


def test_a_loop_over_samples_of_many_tokens(samples):
    """Each call takes the 5 tokens of one of 3 samples; 3 answers come out."""
    net = Net(lambda n, x: torch.stack([n.net(row).mean(0) for row in x]), net=vector)
    assert samples(net, x(B, T, 8)) == (B, "guessed", "")


def test_layers_that_take_no_such_batch_leave_a_guess_that_is_told(samples):
    """(3, 8, 8) in patches of 4 x 4: four tokens of 48 numbers, nowhere three samples."""

    def run(net, x):
        patches = x.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4)
        return net.fc(patches.reshape(4, 48)).mean(0)

    many, origin, note = samples(Net(run, fc=nn.Linear(48, 2)), x(3, 8, 8))
    assert (many, origin) == (3, "guessed")
    assert "is 3, but none of its layers takes such a batch (4): a guess" in note


class Leaving(nn.Module):
    """Five samples of which each leaves the batch after some steps; with or without neurons."""

    def __init__(self, stop, neuron):
        super().__init__()
        self.fc, self.neuron, self.out = nn.Linear(10, 8), neuron, nn.Linear(8, 3)
        self.stop = torch.tensor(stop)

    def forward(self, x):
        index, out = torch.arange(len(x)), torch.zeros(len(x), 3)
        for t in range(int(self.stop.max())):
            index = index[self.stop[index] > t]
            out[index] += self.out(self.neuron(self.fc(x[index])))
        return out


class Fire(nn.Module):
    """A neuron without state."""

    def forward(self, x):
        return (x > 0).to(x)


STOP = [2, 6, 3, 4, 1]


@pytest.mark.parametrize("dims", [{}, {"batch_dim": 0}], ids=["found", "told"])
@pytest.mark.parametrize("kind", ["IF", None])
def test_samples_that_leave_the_batch(tmp_path, dims, kind):
    """16 single steps of 5 samples, 6 at most: 10 x 8 + 8 x 3 products each."""
    rules = [oj.NeuronRule(Fire, kind=kind)] if kind else []
    net = Leaving(STOP, Fire()).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", RecordingWarning)  # of a class that fires without a rule
        oj.record(net, x(5, 10), tmp_path / "trace", neurons=rules, **dims)
    report = oj.energy(tmp_path / "trace", "compute")
    assert (report.samples, report.time_steps) == (5, 6 if kind else None)
    counts = oj.count(tmp_path / "trace", per="sample")
    assert counts.each["dense_macs"] == sum(STOP) * (10 * 8 + 8 * 3) / 5


def test_a_script_that_lets_samples_leave(tmp_path):
    """Root calls of 4, 3 and 1 samples that hand their state on are one chain of 4 samples."""
    net = nn.GRUCell(8, 5).eval()
    with oj.Recorder(tmp_path / "trace"), torch.no_grad():
        h = None
        for many in (4, 3, 1):
            h = net(x(many, 8), None if h is None else h[:many])
    assert oj.energy(tmp_path / "trace", "compute").samples == 4


def test_what_is_left_of_a_batch_has_its_own_share(tmp_path):
    """Lemaire's memories are priced by the input of one sample: fed 0 and 1, it costs the same."""
    torch.manual_seed(0)
    given = (x(5, 10) < 0.4).float()
    rules = [oj.NeuronRule(Fire, kind="IF")]

    def total(inputs, stop):
        net = Leaving(stop, Fire()).eval()
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.1)
        with torch.no_grad():
            oj.record(net, inputs, tmp_path / "trace", neurons=rules, overwrite=True)
        return oj.energy(tmp_path / "trace", "lemaire").total_pj

    each = [total(given[k : k + 1], [stop]) for k, stop in enumerate(STOP)]
    assert total(given, STOP) == pytest.approx(sum(each), rel=1e-9)


@pytest.mark.parametrize("name", ["SpikingVanillaRNN", "SpikingLSTM", "SpikingGRU"])
def test_spiking_recurrent_layers_of_spikingjelly(samples, name):
    rnn = pytest.importorskip("spikingjelly.activation_based.rnn")
    layer = getattr(rnn, name)(6, 7, 1)
    net = Net(lambda n, x: n.fc(n.layer(x)[0].mean(0)), layer=layer, fc=nn.Linear(7, 2))
    for model, source in ((layer, "told"), (net, "observed")):
        *found, notes = samples(model, x(T, B, 6))
        assert found == [B, source]
        assert "batch" not in notes  # what is said is that they are no neurons


def test_what_vmap_maps_over_is_the_batch(samples):
    """A module inside sees one of 16 entries: of a vector, an image, or a batch of one."""
    from torch.func import functional_call, grad, vmap

    assert samples(lambda: vmap(vector)(x(16, 8))) == (16, "guessed", "")
    assert samples(lambda: vmap(image)(x(16, 3, 8, 8))) == (16, "guessed", "")
    assert samples(lambda: vmap(image, in_dims=1)(x(3, 16, 8, 8))) == (16, "guessed", "")
    inside = Net(lambda n, x: vmap(n.net)(x), net=vector)
    assert samples(inside, x(16, 8)) == (16, "guessed", "")

    def loss(parameters, row):
        return functional_call(vector, parameters, (row.unsqueeze(0),)).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0))
    parameters = dict(vector.named_parameters())
    assert samples(lambda: gradients(parameters, x(16, 8))) == (16, "guessed", "")


def test_a_packed_sequence_holds_its_sequences(samples):
    """Lengths of 7, 4 and 2: 13 rows, three samples."""
    packed = pack_sequence([x(n, 8) for n in (7, 4, 2)])
    last = Net(lambda n, x: n.fc(n.rnn(x)[1][0][0]), rnn=nn.LSTM(8, 4), fc=nn.Linear(4, 2))
    rows = Net(lambda n, x: n.fc(x.data), fc=nn.Linear(8, 2))
    for net in (nn.LSTM(8, 4), last, rows):
        assert samples(net, packed) == (3, "told", "")


def test_a_list_of_images_that_the_model_stacks(samples):
    """Two, or one, of (3, 8, 8): what the convolution takes is the length of the list."""
    cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    net = Net(lambda n, images: n.net(torch.stack(images)), net=cnn)
    for many in (2, 1):
        assert samples(net, [x(3, 8, 8)] * many) == (many, "observed", "")
    each = Net(lambda n, images: torch.stack([n.net(one) for one in images]), net=image)
    assert samples(each, [x(3, 8, 8)] * 2) == (2, "guessed", "")


def test_a_guess_is_called_one_everywhere(tmp_path, capsys):
    from opjoule.cli.main import run

    trace = str(tmp_path / "trace")
    oj.record(conditioned().eval(), (x(16, 1, 8, 8), x(8)), trace)
    assert "batch 16 (a guess)" in oj.energy(trace, "compute").statement().lower()
    for words in (["info", trace], ["table", trace]):
        assert run(words) == 0
        assert "guess" in capsys.readouterr().out
