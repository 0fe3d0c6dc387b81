"""Whole models on the meta device: nothing is computed, and what follows from shapes is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import opjoule as oj
from opjoule.cli.main import run
from opjoule.tracer.placement import Placed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

LARGE = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
import torch
from dataclasses import replace
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
import opjoule as oj
from llama import SIZES, Llama

sizes = replace(SIZES["70b"], layers=8)
made = []

def build():
    made.append(Llama(sizes).bfloat16())
    return made[0]

tokens = torch.zeros(1, sizes.tokens + 1, dtype=torch.long)
loss = lambda scores, target: cross_entropy(scores.flatten(0, 1), target.flatten())
begun = time.process_time()
oj.record(build, tokens[:, :-1], sys.argv[2], loss_fn=loss, target=tokens[:, 1:],
          optimizer=torch.optim.AdamW, device="meta")
seconds = time.process_time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
given = tokens.to("meta")
with FlopCounterMode(display=False) as counter:
    loss(made[0](given[:, :-1]), given[:, 1:]).backward()
parameters = sum(p.numel() for p in made[0].parameters())
print(json.dumps([parameters, seconds, peak, counter.get_total_flops()]))
"""


def test_a_training_step_of_nine_billion_parameters(tmp_path, python):
    """FLOPs as torch's own counter, and as arithmetic; time and memory of the process.

    Layer: query and out 2 x 8192 x 8192, key and value 2 x 8192 x 1024, three of 8192 x 28672;
    that times 8, and the scores 8192 x 128256, is what each of 4096 tokens meets: 2 FLOP a weight
    in the forward pass, twice that backward. Attention: 4096 x 4096 scores of 64 heads of 128, a
    product to make and one to use them, and twice that backward.
    """
    done = python(["-c", LARGE, EXAMPLES, tmp_path / "trace"])
    assert done.returncode == 0, done.stderr
    parameters, seconds, peak, theirs = json.loads(done.stdout)
    weights = 8 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672) + 8192 * 128256
    assert parameters == weights + 8192 * 128256 + (2 * 8 + 1) * 8192 >= 7e9
    product = 2 * 64 * 128 * 4096 * 4096
    expected = 3 * 2 * 4096 * weights + 8 * 3 * 2 * product
    counted = oj.count(tmp_path / "trace", rules="torch").total["flops"]
    assert counted == theirs == expected
    assert 0.85 < expected / (6 * parameters * 4096) < 1.15  # the rule of thumb, 6ND
    assert seconds < 20
    assert peak < 1.5e6  # KiB


SCRIPT = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = "cuda" if torch.cuda.is_available() else "cpu"
images, labels = torch.from_numpy(np.ones((6, 8), np.float32)), torch.arange(6) % 3
loader = DataLoader(TensorDataset(images, labels), batch_size=3, shuffle=True)
model = nn.Sequential(nn.Linear(8, 4, device=device), nn.ReLU(), nn.Linear(4, 3)).to(device)
optimizer = torch.optim.AdamW(model.parameters())
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
for inputs, target in loader:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs.to(device)), target.to(device, torch.long))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
"""


def test_a_script_that_chooses_its_device_runs_on_meta(tmp_path, capsys, python):
    """2 steps of 3 samples: 2 x 3 x (8 x 4 + 4 x 3) MACs forward, twice that backward but for the
    first layer, whose input needs no gradient: 2 FLOP each. What reads a number then fails."""
    (tmp_path / "script.py").write_text(SCRIPT + "print(loss.item())")
    words = ["record", "--device", "meta", "-o", "trace", "script.py"]
    done = python(["-m", "opjoule.cli", *words], cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be called on meta tensors" in done.stderr
    assert "leave out what reads them, as .item()" in done.stderr
    trace = oj.open_trace(tmp_path / "trace", partial=True)
    flops = oj.count(trace, rules="torch").total["flops"]
    assert flops == 2 * 2 * 3 * ((8 * 4 + 4 * 3) + (8 * 4 + 2 * 4 * 3))
    operands = trace.signatures["operands"].explode().struct.unnest()
    weights = operands.filter(operands["numel"] == 8 * 4)
    assert set(weights["device"]) == {"meta"}
    run(["info", str(tmp_path / "trace"), "--partial"])
    assert "recorded without data" in capsys.readouterr().out


class Net(nn.Module):
    """Makes a tensor of its own, and takes a nested input."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 5)

    def forward(self, pair, scale):
        first, second = pair
        noise = torch.rand(5) + torch.ones(5, device="cpu")
        return self.layer(torch.cat((first, second), 1)) * noise * scale


def figures(path):
    kept = oj.open_trace(path).calls.select("stage", "in0_nonzero").collect()
    counts = oj.count(path, by="op").frame.select("op", "calls", "flops", "bytes")
    return kept, counts.sort("op")


def test_the_meta_device_gives_what_the_cpu_gives(tmp_path):
    inputs = {"pair": [torch.rand(4, 2), torch.rand(4, 4)], "scale": torch.rand(())}
    how = {"loss_fn": mse_loss, "target": torch.rand(4, 5), "optimizer": torch.optim.SGD}
    oj.record(Net(), inputs, tmp_path / "cpu", **how)
    oj.record(Net, inputs, tmp_path / "meta", device="meta", **how)
    (on_cpu, real), (on_meta, planned) = figures(tmp_path / "cpu"), figures(tmp_path / "meta")
    assert planned.equals(real)
    assert on_meta["stage"].to_list() == on_cpu["stage"].to_list()
    assert on_meta["in0_nonzero"].null_count() == on_meta.height
    assert on_cpu["in0_nonzero"].null_count() < on_cpu.height


def test_what_is_not_on_the_device_is_refused(tmp_path):
    with pytest.raises(oj.RecordError, match=r"layer\.weight is on cpu, not on meta"):
        oj.record(Net(), torch.rand(4, 6), tmp_path / "trace", device="meta")
    with pytest.raises(oj.RecordError, match="device='moon' is no device"):
        oj.record(Net, torch.rand(4, 6), tmp_path / "trace", device="moon")
    with pytest.raises(oj.RecordError, match="the model is a int"):
        oj.record(int, torch.rand(4, 6), tmp_path / "trace", device="meta")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda x: x.to("cpu"), torch.float32),
        (lambda x: x.to("cpu", torch.float64, copy=True), torch.float64),
        (lambda x: x.to(torch.float16), torch.float16),
        (lambda x: x.to(torch.ones(1, dtype=torch.int64)), torch.int64),
        (lambda x: x.to(memory_format=torch.channels_last), torch.float32),
        (lambda x: x.cuda(), torch.float32),
        (lambda x: x.cpu(), torch.float32),
        (lambda x: torch.zeros_like(x, device="cpu"), torch.float32),
        (lambda x: x.new_ones(2, device="cpu", dtype=torch.bool), torch.bool),
        (lambda x: torch.empty(1), torch.float32),
    ],
)
def test_whatever_is_made_or_moved_is_on_the_device(make, dtype):
    with Placed("meta"):
        made = make(torch.rand(1, 2, 3, 4))
    assert (made.device.type, made.dtype) == ("meta", dtype)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("overwite", "; did you mean overwrite?"), ("targets", "; did you mean target?"), ("zz", "")],
)
def test_an_unknown_option_is_named(tmp_path, name, meant):
    with pytest.raises(
        TypeError, match=re.escape(f"record() takes no option {name!r}{meant}") + "$"
    ):
        oj.record(nn.Linear(6, 5), torch.rand(4, 6), tmp_path / "trace", **{name: True})
    assert not (tmp_path / "trace").exists()


def test_fake_tensors_are_recorded_by_their_shapes(tmp_path):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        oj.record(nn.Linear(6, 5), torch.rand(4, 6), tmp_path / "trace")
    trace = oj.open_trace(tmp_path / "trace")
    assert oj.count(trace).total["flops"] == 4 * 5 * (2 * 6 + 1)
    assert "recorded without data" in trace.manifest.notes[0]
