"""Samples, batch and time steps: the same in every estimator, however a network runs its steps."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402
from torch import nn  # noqa: E402

from opjoule import Recorder, open_trace  # noqa: E402
from opjoule.analyzers import energy  # noqa: E402
from opjoule.analyzers.workload.sample_shares import with_shares  # noqa: E402
from opjoule.analyzers.workload.samples import samples_of  # noqa: E402
from opjoule.schemas import ConfigError, TraceError  # noqa: E402
from opjoule.schemas.costs import NeuroMCConfig  # noqa: E402
from opjoule.tracer import RecordingWarning  # noqa: E402

ESTIMATORS = ("compute", "simple", "lemaire", "neuromc", "spikesim")
STEPS, BATCH = 4, 3


class Loop(nn.Module):
    """A network in plain PyTorch that runs its time steps in a loop: [T, B, C, H, W] to [B, K]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.node = neuron.IFNode(v_threshold=0.3)
        self.head = nn.Linear(4 * 5 * 5, 6, bias=False)

    def forward(self, x):
        out = None
        for step in range(x.shape[0]):
            y = self.head(self.node(self.conv(x[step])).flatten(1))
            out = y if out is None else out + y
        return out


def multi_step(loop):
    """The same network with all steps in one call of each layer."""
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False),
        neuron.IFNode(v_threshold=0.3),
        layer.Flatten(),
        layer.Linear(4 * 5 * 5, 6, bias=False),
    )
    functional.set_step_mode(net, "m")
    net[0].weight = loop.conv.weight
    net[3].weight = loop.head.weight
    return net


@pytest.fixture
def x():
    torch.manual_seed(0)
    return (torch.rand(STEPS, BATCH, 2, 5, 5) < 0.3).float()


@pytest.fixture
def run(tmp_path):
    """Return a function that records calls of a model in inference, and opens the trace."""

    def recorded(model, *inputs, reset=True, **options):
        path = tmp_path / f"trace-{len(list(tmp_path.iterdir()))}"
        with warnings.catch_warnings():
            # The recorder warns of a batch that it cannot tell, and of state that nobody reset.
            warnings.simplefilter("ignore", RecordingWarning)
            with Recorder(path, model=model.eval(), **options), torch.no_grad():
                for each in inputs:
                    model(each)
                    if reset:
                        functional.reset_net(model)
        return open_trace(path)

    return recorded


def estimate(name, trace, **options):
    if name == "neuromc":  # one call of many steps reads weights once, a loop at each step
        options["config"] = NeuroMCConfig(weight_reads="sample")
    return getattr(energy, f"estimate_{name}")(trace, **options)


def counted(report):
    return report.samples, report.batch, report.time_steps


DIMS = {"told": {"batch_dim": 1, "time_dim": 0}, "default": {}}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dims", DIMS)
def test_a_loop_over_time_costs_what_one_call_of_many_steps_does(name, dims, x, run):
    torch.manual_seed(1)
    loop = Loop()
    report = estimate(name, run(loop, x, **DIMS[dims]))
    assert counted(report) == (BATCH, BATCH, STEPS)
    other = estimate(name, run(multi_step(loop), x, **DIMS[dims]))
    assert counted(other) == (BATCH, BATCH, STEPS)
    per_sample = report.per_sample_pj
    if name in ("compute", "simple"):
        # The loop adds its outputs up itself: 3 additions of 6 elements a sample, 0.9 pJ each.
        per_sample -= (STEPS - 1) * 6 * 0.9
    assert per_sample == pytest.approx(other.per_sample_pj, rel=1e-12)
    assert not [text for text in report.warnings if "is not used" in text]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_state_that_nobody_resets_carries_one_long_sample(name, x, run):
    """Four steps and four more without a reset are one sample of eight, by one call or by eight."""
    loop = Loop()
    report = estimate(name, run(loop, x, x, reset=False))
    assert counted(report) == (BATCH, BATCH, 2 * STEPS)
    other = estimate(name, run(multi_step(loop), x, x, reset=False))
    assert counted(other) == (BATCH, BATCH, 2 * STEPS)
    reset = estimate(name, run(loop, x, x))
    assert counted(reset) == (2 * BATCH, BATCH, STEPS)


@pytest.mark.parametrize("name", ["compute", "simple", "spikesim"])
def test_what_the_user_says_comes_first(name, x, run):
    """Neurons told a batch of 3 and 4 steps: other numbers replace them, with a warning."""
    trace = run(Loop(), x)
    report = estimate(name, trace, batch=5, time_steps=2)
    assert counted(report) == (5, 5, 2)
    assert "batch=5 replaces what was recorded: 3" in report.warnings
    assert "time_steps=2 replaces what was recorded: 4" in report.warnings
    assert report.total_pj == estimate(name, trace).total_pj
    silent = estimate(name, trace, batch=BATCH, time_steps=STEPS)
    assert silent.warnings == estimate(name, trace).warnings


@pytest.mark.parametrize("name", ["lemaire", "neuromc"])
def test_numbers_that_fit_no_layer_are_refused(name, x, run):
    """Their energies of a layer go by its samples and steps: an input of 3 is no part of 5."""
    with pytest.raises(TraceError, match="is no part of 5 samples in 2 time steps"):
        estimate(name, run(Loop(), x), batch=5, time_steps=2)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_are_at_least_one(name, x, run):
    trace = run(Loop(), x)
    for wrong in ("batch", "time_steps"):
        with pytest.raises(ConfigError, match=f"{wrong}=0: expected a number of at least 1"):
            estimate(name, trace, **{wrong: 0})
    with pytest.raises(ConfigError, match="samples='all': expected a number"):
        estimate(name, trace, samples="all")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_samples_are_as_many_as_the_user_says(name, x, run):
    trace = run(Loop(), x)
    known, said = estimate(name, trace), estimate(name, trace, samples=12)
    assert said.samples == 12 and said.total_pj == known.total_pj
    assert said.per_sample_pj == pytest.approx(known.per_sample_pj * BATCH / 12)


class Carried(nn.Module):
    """A state that one call hands on to the next: one sample, a time step a call."""

    def __init__(self):
        super().__init__()
        self.fc, self.v = nn.Linear(4, 3), 0.0

    def forward(self, x):
        self.v = 0.5 * self.v + self.fc(x)
        return self.v


def test_every_call_is_a_sample_if_the_user_says_so(run, tmp_path):
    """Four calls of a batch of two that carry their state on: 2 samples, or 8."""
    net = Carried().eval()
    with Recorder(tmp_path / "carried", model=net), torch.no_grad():
        for _ in range(4):
            net(torch.rand(2, 4))
    trace = open_trace(tmp_path / "carried")
    assert estimate("compute", trace).samples == 2
    assert estimate("compute", trace, samples="per-call").samples == 8


@pytest.mark.parametrize("name", ESTIMATORS)
def test_without_a_batch_dimension_the_numbers_given_count(name, run):
    """[6, 2, 5, 5] without a neuron that tells: six samples, or three steps of two."""
    trace = run(nn.Sequential(nn.Conv2d(2, 3, 3)), torch.rand(6, 2, 5, 5), batch_dim=None)
    assert estimate(name, trace).samples is None
    assert counted(estimate(name, trace, batch=6)) == (6, 6, None)
    assert counted(estimate(name, trace, batch=2, time_steps=3)) == (2, 2, 3)
    assert counted(estimate(name, trace, time_steps=3)) == (2, 2, 3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_part_of_the_network_is_of_as_many_samples(name, x, run):
    report = estimate(name, run(Loop(), x), where="module=conv")
    assert counted(report) == (BATCH, BATCH, STEPS)


@pytest.mark.parametrize("name", ["compute", "simple", "lemaire", "spikesim"])
def test_frozen_parts_of_a_training_pass_are_no_inference(name, x, tmp_path):
    """The convolution stays in eval mode while the rest trains; one inference of three samples."""
    net = Loop().eval()
    options = {"batch_dim": 1, "time_dim": 0}
    with Recorder(tmp_path / "t", model=net, **options) as recorder, torch.no_grad():
        net.train()
        net.conv.eval()
        net(x)
        functional.reset_net(net)
        net.eval()
        with recorder.label("inference"):
            net(x)
    trace = open_trace(recorder.path)
    report = estimate(name, trace)
    assert counted(report) == (BATCH, BATCH, STEPS)
    only = estimate(name, trace, where="label=inference")
    assert report.total_pj == pytest.approx(only.total_pj, rel=1e-12)


def test_the_smallest_batch_of_neurons_counts(run):
    """Four windows a sample are folded into the batch of one neuron; T is of all its calls."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = neuron.IFNode(), neuron.IFNode()

        def forward(self, x):
            for _ in range(5):
                self.b(self.a(x).reshape(12, 2))

    found = samples_of(run(Windows(), torch.rand(3, 8)))
    assert (found.samples, found.batch, found.time_steps) == (3, 3, 5)


def test_networks_behind_each_other_run_the_same_steps(tmp_path):
    """decoder(encoder(x)) is one sample; T = 4 of both are not 8."""
    encoder, decoder = nn.Linear(8, 5).eval(), nn.Linear(5, 2).eval()
    options = {"batch_dim": 1, "time_dim": 0}
    with Recorder(tmp_path / "t", **options) as recorder, torch.no_grad():
        decoder(encoder(torch.rand(STEPS, BATCH, 8)))
    found = samples_of(open_trace(recorder.path))
    assert (found.samples, found.batch, found.time_steps) == (BATCH, BATCH, STEPS)


def test_a_loss_module_does_not_make_an_evaluation_training(tmp_path):
    """nn.MSELoss is in training mode, as everybody leaves it; the network was evaluated."""
    net, loss = nn.Linear(4, 2), nn.MSELoss()
    with Recorder(tmp_path / "t") as recorder:
        loss(net(torch.rand(3, 4)), torch.rand(3, 2)).backward()
        with torch.no_grad():
            loss(net.eval()(torch.rand(3, 4)), torch.rand(3, 2))
    report = energy.estimate_neuromc(open_trace(recorder.path))
    (text,) = [text for text in report.warnings if "eval mode" in text]
    assert text.startswith("3 of 6 samples ran in eval mode")


SHARES = [  # B = 3, T = 4: kind, shape, calls in the sample -> batch, time steps of a call
    ("Conv2d", (4, 3, 2, 5, 5), 1, (3, 4)),  # [T, B, ...]
    ("Conv2d", (12, 2, 5, 5), 1, (3, 4)),  # T and B folded
    ("Conv2d", (3, 2, 5, 5), 4, (3, 1)),  # a loop
    ("Conv2d", (3, 2, 5, 5), 1, (3, 1)),  # once, before the loop
    ("Conv2d", (2, 3, 2, 5, 5), 2, (3, 2)),  # two steps a call
    ("Conv2d", (6, 2, 5, 5), 2, (3, 2)),
    ("Linear", (3, 4, 8), 1, (3, 4)),  # [B, T, F]
    ("Linear", (3, 7, 8), 4, (3, 1)),  # tokens
    ("Linear", (4, 3, 7, 8), 1, (3, 4)),
    ("Linear", (24, 8), 1, (3, 4)),  # two windows a sample and step
    ("Linear", (6, 8), 4, (3, 1)),  # two windows a sample, in a loop
    ("Linear", (8,), 1, (1, 1)),  # no batch
    ("Linear", (49, 49, 2), 1, (1, 1)),  # relative positions: no batch in it
]


@pytest.mark.parametrize(("kind", "shape", "calls", "share"), SHARES)
def test_shares_of_a_sample(kind, shape, calls, share):
    import polars as pl

    layers = pl.DataFrame(
        {
            "rank": [0], "module_id": [1], "module": ["net.layer"], "kind": [kind],
            "stage": ["forward"], "sample": [0], "in_dims": [len(shape)], "in_first": [shape[0]],
            "in_second": [shape[1] if len(shape) > 1 else None], "calls": [calls],
        }
    )  # fmt: skip
    samples = pl.DataFrame(
        {"rank": [0], "sample": [0], "batch": [3], "time_steps": [4], "given": [False]}
    )
    found = with_shares(layers, samples, spiking=True)
    assert (found["batch"][0], found["time_steps"][0]) == share
