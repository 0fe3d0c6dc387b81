"""The configurations that options ask for: of one estimator, or of several."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .choosing import ESTIMATORS, REVISIONS

if TYPE_CHECKING:
    from ..schemas.costs import CostConfig


def one(
    name: str,
    revision: str,
    *,
    preset: str | None,
    file: Path | None,
    overrides: Iterable[str],
) -> CostConfig:
    """Return the configuration of an estimator; a preset is by default the revision's."""
    door = importlib.import_module("..analyzers.energy.estimators", __package__)
    load: Callable[..., CostConfig] = importlib.import_module(
        "..schemas.costs", __package__
    ).load_config
    preset = preset or door.default_preset(name, revision)
    return load(name, preset=preset, file=file, overrides=tuple(overrides))


def several(
    estimators: Sequence[str], options: Mapping[str, Any], asked_by: str
) -> tuple[dict[str, str], dict[str, CostConfig]]:
    """Return the revision and the configuration of each estimator.

    Args:
        estimators: the estimators that are asked.
        options: `revisions`, `presets`, `files` and `overrides`, each of which may name one.
        asked_by: the option that asks for an estimator, {} in the place of its name.
    """
    revision = _by_estimator("--revision", options["revisions"], estimators, asked_by)
    for name in revision.values():
        if name not in REVISIONS:
            raise click.UsageError(f"--revision {name!r} is not one of {', '.join(REVISIONS)}")
    preset = _by_estimator("--preset", options["presets"], estimators, asked_by)
    file = _by_estimator("--config", options["files"], estimators, asked_by)
    changes: dict[str, list[str]] = {}
    for text in options["overrides"]:
        name, value = _addressed("--set", text, ".", estimators, asked_by)
        changes.setdefault(name, []).append(value)
    return revision, {
        name: one(
            name,
            revision.get(name, REVISIONS[0]),
            preset=preset.get(name),
            file=Path(file[name]) if name in file else None,
            overrides=changes.get(name, ()),
        )
        for name in estimators
    }


def _by_estimator(
    option: str, texts: Iterable[str], estimators: Sequence[str], asked_by: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        if option == "--revision" and text in REVISIONS:
            found |= dict.fromkeys(estimators, text)
            continue
        name, value = _addressed(option, text, "=", estimators, asked_by)
        found[name] = value
    return found


def _addressed(
    option: str, text: str, mark: str, estimators: Sequence[str], asked_by: str
) -> tuple[str, str]:
    """Return which estimator an option is for, and its value; alone, an estimator needs no name.

    Raises:
        click.UsageError: it names none of several, or there is none.
    """
    for name in estimators:
        if text.startswith(name + mark):
            return name, text.removeprefix(name + mark)
    name, found, _ = text.partition(mark)
    if found and name in ESTIMATORS:
        raise click.UsageError(
            f"{option} {text!r}: {name} is not asked for; add {asked_by.format(name)}"
        )
    if len(estimators) == 1:
        return estimators[0], text
    if not estimators:
        raise click.UsageError(f"{option} {text!r} needs {asked_by.format('ESTIMATOR')}")
    names = " or ".join(f"{each}{mark}{text}" for each in estimators)
    raise click.UsageError(f"{option} {text!r}: for which estimator? Write {names}")
