"""`opjoule info`: what was recorded, where, when, from which commit, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import reading, tables
from .units import bytes_text, count_text

if TYPE_CHECKING:
    from ..schemas import Manifest


@click.command(short_help="What was recorded, where, when, from which commit.")
@reading.reads_trace
@reading.answers("table", "json")
def info(trace: Path, partial: bool, rank: int | None, kind: str, output: Path | None) -> None:
    """Tell what TRACE holds and how it was made."""
    manifest = reading.opened(trace, partial=partial, rank=rank).manifest
    if kind == "json":
        content = tables.as_json({"path": str(trace), **manifest.model_dump(mode="json")})
    else:
        rows = facts(trace, manifest)
        width = max(len(name) for name, _ in rows)
        content = "".join(f"{name:<{width}}  {tables.clean(text)}\n" for name, text in rows)
    tables.answer(content, output)


def facts(path: Path, manifest: Manifest) -> list[tuple[str, str]]:
    """Return what there is to say of a trace as (heading, text) lines; "" continues."""
    size = sum(part.bytes for part in manifest.parts)
    rows = [
        ("trace", f"{path} (format {manifest.format_version}, {manifest.status})"),
        ("size", f"{bytes_text(size)} in {len(manifest.parts)} files"),
        (
            "recorded",
            f"{manifest.started} to {manifest.ended} by opjoule {manifest.opjoule_version}",
        ),
        ("steps", count_text(manifest.steps)),
        ("statistics", manifest.statistics),
    ]
    if manifest.failure is not None:
        rows.append(("ended by", f"{manifest.failure.type}: {manifest.failure.message}"))
    if manifest.world_size > 1:
        rows.append(("rank", f"{manifest.rank} of {manifest.world_size}"))
    if manifest.command:
        rows.append(("command", " ".join(manifest.command)))
    rows += [("code", _code(manifest)), *_environment(manifest)]
    if manifest.seed is not None:
        rows.append(("seed", str(manifest.seed)))
    rows += _headed("rows", [f"{name} {count:,}" for name, count in manifest.rows.items()])
    rows += _headed("not seen", [f"{h.what}: {h.why} ({h.calls:,} calls)" for h in manifest.hidden])
    rows += _headed("inexact", [f"{h.what}: {h.why} ({h.calls:,} calls)" for h in manifest.inexact])
    return rows + _headed("note", list(manifest.notes))


def _code(manifest: Manifest) -> str:
    revision = manifest.revision
    if revision.commit is None:
        return "no git revision"
    branch = f" on {revision.branch}" if revision.branch else ""
    return (
        f"commit {revision.commit}{branch}{', with uncommitted changes' if revision.dirty else ''}"
    )


def _environment(manifest: Manifest) -> list[tuple[str, str]]:
    made = manifest.environment
    packages = ", ".join(f"{name} {version}" for name, version in sorted(made.packages.items()))
    devices = [
        f"{d.name} ({d.model}{f', driver {d.driver}' if d.driver else ''})" for d in made.devices
    ]
    return [
        ("with", f"Python {made.python} on {made.platform}"),
        *_headed("", [packages] if packages else []),
        *_headed("device", devices),
    ]


def _headed(name: str, lines: list[Any]) -> list[tuple[str, str]]:
    return [(name if place == 0 else "", str(line)) for place, line in enumerate(lines)]
