"""Traces to read, to break, and recorded on the spot."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import Trace, open_trace
from opjoule.schemas import TraceError

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"


@pytest.fixture
def stored() -> Path:
    """Return the stored trace of a small spiking network; not to be changed."""
    return STORED


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the stored trace that a test may damage."""
    return Path(shutil.copytree(STORED, tmp_path / "trace"))


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Return a function that returns the one line with which a trace is refused."""

    def line(path: Path | str, error: type[TraceError] = TraceError, **options: Any) -> str:
        with pytest.raises(error) as caught:
            open_trace(path, **options)
        assert type(caught.value) is error
        text = str(caught.value)
        assert "\n" not in text and len(text.replace(str(path), "")) < 500
        return text

    return line


@pytest.fixture
def edit(copied: Path) -> Callable[..., Path]:
    """Return a function that changes the manifest of the copy, field by field or as a whole."""

    def change(change: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> Path:
        file = copied / "trace.json"
        content = json.loads(file.read_text())
        if change is not None:
            change(content)
        file.write_text(json.dumps(content | fields))
        return copied

    return change


@pytest.fixture
def resign(copied: Path) -> Callable[..., Path]:
    """Return a function that puts other bytes in place of a part, with the manifest made to fit."""

    def put(name: str, content: bytes | pa.Table) -> Path:
        target = copied / name
        if isinstance(content, pa.Table):
            pq.write_table(content, target)
            rows = content.num_rows
        else:
            target.write_bytes(content)
            rows = None
        found = target.read_bytes()
        file = copied / "trace.json"
        manifest = json.loads(file.read_text())
        (part,) = [each for each in manifest["parts"] if each["name"] == name]
        part["bytes"] = len(found)
        part["checksum"] = "blake2b:" + hashlib.blake2b(found, digest_size=16).hexdigest()
        if rows is not None:
            manifest["rows"][part["table"]] += rows - part["rows"]
            part["rows"] = rows
        file.write_text(json.dumps(manifest))
        return copied

    return put


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that records `run()`, or `run(recorder)`, and returns the trace's path."""
    pytest.importorskip("torch")
    from opjoule import Recorder
    from opjoule.tracer import RecordingWarning

    numbers = iter(range(1000))

    def write(run: Callable[..., Any], *, path: Path | None = None, **options: Any) -> Path:
        takes_recorder = "recorder" in inspect.signature(run).parameters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            with Recorder(path or tmp_path / f"recorded{next(numbers)}", **options) as recorder:
                run(recorder) if takes_recorder else run()
        return Path(recorder.path)

    return write


@pytest.fixture
def recorded(record: Callable[..., Path]) -> Callable[..., Trace]:
    """Return a function that records like `record` and opens the trace."""
    return lambda run, **options: open_trace(record(run, **options))


@pytest.fixture(scope="session")
def blend() -> Callable[..., Any]:
    """Return an op that opjoule cannot know: mine.blend, (x + y) / 2 of two tensors."""
    torch = pytest.importorskip("torch")

    schema = "(Tensor x, Tensor y) -> Tensor"

    @torch.library.custom_op("mine::blend", mutates_args=(), schema=schema)
    def op(x: Any, y: Any) -> Any:
        return torch.from_numpy((x.numpy() + y.numpy()) / 2)

    op.register_fake(lambda x, y: torch.empty_like(x))
    return op
