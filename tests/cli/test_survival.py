"""Answers of traces that are not whole, files that are not to be lost, streams that are odd."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import polars as pl
import pytest

from opjoule import count, energy, open_trace
from opjoule.cli.main import run

HALF = "partial: 276 calls read, left out: "


@pytest.fixture
def killed(copied):
    """Return a recording without a manifest, of which a part is damaged."""
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text('{"format_version": 1}')
    file = copied / "module_calls-00000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content[:-40])
    return copied


@pytest.mark.parametrize("kind", ["table", "json", "csv", "markdown", "parquet"])
@pytest.mark.parametrize(
    "verb", [("info",), ("count",), ("coverage",), ("energy", "compute", "--batch", "1")],
    ids=lambda verb: verb[0],
)  # fmt: skip
def test_every_partial_answer_says_what_is_left_out(verb, kind, killed, capfdbinary):
    assert run([*verb, "--partial", str(killed), "--format", kind]) == 0
    out, err = capfdbinary.readouterr()
    if kind == "parquet" and verb == ("info",):
        out = str(pl.read_parquet(io.BytesIO(out)).rows()).encode()
    told = (out if kind == "json" and verb[0] == "info" else out + err).decode(errors="replace")
    assert HALF in told
    assert "module_calls-00000.parquet is damaged" in told


def test_results_in_python_say_it_too(killed):
    trace = open_trace(killed, partial=True)
    assert trace.left_out.startswith(HALF)
    assert HALF in count(trace).coverage.line() and HALF in repr(trace)
    assert energy(trace, "compute", batch=1).warnings[0].startswith(HALF)


def test_a_whole_trace_says_that_nothing_is_left_out(answered, stored):
    assert f"{HALF}nothing" in answered("count", "--partial", stored)
    assert "partial" not in answered("count", stored)


def test_an_answer_never_goes_into_a_trace(refused, copied, stored):
    for name in ("trace.json", "calls-00000.parquet", "new/answer.json"):
        before = sorted((each.name, each.stat().st_mtime_ns) for each in copied.iterdir())
        assert "is inside the trace" in refused("count", stored, "-o", copied / name)
        assert before == sorted((each.name, each.stat().st_mtime_ns) for each in copied.iterdir())


def test_an_answer_replaces_a_file_whole_or_not_at_all(stored, tmp_path, monkeypatch, capsys):
    file = tmp_path / "answer.json"
    file.write_text("old")
    file.chmod(0o640)
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    monkeypatch.setattr(os, "rename", os.replace)
    assert run(["count", str(stored), "-o", str(file)]) == 2
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["answer.json"]
    monkeypatch.setattr(os, "replace", real)
    assert run(["count", str(stored), "-o", str(file)]) == 0
    assert json.loads(file.read_text())["rows"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["answer.json"]


def shell(line, *words, **environment):
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, *map(str, words)],
        capture_output=True, env={**os.environ, **environment}, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_streams_of_another_encoding(stored, encoding):
    done = shell(
        '"$1" -m opjoule.cli count "$2"', stored, PYTHONIOENCODING=encoding, PYTHONUTF8="0"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Sequential" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_that_are_closed(stored, closed):
    for words in ('count "$2"', 'count "$2" --format parquet', 'count "$2" --where step=99'):
        done = shell(f'"$1" -m opjoule.cli {words} {closed}', stored)
        assert done.returncode == (2 if "99" in words else 0), done.stderr
        assert b"Traceback" not in done.stderr and b"internal" not in done.stderr


def test_only_regular_files_are_read(refused, copied):
    """A pipe that nobody writes would be waited for."""
    for name in ("calls-00000.parquet", "trace.json"):
        (copied / name).unlink()
        os.mkfifo(copied / name)
        assert "not a regular file" in refused("count", copied)
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text('{"format_version": 1}')
    assert "calls-00000.parquet is not a regular file" in refused("info", "--partial", copied)


def test_a_recording_that_ended_before_calls_were_saved(refused, tmp_path):
    """As `os._exit` in the first second leaves it: nothing is shown as if it were an answer."""
    path = tmp_path / "trace"
    path.mkdir()
    (path / "recording.json").write_text('{"format_version": 1}')
    for verb in ("count", "info", "coverage"):
        assert refused(verb, "--partial", path) == (
            f"opjoule: {path} holds no calls that can be read; partial: 0 calls read, left out: "
            "what followed, in its last step too (its recording was not finished).\n"
        )


def test_a_manifest_of_a_gigabyte_is_not_read(refused, copied):
    with (copied / "trace.json").open("wb") as file:
        file.truncate(1 << 30)
    assert "is not the manifest of a trace: 1073741824 bytes" in refused("info", copied)


def test_a_manifest_knows_its_own_checksum(refused, answered, edit):
    from opjoule.schemas import Manifest

    path = edit()
    content = json.loads((path / "trace.json").read_text())
    (path / "trace.json").write_text(Manifest.read(content).text())
    answered("info", path)
    whole = (path / "trace.json").read_text()
    for old, new in (('"steps": 2', '"steps": 3'), ('"checksum"', '"chebksum"'),
                     ('"complete"', '"aborted"')):  # fmt: skip
        assert old in whole
        (path / "trace.json").write_text(whole.replace(old, new))
        assert "trace.json is damaged" in refused("info", path).replace("\n", "")


def test_names_in_errors_are_text(refused, edit):
    odd = "\x1b[2J\u202e"
    path = edit(failure={"type": odd, "message": odd}, status="aborted")
    assert "\\x1b" in refused("count", path)
    assert "\\x1b" in refused("count", path, "--where", f"step={odd}")
