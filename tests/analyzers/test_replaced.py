"""Traces that are replaced while they are read, and ranks of two runs: never one answer of two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from opjoule.analyzers import count, open_trace
from opjoule.schemas import TraceError

torch = pytest.importorskip("torch")

from opjoule.tracer import Recorder  # noqa: E402

WRITER = """
    import sys, torch
    from opjoule.tracer import Recorder, session
    session._PART_CELLS = 10 * session.CALL_WIDTH
    torch.set_num_threads(1)
    print("ready", flush=True)
    for k, _ in enumerate(sys.stdin, 1):  # a line each time that it may be replaced
        with Recorder(sys.argv[1], overwrite=True):
            for _ in range(10 + k % 2 * 10):
                torch.relu(torch.ones(3))
        print("replaced", flush=True)
"""


def record(path, times, **options):
    with Recorder(path, **options):
        for _ in range(times):
            torch.relu(torch.ones(3))


def test_answers_are_of_one_trace_while_another_process_replaces_it(tmp_path):
    """Each answer is of 10 or of 20 calls of each op, from the signatures to the last part.

    It is asked for while another process replaces the trace three times, and once after that.
    """
    path = tmp_path / "trace"
    record(path, 10)
    during: list[tuple[int, ...]] = []
    after: list[tuple[int, ...]] = []

    def answer():
        return tuple(sorted(count(open_trace(path), by="op").frame["calls"]))

    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        for _ in range(8):
            process.stdin.write("again\n" * 3)
            process.stdin.flush()
            for _ in range(3):
                try:
                    during.append(answer())
                except TraceError as error:
                    assert "was replaced" in str(error), error
                assert process.stdout.readline() == "replaced\n"
            after.append(answer())
        process.stdin.close()
    assert process.returncode == 0
    assert after == [(20, 20), (10, 10)] * 4
    assert set(during) <= {(10, 10), (20, 20)}


@pytest.mark.parametrize("how", ["replaced", "rewritten", "removed"])
@pytest.mark.parametrize("rows", [-1, 20_000])
def test_a_trace_that_is_held_open_is_not_mixed_with_another(tmp_path, how, rows, monkeypatch):
    """Whether its parts are read when they are asked for, or are in memory."""
    monkeypatch.setattr("opjoule.analyzers.trace.held._FEW_ROWS", rows)
    path = tmp_path / "trace"
    record(path, 10)
    trace = open_trace(path)
    assert sum(count(trace, by="op").frame["calls"]) == 20
    if how == "replaced":
        record(path, 30, overwrite=True)
    elif how == "removed":
        shutil.rmtree(path)
    else:
        file = path / "calls-00000.parquet"
        file.write_bytes(file.read_bytes())
        if rows > 0:  # nothing of that file is needed any more
            assert sum(count(trace, by="stage").frame["calls"]) == 20
            return
    with pytest.raises(TraceError, match="was replaced while it was read: open it again"):
        count(trace, by="op")


def test_a_trace_that_is_replaced_as_it_is_opened_is_opened_again(tmp_path, monkeypatch):
    from opjoule.analyzers.trace import trace as opening

    path, real, left = tmp_path / "trace", opening.files_of, [1]
    record(path, 10)

    def replacing(*given):
        if left:
            left.pop()
            record(path, 30, overwrite=True)
        return real(*given)

    monkeypatch.setattr(opening, "files_of", replacing)
    assert sum(count(path, by="op").frame["calls"]) == 60


def test_a_trace_that_is_replaced_each_time_it_is_opened_is_refused_as_such(tmp_path, monkeypatch):
    from opjoule.analyzers.trace import trace as opening

    path, real, times = tmp_path / "trace", opening.files_of, iter(range(20, 100))
    record(path, 10)

    def replacing(*given):
        record(path, next(times), overwrite=True)
        return real(*given)

    monkeypatch.setattr(opening, "files_of", replacing)
    monkeypatch.setattr(opening, "_MOMENTS_S", (0, 0))
    with pytest.raises(TraceError, match="was replaced again and again while it was read"):
        open_trace(path)


RANK = {"RANK": "0", "WORLD_SIZE": "2"}


@pytest.fixture
def rank(monkeypatch):
    """Return a function that records one rank of two."""

    def write(path, number, times=3, run=None, **options):
        monkeypatch.setenv("RANK", str(number))
        monkeypatch.setenv("WORLD_SIZE", "2")
        if run is None:
            monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
        else:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", run)
        record(path, times, **options)
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)

    return write


@pytest.mark.parametrize("runs", [(None, None), ("a", "b")], ids=["unnamed", "named by torchrun"])
def test_ranks_of_two_runs_are_refused(tmp_path, rank, refusal, runs):
    """The second run wrote rank 0 anew and came no further."""
    path = tmp_path / "trace"
    for number in (0, 1):
        rank(path, number, run=runs[0])
    assert sum(count(path, by="op").frame["calls"]) == 12
    rank(path, 0, times=7, run=runs[1], overwrite=True)
    assert "holds ranks of different runs: rank" in refusal(path)
    assert sum(count(open_trace(path, rank=0), by="op").frame["calls"]) == 14
    rank(path, 1, times=7, run=runs[1], overwrite=True)
    assert sum(count(path, by="op").frame["calls"]) == 28
    for number in (1, 0):  # and a third run, in another order
        rank(path, number, times=1, run=runs[1] and "c", overwrite=True)
    assert sum(count(path, by="op").frame["calls"]) == 4


def test_torchrun_restarts_are_runs_of_their_own(tmp_path, rank, refusal, monkeypatch):
    rank(tmp_path / "trace", 0, run="a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    rank(tmp_path / "trace", 1, run="a")
    assert "different runs" in refusal(tmp_path / "trace")


def test_ranks_and_a_single_process_do_not_share_a_directory(tmp_path, rank, refusal):
    from opjoule.schemas import RecordError

    single, ranks = tmp_path / "single", tmp_path / "ranks"
    record(single, 1)
    with pytest.raises(RecordError, match="holds the trace of a single process"):
        rank(single, 0, overwrite=True)
    rank(ranks, 0)
    rank(ranks, 1)
    for file in single.iterdir():
        shutil.copy(file, ranks)
    assert "of a single process and those of ranks" in refusal(ranks)


def test_ranks_that_start_at_once_agree(tmp_path):
    script = """
        import sys, torch
        from opjoule.tracer import Recorder
        sys.stdin.readline()
        with Recorder(sys.argv[1]):
            torch.ones(1).exp()
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "trace")],
            stdin=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": str(number), "WORLD_SIZE": "3"},
        )
        for number in range(3)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    manifests = [json.loads(file.read_text()) for file in tmp_path.glob("trace/*/trace.json")]
    assert len({each["run"] for each in manifests}) == 1
    assert len(manifests) == 3 and count(tmp_path / "trace").total["flops"] is not None
    assert not list(Path(tmp_path / "trace").glob("*.part*"))
