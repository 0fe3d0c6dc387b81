"""Which operands are spike tensors: the one place that every count and estimator asks.

By value: a tensor that is not constant and holds only 0 and 1 (or what `spikes` allows). By
provenance: the recorder marks what neurons, comparisons, bool tensors and declared tensors made,
and what copies, views and the like carried on. A constant tensor (all zeros, all ones: an empty
event frame, the initial state of a recurrent layer, the gradient of a sum) proves nothing by
itself. It is what the same operand of the same module is in its other calls of the trace; where
those are silent, what the larger value is of which it is a part; else it is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError, SpikeClass
from ..rules import RULE_SETS
from ..rules.call import FLAGGED, call_of
from ..trace.files import collected

if TYPE_CHECKING:
    from ..trace.trace import Trace

_BITS = {
    "binary": SpikeClass.BINARY,
    "ternary": SpikeClass.TERNARY,
    "scaled": SpikeClass.SCALED,
    "graded": SpikeClass.WHOLE,
}

SPIKE_MODES = (*_BITS, "none")
"""Settings: {0, 1}, {-1, 0, 1}, {0, a}, whole numbers; none: every tensor is dense."""

SLOTS = FLAGGED[:-1]
"""Operands whose spikes decide about a product or a sum."""


def check_spikes(mode: str, allowed: Sequence[str] = SPIKE_MODES) -> None:
    """Refuse an unknown setting.

    Args:
        mode: the setting.
        allowed: those that fit the question.

    Raises:
        ConfigError: it is not one of `SPIKE_MODES`, or not allowed.
    """
    if mode not in SPIKE_MODES:
        raise ConfigError(f"unknown spikes={mode!r}: expected one of {', '.join(SPIKE_MODES)}")
    if mode not in allowed:
        raise ConfigError(
            f"spikes={mode!r} is not available in this model and revision: expected "
            f"{' or '.join(allowed)}"
        )


def spike_expr(prefix: str, mode: str = "binary", by_values_only: bool = False) -> pl.Expr:
    """Return whether an operand is a spike tensor, by its values and its provenance alone.

    Args:
        prefix: of the columns: `in0` reads `in0_class`; "" reads `class`.
        mode: one of `SPIKE_MODES`; bool tensors are binary by their type.
        by_values_only: take constants for what their values are, as SpikingJelly does.

    Returns:
        A boolean expression; null where the class was not measured (False in mode "none").

    Raises:
        ConfigError: unknown mode.
    """
    check_spikes(mode)
    if mode == "none":
        return pl.lit(False)
    fits = (_class(prefix) & int(_BITS[mode])) != 0
    return fits if by_values_only else fits & ~_undecided(prefix)


def constant_expr(prefix: str, mode: str = "binary") -> pl.Expr:
    """Return whether an operand is a constant whose values alone would make it a spike tensor."""
    if mode == "none":
        return pl.lit(False)
    known, constant = _class(prefix), int(SpikeClass.CONSTANT)
    return ((known & int(_BITS[mode])) != 0) & ((known & constant) != 0)


def with_spikes(
    trace: Trace,
    slots: Sequence[str] = SLOTS,
    mode: str = "binary",
    *,
    by_values_only: bool = False,
    calls: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """Return the calls of a trace with what their operands are.

    Args:
        trace: the trace; evidence about constants comes from all of it, however it was narrowed.
        slots: of `FLAGGED`.
        mode: one of `SPIKE_MODES`.
        by_values_only: take constants for what their values are.
        calls: the calls to look at, with `{slot}_class`; by default those of the trace.

    Returns:
        The calls with `{slot}_spikes` (null: not measured) and `{slot}_decided` (it is a constant
        that something other than its values decided about) for each slot.
    """
    calls = trace.calls if calls is None else calls
    plain = {slot: spike_expr(slot, mode, by_values_only) for slot in slots}
    nothing = {f"{slot}_decided": pl.lit(False) for slot in slots}
    if by_values_only or mode == "none":
        return calls.with_columns(**{f"{slot}_spikes": plain[slot] for slot in slots}, **nothing)
    joined: list[str] = []
    for frame, keys in zip(_evidence(trace, mode), (_WHERE, ("rank", "seq")), strict=True):
        if frame.height:
            calls = calls.join(frame.lazy(), on=list(keys), how="left")
            joined += [name for name in frame.columns if name not in keys]
    columns = {}
    for slot in slots:
        known = [name for name in joined if name.startswith(f"{slot}_")]
        evident = pl.coalesce(*known, pl.lit(False)) if known else pl.lit(False)
        opened = _undecided(slot) & constant_expr(slot, mode)
        columns[f"{slot}_spikes"] = pl.when(opened).then(evident).otherwise(plain[slot])
        columns[f"{slot}_decided"] = constant_expr(slot, mode).fill_null(False)
    return calls.with_columns(**columns).drop(joined)


_WHERE = ("rank", "module_id", "stage", "signature_id")
"""What tells the operands of a module apart."""


def _class(prefix: str) -> pl.Expr:
    return pl.col(f"{prefix}_class" if prefix else "class")


def _undecided(prefix: str) -> pl.Expr:
    """Return whether an operand is constant and its provenance unknown."""
    known = _class(prefix)
    constant, events = int(SpikeClass.CONSTANT), int(SpikeClass.EVENTS)
    return ((known & constant) != 0) & ((known & events) == 0)


def _evidence(trace: Trace, mode: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what undecided constants are, derived once from the whole trace.

    Returns:
        `_WHERE` and `{slot}_others` (from the module's other calls), and `rank`, `seq` and
        `{slot}_larger` (from the value that an operand is a part of); both only for operands that
        are undecided somewhere.
    """
    key = ("spike evidence", mode)
    if key not in trace.facts:
        trace.facts[key] = _derived(trace.whole, mode)
    found: tuple[pl.DataFrame, pl.DataFrame] = trace.facts[key]
    return found


def _derived(trace: Trace, mode: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    asking = _asking(trace)
    slots = [slot for slot in SLOTS[:3] if asking[slot].any()]
    calls = trace.calls.join(
        asking.filter(pl.any_horizontal(pl.lit(False), *slots)).lazy(), on=["rank", "signature_id"]
    )
    sums = []
    for slot in slots:
        asked, opened = pl.col(slot), _undecided(slot).fill_null(False)
        fits = spike_expr(slot, mode)
        sums += [
            (asked & opened & constant_expr(slot, mode)).sum().alias(f"{slot}_open"),
            (asked & ~opened & fits.is_not_null()).sum().alias(f"{slot}_known"),
            (asked & ~opened & fits.fill_null(False)).sum().alias(f"{slot}_fit"),
        ]
    if not sums:
        return pl.DataFrame(), pl.DataFrame()
    groups = collected(calls.group_by(*_WHERE, "packet").agg(sums), trace)
    opened = pl.any_horizontal(pl.col(f"{slot}_open") > 0 for slot in slots)
    if groups.filter(opened).is_empty():
        return pl.DataFrame(), pl.DataFrame()
    judged = groups.with_columns(**_judged(slots)).filter(opened).sort(_WHERE)
    by_module = judged.select(*_WHERE, *(f"{slot}_others" for slot in slots))
    silent = pl.any_horizontal(
        (pl.col(f"{slot}_open") > 0) & pl.col(f"{slot}_others").is_null() for slot in slots
    )
    return by_module, _by_larger_value(trace, judged.filter(silent), slots, mode)


def _judged(slots: Sequence[str]) -> dict[str, pl.Expr]:
    """Return for each slot what the module's other calls say: of one signature, else of one op.

    They say something if they agree; calls outside every module say nothing.
    """
    found = {}
    for slot in slots:
        verdicts = []
        for over in (None, ("rank", "module_id", "stage", "packet")):
            known, fit = pl.col(f"{slot}_known"), pl.col(f"{slot}_fit")
            if over:
                known, fit = known.sum().over(over), fit.sum().over(over)
            agree = (known > 0) & ((fit == known) | (fit == 0))
            verdicts.append(pl.when(agree & pl.col("module_id").is_not_null()).then(fit > 0))
        found[f"{slot}_others"] = pl.coalesce(verdicts)
    return found


def _by_larger_value(
    trace: Trace, silent: pl.DataFrame, slots: Sequence[str], mode: str
) -> pl.DataFrame:
    """Return `rank`, `seq` and `{slot}_larger` (true) of undecided operands in a spike tensor."""
    if silent.is_empty():
        return pl.DataFrame()
    parts = trace.values.filter(pl.col("base_value_id").is_not_null()).select(
        "rank", "value_id", "base_value_id"
    )
    larger = trace.values.select("rank", "class", base_value_id="value_id")
    calls = trace.calls.join(
        silent.lazy().select(_WHERE), on=list(_WHERE), how="semi", nulls_equal=True
    )
    found = []
    for slot in slots:
        opened = calls.filter(_undecided(slot) & constant_expr(slot, mode)).select(
            "rank", "seq", value_id=f"{slot}_value"
        )
        proof = opened.join(parts, on=["rank", "value_id"]).join(
            larger, on=["rank", "base_value_id"]
        )
        known = collected(
            proof.filter(~_undecided("") & spike_expr("", mode)).select(
                "rank", "seq", pl.lit(True).alias(f"{slot}_larger")
            ),
            trace,
        )
        found.append(known.drop_nulls().unique(["rank", "seq"]))
    together = found[0]
    for each in found[1:]:
        together = together.join(each, on=["rank", "seq"], how="full", coalesce=True)
    return together


def _asking(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id`, `packet` and for each slot whether spikes in it change counts.

    Asked of the rules themselves: a slot matters if the figures of a call change with it.
    """
    rules = RULE_SETS["full"]
    rows = []
    for signature in trace.signatures.iter_rows(named=True):
        present = {f"{o['role']}{o['slot']}" for o in signature["operands"] or ()}
        row = [slot in present and _matters(rules, signature, slot) for slot in SLOTS]
        rows.append((signature["rank"], signature["signature_id"], signature["packet"], *row))
    schema: dict[str, Any] = {"rank": pl.Int32, "signature_id": pl.Int32, "packet": pl.String}
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(SLOTS, pl.Boolean), orient="row")


def _matters(rules: Any, signature: dict[str, Any], slot: str) -> bool:
    try:
        for others in (False, True):
            flags: dict[str, bool | None] = dict.fromkeys(FLAGGED, others)
            one = rules.figures(call_of(signature, flags))
            if rules.figures(call_of(signature, flags | {slot: not others})) != one:
                return True
    except Exception:  # a damaged signature: counting it says what is wrong
        return False
    return False
