"""Configurations from presets, TOML files and `key=value` overrides, in that order."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any

from ..errors import ConfigError
from ..several import texts
from ..spelling import meant
from ..toml import path_text, toml_data, toml_text
from .base import CostConfig, CostPart

_HOMES = {
    "compute": "compute.ComputeConfig",
    "simple": "compute.SimpleConfig",
    "lemaire": "lemaire.LemaireConfig",
    "neuromc": "neuromc.NeuroMCConfig",
    "spikesim": "spikesim.SpikeSimConfig",
}
"""Estimator -> where its configuration stands."""


class _Configs(Mapping[str, type[CostConfig]]):
    """The configuration class of every estimator; each is loaded when it is asked for."""

    def __getitem__(self, estimator: str) -> type[CostConfig]:
        file, _, name = _HOMES[estimator].partition(".")
        found: type[CostConfig] = getattr(import_module(f".{file}", __package__), name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


CONFIGS = _Configs()
"""The configuration class of every estimator, by its name."""


MACHINE = "machine."
"""Before the name of a machine, or its file: how it is named where an estimator is."""


def config_class(estimator: str) -> type[CostConfig]:
    """Return the configuration class of an estimator.

    Raises:
        ConfigError: there is no such estimator or machine.
    """
    if estimator == "machine" or estimator.startswith(MACHINE):
        from .machine import Machine
        from .machine_files import machine_text

        if estimator.startswith(MACHINE):
            machine_text(estimator.removeprefix(MACHINE))
        return Machine
    try:
        return CONFIGS[estimator]
    except KeyError:
        raise ConfigError(
            f"no estimator {estimator!r}: {meant(estimator, CONFIGS)}choose from "
            f"{', '.join(sorted(CONFIGS))}, or machine.NAME"
        ) from None


def preset_names(estimator: str) -> tuple[str, ...]:
    """Return the names of the presets that come with opjoule for `estimator`, sorted."""
    config_class(estimator)
    prefix = f"{estimator}-"
    return tuple(
        sorted(
            entry.name.removeprefix(prefix).removesuffix(".toml")
            for entry in files("opjoule.schemas").joinpath("presets").iterdir()
            if entry.name.startswith(prefix) and entry.name.endswith(".toml")
        )
    )


def preset_text(estimator: str, preset: str) -> str:
    """Return a preset as it is written, comments with the sources of its constants included.

    Raises:
        ConfigError: the estimator has no such preset.
    """
    known = preset_names(estimator)
    if preset not in known:
        choice = f"choose from {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"{estimator} has no preset {preset!r}: {choice}")
    return (
        files("opjoule.schemas")
        .joinpath("presets", f"{estimator}-{preset}.toml")
        .read_text("utf-8")
    )


def load_config(
    estimator: str,
    *,
    preset: str | None = None,
    file: str | os.PathLike[str] | None = None,
    overrides: str | Sequence[str] = (),
) -> CostConfig:
    """Build the configuration of an estimator.

    Args:
        estimator: "compute", "simple", "lemaire", "neuromc", "spikesim", or "machine.NAME".
        preset: name of a preset that comes with opjoule; None: the defaults.
        file: a TOML file; it overrides the preset. It may state `estimator`.
        overrides: one or several "key=value" with TOML values and dots for nested keys; they
            override both.

    Returns:
        An instance of `config_class(estimator)`.

    Raises:
        ConfigError: a name, file, field or value that is not allowed; one line says which,
            where, and what is.
    """
    config = config_class(estimator)
    data: dict[str, Any] = {}
    if estimator.startswith(MACHINE):
        from .machine_files import machine_data

        data = machine_data(estimator.removeprefix(MACHINE))
    if preset is not None:
        data = _merged(data, tomllib.loads(preset_text(estimator, preset)))
    if file is not None:
        data = _merged(data, _read(path_text(file, "file"), estimator))
    for override in texts(overrides):
        data = _merged(data, _parse(override, config))
    try:
        return config(**_completed(config, data))
    except ConfigError as error:
        of_machine = estimator.removeprefix(MACHINE) if estimator.startswith(MACHINE) else None
        place = of_machine if file is None else file
        raise ConfigError(f"{place}: {error}" if place else str(error)) from None


def changed(
    config: CostConfig, changes: Mapping[str, Any] | Mapping[tuple[str, ...], Any]
) -> CostConfig:
    """Return a configuration with other values; fields that nobody set are filled in anew.

    Args:
        config: what to start from.
        changes: field -> value. Into tables and lists a path leads, with dots
            (`memory_breakpoints.2.1`) or, where keys have dots themselves, as a tuple.

    Raises:
        ConfigError: a field or value that is not allowed.
    """
    whole = config.model_dump()
    data = {name: whole[name] for name in config.model_fields_set}
    for key, value in changes.items():
        path = tuple(key.split(".")) if isinstance(key, str) else key
        change = _nested(path, value)
        data = _merged(data, change if path[0] in data else _completed(type(config), change))
    return type(config)(**data)


def _read(file: str, estimator: str) -> dict[str, Any]:
    data = toml_data(file, toml_text(file))
    stated = data.pop("estimator", estimator)
    if stated != estimator:
        raise ConfigError(f"{file}: is a configuration of {stated!r}, not of {estimator}")
    return data


def _parse(override: str, config: type[CostConfig]) -> dict[str, Any]:
    """Return "a.b=1" as {"a": {"b": 1}}; what is no TOML value is text."""
    key, equals, text = override.partition("=")
    names = [name.strip().strip('"') for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r}: write key=value, e.g. {_example(override, config)}")
    text = text.strip()
    value = toml_value(text)
    if names[0] in ("term", "memory") and names[-1] == "price" and not isinstance(value, str):
        raise ConfigError(
            f'--set {override!r}: price = {text} has no unit: write it as "{text} pJ"'
        )
    return _nested(names, value)


def _example(text: str, config: type[CostConfig]) -> str:
    """Return a constant and its default as one may write them: the one that was meant, or any."""
    fields = config.model_fields.items()
    numbers = {name: field.default for name, field in fields if isinstance(field.default, float)}
    if not numbers:
        return "term.NAME.price=20 pJ"
    name = text.strip("= ") if text.strip("= ") in numbers else next(iter(numbers))
    return f"{name}={numbers[name]:g}"


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return {"a": {"b": value}} for the path a, b."""
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def toml_value(text: str) -> Any:
    """Return the TOML value that `text` writes, a number as people write it (.5), or the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, tables key by key."""
    return {**base, **{key: _laid(base.get(key), value) for key, value in over.items()}}


def _laid(below: Any, value: Any) -> Any:
    """Return a value laid on what was there: tables by key, lists by place ("0", "1", ...)."""
    if not isinstance(value, Mapping):
        return value
    if isinstance(below, Mapping):
        return _merged(below, value)
    if isinstance(below, list | tuple):
        places = [str(place) for place in range(len(below))]
        if value.keys() <= set(places):
            return [
                _laid(each, value[place]) if place in value else each
                for place, each in zip(places, below, strict=True)
            ]
    return value


def _completed(config: type[CostPart], data: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the tables of `data` up with the defaults that they override in part."""
    result = dict(data)
    for key, value in data.items():
        field = config.model_fields.get(key)
        if field is None or not isinstance(value, Mapping):
            continue
        result[key] = _laid(_plain(field.get_default(call_default_factory=True)), value)
    return result


def _plain(default: Any) -> Any:
    """Return a default as plain data; a part or mapping becomes a table."""
    if isinstance(default, CostPart):
        return default.model_dump()
    if isinstance(default, Mapping):
        return {key: _plain(value) for key, value in default.items()}
    return default
