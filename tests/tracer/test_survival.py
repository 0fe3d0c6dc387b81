"""Crashes, full disks and taken places: never a directory that passes for a complete trace."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import textwrap
import time

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from opjoule.schemas import MANIFEST_NAME, UNFINISHED_NAME, RecordError
from opjoule.tracer import Recorder, RecordingWarning, record, session, writer


def work(times=1):
    for _ in range(times):
        nn.functional.relu(torch.ones(3))


def manifest(path):
    return json.loads((path / MANIFEST_NAME).read_text())


def recorded(path, **options):
    with Recorder(path, **options):
        work()
    return manifest(path)


def siblings(path):
    return sorted(other.name for other in path.parent.iterdir())


def test_a_model_that_raises_leaves_an_aborted_trace_that_can_be_read(tmp_path, read):
    path = tmp_path / "trace"
    with pytest.raises(ZeroDivisionError), Recorder(path):
        work()
        1 / 0  # noqa: B018
    found = manifest(path)
    assert found["status"] == "aborted"
    assert found["failure"] == {"type": "ZeroDivisionError", "message": "division by zero"}
    trace = read(path)
    assert len(trace.named("relu")) == 1
    assert found["rows"]["calls"] == len(trace.calls)
    assert siblings(path) == ["trace"]


@pytest.mark.parametrize(("code", "status"), [(None, "complete"), (0, "complete"), (3, "aborted")])
def test_a_script_that_exits(tmp_path, code, status):
    path = tmp_path / "trace"
    with pytest.raises(SystemExit), Recorder(path):
        work()
        sys.exit(code)
    assert manifest(path)["status"] == status


def test_a_keyboard_interrupt_aborts(tmp_path):
    path = tmp_path / "trace"
    with pytest.raises(KeyboardInterrupt), Recorder(path):
        work()
        raise KeyboardInterrupt
    assert manifest(path)["failure"]["type"] == "KeyboardInterrupt"


@pytest.mark.parametrize("options", [{}, {"warmup": 2}], ids=["from the start", "in the warm-up"])
def test_what_fails_before_any_call_leaves_nothing_in_the_way(tmp_path, options):
    """The corrected second run is not refused, nor that after a run that ends well without a call;
    of one without a call, a warning says that there is no trace."""
    path = tmp_path / "trace"
    recorder = Recorder(path, **options)
    with pytest.raises(ZeroDivisionError), recorder:
        raise ZeroDivisionError
    assert recorder.discarded
    assert siblings(path) == []
    with pytest.warns(RecordingWarning, match="there is no trace"), Recorder(path, **options):
        pass
    assert siblings(path) == []
    assert recorded(path)["status"] == "complete"
    before = manifest(path)
    with pytest.warns(RecordingWarning, match="no PyTorch operation"):
        with Recorder(path, overwrite=True, model=nn.Linear(2, 2)):
            pass
    assert siblings(path) == ["trace"] and manifest(path) == before


def test_a_rank_that_did_nothing_is_part_of_the_trace(tmp_path, monkeypatch):
    """Without it the other ranks would not be whole."""
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        with Recorder(tmp_path / "trace"):
            if rank:
                torch.ones(1)
    assert manifest(tmp_path / "trace" / "rank=00000")["status"] == "complete"


def test_what_fails_before_any_call_replaces_nothing(tmp_path):
    path = tmp_path / "trace"
    before = recorded(path)
    with pytest.raises(ZeroDivisionError), Recorder(path, overwrite=True):
        raise ZeroDivisionError
    assert siblings(path) == ["trace"]
    assert manifest(path) == before


def test_a_recorder_that_cannot_be_opened_leaves_nothing(tmp_path, monkeypatch):
    def fail(self):
        raise ZeroDivisionError

    monkeypatch.setattr(Recorder, "_start", fail)
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "trace"):
        pass
    assert siblings(tmp_path / "trace") == []


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("net", {}, "the model is a str, not a torch.nn.Module"),
        (torch.relu, {}, "not a torch.nn.Module"),
        (torch.nn.Linear(2, 2), {"loss_fn": "mse"}, "loss_fn is a str"),
        (torch.nn.Linear(2, 2), {"neurons": ["LIF"]}, "NeuronRule"),
    ],
    ids=["name", "function", "loss", "neurons"],
)
def test_arguments_are_checked_before_the_directory_is_taken(tmp_path, model, options, says):
    with pytest.raises(RecordError, match=says) as raised:
        record(model, torch.ones(1, 2), tmp_path / "trace", **options)
    assert "\n" not in str(raised.value)
    assert siblings(tmp_path / "trace") == []


def test_a_model_that_fails_at_its_inputs_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        record(torch.nn.Linear(2, 2), {"no": 1}, tmp_path / "trace")
    assert siblings(tmp_path / "trace") == []


def test_the_refusal_names_the_cure(tmp_path):
    recorded(tmp_path / "trace")
    with (
        pytest.raises(RecordError, match=r"--overwrite.*overwrite=True"),
        Recorder(tmp_path / "trace"),
    ):
        pass


KILLED = """
    import os, signal, sys, torch
    from opjoule.tracer import Recorder, session
    session._PART_CELLS = 20 * session.CALL_WIDTH
    with Recorder(sys.argv[1]) as recorder:
        for k in range(1000):
            torch.relu(torch.ones(3))
        print(os.getpid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_recording_is_told_from_a_complete_one(tmp_path, python):
    path = tmp_path / "trace"
    done = python(["-c", textwrap.dedent(KILLED), path])
    assert done.returncode == -signal.SIGKILL
    assert not (path / MANIFEST_NAME).exists()
    assert json.loads((path / UNFINISHED_NAME).read_text())["process"] == int(done.stdout)
    parts = sorted(path.glob("calls-*.parquet"))
    assert len(parts) >= 50
    assert sum(pq.read_table(part).num_rows for part in parts) >= 1900
    # The place is taken until somebody says that it may be overwritten.
    with pytest.raises(RecordError, match="exists already"), Recorder(path):
        pass
    assert recorded(path, overwrite=True)["status"] == "complete"


def full(monkeypatch, after):
    """Let the disk be full after so many tables."""
    real, left = writer._encoded, [after]

    def encoded(*args):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(writer, "_encoded", encoded)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_full_disk_at_the_end(tmp_path, monkeypatch, after):
    path = tmp_path / "trace"
    full(monkeypatch, after)
    with pytest.raises(RecordError, match="No space left on device"), Recorder(path):
        work()
    assert not (path / MANIFEST_NAME).exists()
    assert (path / UNFINISHED_NAME).exists()


def test_a_full_disk_while_recording_does_not_reach_the_model(tmp_path, monkeypatch):
    """The model runs on; the recording says at its end that it is not whole."""
    monkeypatch.setattr(session, "_PART_CELLS", 10 * session.CALL_WIDTH)
    path = tmp_path / "trace"
    full(monkeypatch, 2)
    seen = []
    with pytest.raises(RecordError, match="No space left on device"), Recorder(path):
        work(50)
        seen.append("ran to its end")
    assert seen == ["ran to its end"]
    assert not (path / MANIFEST_NAME).exists()


def test_a_full_disk_does_not_hide_the_models_own_error(tmp_path, monkeypatch):
    full(monkeypatch, 0)
    with pytest.raises(ZeroDivisionError), pytest.warns(RecordingWarning, match="No space left"):
        with Recorder(tmp_path / "trace"):
            work()
            1 / 0  # noqa: B018
    assert not (tmp_path / "trace" / MANIFEST_NAME).exists()


def test_hooks_are_gone_after_a_full_disk(tmp_path, monkeypatch):
    from torch.nn.modules import module as nn_module

    before = len(nn_module._global_forward_hooks)
    full(monkeypatch, 0)
    with pytest.raises(RecordError), Recorder(tmp_path / "trace"):
        work()
    assert len(nn_module._global_forward_hooks) == before


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="file"), Recorder(tmp_path / "file" / "trace"):
        pass


def test_an_existing_trace_is_refused(tmp_path):
    path = tmp_path / "trace"
    first = recorded(path)
    with pytest.raises(RecordError, match="exists already"), Recorder(path):
        pass
    assert manifest(path) == first


def test_overwriting_replaces_the_whole(tmp_path):
    path = tmp_path / "trace"
    recorded(path)
    (path / "calls-00007.parquet").write_text("an old part")
    with Recorder(path, overwrite=True) as recorder:
        work(3)
        assert manifest(path)["rows"]["calls"] == 2  # the old one stands until the new one is whole
    assert recorder.path == path
    assert manifest(path)["rows"]["calls"] == 6
    assert not (path / "calls-00007.parquet").exists()
    assert siblings(path) == ["trace"]


def test_an_aborted_recording_does_not_replace_a_whole_one(tmp_path):
    path = tmp_path / "trace"
    first = recorded(path)
    with pytest.raises(ZeroDivisionError), Recorder(path, overwrite=True) as recorder:
        work(5)
        1 / 0  # noqa: B018
    assert manifest(path) == first
    assert recorder.path != path
    assert manifest(recorder.path)["status"] == "aborted"


def test_a_full_disk_does_not_cost_the_old_trace(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    first = recorded(path)
    full(monkeypatch, 1)
    with pytest.raises(RecordError), Recorder(path, overwrite=True):
        work()
    assert manifest(path) == first


@pytest.mark.parametrize("kind", ["folder", "file", "folder with a rank"])
def test_a_foreign_place_is_never_overwritten(tmp_path, kind):
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("thesis")
    else:
        (path / "rank=1").mkdir(parents=True) if "rank" in kind else path.mkdir()
        (path / "thesis.tex").write_text("thesis")
    with (
        pytest.raises(RecordError, match="precious is not a trace"),
        Recorder(path, overwrite=True),
    ):
        work()
    text = path if kind == "file" else path / "thesis.tex"
    assert text.read_text() == "thesis"


def test_an_empty_folder_may_be_overwritten(tmp_path):
    path = tmp_path / "trace"
    path.mkdir()
    with pytest.raises(RecordError, match="exists already"), Recorder(path):
        pass
    assert recorded(path, overwrite=True)["status"] == "complete"


def test_two_recorders_on_one_path(tmp_path):
    path = tmp_path / "trace"
    with Recorder(path):
        with pytest.raises(RecordError, match="exists already"), Recorder(path):
            pass
        work()
    assert manifest(path)["status"] == "complete"


def test_a_recording_that_runs_is_not_overwritten(tmp_path):
    """Not even with `overwrite`: its process lives."""
    path = tmp_path / "trace"
    with Recorder(path):
        with pytest.raises(RecordError, match="being recorded"), Recorder(path, overwrite=True):
            pass
        work()
    assert manifest(path)["status"] == "complete"


def test_recorders_within_each_other(tmp_path, read):
    with Recorder(tmp_path / "outer"):
        torch.ones(1).exp()
        with Recorder(tmp_path / "inner"):
            torch.ones(1).log()
        torch.ones(1).sqrt()
    names = ("exp", "log", "sqrt")
    count = lambda trace: [len(trace.named(f"aten.{name}.")) for name in names]  # noqa: E731
    assert count(read(tmp_path / "outer")) == [1, 1, 1]
    assert count(read(tmp_path / "inner")) == [0, 1, 0]


def test_a_recorder_is_entered_once(tmp_path):
    recorder = Recorder(tmp_path / "trace")
    with recorder:
        work()
        with pytest.raises(RecordError, match="entered before"), recorder:
            pass
    with pytest.raises(RecordError, match="entered before"), recorder:
        pass
    assert manifest(tmp_path / "trace")["status"] == "complete"


@pytest.mark.parametrize(
    "options", [{"statistics": "some"}, {"warmup": -1}, {"steps": 0}], ids=lambda o: next(iter(o))
)
def test_options_without_meaning_are_refused(tmp_path, options):
    with pytest.raises(RecordError):
        Recorder(tmp_path / "trace", **options)
    assert not (tmp_path / "trace").exists()


def test_ranks_write_beside_each_other(tmp_path, monkeypatch):
    path = tmp_path / "trace"
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (2, 0, 1):
        monkeypatch.setenv("RANK", str(rank))
        with Recorder(path) as recorder:
            work(rank + 1)
        assert recorder.path == path
    assert siblings(path / "rank=00000") == ["rank=00000", "rank=00001", "rank=00002", "run.json"]
    for rank in range(3):
        found = manifest(path / f"rank={rank:05d}")
        assert (found["rank"], found["world_size"]) == (rank, 3)
        assert found["rows"]["calls"] == 2 * (rank + 1)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RecordError, match="exists already"), Recorder(path):
        pass
    with Recorder(path, overwrite=True):
        work(7)
    assert manifest(path / "rank=00001")["rows"]["calls"] == 14
    assert manifest(path / "rank=00002")["rows"]["calls"] == 6


def test_a_snapshot_is_unfinished_and_the_recording_goes_on(tmp_path, read):
    with Recorder(tmp_path / "trace") as recorder:
        work()
        recorder.snapshot(tmp_path / "early")
        work()
    early = manifest(tmp_path / "early")
    assert (early["status"], early["rows"]["calls"]) == ("unfinished", 2)
    assert len(read(tmp_path / "early").calls) == 2
    assert manifest(tmp_path / "trace")["status"] == "complete"
    assert len(read(tmp_path / "trace").calls) == 4
    values = [row["value_id"] for row in read(tmp_path / "trace").rows("values")]
    assert len(values) == len(set(values))


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    """Nothing but the manifest and its rename may come after the last table."""
    path, order = tmp_path / "trace", []
    real = pq.write_table

    def write_table(*args, **kwargs):
        order.append((path / MANIFEST_NAME).exists())
        return real(*args, **kwargs)

    monkeypatch.setattr(writer.pq, "write_table", write_table)
    recorded(path)
    assert order
    assert not any(order)
    assert not (path / UNFINISHED_NAME).exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_run(tmp_path, monkeypatch):
    """Rows leave with each part: what is kept of 40,000 calls is what 4,000 leave."""
    monkeypatch.setattr(session, "_PART_CELLS", 1000 * session.CALL_WIDTH)
    sizes = []
    with Recorder(tmp_path / "trace") as recorder:
        started = time.monotonic()
        for k in range(40_000):
            torch.relu(torch.ones(2))
            if k in (4_000, 39_000):
                inner = recorder._session
                sizes.append(
                    (len(inner.calls), len(inner.values.fresh), len(inner.values.storages))
                )
        assert time.monotonic() - started < 60
    assert all(calls <= 1000 and fresh <= 6000 and kept <= 6000 for calls, fresh, kept in sizes)
    assert os.path.getsize(tmp_path / "trace" / "signatures.parquet") < 20_000  # noqa: PTH202
