"""Finding and reading manifests: version first, then status, then ranks."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from ...schemas import (
    FORMAT_VERSION,
    INCOMPLETE,
    MANIFEST_NAME,
    OLDEST_FORMAT_VERSION,
    UNFINISHED_NAME,
    Environment,
    Manifest,
    TraceError,
    TraceVersionError,
    checksum_of,
)
from ...schemas.strict import Misfit

_RANK = re.compile(r"rank=(\d{1,9})")
_LONGEST = 200
_LARGEST = 1 << 26
"""Bytes of a manifest: room for hundreds of thousands of parts."""
_NAMED = 3
DEPTH = 4
"""Levels of folders in which traces are looked for."""

_HOW = "What was recorded can be read with --partial (partial=True)."


def find_ranks(path: Path) -> dict[int | None, Path]:
    """Return the directories of a trace by rank; {None: path} for one that is not divided.

    Raises:
        TraceError: there is no trace at `path`.
    """
    try:
        if not path.exists():
            raise TraceError(f"{path}: trace not found.")
        if not path.is_dir():
            raise TraceError(f"{path} is not a trace: expected a directory with a {MANIFEST_NAME}.")
        found = _ranks_in(path)
        if _holds_trace(path):
            if found:
                raise TraceError(
                    f"{path} holds the trace of a single process and those of ranks: they are of "
                    "different runs. Open one of their directories, or record anew."
                )
            return {None: path}
    except (OSError, ValueError) as error:  # no right to look, no name that a file can have
        raise TraceError(
            f"{str(path)!r} cannot be read: {getattr(error, 'strerror', error)}."
        ) from None
    if not found:
        inside = list(islice(traces_in(path), _NAMED + 1))
        if inside:
            names = ", ".join(plain(str(each)) for each in inside[:_NAMED])
            more = ", ..." if len(inside) > _NAMED else ""
            raise TraceError(
                f"{path} is a folder of traces, not a trace: name one of {names}{more}; "
                f"opjoule list {path} shows them."
            )
        raise TraceError(f"{path} is not a trace: it contains no {MANIFEST_NAME}.")
    return found


def traces_in(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the traces in a folder and in the folders below it, by name.

    Hidden folders are left out, links are not entered, and what cannot be read is passed over.

    Args:
        folder: where to look.
        depth: how many levels of folders.
    """
    try:
        inside = (each for each in folder.iterdir() if not each.name.startswith("."))
        below = sorted(each for each in inside if each.is_dir())
    except OSError:
        return
    for each in below:
        if is_trace(each):
            yield each
        elif depth > 1 and not each.is_symlink():
            yield from traces_in(each, depth - 1)


def is_trace(folder: Path) -> bool:
    """Tell whether a folder is a trace or has one in folders of its ranks, whole or not."""
    try:
        return _holds_trace(folder) or bool(_ranks_in(folder))
    except TraceError:  # two folders of one rank
        return True
    except OSError:
        return False


def _ranks_in(path: Path) -> dict[int | None, Path]:
    found: dict[int | None, Path] = {}
    for folder in sorted(path.iterdir()):
        match = _RANK.fullmatch(folder.name)
        if match and folder.is_dir() and _holds_trace(folder):
            rank = int(match[1])
            if rank in found:
                raise TraceError(
                    f"{path}: {found[rank].name} and {folder.name} are both rank {rank}."
                )
            found[rank] = folder
    return found


def _holds_trace(folder: Path) -> bool:
    names = (MANIFEST_NAME, UNFINISHED_NAME)
    return any(os.path.lexists(folder / name) for name in names)


def read_manifest(folder: Path, *, partial: bool) -> Manifest:
    """Return the manifest of one rank.

    Args:
        folder: directory of the rank.
        partial: read aborted and unfinished recordings too; for one without a manifest an empty
            one of status "unfinished" is made.

    Raises:
        TraceVersionError: it is of a format that this opjoule does not read.
        TraceError: it is damaged, or the recording is not whole and `partial` is off.
    """
    file = folder / MANIFEST_NAME
    if not os.path.lexists(file):
        marker = _check_marker(folder)
        if not partial:
            raise TraceError(
                f"{folder} was never finished: its recording was killed or still runs. {_HOW}"
            )
        return _without_manifest(folder, marker)
    content = _parsed(file)
    _check_version(folder, content.get("format_version"))
    _check_itself(file, content)
    try:
        manifest = Manifest.read(content)
    except Misfit as error:
        raise TraceError(f"{file} is damaged: {plain(error.place)}: {error.what}.") from None
    if manifest.status != "complete" and not partial:
        raise TraceError(f"{folder} is incomplete: {ending(manifest)}. {_HOW}")
    return manifest


def _check_itself(file: Path, content: dict[str, Any]) -> None:
    """Check a manifest's checksum of itself; older ones have none, and nothing that is unknown."""
    told = content.get("checksum")
    known = {each.name for each in fields(Manifest)}
    if told is None and not set(content) <= known:
        odd = next(name for name in content if name not in known)
        raise TraceError(f"{file} is damaged: {plain(odd)} is unknown, and it has no checksum.")
    if told is not None and told != checksum_of(content):
        raise TraceError(f"{file} is damaged: its content is not what was recorded.")


def ending(manifest: Manifest) -> str:
    """Return how the recording of a trace that is not whole ended, in words."""
    if manifest.status == "aborted":
        failure = manifest.failure.type if manifest.failure else "an exception"
        if failure == INCOMPLETE and manifest.failure is not None:
            return plain(manifest.failure.message)
        return f"its recording ended with {plain(failure)}"
    return "its recording was not finished"


def plain(text: str) -> str:
    """Return text of a trace for a message: cut, and without what would steer a terminal."""
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return shown if shown.isprintable() else repr(shown)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise TraceError(f"{file} cannot be read: it is not a regular file.")
        if found.st_size > _LARGEST:
            raise TraceError(f"{file} is not the manifest of a trace: {found.st_size} bytes.")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise TraceError(f"{file} is not the manifest of a trace: it is not JSON.") from None
    if not isinstance(content, dict) or "format_version" not in content:
        raise TraceError(f"{file} is not the manifest of a trace: it has no format_version.")
    return content


def _check_marker(folder: Path) -> dict[str, Any]:
    """Return what the marker of a recording without a manifest says, its version checked."""
    try:
        content = _parsed(folder / UNFINISHED_NAME)
    except TraceError:
        return {}
    _check_version(folder, content["format_version"])
    return content


def _check_version(folder: Path, version: object) -> None:
    reads = f"this opjoule reads {OLDEST_FORMAT_VERSION} to {FORMAT_VERSION}"
    if not isinstance(version, int) or isinstance(version, bool):
        raise TraceVersionError(
            f"{folder / MANIFEST_NAME} is damaged: format_version is not an integer; {reads}."
        )
    if version > FORMAT_VERSION:
        raise TraceVersionError(f"{folder} is trace format {version}; {reads}. Upgrade opjoule.")
    if version < OLDEST_FORMAT_VERSION:
        raise TraceVersionError(
            f"{folder} is trace format {version}; {reads}. No opjoule wrote that: record anew."
        )


def _without_manifest(folder: Path, marker: dict[str, Any]) -> Manifest:
    """Return the manifest of a recording that was killed: nothing is known but the rank."""
    match = _RANK.fullmatch(folder.name)
    rank = int(match[1]) if match else 0
    return Manifest(
        format_version=FORMAT_VERSION,
        opjoule_version="",
        status="unfinished",
        rows={},
        parts=[],
        tile_widths=[],
        statistics="full",
        rank=rank,
        world_size=rank + 1,
        environment=Environment(python="", platform="", packages={}),
        started="",
        ended="",
        run=run if isinstance(run := marker.get("run"), str) else None,
    )


def check_ranks(path: Path, found: dict[int | None, Manifest], *, partial: bool) -> None:
    """Check that the ranks of a divided trace fit together and are all there.

    Raises:
        TraceError: a directory holds another rank's trace, ranks are of different runs, or some
            are missing.
    """
    if None in found:
        return
    for rank, manifest in found.items():
        if manifest.rank != rank:
            raise TraceError(f"{path}: the directory of rank {rank} holds rank {manifest.rank}.")
    sizes = {m.world_size for m in found.values() if m.started}
    size = max(sizes, default=len(found))
    if len(sizes) > 1 or (sizes and max(m.rank for m in found.values()) >= size):
        raise TraceError(
            f"{path} holds ranks of different runs: world sizes "
            f"{', '.join(str(each) for each in sorted(sizes))}, "
            f"highest rank {max(m.rank for m in found.values())}. Record into an empty directory."
        )
    runs = {m.run for m in found.values() if m.started or m.run is not None}
    if len(runs) > 1:
        (one, *_), *others = [
            [m.rank for m in found.values() if m.run == run]
            for run in sorted(runs, key=lambda run: run or "")
        ]
        raise TraceError(
            f"{path} holds ranks of different runs: rank {one} is not of the run of rank "
            f"{others[0][0]}. Record into an empty directory."
        )
    missing = size - len(found)
    if missing <= 0 or partial:
        return
    first: list[str] = []
    for rank in range(size):
        if rank not in found:
            first.append(str(rank))
        if len(first) == min(missing, 5):
            break
    more = f" and {missing - 5} more" if missing > 5 else ""
    word = "rank" if missing == 1 else "ranks"
    raise TraceError(
        f"{path} is incomplete: of {size} ranks, {word} {', '.join(first)}{more} are missing. "
        f"{_HOW}"
    )
