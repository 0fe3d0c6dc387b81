"""Configurations from presets, TOML files and `key=value` overrides, in that order."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ConfigError
from .base import CostConfig, CostPart
from .compute import ComputeConfig, SimpleConfig
from .lemaire import LemaireConfig
from .spikesim import SpikeSimConfig

CONFIGS: Mapping[str, type[CostConfig]] = MappingProxyType(
    {
        "compute": ComputeConfig,
        "simple": SimpleConfig,
        "lemaire": LemaireConfig,
        "spikesim": SpikeSimConfig,
    }
)
"""The configuration class of every estimator."""


def config_class(estimator: str) -> type[CostConfig]:
    """Return the configuration class of an estimator.

    Raises:
        ConfigError: there is no such estimator.
    """
    try:
        return CONFIGS[estimator]
    except KeyError:
        raise ConfigError(
            f"no estimator {estimator!r}: choose from {', '.join(sorted(CONFIGS))}"
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
    file: Path | None = None,
    overrides: Sequence[str] = (),
) -> CostConfig:
    """Build the configuration of an estimator.

    Args:
        estimator: "compute", "simple", "lemaire", "neuromc" or "spikesim".
        preset: name of a preset that comes with opjoule; None: the defaults.
        file: a TOML file; it overrides the preset. It may state `estimator`.
        overrides: "key=value" with TOML values and dots for nested keys; they override both.

    Returns:
        An instance of `config_class(estimator)`.

    Raises:
        ConfigError: a name, file, field or value that is not allowed; one line says which,
            where, and what is.
    """
    config = config_class(estimator)
    data: dict[str, Any] = {}
    if preset is not None:
        data = _merged(data, tomllib.loads(preset_text(estimator, preset)))
    if file is not None:
        data = _merged(data, _read(file, estimator))
    for override in overrides:
        data = _merged(data, _parse(override))
    try:
        return config(**_completed(config, data))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}" if file else str(error)) from None


def _read(file: Path, estimator: str) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML ({error})") from None
    stated = data.pop("estimator", estimator)
    if stated != estimator:
        raise ConfigError(f"{file}: is a configuration of {stated!r}, not of {estimator}")
    return data


def _parse(override: str) -> dict[str, Any]:
    """Return "a.b=1" as {"a": {"b": 1}}; what is no TOML value is text."""
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r}: write key=value, e.g. e_add_pj=0.1")
    data: dict[str, Any] = {names[-1]: _value(text.strip())}
    for name in reversed(names[:-1]):
        data = {name: data}
    return data


def _value(text: str) -> Any:
    """Return the TOML value that `text` writes, else the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, tables key by key."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _completed(config: type[CostPart], data: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the tables of `data` up with the defaults of the part or mapping that they override."""
    result = dict(data)
    for key, value in data.items():
        field = config.model_fields.get(key)
        if field is None or not isinstance(value, Mapping):
            continue
        default = field.get_default(call_default_factory=True)
        if isinstance(default, CostPart):
            result[key] = _merged(default.model_dump(), value)
        elif isinstance(default, Mapping):
            result[key] = _merged(
                {k: v.model_dump() if isinstance(v, CostPart) else v for k, v in default.items()},
                value,
            )
    return result
