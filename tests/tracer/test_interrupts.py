"""Interrupts that a script catches: in a flush, in a hook, in a forward, in the recorder itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from opjoule.tracer import Recorder, flush, session, values
from opjoule.tracer.handler import CALL_WIDTH

SCRIPT = """
    import json, random, signal, sys, time, warnings
    import pyarrow.parquet as pq, numpy as np, torch
    from pathlib import Path
    from torch import nn
    from opjoule.tracer import Recorder, RecordingWarning, session
    warnings.simplefilter("ignore", RecordingWarning)
    torch.set_num_threads(1)
    session._PART_CELLS = 200 * session.CALL_WIDTH  # a flush takes about half of the time
    # Ctrl-C, or a script's own timeout, which nobody can hold back
    ctrl_c = lambda *_: signal.raise_signal(signal.SIGINT)
    random.seed(3)

    def rows(path, name):
        files = sorted(path.glob(f"{name}-*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2), nn.Tanh()))

    def once():
        net(torch.ones(1, 3)).sum().backward()

    with Recorder(sys.argv[1] + "/once", model=net):
        once()
    once_more = Path(sys.argv[1]) / "first"
    with Recorder(once_more, model=net):
        once()  # gradients are there now and are added to
    ops = len(rows(once_more, "calls"))
    found = []
    for k in range(int(sys.argv[2])):
        path, caught, ran = Path(sys.argv[1]) / str(k), 0, 0
        signal.signal(signal.SIGALRM, ctrl_c if k % 2 else signal.default_int_handler)
        try:
            with Recorder(path, model=net):
                for _ in range(10):
                    try:
                        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.02))
                        end = time.monotonic() + 0.2
                        while time.monotonic() < end:  # a destructor may eat an interrupt
                            once()
                            ran += 1
                    except KeyboardInterrupt:
                        caught += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        manifest = json.loads((path / "trace.json").read_text())
        seqs = [row["seq"] for row in rows(path, "calls")]
        calls = [row["module_call_id"] for row in rows(path, "module_calls")]
        inside = {row["module_call_id"] for row in rows(path, "calls")} - {None}
        values = [row["value_id"] for row in rows(path, "values")]
        found.append({
            "status": manifest["status"], "notes": manifest["notes"], "caught": caught,
            "ran": ran, "ops": ops, "recorded": len(seqs), "failure": manifest["failure"],
            "whole": seqs == list(range(len(seqs))),
            "repeats": len(calls) - len(set(calls)), "unknown": sorted(inside - set(calls)),
            "values": len(values) - len(set(values)),
        })
    print(json.dumps(found))
"""


def test_many_interrupts_leave_no_gap_in_a_complete_trace(tmp_path):
    """What ran to its end is in the trace with all its ops, what was interrupted with some."""
    script = textwrap.dedent(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "30"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(each["caught"] for each in found) >= 100
    complete = [each for each in found if each["status"] == "complete"]
    assert len(complete) >= 25
    for each in complete:
        assert each["whole"] and not each["repeats"] and not each["unknown"], each
        assert not each["values"], each
        least, most = each["ran"], each["ran"] + each["caught"]
        assert least * each["ops"] <= each["recorded"] <= most * each["ops"], each
    for each in found:
        if each["status"] != "complete":
            assert "missing" in each["failure"]["message"]


@pytest.fixture(autouse=True)
def interruptible():
    """Raise KeyboardInterrupt at SIGINT, even where this process was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(nn.Module):
    """Is interrupted in three of four calls, the way Ctrl-C does it."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(2, 2), 0

    def forward(self, x):
        self.calls += 1
        x = self.inner(x)
        if self.calls % 4:
            signal.raise_signal(signal.SIGINT)
        return x


def test_a_call_after_an_interrupt_is_a_call_of_its_own(tmp_path, read):
    model = nn.Sequential(Interrupted()).eval()
    with Recorder(tmp_path / "trace", model=model), torch.no_grad():
        for _ in range(16):
            try:
                model(torch.ones(1, 2))
            except KeyboardInterrupt:
                pass
        torch.ones(1).exp()
    trace = read(tmp_path / "trace")
    assert trace.manifest["status"] == "complete"
    assert [row["sample"] for row in trace.calls_of("Sequential")] == list(range(16))
    assert all(row["parent_call_id"] is None for row in trace.calls_of("Sequential"))
    assert len(trace.calls_of("Sequential.0.inner")) == 16


def test_an_optimizer_step_that_is_interrupted_has_ended(tmp_path, read):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        signal.raise_signal(signal.SIGINT)

    with Recorder(tmp_path / "trace", model=model):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                optimizer.step(closure)
        with torch.no_grad():
            model(torch.ones(1, 2))
    assert {call["stage"] for call in read(tmp_path / "trace").named("addmm")} == {"forward"}


@pytest.mark.parametrize("place", ["calls_table", "values_table", "let_go"])
def test_a_flush_that_is_interrupted_is_gone_on_with(tmp_path, read, monkeypatch, place):
    """Whether the tables are not made yet, or are on the disk already: no row is lost or twice."""
    monkeypatch.setattr(session, "_PART_CELLS", 10 * CALL_WIDTH)
    from opjoule.tracer import parts

    owner = parts if place == "let_go" else flush
    real, left = getattr(owner, place), [3]

    def interrupting(*args):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(owner, place, interrupting)
    caught = 0
    with Recorder(tmp_path / "trace"):
        for _ in range(50):
            try:
                torch.relu(torch.ones(3))
            except KeyboardInterrupt:
                caught += 1
    trace = read(tmp_path / "trace")
    assert (caught, trace.manifest["status"]) == (1, "complete")
    seqs = [call["seq"] for call in trace.calls]
    assert seqs == list(range(len(seqs)))
    assert 99 <= len(seqs) <= 100  # the op that the interrupt hit may not be there
    values_ = [row["value_id"] for row in trace.rows("values")]
    assert len(values_) == len(set(values_))
    assert all(call["out0_class"] is not None for call in trace.calls)


def test_a_lost_call_is_told(tmp_path, read):
    with pytest.warns(match="1 calls and 0 module calls are missing"):
        with Recorder(tmp_path / "trace") as recorder:
            torch.ones(1).exp()
            recorder._session.seq += 1  # what an interrupt could do if it came at the wrong time
            torch.ones(1).log()
    found = read(tmp_path / "trace").manifest
    assert (found["status"], found["failure"]["type"]) == ("aborted", "Incomplete")
    assert "1 calls" in found["failure"]["message"]


def test_a_lost_module_call_is_told(tmp_path, read):
    model = nn.Linear(2, 2)
    with pytest.warns(match="0 calls and 1 module calls are missing"):
        with Recorder(tmp_path / "trace", model=model) as recorder:
            handle = model.register_forward_pre_hook(lambda *_: recorder._main.stack.clear())
            model(torch.ones(1, 2))
            handle.remove()
    assert read(tmp_path / "trace").manifest["status"] == "aborted"


@pytest.mark.parametrize("times", [0, 1, 7])
def test_an_error_of_the_recorder_never_reaches_the_model(tmp_path, read, monkeypatch, times):
    """Out of memory before an op, after it, in a hook: the model runs on, the trace is aborted."""
    expected = [float(torch.relu(torch.full((3,), k)).sum()) for k in range(10)]
    for place in ("of", "_new", "wrote", "flushed"):
        real, left = getattr(values.Values, place), [times]

        def failing(self, *args, real=real, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError
            return real(self, *args)

        monkeypatch.setattr(values.Values, place, failing)
        model = nn.ReLU()
        got = []
        recorder = Recorder(tmp_path / f"{place}{times}", model=model)
        try:
            with recorder:
                for k in range(10):
                    x = torch.full((3,), k)
                    got.append(float(model(x).add_(0).sum()))
        except Exception as error:
            assert type(error).__name__ == "RecordError" and "MemoryError" in str(error), error
        monkeypatch.setattr(values.Values, place, real)
        assert got == expected
        assert recorder._modules and not torch.utils._python_dispatch._get_current_dispatch_mode()
