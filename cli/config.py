"""`opjoule config`: the constants that estimates are made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import tables
from .choosing import ESTIMATORS

if TYPE_CHECKING:
    from ..schemas.costs import CostConfig


@click.group(short_help="Show and check the constants of an estimator.")
def config() -> None:
    """Show and check the constants of an estimator."""


@config.command(short_help="Print a configuration as TOML.")
@click.argument("estimator", type=click.Choice(tuple(ESTIMATORS)))
@click.option("--presets", is_flag=True, help="List the presets instead.")
@click.option("--sources", is_flag=True, help="Print the preset as written, with its sources.")
@click.option("--preset", metavar="NAME", help="Start from a preset.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file of constants; it overrides the preset.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One constant; overrides preset and file.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(("toml", "json")),
    default="toml",
    show_default=True,
    help="How to answer.",
)
def show(
    estimator: str,
    presets: bool,
    sources: bool,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    kind: str,
) -> None:
    """Print the configuration that `opjoule energy ESTIMATOR` would use with the same options."""
    from ..schemas.costs import load_config, preset_names, preset_text

    if presets:
        return tables.text("".join(f"{name}\n" for name in preset_names(estimator)))
    if sources:
        if preset is None:
            raise click.UsageError("--sources needs --preset NAME")
        return tables.text(preset_text(estimator, preset))
    made = load_config(estimator, preset=preset, file=file, overrides=overrides)
    data = made.model_dump(mode="json")
    return tables.text(tables.as_json(data) if kind == "json" else as_toml(data))


@config.command(short_help="Check a TOML file of constants.")
@click.argument("estimator", type=click.Choice(tuple(ESTIMATORS)))
@click.argument("file", type=click.Path(path_type=Path))
def validate(estimator: str, file: Path) -> None:
    """Check that FILE is a configuration of ESTIMATOR; the exit code is 2 if it is none."""
    from ..schemas.costs import load_config

    made: CostConfig = load_config(estimator, file=file)
    changed = len(made.model_fields_set)
    tables.text(
        f"{file} is a configuration of {estimator} ({changed} of "
        f"{len(type(made).model_fields)} fields set)\n"
    )


@config.command(short_help="Print the JSON schema of a configuration.")
@click.argument("estimator", type=click.Choice(tuple(ESTIMATORS)))
def schema(estimator: str) -> None:
    """Print the JSON schema of ESTIMATOR's configuration, for editors and other tools."""
    from ..schemas.costs import config_class

    tables.text(tables.as_json(config_class(estimator).model_json_schema()))


def as_toml(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return plain data as TOML, tables last; what is None is left out, as TOML has no null."""
    head = f"\n[{'.'.join(_key(name) for name in path)}]\n" if path else ""
    lines = [
        f"{_key(name)} = {_value(value)}\n"
        for name, value in data.items()
        if not isinstance(value, Mapping) and value is not None
    ]
    below = [
        as_toml(value, (*path, name)) for name, value in data.items() if isinstance(value, Mapping)
    ]
    return "".join([head if lines or not below else "", *lines, *below])


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if bare else json.dumps(name)


def _value(value: Any) -> str:
    """Return a TOML value; JSON writes strings, numbers and booleans as TOML does."""
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value if each is not None)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
