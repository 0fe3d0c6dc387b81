"""A trace on disk: parts as the run goes on, the manifest last, by rename.

The directory is claimed when the recording starts. `recording.json` stands in it until the
manifest does; so a directory that was left behind is known for what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    STATIC_TABLES,
    TABLES,
    UNFINISHED_NAME,
    Manifest,
    Part,
    RecordError,
    described,
)

_DELTA = ("seq", "value_id", "module_call_id", "first_seq", "last_seq", "first_node", "last_node",
          "in0_value", "in1_value", "in2_value", "out0_value", "forward_seq", "written_seq",
          "storage_id", "base_value_id", "parent_call_id")  # fmt: skip

_SMALL = 4096
"""Rows of a table up to which it is written at half the time, somewhat larger."""


class Writer:
    """Writes the tables of one rank.

    Args:
        path: directory of the trace.
        overwrite: replace what is there when, and only when, the new trace is whole.
        rank: rank of this process, None outside a distributed run.

    Raises:
        RecordError: something is at `path` and `overwrite` is off, or it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool, rank: int | None = None) -> None:
        home = path.absolute()  # the model may change the working directory
        self.path = home if rank is None else home / f"rank={rank:05d}"
        self._target = self.path
        self.parts: list[Part] = []
        self.rows: dict[str, int] = dict.fromkeys(TABLES, 0)
        self._numbers: dict[str, int] = {}
        try:
            if self.path.exists():
                _refuse_unless(self.path, overwrite)
                self.path = self.path.with_name(
                    f"{self.path.name}.recording-{uuid.uuid4().hex[:8]}"
                )
            self.path.mkdir(parents=True, exist_ok=False)
            marker = {
                "format_version": FORMAT_VERSION,
                "process": os.getpid(),
                **_identity(os.getpid()),
            }
            (self.path / UNFINISHED_NAME).write_text(json.dumps(marker) + "\n")
        except FileExistsError:
            raise RecordError(_TAKEN.format(path)) from None
        except OSError as error:
            raise RecordError(f"{path} cannot be written: {error.strerror}.") from None

    def write(self, name: str, table: pa.Table) -> None:
        """Write a part of a growing table, or a static table in place of what was written of it.

        Raises:
            RecordError: the disk is full or otherwise refuses.
        """
        try:
            self._write(name, table)
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RecordError:
        reason = error.strerror or str(error)
        return RecordError(
            f"{self.path} cannot be written: {reason}. The recording is lost from there on; "
            "make room or choose another directory, and record again."
        )

    def _write(self, name: str, table: pa.Table) -> None:
        if name in STATIC_TABLES:
            file = f"{name}.parquet"
            self.parts = [part for part in self.parts if part.table != name]
            self.rows[name] = 0
        else:
            number = self._numbers.get(name, 0)
            self._numbers[name] = number + 1
            file = f"{name}-{number:05d}.parquet"
        schema = described(name)
        target = self.path / (file + _HALF)
        delta = [f.name for f in schema if f.name in _DELTA and pa.types.is_integer(f.type)]
        plain = [f.name for f in schema if f.name not in delta and not pa.types.is_nested(f.type)]
        large = table.num_rows > _SMALL
        pq.write_table(
            table.cast(schema).replace_schema_metadata(schema.metadata),
            target,
            compression="zstd" if large else "lz4",
            use_dictionary=plain if large and plain else False,
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
        )
        content = target.read_bytes()
        target.rename(self.path / file)
        checksum = "blake2b:" + hashlib.blake2b(content, digest_size=16).hexdigest()
        self.parts.append(
            Part(table=name, name=file, rows=table.num_rows, bytes=len(content), checksum=checksum)
        )
        self.rows[name] += table.num_rows

    def adopt(self, other: Writer) -> None:
        """Take over the parts that another writer has written so far."""
        for part in other.parts:
            source, target = other.path / part.name, self.path / part.name
            try:
                os.link(source, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, target)
            self.parts.append(part)
            self.rows[part.table] += part.rows

    def discard(self) -> None:
        """Remove the directory, with all that was written; what stood at the path stays."""
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, manifest: Manifest) -> Path:
        """Write the manifest and put the trace in its place.

        Returns:
            Where the trace is: at its path, or beside it if it was aborted and would replace one.

        Raises:
            RecordError: the disk is full or otherwise refuses.
        """
        try:
            return self._finish(manifest)
        except OSError as error:
            raise self._refused(error) from None

    def _finish(self, manifest: Manifest) -> Path:
        text = manifest.model_dump_json(indent=2) + "\n"
        temporary = self.path / (MANIFEST_NAME + _HALF)
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path / MANIFEST_NAME)
        (self.path / UNFINISHED_NAME).unlink(missing_ok=True)
        if self.path != self._target and manifest.status == "complete":
            self._replace()
        return self.path

    def _replace(self) -> None:
        old = self._target.with_name(f"{self._target.name}.old-{uuid.uuid4().hex[:8]}")
        if self._target.exists():
            self._target.rename(old)
        self.path.rename(self._target)
        self.path = self._target
        shutil.rmtree(old, ignore_errors=True)


def _refuse_unless(path: Path, overwrite: bool) -> None:
    if not overwrite:
        raise RecordError(_TAKEN.format(path))
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


_TAKEN = (
    "{} exists already. Choose another directory, or replace it: --overwrite on the command line, "
    "overwrite=True in Python."
)

_HALF = ".part"
"""Ends the name of a file that is being written."""

_PART = re.compile(rf"({'|'.join(TABLES)})(-\d+)?\.parquet({re.escape(_HALF)})?")
_RANK = re.compile(r"rank=\d+")


def _foreign(path: Path) -> str | None:
    """Return what makes a directory no trace, None if all in it is a trace's or it is empty."""
    for entry in sorted(path.iterdir()):
        if _RANK.fullmatch(entry.name) and entry.is_dir():
            inner = _foreign(entry)
            if inner is not None:
                return inner
        elif entry.name in (MANIFEST_NAME, UNFINISHED_NAME):
            if _content(entry).get("format_version") is None:
                return f"{entry.name} is not opjoule's"
        elif entry.name != MANIFEST_NAME + _HALF and not _PART.fullmatch(entry.name):
            return f"it holds {entry.name}"
    return None


def _content(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _identity(process: int) -> dict[str, str | None]:
    """Return what tells a process from a later one of the same number."""
    try:
        began = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        began = None
    return {"host": platform.node(), "began": began}


def _recording(marker: Path) -> int | None:
    """Return the number of the process of this machine that still records there, or None."""
    found = _content(marker)
    process = found.get("process")
    if not isinstance(process, int) or found.get("host") != platform.node():
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    same = _identity(process)["began"] == found.get("began")
    return process if same else None


def static_table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as the static table `name`."""
    return pa.Table.from_pylist(rows, schema=TABLES[name])
