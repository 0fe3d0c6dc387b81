"""`trace.json`: what was recorded, where, when and from which code.

The manifest is written last, by rename: a directory without one is no complete trace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Annotated, Any, Literal

from .strict import read

MANIFEST_NAME = "trace.json"
"""The manifest's file; it stands only beside a trace whose parts are all written."""

UNFINISHED_NAME = "recording.json"
"""Stands in a directory while it is being recorded, and stays when the recording was killed."""

RUN_NAME = "run.json"
"""Stands beside the directories of ranks: the id of the run that was recorded last."""


_Count = Annotated[int, range(1 << 63)]


@dataclass(frozen=True)
class _Told:
    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Part(_Told):
    """One file of a trace."""

    table: str
    name: str
    """File name inside the directory of the manifest; never a path."""
    rows: _Count
    bytes: _Count
    checksum: str
    """`blake2b:` and 32 hexadecimal digits over the file's content."""


INCOMPLETE = "Incomplete"
"""The type of failure of a recording that lost calls, though nothing else went wrong."""


@dataclass(frozen=True)
class Failure(_Told):
    """The exception that ended an aborted recording."""

    type: str
    message: str


@dataclass(frozen=True)
class Device(_Told):
    """A device that the recorded tensors were on."""

    name: str
    """`cpu`, `cuda:0`."""
    model: str
    driver: str | None = None


@dataclass(frozen=True)
class Environment(_Told):
    """What the run was made with."""

    python: str
    platform: str
    packages: dict[str, str]
    devices: list[Device] = field(default_factory=list)
    statistics: str | None = None
    """What counted elements on the CPU, `C` or `NumPy`; null in traces before it was noted."""


@dataclass(frozen=True)
class Revision(_Told):
    """The git state of the recorded code."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True)
class Hidden(_Told):
    """Work that the dispatcher did not see."""

    what: str
    """A module path, a thread or an op."""
    why: str
    calls: _Count


@dataclass(frozen=True)
class Fingerprint(_Told):
    """Checksums that tell whether two recordings saw the same inputs and weights."""

    inputs: str | None = None
    parameters: str | None = None


@dataclass(frozen=True)
class Manifest(_Told):
    """The content of `trace.json`."""

    format_version: int
    opjoule_version: str
    status: Literal["complete", "aborted", "unfinished"]
    rows: dict[str, _Count]
    parts: list[Part]
    tile_widths: list[Annotated[int, range(1, 1 << 31)]]
    statistics: Literal["full", "synaptic", "none"]
    environment: Environment
    started: str
    ended: str
    failure: Failure | None = None
    rank: Annotated[int, range(1 << 31)] = 0
    world_size: Annotated[int, range(1, (1 << 31) + 1)] = 1
    revision: Revision = Revision()
    command: list[str] = field(default_factory=list)
    seed: int | None = None
    fingerprint: Fingerprint = Fingerprint()
    steps: _Count = 0
    hidden: list[Hidden] = field(default_factory=list)
    """Work that was not seen: other threads, kernels outside the dispatcher."""
    inexact: list[Hidden] = field(default_factory=list)
    """Ops for which recording may have changed dtype or kernel."""
    notes: list[str] = field(default_factory=list)
    run: str | None = None
    """Id of the run: the same for all ranks of it; null outside a distributed run."""
    checksum: str | None = None
    """`blake2b:` and 32 hexadecimal digits over everything else; see `checksum_of`."""

    @classmethod
    def read(cls, content: Any) -> Manifest:
        """Return the manifest that plain data tell.

        Raises:
            Misfit: they tell none.
        """
        found: Manifest = read(cls, content)
        return found

    def text(self) -> str:
        """Return the content of the file, with its checksum."""
        content = vars(self)
        told = content | {"checksum": checksum_of(content)}
        return json.dumps(told, indent=2, default=vars) + "\n"


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest: over its JSON in ASCII, keys sorted, without blanks.

    Args:
        content: its fields, as plain data or as the classes above.
    """
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), default=vars)
    return "blake2b:" + blake2b(text.encode(), digest_size=16).hexdigest()
