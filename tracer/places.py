"""Directories of traces: which may be taken, whose they are, and how one takes another's place."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import uuid
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..schemas import MANIFEST_NAME, RUN_NAME, TABLES, UNFINISHED_NAME, RecordError

TAKEN = (
    "{} exists already. Choose another directory, or replace it: --overwrite on the command line, "
    "overwrite=True in Python."
)

HALF = ".part"
"""Ends the name of a file that is being written."""

_PART = re.compile(rf"({'|'.join(TABLES)})(-\d+)?\.parquet({re.escape(HALF)}(-\d+)?)?")
_RANK = re.compile(r"rank=\d+")
_OURS = (MANIFEST_NAME, UNFINISHED_NAME, RUN_NAME)
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def refuse_unless(path: Path, overwrite: bool) -> None:
    """Refuse a directory that exists, unless it is a trace's and may be overwritten.

    Raises:
        RecordError: it may not.
    """
    if not overwrite:
        raise RecordError(TAKEN.format(path))
    foreign = "it is a file" if path.is_file() else _foreign(path)
    if foreign is not None:
        raise RecordError(
            f"{path} is not a trace and is not overwritten: {foreign}. Choose another directory."
        )
    for marker in (path / UNFINISHED_NAME, *path.glob(f"rank=*/{UNFINISHED_NAME}")):
        process = _recording(marker)
        if process is not None:
            raise RecordError(
                f"{path} is being recorded by process {process}. Choose another directory."
            )


def refuse_single(path: Path) -> None:
    """Refuse a directory for ranks that holds the trace of a single process.

    Raises:
        RecordError: it does.
    """
    if (path / MANIFEST_NAME).exists() or (path / UNFINISHED_NAME).exists():
        raise RecordError(
            f"{path} holds the trace of a single process; ranks are not written beside it. Choose "
            "another directory, or remove it."
        )


def run_of(path: Path, own: Path, told: str | None) -> str:
    """Return the id of the run that ranks write at `path`: the same for all that belong together.

    Args:
        path: directory of the trace; it exists.
        own: directory of the calling rank, which it may have from an earlier run.
        told: what the launcher says. None: whoever comes first writes an id, others read it. Who
            finds that the run has its rank already is of the next one, whose id follows from it.
    """
    if told is not None:
        return told
    file = path / RUN_NAME
    if not file.exists():
        _place(file, uuid.uuid4().hex, replace=False)
    known = str(content_of(file).get("run"))
    before = content_of(own / MANIFEST_NAME) or content_of(own / UNFINISHED_NAME)
    if before.get("run") == known:
        known = blake2b(known.encode(), digest_size=16).hexdigest()
        _place(file, known, replace=True)
    return known


def _place(file: Path, run: str, *, replace: bool) -> None:
    """Write the id of a run, whole or not at all; unless `replace`, who is first is right."""
    half = file.with_name(f"{file.name}{HALF}-{uuid.uuid4().hex[:8]}")
    half.write_text(json.dumps({"format_version": 1, "run": run}) + "\n")
    if replace:
        half.replace(file)
        return
    with suppress(FileExistsError):
        os.link(half, file)
    half.unlink()


def _foreign(path: Path) -> str | None:
    """Return what makes a directory no trace, None if all in it is a trace's or it is empty."""
    for entry in sorted(path.iterdir()):
        if _RANK.fullmatch(entry.name) and entry.is_dir():
            inner = _foreign(entry)
            if inner is not None:
                return inner
        elif entry.name in _OURS:
            if content_of(entry).get("format_version") is None:
                return f"{entry.name} is not opjoule's"
        elif entry.name != MANIFEST_NAME + HALF and not _PART.fullmatch(entry.name):
            return f"it holds {entry.name}"
    return None


def clear(path: Path) -> None:
    """Remove the files of a trace from its directory; whatever else is there stays."""
    with suppress(OSError):
        for entry in sorted(path.iterdir()):
            if entry.name in (*_OURS, MANIFEST_NAME + HALF) or _PART.fullmatch(entry.name):
                entry.unlink(missing_ok=True)


def content_of(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if it holds none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def identity(process: int) -> dict[str, str | None]:
    """Return what tells a process from a later one of the same number."""
    try:
        began = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        began = None
    return {"host": platform.node(), "began": began}


def _recording(marker: Path) -> int | None:
    """Return the number of the process of this machine that still records there, or None."""
    found = content_of(marker)
    process = found.get("process")
    if not isinstance(process, int) or found.get("host") != platform.node():
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    same = identity(process)["began"] == found.get("began")
    return process if same else None


def write(path: str, content: memoryview) -> None:
    """Write a new file.

    Raises:
        OSError: the system refuses.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o666)  # `open` asks the system four times as much
    try:
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Have a file or directory on the disk, where the system can say so."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # a system that opens no directories
        return
    try:
        with suppress(OSError):  # a file system that cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def replace(old: Path, new: Path) -> None:
    """Put a directory in the place of another one, which is removed; nobody finds neither.

    Args:
        old: what is replaced; it may have gone.
        new: what takes its place, beside it.
    """
    if old.exists():
        if _exchanged(new, old):
            sync(old.parent)
            shutil.rmtree(new, ignore_errors=True)
            return
        away = old.with_name(f"{old.name}.old-{uuid.uuid4().hex[:8]}")
        old.rename(away)
        new.rename(old)
        sync(old.parent)
        shutil.rmtree(away, ignore_errors=True)
        return
    new.rename(old)
    sync(old.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two directories change places at once; tell whether the system could."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not this system
        return False
    done = call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE))
    return bool(done == 0)
