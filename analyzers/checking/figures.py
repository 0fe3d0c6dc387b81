"""The figures that conditions and limits may name, and the units that each of them takes."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from fractions import Fraction

from ...schemas import ConfigError
from ...schemas.spelling import meant
from ..counting.evaluate import COUNTERS

COUNTED = ("calls", *COUNTERS)
"""Figures that are counted."""

ENERGY = "energy."
"""Before the name of an estimator: its figure, in pJ."""

TWIN_RATIO = "twin_ratio"
"""Energy of a spiking network by its quantized twin's, see `breakeven`; `.MACHINE` may follow."""

TWIN_MACHINE = "yan-dram"
"""The machine of a comparison with the twin that names none."""

NAME = r"(?:(?:energy\.machine|twin_ratio)\..+?\.toml|[\w.-]*\w)"
"""A figure, as a regular expression; the file of a machine may be any path."""

NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?"
"""A number without a sign, as a regular expression; to be read without regard to case."""

UNIT = r"[a-zµμ]*"
"""A unit of any figure, as a regular expression; to be read without regard to case."""

_PREFIXES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MICRO = ("uJ", "µJ", "μJ")  # as typed, the micro sign, the Greek letter
_JOULES = {"pJ": 1, "nJ": 10**3, **dict.fromkeys(_MICRO, 10**6), "mJ": 10**9, "J": 10**12}


def check_figure(text: str, figure: str) -> None:
    """Refuse what is no figure.

    Args:
        text: what the user wrote, for the message.
        figure: the figure in it.

    Raises:
        ConfigError: there is no such figure or estimator; names the nearest.
    """
    if figure in COUNTED:
        return
    from ...schemas.costs.loading import CONFIGS, config_class  # what is counted needs no prices

    if figure.startswith(ENERGY):
        config_class(figure.removeprefix(ENERGY))
    elif (machine := machine_of(figure, TWIN_RATIO)) is not None:
        check_machine(machine)
    else:
        near = meant(figure, (*COUNTED, TWIN_RATIO, *(ENERGY + name for name in CONFIGS)))
        raise ConfigError(
            f"{text!r}: no figure {figure!r}: {near}choose from {', '.join(COUNTED)}, "
            f"energy.ESTIMATOR, {TWIN_RATIO}."
        )


def machine_of(figure: str, name: str) -> str | None:
    """Return the machine that a figure of `breakeven` names, "" if none; None: it is another one.

    Args:
        figure: "twin_ratio", "twin_ratio.loihi", ...
        name: of the figure, without a machine.
    """
    own, _, machine = figure.partition(".")
    return machine if own == name else None


def check_machine(name: str) -> None:
    """Refuse a machine that there is not; "" names none.

    Raises:
        ConfigError: no such machine; names the nearest.
    """
    if name:
        from ...schemas.costs import load_machine

        load_machine(name)


def quantity(text: str, figure: str, number: str, unit: str) -> Fraction:
    """Return a number with its unit in the figure's own unit: ("1.5", "G") is 1,500,000,000.

    Numbers take k, M, G, T, P; of bytes B, KiB, MiB, GiB, TiB too; energies are in pJ, or take pJ,
    nJ, uJ, mJ, J.

    Args:
        text: what the user wrote, for the message.
        figure: what it is of.
        number: fits `NUMBER`.
        unit: fits `UNIT`; "" is the figure's own.

    Raises:
        ConfigError: the figure has no such unit.
    """
    if machine_of(figure, TWIN_RATIO) is not None:
        units: Mapping[str, int] = {}
    elif figure.startswith(ENERGY):
        units = _JOULES
    else:
        units = {**_PREFIXES, **(_BYTES if figure == "bytes" else {})}
    if unit and not units:
        raise ConfigError(f"{text!r}: {figure} has no unit: write a number alone.")
    if unit and unit not in units:
        known = ", ".join(name for name in units if name not in _MICRO[1:])
        raise ConfigError(f"{text!r}: {unit!r} is not a unit of {figure}: choose from {known}.")
    return finite(text, Fraction(number) * (units[unit] if unit else 1))


def finite(text: str, value: Fraction) -> Fraction:
    """Return a number that a figure can be compared with.

    Args:
        text: what the user wrote, for the message.
        value: the number in it.

    Raises:
        ConfigError: it is larger than any figure.
    """
    if value > sys.float_info.max:
        raise ConfigError(f"{text!r}: the number is larger than any figure: at most 1e308.")
    return value


def rate(name: str, told: str | float, unit: str) -> float:
    """Return a rate from a number or from text: "3.35T", "3.35 TB/s".

    Args:
        name: what it is, for the message.
        told: what the user said.
        unit: what may stand behind the prefix, as "B/s".

    Raises:
        ConfigError: it is no positive number, or has another unit.
    """
    match = re.fullmatch(rf"\s*({NUMBER})\s*([^\s0-9.]\S*)?\s*", str(told), re.IGNORECASE)
    prefix = (match[2] or "").removesuffix(unit) if match else ""
    if match is None or Fraction(match[1]) == 0:
        raise ConfigError(f"{name} {told!r}: write a number above 0, as 3.35T or 3.35e12")
    if prefix and prefix not in _PREFIXES:
        known = ", ".join(_PREFIXES)
        raise ConfigError(
            f"{name} {told!r}: {match[2]!r} is not one of {known}, with or without {unit}"
        )
    value = Fraction(match[1]) * (_PREFIXES[prefix] if prefix else 1)
    return float(finite(f"{name} {told}", value))
