"""Limits, read from text: `flops=1G`, `energy.lemaire=5 uJ/sample`, `synops=2M@encoder.*`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ...schemas import ConfigError
from ...schemas.several import texts
from .figures import NAME, NUMBER, TWIN_RATIO, UNIT, check_figure, machine_of, quantity

Limits = str | Mapping[str, str | int | float] | Sequence[str]
"""How limits are given: texts, or limits by figure."""

_LIMIT = re.compile(
    rf"\s*(?P<figure>{NAME})\s*=\s*(?P<number>{NUMBER})\s*(?P<unit>{UNIT})\s*"
    r"(?P<each>/\s*\w+\s*)?(?:@\s*(?P<modules>\S.*?)\s*)?",
    re.IGNORECASE,
)
_HOW = "write FIGURE=1G, energy.ESTIMATOR=5uJ/sample or FIGURE=2M@MODULE"


@dataclass(frozen=True)
class Limit:
    """One limit, read.

    Attributes:
        text: as the user wrote it.
        figure: what it is of.
        most: the largest value that is within it, in the figure's unit (pJ for energies).
        per_sample: it is of one sample.
        modules: the glob of the modules that it is of, each by itself; None: of everything.
    """

    text: str
    figure: str
    most: Fraction
    per_sample: bool = False
    modules: str | None = None


def limit(text: str) -> Limit:
    """Read a limit: a figure, `=`, a number with its unit, `/sample`, and `@` a glob of modules.

    Raises:
        ConfigError: it is no limit, or of a figure or in a unit that there is not.
    """
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ConfigError(f"invalid limit {text!r}: {_HOW}.")
    figure, each = match["figure"], (match["each"] or "").removeprefix("/").strip()
    check_figure(text, figure)
    if each not in ("", "sample"):
        raise ConfigError(f"{text!r}: a limit is of everything or /sample, not /{each}.")
    if each and machine_of(figure, TWIN_RATIO) is not None:
        raise ConfigError(f"{text!r}: {TWIN_RATIO} is of one sample already: leave out /sample.")
    most = quantity(text, figure, match["number"], match["unit"])
    return Limit(text.strip(), figure, most, bool(each), match["modules"])


def limits_of(given: Limits) -> list[Limit]:
    """Read limits: one text, several, or a mapping from figures to limits.

    Raises:
        ConfigError: there is none, or one means nothing.
    """
    found = list(_texts(given))
    if not found:
        raise ConfigError(f"nothing to check: {_HOW}.")
    return [limit(text) for text in found]


def _texts(given: Limits) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield from map(str, texts(given))
        return
    for figure, most in given.items():
        yield f"{figure}={most}"
