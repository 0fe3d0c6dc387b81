"""What a device is asked to count, on tensors that only pass for a device's: no GPU is needed.

The reductions are the same code that runs on a GPU; what they say is compared with the CPU's own
measurer over whole recordings, and the ops that they use are watched for any that would wait.
"""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from opjoule.tracer import Recorder, RecordingWarning, device_cells, device_statistics, session
from opjoule.tracer.device_reductions import Reductions
from opjoule.tracer.session import Session
from opjoule.tracer.threads import Thread

STATISTICS = (
    *(f"{slot}_{what}" for slot in ("in0", "in1", "in2", "out0") for what in ("class", "nonzero")),
    "x_fanout", "grad_fanout", "overlap", "active_outputs", "active_sites",
    "active_patches", "tile_rows",
)  # fmt: skip


class Spiking(nn.Module):
    """Convolutions and products of spikes, graded spikes, signed spikes and dense values."""

    def __init__(self, jelly):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 20, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.fire = jelly.neuron.LIFNode(tau=2.0)
        self.conv2 = nn.Conv2d(20, 12, 3, stride=2, groups=4, bias=False)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.head = nn.Linear(6 * 144, 5)

    def forward(self, x):
        spikes = self.fire(self.norm(self.conv1(x)))
        x = self.conv2(spikes)
        x = self.up(x.relu()) + self.up((x > 0).to(x) - (x < 0).to(x) * 2)
        return self.head(x.relu().flatten(1)) + self.head.weight.sum()


def whole(path, read):
    """Return every statistic of a trace, calls and values."""
    trace = read(path)
    calls = [{name: call[name] for name in ("op", *STATISTICS)} for call in trace.calls]
    facts = [
        {
            name: row[name]
            for name in ("kind", "class", "nonzero", "ones", "minus_ones", "min", "max")
        }
        for row in trace.rows("values")
    ]
    return calls, facts, trace.rows("call_operands")


def recorded(path, jelly, level):
    """Record a training step, an inference in bfloat16 and the kinds of values by themselves."""
    torch.manual_seed(0)
    model = Spiking(jelly)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = (torch.rand(4, 3, 14, 14) < 0.3).float()
    with Recorder(path, model=model, statistics=level) as recorder:
        model(x).square().mean().backward()
        optimizer.step()
        jelly.functional.reset_net(model)
        with torch.inference_mode():
            model.eval()(x)
            signs = torch.tensor([[1.0, 0, -1], [0.5, 0, 0], [0, 0, 0]])
            _ = (
                signs @ signs.T,
                signs.to(torch.bfloat16) + 1,
                signs[0] + signs[1],
                signs[:, ::2] + 1,
            )
            _ = torch.ones(3, 3).expand(2, 3, 3) @ signs, torch.eye(3) @ torch.eye(3).bool().float()
            _ = (signs.double() * float("nan")) + 1, signs.long() + 2, signs.to(torch.cfloat) + 0
            _ = torch.empty(0, 3) @ signs, torch.full((3, 3), 0.25) @ signs
    return recorder.path


@pytest.mark.parametrize("level", ["full", "synaptic"])
def test_a_recording_says_what_the_cpu_says(tmp_path, read, jelly, level, request):
    expected = whole(recorded(tmp_path / "cpu", jelly, level), read)
    request.getfixturevalue("apart")
    found = whole(recorded(tmp_path / "apart", jelly, level), read)
    assert found == expected
    assert (
        sum(call["x_fanout"] is not None for call in found[0]) == 12
    )  # 4 forward, 4 backward, 4 in inference


@pytest.mark.slow
@pytest.mark.parametrize("level", ["full", "synaptic"])
def test_a_recording_by_triton_says_what_the_cpu_says(
    tmp_path, read, jelly, kernels, level, monkeypatch, request
):
    expected = whole(recorded(tmp_path / "cpu", jelly, level), read)
    request.getfixturevalue("apart")
    monkeypatch.setattr(device_statistics, "_counts", lambda device: kernels)
    for name, size in (("block", 1 << 14), ("positions", 512)):
        monkeypatch.setattr(kernels, name, size)
    before = kernels.launches
    assert whole(recorded(tmp_path / "apart", jelly, level), read) == expected
    assert kernels.launches > before


def test_flushes_in_between_change_nothing(tmp_path, read, jelly, request, monkeypatch):
    """Parts of five calls: values are named by calls of later parts, or written over before."""

    def statistics(name):
        # What views and optimizers hand on is measured where it is read: after their part, perhaps.
        trace = read(recorded(tmp_path / name, jelly, "full"))
        return [
            [call[name] for name in ("op", *STATISTICS)]
            for call in trace.calls
            if not call["is_view"] and call["stage"] != "optimizer"
        ]

    expected = statistics("cpu")
    monkeypatch.setattr(session, "_PART_CELLS", 5 * session.CALL_WIDTH)
    assert statistics("parts") == expected
    request.getfixturevalue("apart")
    assert statistics("apart") == expected


class Watch(TorchDispatchMode):
    """Notes the ops that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(str(func.overloadpacket))
        return func(*args, **(kwargs or {}))


WAITING = {"aten._local_scalar_dense", "aten.nonzero", "aten.item", "aten.masked_select",
           "aten.equal", "aten.is_nonzero", "aten.unique", "aten.bincount"}  # fmt: skip


def test_nothing_waits_before_the_flush(tmp_path, jelly, apart, monkeypatch):
    """No op whose result the host needs, and no copy between devices, before `collect`."""
    monkeypatch.setattr(torch._C, "_DisableTorchDispatch", nullcontext)
    collected = []
    real = device_statistics.DeviceMeasurer.collect

    def collect(self):
        collected.append(set(watch.seen))
        real(self)

    monkeypatch.setattr(device_statistics.DeviceMeasurer, "collect", collect)
    torch.manual_seed(0)
    model, x = Spiking(jelly), (torch.rand(4, 3, 14, 14) < 0.3).float()
    with Recorder(tmp_path / "plain", model=model, statistics="none"):
        model(x).mean().backward()
    jelly.functional.reset_net(model)
    with Watch() as watch, Recorder(tmp_path / "trace", model=model):
        model(x).mean().backward()
    (before,) = collected
    assert {"aten.aminmax", "aten.sum", "aten.floor"} <= before
    assert not before & WAITING


def test_its_own_reductions_are_not_recorded(tmp_path, read, jelly, apart):
    path = recorded(tmp_path / "trace", jelly, "full")
    assert not {"aten.aminmax", "aten.as_strided"} & {call["packet"] for call in read(path).calls}


def test_no_tensor_is_kept_until_the_flush():
    """What was measured may be freed at once: only counts stay on the device."""
    import weakref

    inner = Session("full")
    x, w = torch.eye(4), torch.eye(4)
    op = session.describe_op(torch.ops.aten.mm.default)
    ins = [(inner.value_of(tensor), tensor, inner.values.layout) for tensor in (x, w)]
    for value, tensor, _ in ins:
        value.storage.device = value.device = "cpu:0"
        inner.measure(value, tensor)
    row = inner.synapses.before(inner, op, ins, [])
    inner.device_measurer.launch()
    gone = weakref.ref(x)
    del x, ins, tensor
    assert gone() is None
    inner.device_measurer.collect()
    assert (row.overlap, row.active_outputs) == (4, 16)
    inner.values.close()


def test_cells_grow_by_blocks_and_serve_again(monkeypatch):
    monkeypatch.setattr(device_cells, "BLOCK", 8)
    monkeypatch.setattr(device_cells, "_ALIGNED", 4)
    cells = device_cells.Cells(torch.device("cpu"))
    for turn in range(2):
        firsts = []
        for k in range(5):
            run = cells.take(3)
            assert run.tensor().tolist() == [0, 0, 0]
            run.tensor().fill_(10 * turn + k)
            firsts.append(run.first)
        assert firsts == [0, 4, 8, 12, 16]  # two runs of three, each as long as four, fill eight
        read = cells.collect()
        assert [read[first : first + 3].tolist() for first in firsts] == [
            [10 * turn + k] * 3 for k in range(5)
        ]


def test_a_tensor_that_cannot_be_counted_stops_nothing(monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Reductions, "values", refuse)
    if importlib.util.find_spec("triton") is not None:
        from opjoule.tracer.device_kernels import Kernels

        monkeypatch.setattr(Kernels, "values", refuse)
    inner = Session("full")
    x = torch.ones(3)
    value = inner.value_of(x)
    value.storage.device = value.device = "cpu:0"
    inner.measure(value, x)
    inner.device_measurer.collect()
    assert (value.measured, value.bits) == (2, -1)
    inner.values.close()


def test_what_a_failed_call_was_given_is_measured_anew():
    """Nothing is counted for it: whoever catches its error may write the tensors over."""
    inner = Session("full")
    inner.passive = False
    x = torch.ones(3)
    value = inner.value_of(x)
    value.storage.device = value.device = "cpu:0"
    with pytest.raises(RuntimeError, match="size"):
        thread = Thread(0)
        inner.dispatch(None, thread, torch.ops.aten.add.Tensor, (), (x, torch.ones(2)), {})
    assert (value.measured, inner.waiting) == (0, False)
    inner.values.close()


def test_an_error_of_the_device_ends_the_trace_as_aborted(tmp_path, read, apart, monkeypatch):
    """The block goes on, and is told of it at the end; a part of five calls is written inside."""

    def refuse(self):
        raise torch.AcceleratorError("an illegal memory access\nwas found")

    if not hasattr(torch, "AcceleratorError"):
        pytest.skip("this PyTorch has no errors of accelerators")
    monkeypatch.setattr(device_cells.Cells, "collect", refuse)
    monkeypatch.setattr(session, "_PART_CELLS", 5 * session.CALL_WIDTH)
    done = 0
    with pytest.warns(RecordingWarning, match="could not say what it had counted"):
        with Recorder(tmp_path / "trace") as recorder:
            for _ in range(9):
                done += int((torch.ones(2) + 1).numel())
    assert done == 18
    manifest = read(recorder.path).manifest
    assert manifest["status"] == "aborted"
    assert manifest["failure"]["message"].startswith("an illegal memory access")
    sums = [call for call in read(recorder.path).calls if call["packet"] == "aten.add"]
    assert sums and all(call["out0_nonzero"] is None for call in sums)
    assert len(read(recorder.path).calls) < 18  # 9 times ones and add, of which a part was written
