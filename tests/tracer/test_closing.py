"""The end never costs a recording: SIGTERM, kills, errors at each file operation, odd options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from opjoule.schemas import MANIFEST_NAME, RecordError
from opjoule.tracer import Recorder, RecordingWarning, environment, places, recorder

HEAD = """
    import os, signal, sys, time, warnings
    import torch
    from torch import nn
    from opjoule.schemas import Revision
    from opjoule.tracer import Recorder, RecordingWarning, environment, parts, session
    environment.revision = lambda: Revision  # git takes longer than these recordings
    warnings.simplefilter("ignore", RecordingWarning)
    torch.set_num_threads(1)
    path, net = sys.argv[1], nn.Linear(3, 2)

    def work(times):
        for _ in range(times):
            net(torch.ones(1, 3))
"""


def started(tmp_path, script, *words):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(script),
         str(tmp_path / "trace"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def ran(tmp_path, python):
    def run(script, *words):
        lines = textwrap.dedent(HEAD) + textwrap.dedent(script)
        done = python(["-c", lines, tmp_path / "trace", *words])
        return done.returncode, done.stdout, done.stderr

    return run


TERMINATED = """
    with Recorder(path, model=net):
        work(7)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
"""

ITS_OWN_WAY = """
    def checkpoint(number, frame):
        print("checkpoint")
        sys.exit(3)
    signal.signal(signal.SIGTERM, checkpoint)
    with Recorder(path, model=net):
        work(7)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
"""

GOES_ON = """
    came = []
    signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    with Recorder(path, model=net):
        work(7)
        os.kill(os.getpid(), signal.SIGTERM)
        work(100)
    print(came, "went on")
"""


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [(TERMINATED, -signal.SIGTERM, ""), (ITS_OWN_WAY, 3, "checkpoint\n"),
     (GOES_ON, 0, "[1] went on\n")],
    ids=["default", "its own way out", "goes on"],
)  # fmt: skip
def test_sigterm_closes_the_trace_and_the_script_has_its_way(
    tmp_path, ran, read, script, code, says
):
    assert ran(script)[:2] == (code, says)
    trace = read(tmp_path / "trace")
    assert (trace.manifest["status"], trace.manifest["failure"]["type"]) == ("aborted", "SIGTERM")
    assert len(trace.named("addmm")) == 7


@pytest.mark.parametrize(
    "script",
    [
        """
            Recorder(path, model=net).__enter__()
            work(7)
        """,
        """
            def steps():
                with Recorder(path, model=net):
                    while True:
                        work(7)
                        yield
            running = steps()
            next(running)
        """,
    ],
    ids=["entered", "in a generator"],
)
def test_a_recording_that_is_open_as_the_process_ends_is_closed(tmp_path, read, script):
    words = ["-c", textwrap.dedent(HEAD) + textwrap.dedent(script), str(tmp_path / "trace")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    trace = read(tmp_path / "trace")
    assert (trace.manifest["status"], trace.manifest["failure"]["type"]) == ("aborted", "exit")
    assert len(trace.named("addmm")) == 7


def test_the_handler_is_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with Recorder(tmp_path / "trace"):
        assert signal.getsignal(signal.SIGTERM) != before
        torch.ones(1)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_small_run_that_is_killed_keeps_what_it_had_after_a_while(tmp_path):
    script = """
        parts._FIRST_S = 0.05
        with Recorder(path, model=net):
            work(70)
            time.sleep(0.1)
            work(70)
            print("ready", flush=True)
            time.sleep(60)
    """
    process = started(tmp_path, script)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    process.kill()
    process.communicate()
    from opjoule import count, open_trace

    trace = open_trace(tmp_path / "trace", partial=True)
    calls = count(trace, where="op=aten.addmm").frame["calls"].sum()
    assert 35 <= calls <= 140
    assert trace.left_out.startswith("partial: ")


KILLED = """
    how, left = sys.argv[2], [0]
    watched = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "open"}
    real = os.fsync

    def operation(name):
        left[0] -= 1
        if left[0] == 0:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(28, "No space left on device")

    def hook(name, details):
        if left[0] > 0 and name in watched and path in str(details[:2]):
            operation(name)

    def fsync(number):
        operation("fsync")
        real(number)

    folder, place = path, 0
    with Recorder(f"{folder}/0", model=net):  # what a recording loads, the children have then
        work(3)
    sys.addaudithook(hook)
    os.fsync = fsync
    while True:
        place += 1
        path = f"{folder}/{place}/trace"
        os.makedirs(os.path.dirname(path))
        child = os.fork()
        if not child:
            with Recorder(path, model=net):
                work(3)
            left[0] = place
            try:
                with Recorder(path, model=net, overwrite=True):
                    work(5)
            except Exception as error:
                os._exit(0 if type(error).__name__ == "RecordError" else 1)
            os._exit(9 if left[0] > 0 else 0)  # 9: there were fewer operations
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status)
        if status not in (0, -signal.SIGKILL):
            break
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "error"])
def test_a_kill_or_an_error_at_each_file_operation_costs_neither_trace(tmp_path, ran, how):
    """The old trace stands until the new one does; nothing that is not whole passes for it."""
    from opjoule import open_trace
    from opjoule.schemas import TraceError

    code, out, err = ran(KILLED, how)
    assert code == 0, err
    codes = [int(line) for line in out.split()]
    assert codes[-1] == 9 and len(codes) > 30, (codes, err)
    assert set(codes[:-1]) <= ({-signal.SIGKILL} if how == "kill" else {0})
    seen = set()
    for place in range(1, len(codes) + 1):
        folder = tmp_path / "trace" / str(place)
        trace = open_trace(folder / "trace")
        products = trace.signatures.filter(op="aten.addmm.default")
        calls = trace.calls.collect().filter(signature_id=products["signature_id"].item())
        seen.add(calls.height)
        for beside in folder.iterdir():
            if (beside / "recording.json").exists() and not (beside / MANIFEST_NAME).exists():
                with pytest.raises(TraceError):
                    open_trace(beside)
                open_trace(beside, partial=True)
    assert seen == {3, 5}


def test_odd_options_are_refused_as_they_are_given(tmp_path):
    for given in ({"seed": "x"}, {"seed": 1 << 70}, {"steps": 1.5}, {"warmup": True},
                  {"command": [1]}, {"batch_dim": "x"}, {"time_dim": 0.5}):  # fmt: skip
        with pytest.raises(RecordError, match=next(iter(given))) as raised:
            Recorder(tmp_path / "trace", **given)
        assert "\n" not in str(raised.value)
    with pytest.raises(RecordError, match="path=3"):
        Recorder(3)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(tmp_path, read):
    options = {"seed": np.int64(3), "steps": np.int32(5), "warmup": np.int8(0)}
    with Recorder(tmp_path / "trace", **options, batch_dim=np.int64(0)):
        torch.ones(1).exp()
    assert read(tmp_path / "trace").manifest["seed"] == 3


def test_a_label_that_is_no_text_is_refused_at_once(tmp_path):
    with Recorder(tmp_path / "trace") as recording:
        with pytest.raises(RecordError, match="label=3"), recording.label(3):
            pass
        torch.ones(1).exp()
    assert json.loads((tmp_path / "trace" / MANIFEST_NAME).read_text())["status"] == "complete"


def test_text_that_no_file_can_hold_is_written_as_escapes(tmp_path, read):
    """A lone surrogate, as Python makes of a file name that is not UTF-8."""
    odd = "caf\udce9"
    model = nn.Sequential()
    model.add_module(odd, nn.Linear(2, 2))
    options = {"command": ["python", odd]}
    with pytest.warns(RecordingWarning, match=r"caf\\udce9"):
        with Recorder(tmp_path / "trace", model=model, **options) as recording:
            with recording.label(odd):
                model(torch.ones(1, 2))
            recording._calls.hidden[(odd, odd)] = 1
    trace = read(tmp_path / "trace")
    assert trace.manifest["command"] == ["python", "caf\\udce9"]
    assert trace.calls[-1]["label"] == "caf\\udce9"
    assert trace.modules[1]["path"] == "Sequential.caf\\udce9"
    assert trace.manifest["hidden"][0]["what"] == "caf\\udce9"


def test_a_removed_working_directory(tmp_path, ran):
    script = """
        import shutil, tempfile
        here = tempfile.mkdtemp()
        os.chdir(here)
        with Recorder(path, model=net):
            work(2)
            shutil.rmtree(here)
    """
    code, _, err = ran(script)
    assert code == 0, err
    found = json.loads((tmp_path / "trace" / MANIFEST_NAME).read_text())
    assert found["status"] == "complete"
    assert found["rows"]["calls"] > 0


@pytest.mark.parametrize("what", ["describe", "revision"])
def test_facts_that_cannot_be_found_cost_a_note(tmp_path, read, monkeypatch, what):
    def fail(*_):
        raise ZeroDivisionError("no\x1b[2J")

    monkeypatch.setattr(environment, what, fail)
    with Recorder(tmp_path / "trace"):
        torch.ones(1).exp()
    found = read(tmp_path / "trace").manifest
    assert found["status"] == "complete"
    assert any("is not known: ZeroDivisionError" in note for note in found["notes"])


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def test_the_error_of_the_block_is_never_replaced(tmp_path, monkeypatch):
    """Not by an error of closing, not by a warning that is an error, not by what it says itself."""
    with pytest.raises(Mute), Recorder(tmp_path / "mute"):
        torch.ones(1).exp()
        raise Mute

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(recorder, "outcome", fail)
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "trace") as recording:
        torch.ones(1).exp()
        recording._calls.hidden[("what", "why")] = 1
        raise ZeroDivisionError
    with pytest.raises(RecordError, match="could not be closed: MemoryError"):
        with Recorder(tmp_path / "third"):
            torch.ones(1).exp()


def test_directories_change_places_at_once_or_after_each_other(tmp_path, monkeypatch):
    for way in ("at once", "after each other"):
        old, new = tmp_path / "old", tmp_path / "new"
        for folder in (old, new):
            folder.mkdir()
            (folder / folder.name).write_text("")
        if way != "at once":
            monkeypatch.setattr(places, "_exchanged", lambda *_: False)
        places.replace(old, new)
        assert [each.name for each in tmp_path.iterdir()] == ["old"]
        assert [each.name for each in old.iterdir()] == ["new"]
        (old / "new").unlink()
        old.rmdir()


def test_all_is_on_the_disk_before_what_says_so(tmp_path, monkeypatch):
    """Parts, their directory, the manifest, its directory, the directory above: in that order."""
    order, real, real_fsync = [], places.sync, os.fsync
    monkeypatch.setattr(places, "sync", lambda path: (order.append(path.name), real(path)))
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), real_fsync(handle)))
    with Recorder(tmp_path / "trace"):
        torch.ones(1).exp()
    names = [name for name in order if name != "fsync"]
    parts = {name for name in names if name.endswith(".parquet")}
    assert parts == {each.name for each in (tmp_path / "trace").glob("*.parquet")}
    after = names[len(parts) :]
    assert after == ["trace", "trace", tmp_path.name]
    assert order.index("fsync", order.index("trace") + 2) < len(order) - 4


def test_page_checksums_stand_in_every_part(tmp_path):
    import pyarrow.parquet as pq

    with Recorder(tmp_path / "trace"):
        torch.ones(1000).exp()
    file = tmp_path / "trace" / "values-00000.parquet"
    content = bytearray(file.read_bytes())
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)
    content[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(file, page_checksum_verification=True)
