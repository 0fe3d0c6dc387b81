"""The cores that a command works on: one where what it reads is small."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

SMALL = 1_000_000
"""Bytes of a command's traces together up to which it stays on one core."""

_ENTRIES = 1_000
"""Files and folders that are looked at before what is named counts as large."""


def stay_on_one(words: Sequence[str]) -> None:
    """Keep this process on the core that it runs on, if all that a command line names is small.

    Polars hands most operations to its threads. To wake a thread on another core takes longer
    than what it then does on a small table, above all on a virtual machine: on one core an answer
    takes less time by the clock too, up to some 200,000 calls. Where the system cannot do this,
    nothing happens. Polars counts its threads when it is loaded, so this comes first.

    Args:
        words: the command line; traces stand in it as `PATH` or `NAME=PATH`.
    """
    if sys.platform == "linux" and _is_small(words):
        with suppress(OSError, ValueError, IndexError):  # no /proc, or it may not
            after_name = Path("/proc/self/stat").read_text().rpartition(")")[2]
            os.sched_setaffinity(0, {int(after_name.split()[_CORE])})


_CORE = 36
"""Which word after the program's name says the core, the 39th of all: see proc(5)."""


def _is_small(words: Sequence[str]) -> bool:
    size = 0
    paths = (word.rpartition("=")[2] for word in words)
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 - any word may come
    for number, found in enumerate(_sizes(folders)):
        size += found
        if size > SMALL or number > _ENTRIES:
            return False
    return True


def _sizes(folders: list[str]) -> Iterator[int]:
    """Give the bytes of everything below folders, one after the other."""
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # whoever opens it says so
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry.stat().st_size
