"""The columns of a table of networks: which there are, their headings, and the text of a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ...schemas import ConfigError
from ...schemas.costs import config_class
from ...schemas.spelling import meant
from ..checking.figures import TWIN_MACHINE, check_machine, machine_of
from ..energy.estimators import ESTIMATORS
from ..units import (
    AT_LEAST,
    count_text,
    deviating_text,
    figure_text,
    quotient_sign,
    rate_text,
    ratio_text,
    scale_of,
    scaled_text,
    share_text,
)

ENERGY, RATIO = "energy.", "ratio."
MACHINE = f"{ENERGY}machine."

COUNTED = {"flops": "FLOP", "macs": "MAC", "acs": "AC", "synops": "SynOp", "bytes": "Bytes",
           "dense_macs": "Dense MAC"}  # fmt: skip
SAMPLED = {"samples": "Samples", "time_steps": "T", "batch": "Batch"}
FIRED = {"rate": "Firing rate", "activation_sparsity": "Activation sparsity"}
RATED = {**FIRED, "effective_macs": "Effective MAC", "effective_acs": "Effective AC"}
TWINNED = {"twin_ratio": "Energy by its twin's", "input_rate": "Rate of input spikes",
           "breakeven_rate": "Wins below an input rate of"}  # fmt: skip
"""Figures of `breakeven`; `.MACHINE` after one of them names the machine. The rate is that of the
layers' inputs, weighted by their dense MACs, and not the neurons' firing rate."""
COLUMNS = (
    *SAMPLED, *RATED, *COUNTED, "accuracy", *(f"energy.{name}" for name in ESTIMATORS), *TWINNED
)  # fmt: skip
"""What a table can show; `ratio.` before one of them: by its value in the first row."""

_SCALED = (*COUNTED, "effective_macs", "effective_acs")
"""Counts that may be large."""

NONE = "-"
"""Stands for what a network does not have, such as a firing rate without neurons."""

DEFAULT = (*SAMPLED, "rate", "flops", "macs", "acs", "synops")


def checked(columns: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Return columns, each once.

    Args:
        columns: of `COLUMNS`, of machines, and ratios.
        given: columns of the user's own.

    Raises:
        ConfigError: there is no such column.
    """
    known = (*COLUMNS, *given)
    for column in columns:
        if bare(column).startswith(MACHINE):
            config_class(bare(column).removeprefix(ENERGY))
        elif machines_of(bare(column)):
            check_machine(bare(column).partition(".")[2])
        elif bare(column) == "accuracy" and "accuracy" not in given:
            raise ConfigError("no column 'accuracy': no accuracy was told, as --accuracy SNN=0.93")
        elif bare(column) not in known:
            near = meant(bare(column), known)
            raise ConfigError(f"no column {column!r}: {near}there are {', '.join(known)}")
    return list(dict.fromkeys(columns))


def estimators_of(columns: Iterable[str]) -> list[str]:
    """Return the estimators, and the machines that columns name."""
    named = (name for name in map(bare, columns) if name.startswith(MACHINE))
    machines = (name.removeprefix(ENERGY) for name in named)
    return [*ESTIMATORS, *dict.fromkeys(machines)]


def machines_of(column: str) -> list[str]:
    """Return the machine on which a column stands beside the twin; none: it is another column."""
    named = (machine_of(column, name) for name in TWINNED)
    return [machine or TWIN_MACHINE for machine in named if machine is not None]


def energy_of(estimator: str) -> str:
    """Return the name of the column of an estimator's energy."""
    return f"{ENERGY}{estimator}"


def bare(column: str) -> str:
    """Return the column that a ratio is of, or the column itself."""
    return column.removeprefix(RATIO)


def title_of(column: str) -> str:
    """Return the heading of a column."""
    if column.startswith(RATIO):
        return f"{title_of(bare(column))}, ratio"
    if column.startswith(ENERGY):
        return f"Energy, {column.removeprefix(ENERGY)}"
    for machine in machines_of(column):
        title = TWINNED[column.partition(".")[0]]
        return f"{title} ({machine})" if "." in column else title
    known = {**SAMPLED, **RATED, **COUNTED, "accuracy": "Accuracy", "network": "Network"}
    return known.get(column, column)


def cell_text(column: str, value: Any, deviation: float | None) -> str:
    """Return a value of a column with its unit, and its deviation if it is known."""
    if value is None:
        return "" if column == "accuracy" else NONE
    if isinstance(value, str | bool):
        return str(value)
    if deviation is not None and _shown(column) is share_text:
        return share_text(value, deviation)
    if deviation is not None:
        return deviating_text(column, value, deviation)
    return _shown(column)(value)


def cells_of(
    column: str,
    values: Sequence[Any],
    deviations: Sequence[float | None],
    bounds: Sequence[Collection[str]] = (),
) -> tuple[str, list[str]]:
    """Return the heading of a column, with the unit that its figures are in, and its cells.

    Args:
        column: its name.
        values: a value for each network.
        deviations: of the values; None: not known.
        bounds: the columns of each network that are lower bounds: they have a sign.
    """
    title, texts = _cells(column, values, deviations)
    if not bounds:
        return title, texts
    signs = [_sign(column, each, bounds[0]) for each in bounds]
    return title, [
        text if value is None else sign + text
        for text, value, sign in zip(texts, values, signs, strict=True)
    ]


def _sign(column: str, bounds: Collection[str], first: Collection[str]) -> str:
    counter = bare(column)
    if column == counter:
        return AT_LEAST if counter in bounds else ""
    return "" if bounds is first else quotient_sign(counter in bounds, counter in first)


def _cells(
    column: str, values: Sequence[Any], deviations: Sequence[float | None]
) -> tuple[str, list[str]]:
    title, show = title_of(column), _shown(column)
    texts = [cell_text(column, *each) for each in zip(values, deviations, strict=True)]
    if show is share_text:
        return f"{title} (%)", [text.removesuffix(" %") for text in texts]
    if column not in _SCALED and not column.startswith(ENERGY):
        return title, texts
    known = [value for value in values if value is not None]
    scale = scale_of(column, max(map(abs, known), default=0.0))
    if column in _SCALED and column != "bytes" and all(map(_exact, known)):
        return title, texts
    shown = [
        text if value is None else scaled_text(value, deviation, scale)
        for text, value, deviation in zip(texts, values, deviations, strict=True)
    ]
    return f"{title} ({scale.unit})" if scale.unit else title, shown


def unit_of(column: str) -> str | None:
    """Return the unit of a column's numbers in data; None: they are counts, ratios or a user's."""
    if column.startswith(ENERGY):
        return "pJ"
    if _shown(column) in (share_text, rate_text):
        return "share"
    return "B" if column == "bytes" else None


def _exact(value: float) -> bool:
    """Return whether a count is shown to the last digit."""
    return ("." not in (text := count_text(value))) and " " not in text


def _shown(column: str) -> Callable[[Any], str]:
    if column.startswith(RATIO):
        return ratio_text
    if machines_of(column):
        if column.startswith("twin_ratio"):
            return ratio_text
        return rate_text if column.startswith("breakeven_rate") else share_text
    if column in ("rate", "activation_sparsity", "accuracy"):
        return share_text
    if column.startswith(ENERGY) or column in COUNTED:
        return figure_text(column)
    return count_text if column in (*SAMPLED, *RATED) else lambda value: f"{value:g}"
