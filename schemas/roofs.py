"""Roofs: what a device computes and moves in a second at most, from its datasheet."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

from .costs.base import CostConfig, Positive
from .errors import ConfigError
from .spelling import meant
from .toml import path_text, toml_data, toml_text

Precision = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "any"]

_PREFIX = "roof-"


class Roof(CostConfig):
    """The peaks of one device."""

    title: str
    """What the device is called."""
    source: str
    """Where the figures stand."""
    bytes_per_s: Positive
    """Bandwidth of the memory, in bytes a second."""
    peaks_per_s: Mapping[Precision, Positive]
    """FLOP a second by precision, dense; `any` is of every precision that is not named."""

    def peak_per_s(self, precision: str) -> float | None:
        """Return the peak of a precision in FLOP a second; None: not known."""
        peaks = {str(name): peak for name, peak in self.peaks_per_s.items()}
        return peaks.get(precision, peaks.get("any"))


def roof_names() -> tuple[str, ...]:
    """Return the names of the devices that come with opjoule, sorted."""
    entries = files("opjoule.schemas").joinpath("presets").iterdir()
    names = (entry.name for entry in entries if entry.name.startswith(_PREFIX))
    return tuple(sorted(name.removeprefix(_PREFIX).removesuffix(".toml") for name in names))


def load_roof(device: str | os.PathLike[str]) -> Roof:
    """Return the roof of a device.

    Args:
        device: one of `roof_names`, or a TOML file with the fields of `Roof`.

    Raises:
        ConfigError: there is no such device or file, or a field is not allowed.
    """
    names = roof_names()
    name = path_text(device, "device")
    if name in names:
        file = files("opjoule.schemas").joinpath("presets", f"{_PREFIX}{name}.toml")
        return Roof(**tomllib.loads(file.read_text("utf-8")))
    if not name.endswith(".toml"):
        raise ConfigError(
            f"no device {name!r}: {meant(name, names)}choose from {', '.join(names)}, or name "
            "a .toml file, or tell peak and bandwidth."
        )
    content = toml_data(name, toml_text(name))
    try:
        return Roof(**content)
    except TypeError as error:  # a key that is no name
        raise ConfigError(f"{name}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
