"""`trace.json`: what was recorded, where, when and from which code.

The manifest is written last, by rename: a directory without one is no complete trace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "trace.json"
"""The manifest's file; it stands only beside a trace whose parts are all written."""

UNFINISHED_NAME = "recording.json"
"""Stands in a directory while it is being recorded, and stays when the recording was killed."""

RUN_NAME = "run.json"
"""Stands beside the directories of ranks: the id of the run that was recorded last."""


_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Part(_Frozen):
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


class Failure(_Frozen):
    """The exception that ended an aborted recording."""

    type: str
    message: str


class Device(_Frozen):
    """A device that the recorded tensors were on."""

    name: str
    """`cpu`, `cuda:0`."""
    model: str
    driver: str | None = None


class Environment(_Frozen):
    """What the run was made with."""

    python: str
    platform: str
    packages: dict[str, str]
    devices: list[Device] = []
    statistics: str | None = None
    """What counted elements on the CPU, `C` or `NumPy`; null in traces before it was noted."""


class Revision(_Frozen):
    """The git state of the recorded code."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


class Hidden(_Frozen):
    """Work that the dispatcher did not see."""

    what: str
    """A module path, a thread or an op."""
    why: str
    calls: _Count


class Fingerprint(_Frozen):
    """Checksums that tell whether two recordings saw the same inputs and weights."""

    inputs: str | None = None
    parameters: str | None = None


class Manifest(_Frozen):
    """The content of `trace.json`."""

    format_version: int
    opjoule_version: str
    status: Literal["complete", "aborted", "unfinished"]
    failure: Failure | None = None
    rows: dict[str, _Count]
    parts: list[Part]
    tile_widths: list[Annotated[int, Field(ge=1, lt=1 << 31)]]
    statistics: Literal["full", "synaptic", "none"]
    rank: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    world_size: Annotated[int, Field(ge=1, le=1 << 31)] = 1
    environment: Environment
    revision: Revision = Revision()
    command: list[str] = []
    started: str
    ended: str
    seed: int | None = None
    fingerprint: Fingerprint = Fingerprint()
    steps: _Count = 0
    hidden: list[Hidden] = []
    """Work that was not seen: other threads, kernels outside the dispatcher."""
    inexact: list[Hidden] = []
    """Ops for which recording may have changed dtype or kernel."""
    notes: list[str] = []
    run: str | None = None
    """Id of the run: the same for all ranks of it; null outside a distributed run."""
    checksum: str | None = None
    """`blake2b:` and 32 hexadecimal digits over everything else; see `checksum_of`."""

    def text(self) -> str:
        """Return the content of the file, with its checksum."""
        content = self.model_dump(mode="json")
        return json.dumps(content | {"checksum": checksum_of(content)}, indent=2) + "\n"


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest: over its JSON in ASCII, keys sorted, without blanks."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return "blake2b:" + blake2b(text.encode(), digest_size=16).hexdigest()
