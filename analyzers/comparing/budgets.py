"""Conditions under which a comparison fails: `flops>+0%`, `energy.lemaire>+5%`, `macs>1e9`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ..checking.figures import NAME, NUMBER, UNIT, check_figure, finite, quantity

if TYPE_CHECKING:
    from .compare import Comparison
    from .diff import Total

_CONDITION = re.compile(
    rf"\s*(?P<figure>{NAME})\s*(?P<than>[<>]=?)\s*(?P<sign>[+-]?)"
    rf"(?P<number>{NUMBER})\s*(?P<unit>%|{UNIT})\s*",
    re.IGNORECASE,
)
_HOW = "write FIGURE>+5%, FIGURE>+1e6 or FIGURE>1e9"
_CULPRITS = 3


@dataclass(frozen=True)
class Budget:
    """One condition, read.

    Attributes:
        text: as the user wrote it.
        figure: what it is of.
        than: >, >=, < or <=.
        limit: a share of base if `relative`, else a number in the figure's unit (pJ for energies).
        of: "relative" or "difference": head - base against it; "head": the total of head.
    """

    text: str
    figure: str
    than: str
    limit: Fraction
    of: str


@dataclass(frozen=True)
class Failure:
    """A condition that is met, so that the comparison fails.

    Attributes:
        budget: the condition.
        total: the figure.
        why: what is the matter, in words.
        culprits: the rows that are most to blame, biggest first: `module`, `op`, `stage`, `amount`
            (a difference, or if HEAD is above a limit without having grown, a figure), `reason`.
    """

    budget: Budget
    total: Total
    why: str
    culprits: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as plain data, ready for JSON."""
        return {
            "condition": self.budget.text,
            "why": self.why,
            **asdict(self.total),
            "culprits": self.culprits.to_dicts(),
        }


def budget(text: str) -> Budget:
    """Read a condition: a figure, `>`, `>=`, `<` or `<=`, and a limit.

    `+5%` and `-5%` (and `5%`) compare the difference with base; `+1e6` and `-1e6` the difference
    with a number; `1e9` the total of head. For units see `checking.figures.quantity`.

    Raises:
        ConfigError: it is no condition, or of a figure that there is not.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(f"invalid condition {text!r}: {_HOW}.")
    figure, unit = match["figure"], match["unit"]
    check_figure(text, figure)
    if unit == "%":
        limit = finite(text, Fraction(match["number"])) / 100
    else:
        limit = quantity(text, figure, match["number"], unit)
    of = "relative" if unit == "%" else "difference" if match["sign"] else "head"
    return Budget(
        text.strip(), figure, match["than"], -limit if match["sign"] == "-" else limit, of
    )


def check(comparison: Comparison, condition: Budget) -> Failure | None:
    """Return why a comparison fails a condition; None if it does not.

    Raises:
        ConfigError: its figure was not compared.
    """
    figure = condition.figure
    if figure not in comparison.total:
        raise ConfigError(
            f"{condition.text!r}: {figure!r} was not compared; there are "
            f"{', '.join(comparison.total)}."
        )
    total = comparison.total[figure]
    met = _met(condition, total)
    if met is False:
        return None
    why = "" if met else "it is unknown for calls of one side"
    return Failure(condition, total, why, _culprits(comparison, condition, total))


def _met(condition: Budget, total: Total) -> bool | None:
    """Tell whether a condition is met; None: what it asks for is not known."""
    value = total.head if condition.of == "head" else total.difference
    if value is None or total.base is None:
        return None
    limit = condition.limit * (Fraction(total.base) if condition.of == "relative" else 1)
    exact = Fraction(value)
    return {
        ">": exact > limit, ">=": exact >= limit, "<": exact < limit, "<=": exact <= limit
    }[condition.than]  # fmt: skip


def _culprits(comparison: Comparison, condition: Budget, total: Total) -> pl.DataFrame:
    """Return the rows that moved the total to where it fails; if none did, the largest of head."""
    changes = comparison.changes(condition.figure)
    grown = condition.than.startswith(">")
    moved = pl.col("difference") > 0 if grown else pl.col("difference") < 0
    blamed = changes.filter(moved | pl.col("difference").is_null())
    columns = ("module", "op", "stage", "amount", "reason")
    if blamed.height or not grown or condition.figure in comparison.twins:
        return blamed.rename({"difference": "amount"}).select(columns).head(_CULPRITS)
    head = f"{condition.figure}_head"
    largest = comparison.rows.sort(head, descending=True, nulls_last=True).head(_CULPRITS)
    return largest.filter(pl.col(head) > 0).select(
        "module", "op", "stage", amount=head, reason=pl.lit("largest, not grown")
    )
