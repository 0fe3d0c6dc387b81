"""Figures for people: three digits and a unit that fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

_UP = ("", "k", "M", "G", "T", "P", "E")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_JOULES = ("pJ", "nJ", "µJ", "mJ", "J", "kJ", "MJ")
_SECONDS = ("ps", "ns", "µs", "ms", "s")
_SIZES = {
    unit: float(base**power)
    for units, base in ((_UP, 1000), (_JOULES, 1000), (_BYTES, 1024))
    for power, unit in enumerate(units)
}
"""How many of a figure's own unit (1, pJ, B) make each unit."""
_LEAST = 1e-4
"""A deviation below this share of its figure is shown as 0."""
UNKNOWN = "?"
"""Stands for an unknown figure; never 0."""
AT_LEAST = "≥ "
"""Stands before a lower bound: of some of its calls the figure is not known."""


def count_text(value: float | None, unit: str = "") -> str:
    """Return a count with an SI prefix: 1_820_000_000 as "1.82 G"; exact below 10,000."""
    return _scaled(value, 1000, tuple(f"{prefix}{unit}" for prefix in _UP), exact=10_000)


def number_text(count: int, noun: str) -> str:
    """Return a number with its noun: "1 call", "1,234 calls"."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def bytes_text(value: float | None) -> str:
    """Return bytes with a binary unit: 1_572_864 as "1.50 MiB"."""
    return _scaled(value, 1024, _BYTES, exact=1024)


def energy_text(value_pj: float | None) -> str:
    """Return picojoules in the unit that fits: 12_300_000 as "12.3 µJ"."""
    return _scaled(value_pj, 1000, _JOULES, exact=0)


def time_text(value_s: float | None) -> str:
    """Return seconds in the unit that fits: 0.0012 as "1.20 ms"."""
    return _scaled(None if value_s is None else value_s * 1e12, 1000, _SECONDS, exact=0)


def ratio_text(value: float | None) -> str:
    """Return a plain ratio with three digits."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return "0" if value == 0 else _digits(value)


def quotient_sign(above: bool, below: bool) -> str:
    """Return what stands before a quotient if what is above or below is a lower bound."""
    signs = {(True, False): AT_LEAST, (False, True): "≤ ", (True, True): "~ "}
    return signs.get((above, below), "")


def share_text(share: float | None, deviation: float | None = None) -> str:
    """Return a share of 1, and its deviation if it is known, in percent: "6.92 ± 0.31 %"."""
    if share is None or math.isnan(share):
        return UNKNOWN
    text = f"{100 * share:.1f}"
    return f"{text if deviation is None else _deviating(100 * share, 100 * deviation, text)} %"


def rate_text(rate: float | None) -> str:
    """Return the text of a rate below which a network wins; no rate is below 0."""
    return "never" if rate == 0 else share_text(rate)


def figure_text(figure: str) -> Callable[[Any], str]:
    """Return what makes the text of values of a figure: "flops", "energy.compute", ..."""
    if figure.startswith("energy."):
        return energy_text
    if figure.partition(".")[0] == "twin_ratio":
        return ratio_text
    return bytes_text if figure == "bytes" else count_text


def deviating_text(figure: str, value: float | None, deviation: float) -> str:
    """Return a figure and its deviation in the unit of the figure: "8.74 ± 0.42 µJ".

    The deviation has two digits, the figure at least three and as many as its deviation needs;
    below a ten-thousandth of the figure the deviation is 0.
    """
    number, _, unit = figure_text(figure)(value).partition(" ")
    if number == UNKNOWN:
        return UNKNOWN
    size = _SIZES.get(unit, 1.0)
    return f"{_deviating((value or 0) / size, deviation / size, number)} {unit}".rstrip()


class Scale(NamedTuple):
    """A unit for all figures of an axis: its name, and how many of the figures' own make one."""

    unit: str
    size: float


def scale_of(figure: str, largest: float) -> Scale:
    """Return the unit in which the largest of some figures reads best; energies are in pJ."""
    units, base = (_UP, 1000)
    if figure.startswith("energy."):
        units = _JOULES
    elif figure == "bytes":
        units, base = _BYTES, 1024
    power = _power(largest, base, units) if math.isfinite(largest) else 0
    return Scale(units[power], float(base**power))


def scaled_text(value: float, deviation: float | None, scale: Scale) -> str:
    """Return a figure, and its deviation if it is known, in a unit: "8.74 ± 0.42"."""
    if math.isnan(value):
        return UNKNOWN
    text = "0" if value == 0 else _digits(value / scale.size)
    if deviation is None:
        return text
    return _deviating(value / scale.size, deviation / scale.size, text)


def bar(share: float | None, width: int = 10) -> str:
    """Return a bar of `width` cells, filled by `share` in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share or 0.0)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (chr(0x2590 - part) if part else "")).ljust(width)


def _scaled(value: float | None, base: int, units: tuple[str, ...], exact: int) -> str:
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if abs(value) < exact and float(value).is_integer():
        return f"{int(value):,} {units[0]}".rstrip()
    power = _power(value, base, units)
    return f"{_digits(value / base**power)} {units[power]}".rstrip()


def _power(value: float, base: int, units: tuple[str, ...]) -> int:
    """Return the place of the unit in which a figure has at most three digits before the point."""
    power = 0
    while abs(float(f"{value:.3g}")) >= 1000 and power < len(units) - 1:
        value /= base
        power += 1
    return power


def _deviating(value: float, deviation: float, text: str) -> str:
    """Return a figure and its deviation, both to the second digit of the deviation.

    Args:
        value: the figure.
        deviation: its deviation, in the same unit.
        text: the figure as it is shown alone: so many digits it keeps.
    """
    if math.isnan(deviation) or deviation == 0 or deviation < _LEAST * abs(value):
        return f"{text} ± {UNKNOWN if math.isnan(deviation) else 0}"
    shown = float(f"{deviation:.2g}")
    digits = 1 - math.floor(math.log10(shown))
    spread = f"{shown:,.{max(0, digits)}f}"
    if value == 0 or "e" in text:
        return f"{text} ± {spread}"
    digits = max(digits, len(text.partition(".")[2]))
    return f"{round(value, digits):,.{max(0, digits)}f} ± {spread}"


def _digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent where one can do so."""
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    value = float(f"{value:.3g}")
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
