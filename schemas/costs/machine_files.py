"""Machines by name, and from files that users write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from ..errors import ConfigError
from ..spelling import meant
from ..toml import path_text, toml_data, toml_text
from .machine import Machine, by_name

_PREFIX = "machine-"
_DEEPEST = 8


def machine_names() -> tuple[str, ...]:
    """Return the names of the machines that come with opjoule, sorted."""
    entries = files("opjoule.schemas").joinpath("presets").iterdir()
    names = (entry.name for entry in entries if entry.name.startswith(_PREFIX))
    return tuple(sorted(name.removeprefix(_PREFIX).removesuffix(".toml") for name in names))


def machine_text(told: str) -> str:
    """Return a machine as it is written, comments with the sources of its prices included.

    Args:
        told: the name of a machine that comes with opjoule, or a TOML file.

    Raises:
        ConfigError: there is no such machine or file, or it cannot be read.
    """
    names = machine_names()
    if told in names:
        file = files("opjoule.schemas").joinpath("presets", f"{_PREFIX}{told}.toml")
        return file.read_text("utf-8")
    if not told.endswith(".toml"):
        raise ConfigError(
            f"no machine {told!r}: {meant(told, names)}choose from {', '.join(names)}, or name a "
            ".toml file"
        )
    return toml_text(told)


def machine_data(told: str) -> dict[str, Any]:
    """Return what a machine file says, as plain data, with terms and memories by their names.

    Raises:
        ConfigError: see `machine_text`; it is not TOML, or a price has no unit.
    """
    data = toml_data(told, machine_text(told))
    _check_depth(told, data)
    for kind in ("term", "memory"):
        entries = data.get(kind, [])
        if not isinstance(entries, list):
            raise ConfigError(f"{told}: write each {kind} under its own [[{kind}]]")
        for place, entry in enumerate(entries, start=1):
            price = entry.get("price") if isinstance(entry, Mapping) else None
            if price is not None and not isinstance(price, str):
                name = entry.get("name", entry.get("quantity", place))
                raise ConfigError(
                    f"{told}: {kind} {name!r}: price = {price!r} has no unit: write it as text, "
                    f'"{price} pJ"'
                )
        try:
            data[kind] = by_name(entries)
        except ValueError as error:
            raise ConfigError(f"{told}: Machine.{kind}: {error}") from None
    return data


def load_machine(told: str | os.PathLike[str] | Machine) -> Machine:
    """Return a machine.

    Args:
        told: one of `machine_names`, a TOML file, or a machine.

    Raises:
        ConfigError: there is no such machine or file, or a field is not allowed; one line says
            which, and what is.
    """
    if isinstance(told, Machine):
        return told
    name = path_text(told, "machine")
    data = machine_data(name)
    try:
        return Machine(**data)
    except TypeError as error:  # a key that is no name
        raise ConfigError(f"{name}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def load_machines(
    given: str | os.PathLike[str] | Machine | Iterable[str | os.PathLike[str] | Machine],
) -> list[Machine]:
    """Return machines: the one that is given, or several, see `load_machine`."""
    if isinstance(given, str | os.PathLike | Machine):
        return [load_machine(given)]
    return [load_machine(each) for each in given]


def _check_depth(told: str, data: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ConfigError(f"{told}: nested deeper than a machine file is")
    below = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    for each in below:
        _check_depth(told, each, depth + 1)
