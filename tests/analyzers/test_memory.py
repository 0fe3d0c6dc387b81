"""Peaks of memory: by arithmetic, and as torch's own MemTracker sees them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.distributed._tools.mem_tracker import MemTracker  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import opjoule as oj  # noqa: E402
from opjoule.cli.main import run  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from llama import SIZES, Llama  # noqa: E402


class Recurrent(nn.Module):
    """Returns the last output; attention and recurrence hand back several tensors."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = mlp(), nn.Linear(32, 32)

    def forward(self, x):
        return self.second(checkpoint(self.first, x, use_reentrant=False))


class Stateful(nn.Module):
    """A state over time steps, of which each is kept for the backward pass."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x):
        v, spikes = torch.zeros_like(x), []
        for _ in range(4):
            v = 0.5 * v + self.layer(x)
            spikes.append(torch.sigmoid(v - 1))
            v = v - spikes[-1]
        return torch.stack(spikes).mean(0)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(64, 32)

    def forward(self, x):
        return self.words(x) @ self.words.weight.T


def mlp():
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 32))


def convolutions(groups=1):
    return nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, groups=groups), nn.GELU(), nn.Flatten(),
    )  # fmt: skip


VECTORS, IMAGES, SEQUENCES = (8, 32), (2, 4, 12, 12), (2, 10, 32)
WORDS = torch.zeros(2, 32, dtype=torch.long)
CASES = {
    "mlp, Adam": (mlp, VECTORS, torch.optim.Adam),
    "mlp, SGD": (mlp, VECTORS, lambda p: torch.optim.SGD(p, momentum=0.9)),
    "convolutions": (convolutions, IMAGES, torch.optim.AdamW),
    "depthwise": (lambda: convolutions(16), IMAGES, torch.optim.RMSprop),
    "transformer": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), SEQUENCES,
                    torch.optim.AdamW),
    "attention": (lambda: Recurrent(nn.LSTM(32, 16, batch_first=True)), SEQUENCES,
                  torch.optim.Adam),
    "checkpointed": (Checkpointed, VECTORS, torch.optim.Adam),
    "stateful": (Stateful, VECTORS, torch.optim.Adagrad),
    "tied": (Tied, WORDS, torch.optim.AdamW),
    "llama": (lambda: Llama(SIZES["tiny"]), WORDS, torch.optim.AdamW),
}  # fmt: skip


def made(name, device):
    build, given, optimizer = CASES[name]
    torch.manual_seed(0)
    with torch.device(device):
        model = build()
        inputs = torch.rand(given) if isinstance(given, tuple) else given.to(device)
    return model, optimizer(model.parameters()), inputs


def step(model, optimizer, inputs):
    model(inputs).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_that_of_mem_tracker(name, tmp_path):
    model, optimizer, inputs = made(name, "cpu")
    tracker = MemTracker()
    tracker.track_external(model, optimizer, inputs)
    with tracker:
        step(model, optimizer, inputs)
    (theirs,) = (snap["Total"] for snap in tracker.get_tracker_snapshot("peak").values())
    model, optimizer, inputs = made(name, "cpu")
    with oj.Recorder(tmp_path / "trace", model=model, memory=True):
        step(model, optimizer, inputs)
    found = oj.memory(tmp_path / "trace")
    assert found.total["peak_bytes"] == pytest.approx(theirs, abs=32)  # a few scalars of 4 bytes
    assert found.live["bytes"].sum() == found.total["peak_bytes"]


def test_peaks_by_arithmetic(tmp_path, capsys):
    """Layers 32 to 128 to 32 on 8 vectors, floats of 4 bytes.

    Live from the beginning: parameters, 2 x 32 x 128 + 128 + 32, and the input, 8 x 32. Forward:
    the hidden layer (8 x 128) before and after ReLU, which the backward pass needs, then its
    output. The first is let go after ReLU has read it.
    """
    parameters, given, hidden = 2 * 32 * 128 + 128 + 32, 8 * 32, 8 * 128
    model, inputs = mlp(), torch.rand(8, 32)
    with oj.Recorder(tmp_path / "trace", model=model, memory=True):
        model(inputs).sum().backward()
    found = oj.memory(tmp_path / "trace")
    peaks = dict(found.frame.select("stage", "peak_bytes").iter_rows())
    assert peaks["forward"] == 4 * (parameters + given + 2 * hidden)
    backward = oj.memory(tmp_path / "trace", where="stage=backward")
    assert backward.total["peak_bytes"] == peaks["backward"] == found.total["peak_bytes"]
    live = dict(found.live.select("kind", "bytes").iter_rows())
    assert live["parameter"] == 4 * parameters
    assert live["model_input"] == 4 * given
    modules = dict(found.modules.select("module", "bytes").iter_rows())
    assert modules["Global"] == sum(live.values())
    assert modules["Sequential.0"] >= 4 * (32 * 128 + 128)
    run(["memory", str(tmp_path / "trace"), "--format", "json"])
    assert f'"peak_bytes": {peaks["backward"]}' in capsys.readouterr().out
    assumed = oj.memory(oj.open_trace(tmp_path / "trace", partial=True).assuming("dense"))
    assert [line[:7] for line in assumed.to_dict()["warnings"]] == ["partial", "bytes f"]
    assert "partial: " in assumed.to_markdown()
    forward = oj.memory(tmp_path / "trace", where="stage=forward").total
    assert (forward["op"], forward["module"]) == ("aten.relu.default", "Sequential.1")


def test_the_meta_device_takes_as_much_as_the_cpu(tmp_path):
    peaks = []
    for device in ("cpu", "meta"):
        path = oj.record(
            mlp, torch.rand(8, 32), tmp_path / device, device=device, memory=True,
            loss_fn=lambda y: y.square().mean(), optimizer=torch.optim.SGD,
        )  # fmt: skip
        peaks.append(oj.memory(path).frame.select("stage", "peak_bytes"))
    assert peaks[0].equals(peaks[1])


def test_a_trace_that_does_not_follow_storages_says_so(tmp_path):
    path = oj.record(mlp(), torch.rand(8, 32), tmp_path / "trace")
    with pytest.raises(oj.TraceError, match="record with --memory"):
        oj.memory(path)
    assert oj.open_trace(path).calls.collect()["let_go"].null_count() > 0
