"""How both sides of a comparison stand beside their quantized twins: ratios do not add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ..checking.figures import TWIN_MACHINE, TWIN_RATIO, machine_of
from ..units import ratio_text, share_text
from .diff import Total, difference_of, total_between

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from .breakeven import Breakeven


@dataclass(frozen=True)
class Twinned:
    """The ratio to the twin on both sides.

    Attributes:
        total: of the whole networks.
        changes: of each layer whose ratio is another one, as `Comparison.changes` has them.
        base: the comparison of base with its twin.
        head: that of head.
    """

    total: Total
    changes: pl.DataFrame
    base: Breakeven
    head: Breakeven


def twinned(
    figure: str, base: Trace, head: Trace, names: Mapping[str, str], **options: Any
) -> Twinned:
    """Compare the ratio of each side to its quantized twin.

    Args:
        figure: "twin_ratio", or with a machine "twin_ratio.MACHINE".
        base: what is compared with.
        head: what is new.
        names: path of a module in base -> its path in head.
        **options: see `breakeven`.

    Raises:
        ConfigError: there is no such machine, or it charges nothing of the twin.
        TraceError: samples or time steps are not known, or spikes were not measured.
    """
    from .breakeven import breakeven  # machines are loaded where a twin is asked for

    machine = machine_of(figure, TWIN_RATIO) or TWIN_MACHINE
    one, two = (breakeven(trace, machine=machine, **options) for trace in (base, head))
    changes = _changes(_layers(one, names), _layers(two, {}))
    return Twinned(total_between(figure, "", one.ratio, two.ratio), changes, one, two)


def _layers(found: Breakeven, names: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    from .breakeven import OTHERS

    if found.ratio is None:
        return {}
    return {
        names.get(row["layer"], row["layer"]): row
        for row in found.frame.tail(-1).iter_rows(named=True)
        if row["layer"] != OTHERS
    }


def _changes(
    base: Mapping[str, Mapping[str, Any]], head: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    rows = []
    for layer in dict.fromkeys((*head, *base)):
        one, two = base.get(layer, {}), head.get(layer, {})
        difference = difference_of(one.get("ratio"), two.get("ratio"))
        mark = "added" if not one else "removed" if not two else "changed"
        if difference != 0:
            ratios = (one.get("ratio"), two.get("ratio"))
            alone = "one side has no such layer, or no spikes"
            reason = _reason(one, two) if one and two else alone
            rows.append((layer, None, None, mark, *ratios, difference, None, reason))
    rows.sort(key=lambda row: (row[6] is not None, -abs(row[6] or 0)))
    text = dict.fromkeys(("module", "op", "stage", "mark"), pl.String)
    numbers = dict.fromkeys(("base", "head", "difference", "share"), pl.Float64)
    schema: dict[str, Any] = {**text, **numbers, "reason": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _reason(one: Mapping[str, Any], two: Mapping[str, Any]) -> str:
    """Return what is another one: the rate of spikes, or how the energies grew."""
    if one["rate"] != two["rate"]:
        return f"spike rate {share_text(one['rate'])} -> {share_text(two['rate'])}"
    grown: Sequence[float | None] = [
        two[name] / one[name] if one[name] else None for name in ("energy_pj", "twin_pj")
    ]
    return f"energy x {ratio_text(grown[0])}, the twin's x {ratio_text(grown[1])}"
