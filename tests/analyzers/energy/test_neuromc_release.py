"""NeuroMC beside SpikingJelly 2.0.0 in the same process, on models that no golden file has."""

from __future__ import annotations

import json
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import layer, neuron  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy.neuromc.report import estimate_neuromc  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402
from opjoule.tracer import Recorder  # noqa: E402


class Called(nn.Module):
    """Layers, and a function of them and the inputs."""

    def __init__(self, call, **layers):
        super().__init__()
        for name, each in layers.items():
            setattr(self, name, each)
        self.call = call

    def forward(self, *inputs):
        return self.call(self, *inputs)


def parameter(*shape):
    return nn.Parameter(torch.rand(*shape))


def dense(*shape):
    return torch.rand(*shape)


def spikes(*shape):
    return (torch.rand(*shape) < 0.5).float()


def leaf(x):
    return x.requires_grad_()


FORWARD = {
    "norm of spikes": lambda: (nn.BatchNorm1d(8).eval(), spikes(2, 8)),
    "norm of (N, C, L)": lambda: (nn.BatchNorm1d(8).eval(), dense(2, 8, 5)),
    "norm in multi-step mode": lambda: (
        layer.BatchNorm2d(3, step_mode="m").eval(),
        dense(5, 2, 3, 4, 4),
    ),
    "instance norm": lambda: (nn.InstanceNorm2d(3), dense(2, 3, 4, 4)),
    "neuron of one dimension": lambda: (neuron.IFNode(), dense(5)),
    "neuron of three": lambda: (neuron.LIFNode(), dense(5, 6, 7)),
    "neuron of five": lambda: (neuron.ParametricLIFNode(), dense(2, 3, 4, 5, 6)),
    "neuron in multi-step mode": lambda: (neuron.IFNode(step_mode="m"), dense(5, 6, 7)),
    "linear of one dimension": lambda: (nn.Linear(8, 4), dense(8)),
    "linear of four": lambda: (nn.Linear(8, 4), dense(2, 5, 3, 8)),
    "linear in multi-step mode": lambda: (layer.Linear(8, 4, step_mode="m"), dense(2, 5, 8)),
    "linear, multi-step, four": lambda: (layer.Linear(8, 4, step_mode="m"), spikes(2, 5, 3, 8)),
    "convolution without batch": lambda: (nn.Conv2d(2, 3, 3), dense(2, 5, 5)),
    "1-d convolution, multi-step": lambda: (
        layer.Conv1d(2, 3, 3, step_mode="m"),
        dense(2, 5, 2, 7),
    ),
    "2-d convolution, multi-step": lambda: (
        layer.Conv2d(2, 3, 3, step_mode="m"),
        spikes(2, 5, 2, 7, 7),
    ),
    "sequence to batch": lambda: (
        layer.SeqToANNContainer(nn.Conv2d(3, 4, 3)),
        dense(3, 2, 3, 5, 5),
    ),
    "depthwise": lambda: (nn.Conv2d(8, 8, 3, groups=8), dense(1, 8, 5, 5)),
    "zeros are spikes": lambda: (nn.Linear(8, 4), torch.zeros(2, 8)),
    "bfloat16": lambda: (nn.Linear(8, 4).bfloat16(), dense(2, 8).bfloat16()),
    "module and function alike": lambda: (
        Called(
            lambda m, x: F.linear(m.fc(x), m.w), fc=nn.Linear(8, 8, bias=False), w=parameter(8, 8)
        ),
        dense(3, 8),
    ),
}

TRAINED = {
    "functional norm": lambda: (
        Called(
            lambda m, x: F.batch_norm(m.c(x), None, None, m.w, m.b, True),
            c=nn.Conv2d(3, 3, 1), w=parameter(3), b=parameter(3),
        ),
        dense(2, 3, 4, 4),
    ),
    "linear": lambda: (nn.Linear(8, 4), leaf(dense(3, 8))),
    "linear without bias": lambda: (nn.Linear(8, 4, bias=False), leaf(dense(3, 8))),
    "linear of three dimensions": lambda: (nn.Linear(8, 4), leaf(dense(3, 5, 8))),
    "one layer twice in a row": lambda: (
        Called(lambda m, x: m.fc(m.fc(x)), fc=nn.Linear(8, 8, bias=False)),
        spikes(2, 8),
    ),
    "one layer twice side by side": lambda: (
        Called(lambda m, x: m.fc(x) + m.fc(x * 0.5), fc=nn.Linear(8, 8, bias=False)),
        spikes(2, 8),
    ),
    "two square layers": lambda: (
        nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)),
        leaf(spikes(2, 8)),
    ),
    "pruned": lambda: (
        nn.Sequential(prune.l1_unstructured(nn.Linear(8, 8), "weight", 0.5), nn.Linear(8, 4)),
        spikes(2, 8),
    ),
    "neuron between square layers": lambda: (
        nn.Sequential(nn.Linear(8, 8), neuron.IFNode(v_threshold=0.05), nn.Linear(8, 8)),
        leaf(dense(2, 8)),
    ),
    "attention": lambda: (Called(lambda m, q: q @ q.transpose(1, 2) @ q), leaf(spikes(2, 5, 8))),
    "first layer frozen": lambda: (
        nn.Sequential(nn.Linear(8, 8).requires_grad_(False), nn.Linear(8, 2)),
        spikes(2, 8),
    ),
    "last layer frozen": lambda: (
        nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2).requires_grad_(False)),
        spikes(2, 8),
    ),
    "norm without weights": lambda: (nn.BatchNorm2d(3, affine=False), leaf(dense(2, 3, 4, 4))),
    "norm in multi-step mode": lambda: (
        nn.Sequential(layer.Conv2d(2, 3, 1, step_mode="m"), layer.BatchNorm2d(3, step_mode="m")),
        dense(5, 2, 2, 4, 4),
    ),
    "frozen convolution": lambda: (
        nn.Conv2d(3, 3, 3).requires_grad_(False),
        leaf(dense(2, 3, 4, 4)),
    ),
    "strided and grouped": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), neuron.LIFNode(), nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        ),
        leaf(dense(2, 3, 8, 8)),
    ),
    "spikes, then dense, alike": lambda: (
        Called(
            lambda m, x: (F.linear(x, m.a) * 0.3).mul(F.linear(x * 0.5, m.b)),
            a=parameter(8, 8), b=parameter(8, 8),
        ),
        leaf(spikes(2, 8)),
    ),
    "dense, then spikes, alike": lambda: (
        Called(
            lambda m, x: (F.linear(x * 0.5, m.a) * 0.3).mul(F.linear(x, m.b)),
            a=parameter(8, 8), b=parameter(8, 8),
        ),
        leaf(spikes(2, 8)),
    ),
    "module and function alike": FORWARD["module and function alike"],
}  # fmt: skip

REFUSED = {
    "3-d batch norm": (lambda: (nn.BatchNorm3d(8).eval(), dense(2, 8, 5, 2, 2)), False),
    "transposed convolution": (lambda: (nn.ConvTranspose2d(4, 4, 2, 2), dense(1, 4, 3, 3)), True),
    "plain and transposed": (
        lambda: (
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 2, 2)),
            dense(1, 4, 3, 3),
        ),
        True,
    ),
    "ReLU": (lambda: (nn.Sequential(nn.Linear(8, 8), nn.ReLU()), dense(2, 8)), False),
    "softmax": (lambda: (nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1)), dense(2, 8)), False),
    "hard reset over steps": (
        lambda: (neuron.IFNode(step_mode="m"), leaf(dense(4, 2, 3))),
        True,
    ),
    "checkpoint": (
        lambda: (
            Called(
                lambda m, x: checkpoint(lambda z: m.n(m.f(z)), x, use_reentrant=False),
                f=nn.Linear(8, 8), n=neuron.IFNode(),
            ),
            leaf(dense(2, 8)),
        ),
        True,
    ),
}  # fmt: skip


def total(output, target=None):
    return output.sum()


def theirs(original, model, x, train):
    training = {"loss_fn": total, "target": torch.zeros(1)} if train else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, at SpikingJelly's hooks
        return original.estimate_neuromc_runtime_energy(model, x, **training)


def ours(path, model, x, train):
    with Recorder(path, model=model) as recorder:
        output = model(x)
        if train:
            with recorder.suspend():
                loss = total(output)
            loss.backward()
    return estimate_neuromc(open_trace(path), revision="spikingjelly-2.0", strict=True)


@pytest.fixture(scope="module")
def original():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import op_counter
    return op_counter


def built(make):
    """Return a model twice and its input, seeded."""
    torch.manual_seed(0)
    model, x = make()
    torch.manual_seed(0)
    return model, make()[0], x


@pytest.mark.parametrize(
    ("make", "train"),
    [(make, False) for make in FORWARD.values()] + [(make, True) for make in TRAINED.values()],
    ids=[*FORWARD, *(f"trained: {name}" for name in TRAINED)],
)
def test_equals_spikingjelly(original, tmp_path, make, train):
    model, again, x = built(make)
    wanted = theirs(original, model, x, train)
    report = ours(tmp_path / "trace", again, x, train)
    assert report.total_pj == pytest.approx(wanted.energy_total_pj, rel=1e-9)
    # Every fragment, in the same order.
    found = json.dumps(report.details["mapping_summary"], sort_keys=True)
    assert found == json.dumps(wanted.mapping_summary, sort_keys=True)


@pytest.mark.parametrize(("make", "train"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_spikingjelly_refuses(original, tmp_path, make, train):
    model, again, x = built(make)
    with pytest.raises(ValueError, match="NeuroMC runtime"):
        theirs(original, model, x, train)
    with pytest.raises(TraceError, match=r"NeuroMC has no fragment for|SpikingJelly 2\.0 refuses"):
        ours(tmp_path / "trace", again, x, train)
