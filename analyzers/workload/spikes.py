"""Which operands are spike tensors: the one place that every count and estimator asks.

By value: a tensor that is not constant and holds only 0 and 1 (or what `spikes` allows). By
provenance: the recorder marks what neurons, comparisons, bool tensors and declared tensors made,
and what copies, views and the like carried on. A constant tensor (all zeros, all ones: an empty
event frame, the initial state of a recurrent layer, the gradient of a sum) proves nothing by
itself. It is what the same operand of the same module is in its other calls of the trace (what
meets other weights is another operand, see `partners`); where those are silent, what the larger
value is of which it is a part; else it is dense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError, SpikeClass
from ..rules import RULE_SETS
from ..rules.call import FLAGGED, call_of
from ..trace.files import collected
from ..trace.signatures import SIGNATURE, of_each_signature
from .kinds import CLASSES, SUMS, kinds_of, summed
from .partners import PARTNER, PLACE, Partners
from .products import product_signatures

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


@cache
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


@cache
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
    products: bool = False,
) -> pl.LazyFrame:
    """Return the calls of a trace with what their operands are.

    Each call is looked up in the evidence: give it no more of them than the question needs.

    Args:
        trace: the trace; evidence about constants comes from all of it, however it was narrowed.
        slots: of `FLAGGED`.
        mode: one of `SPIKE_MODES`.
        by_values_only: take constants for what their values are.
        calls: the calls to look at, with `{slot}_class`; by default those of the trace. Or groups
            of calls (without `seq`), as `with_calls_apart` returns them.
        products: the question is about products alone: evidence about others is not derived.

    Returns:
        The calls with `{slot}_spikes` (null: not measured) and `{slot}_decided` (it is a constant
        that something other than its values decided about) for each slot.
    """
    calls = trace.calls if calls is None else calls
    plain = {slot: spike_expr(slot, mode, by_values_only) for slot in slots}
    nothing = {f"{slot}_decided": pl.lit(False) for slot in slots}
    if by_values_only or mode == "none":
        return calls.with_columns(**{f"{slot}_spikes": plain[slot] for slot in slots}, **nothing)
    schema = calls.collect_schema()
    others, of_calls, _ = _evidence(trace, mode, products)
    if others.height:
        told = others.lazy().cast({"stage": schema["stage"]})
        calls = calls.join(told, on=list(_WHERE), how="left")
    if of_calls.height and "seq" in schema:
        calls = calls.join(of_calls.lazy(), on=["rank", "seq"], how="left")
    joined = [name for name in (*others.columns, *of_calls.columns) if name.endswith(_TELLING)]
    columns = {}
    for slot in slots:
        known = [name for name in joined if name.startswith(f"{slot}_")]
        evident = pl.coalesce(*known, pl.lit(False)) if known else pl.lit(False)
        opened = _undecided(slot) & constant_expr(slot, mode)
        columns[f"{slot}_spikes"] = pl.when(opened).then(evident).otherwise(plain[slot])
        columns[f"{slot}_decided"] = constant_expr(slot, mode).fill_null(False)
    return calls.with_columns(**columns).drop(joined)


def deciding(mode: str, by_values_only: bool) -> int:
    """Return the bits of a class that decide whether an operand is spikes."""
    bits = int(_BITS.get(mode, 0))
    return bits if by_values_only else bits | int(SpikeClass.CONSTANT | SpikeClass.EVENTS)


def with_calls_apart(
    trace: Trace,
    kinds: pl.DataFrame,
    mode: str,
    bits: int | None = None,
    *,
    products: bool = False,
) -> pl.DataFrame:
    """Return kinds of calls with what is known of the operands of single calls.

    That is what the same product's other calls say, where a module runs several with one signature,
    or the larger values of which the operands are parts.

    Calls of one kind may differ in that alone: those kinds are summed anew, from their calls.

    Args:
        trace: the trace that the calls are of.
        kinds: what `kinds.summed` returned of them, for at least `_WHERE`.
        mode: one of `SPIKE_MODES`.
        bits: with which it was asked.
        products: see `with_spikes`.

    Returns:
        The kinds, with the columns of evidence where there are any; see `with_spikes`.
    """
    if mode == "none":
        return kinds
    _, of_calls, silent = _evidence(trace, mode, products)
    if of_calls.is_empty():
        return kinds
    told = [name for name in of_calls.columns if name.endswith(_TELLING)]
    slots = [name.removesuffix("_of_call") for name in told]
    opened = pl.any_horizontal(_opened(slots, mode).values()).fill_null(False)
    asked = kinds.filter(opened).join(silent, on=list(_WHERE), how="semi", nulls_equal=True)
    if asked.is_empty():
        return kinds.with_columns(pl.lit(None, pl.Boolean).alias(name) for name in told)
    keys = [name for name in kinds.columns if name not in (*SUMS, "first_seq")]
    rest = kinds.join(asked, on=keys, how="anti", nulls_equal=True)
    calls = _silent_calls(trace.calls, silent, slots, mode).join(
        of_calls.lazy(), on=["rank", "seq"], how="left"
    )
    apart = [name for name in (*keys, *told) if name not in CLASSES]
    return pl.concat([rest, summed(trace, calls, apart, bits)], how="diagonal")


_TELLING = ("_others", "_of_call")
"""Endings of the columns of evidence."""

_WHERE = ("rank", "module_id", "stage", "signature_id")
"""What tells the operands of a module apart."""


def _class(prefix: str) -> pl.Expr:
    return pl.col(f"{prefix}_class" if prefix else "class")


@cache
def _undecided(prefix: str) -> pl.Expr:
    """Return whether an operand is constant and its provenance unknown."""
    known = _class(prefix)
    constant, events = int(SpikeClass.CONSTANT), int(SpikeClass.EVENTS)
    return ((known & constant) != 0) & ((known & events) == 0)


Evidence = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
"""What `_evidence` returns."""


def _evidence(trace: Trace, mode: str, products: bool = False) -> Evidence:
    """Return what undecided constants are, derived once from the whole trace.

    Returns:
        `_WHERE` and `{slot}_others` (from the module's other calls); `rank`, `seq` and
        `{slot}_of_call` (from other calls of the same product, or from the value that an operand
        is a part of); both only for operands that are undecided somewhere, and without columns if
        there are none; and `_WHERE` of the calls that were looked up for the second.
    """
    key = "spike evidence", mode
    if products and key not in trace.facts:
        key = "spike evidence of products", mode
    if key not in trace.facts:
        trace.facts[key] = _derived(trace.whole, mode, products)
    found: Evidence = trace.facts[key]
    return found


def _derived(trace: Trace, mode: str, products: bool) -> Evidence:
    nothing = pl.DataFrame(), pl.DataFrame(), pl.DataFrame()
    kinds = kinds_of(trace)
    if products:
        asked = product_signatures(trace).select(SIGNATURE)
        kinds = kinds.join(asked, on=list(SIGNATURE), how="semi")
    asking = _asking(trace, _open_packets(trace, kinds, mode))
    slots = [slot for slot in SLOTS[:3] if asking[slot].any()]
    if not slots:
        return nothing
    sums = {
        name: pl.col("calls").filter(pl.col(slot) & holds).sum()
        for slot in slots
        for name, holds in _known(slot, mode).items()
    }
    asking = asking.filter(pl.any_horizontal(slots))
    groups = kinds.join(asking, on=list(SIGNATURE)).group_by(*_WHERE, "packet").agg(**sums)
    opened = pl.any_horizontal(pl.col(f"{slot}_open") > 0 for slot in slots)
    if groups.filter(opened).is_empty():
        return nothing
    judged = groups.with_columns(**_judged(slots, PLACE)).filter(opened).sort(_WHERE)
    judged, by_product = _by_product(trace, judged, slots, mode)
    by_module = judged.select(*_WHERE, *(f"{slot}_others" for slot in slots))
    silent = judged.filter(
        pl.any_horizontal(
            (pl.col(f"{slot}_open") > 0) & pl.col(f"{slot}_others").is_null() for slot in slots
        )
    ).select(_WHERE)
    by_call = _merged([by_product, _by_larger_value(trace, silent, slots, mode)], slots)
    return by_module, by_call, silent


def _known(slot: str, mode: str) -> dict[str, pl.Expr]:
    """Return of an operand whether it is undecided, whether it is known, and is spikes."""
    opened, fits = _undecided(slot).fill_null(False), spike_expr(slot, mode)
    return {
        f"{slot}_open": opened & constant_expr(slot, mode).fill_null(False),
        f"{slot}_known": ~opened & fits.is_not_null(),
        f"{slot}_fit": ~opened & fits.fill_null(False),
    }


def _judged(slots: Sequence[str], alike: Sequence[str]) -> dict[str, pl.Expr]:
    """Return for each slot what other calls say: those of one row, else of all that are alike.

    They say something if they agree; calls outside every module say nothing.
    """
    found = {}
    for slot in slots:
        verdicts = []
        for over in (None, alike):
            known, fit = pl.col(f"{slot}_known"), pl.col(f"{slot}_fit")
            if over:
                known, fit = known.sum().over(over), fit.sum().over(over)
            agree = (known > 0) & ((fit == known) | (fit == 0))
            verdicts.append(pl.when(agree & pl.col("module_id").is_not_null()).then(fit > 0))
        found[f"{slot}_others"] = pl.coalesce(verdicts)
    return found


def _by_product(
    trace: Trace, judged: pl.DataFrame, slots: Sequence[str], mode: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judge anew where a module runs several products with one op: each by its own calls.

    Returns:
        `judged`, where null stands for calls of one signature that are not all the same; and
        `rank`, `seq` and `{slot}_of_call` of these.
    """
    by_call = []
    for slot in slots:
        told = f"{slot}_others"
        partners = Partners(trace, judged.filter(pl.col(f"{slot}_open") > 0), slot)
        sums = {name: holds.sum().cast(pl.Int64) for name, holds in _known(slot, mode).items()}
        products = partners.summed(sums)
        if products.is_empty():
            continue
        products = products.with_columns(**_judged([slot], (*PLACE, *PARTNER))).filter(
            pl.col(f"{slot}_open") > 0
        )
        one = pl.col(told).n_unique() == 1
        of_all = products.group_by(_WHERE).agg(one=one, verdict=pl.col(told).first())
        verdict = pl.when("one").then("verdict").when(pl.col("one").is_null()).then(told)
        judged = (
            judged.join(of_all, on=list(_WHERE), how="left")
            .with_columns(verdict.alias(told))
            .drop("one", "verdict")
        )
        apart = products.join(of_all.filter(~pl.col("one")), on=list(_WHERE), how="semi")
        if apart.height:
            calls = _silent_calls(partners.calls(), apart, [slot], mode)
            rows = collected(calls.select("seq", *_WHERE, "other_value"), trace)
            of_product = apart.select(*_WHERE, *PARTNER, pl.col(told).alias(f"{slot}_of_call"))
            by_call.append(
                partners.told(rows)
                .join(of_product, on=[*_WHERE, *PARTNER], nulls_equal=True)
                .select("rank", "seq", f"{slot}_of_call")
            )
    return judged, _merged(by_call, slots)


def _merged(found: Sequence[pl.DataFrame], slots: Sequence[str]) -> pl.DataFrame:
    """Return `rank`, `seq` and `{slot}_of_call` of tables of these; what comes first holds."""
    told = [each for each in found if each.height]
    if not told:
        return pl.DataFrame()
    columns = {f"{slot}_of_call": pl.Boolean for slot in slots}
    rows = pl.concat([pl.DataFrame(schema=columns), *told], how="diagonal")
    return rows.group_by("rank", "seq", maintain_order=True).agg(
        pl.col(name).drop_nulls().first() for name in columns
    )


def _by_larger_value(
    trace: Trace, silent: pl.DataFrame, slots: Sequence[str], mode: str
) -> pl.DataFrame:
    """Return `rank`, `seq` and `{slot}_of_call` (true) of undecided operands in a spike tensor."""
    if silent.is_empty():
        return pl.DataFrame()
    opened = _opened(slots, mode)
    asked = _silent_calls(trace.calls, silent, slots, mode).select(
        "rank", "seq", *(pl.when(opened[s]).then(f"{s}_value").alias(s) for s in slots)
    )
    operands = (
        collected(asked, trace)
        .unpivot(slots, index=["rank", "seq"], variable_name="slot", value_name="value_id")
        .drop_nulls()
    )
    if operands.is_empty():
        return pl.DataFrame()
    parts = trace.values.filter(pl.col("base_value_id").is_not_null()).join(
        operands.lazy().select("rank", "value_id").unique(), on=["rank", "value_id"], how="semi"
    )
    bases = collected(parts.select("rank", "value_id", "base_value_id"), trace)
    if bases.is_empty():
        return pl.DataFrame()
    larger = trace.values.filter(~_undecided("") & spike_expr("", mode)).select(
        "rank", base_value_id="value_id"
    )
    spiking = collected(bases.lazy().join(larger, on=["rank", "base_value_id"], how="semi"), trace)
    found = operands.join(spiking, on=["rank", "value_id"], how="semi")
    columns = {
        f"{slot}_of_call": pl.when((pl.col("slot") == slot).any()).then(True) for slot in slots
    }
    return found.group_by("rank", "seq").agg(**columns) if found.height else pl.DataFrame()


def _opened(slots: Sequence[str], mode: str) -> dict[str, pl.Expr]:
    """Return for each slot whether the operand is undecided."""
    return {slot: _undecided(slot) & constant_expr(slot, mode) for slot in slots}


def _silent_calls(
    calls: pl.LazyFrame, silent: pl.DataFrame, slots: Sequence[str], mode: str
) -> pl.LazyFrame:
    """Return those calls, some of whose operands are undecided, that `silent` tells (`_WHERE`)."""
    numbers = silent["signature_id"].unique().implode()
    places = silent.lazy().select(_WHERE).cast({"stage": pl.Categorical})
    opened = pl.any_horizontal(_opened(slots, mode).values())
    return calls.filter(pl.col("signature_id").is_in(numbers) & opened).join(
        places, on=list(_WHERE), how="semi", nulls_equal=True
    )


def _open_packets(trace: Trace, kinds: pl.DataFrame, mode: str) -> dict[str, set[str]]:
    """Return for each slot the ops of which it is undecided somewhere: nothing else is asked."""
    slots = SLOTS[:3]
    packets = trace.signatures.select(*SIGNATURE, "packet")
    opened = {slot: each.fill_null(False).any() for slot, each in _opened(slots, mode).items()}
    found = kinds.join(packets, on=list(SIGNATURE)).group_by("packet").agg(**opened)
    return {slot: set(found.filter(slot)["packet"]) for slot in slots}


def _asking(trace: Trace, packets: Mapping[str, set[str]]) -> pl.DataFrame:
    """Return `rank`, `signature_id`, `packet` and for each slot whether spikes in it change counts.

    Asked of the rules themselves: a slot matters if the figures of a call change with it.
    """
    rules = RULE_SETS["full"]

    def asked(signature: Mapping[str, Any]) -> dict[str, Any] | None:
        packet = signature["packet"]
        if not any(packet in known for known in packets.values()):
            return None
        present = {f"{o['role']}{o['slot']}" for o in signature["operands"] or ()}
        slots = {
            slot: slot in present and packet in known and _matters(rules, signature, slot)
            for slot, known in packets.items()
        }
        return {"packet": packet, **slots}

    schema = {"packet": pl.String, **dict.fromkeys(packets, pl.Boolean)}
    return of_each_signature(trace, asked, schema)


def _matters(rules: Any, signature: Mapping[str, Any], slot: str) -> bool:
    try:
        for others in (False, True):
            flags: dict[str, bool | None] = dict.fromkeys(FLAGGED, others)
            one = rules.figures(call_of(signature, flags))
            if rules.figures(call_of(signature, flags | {slot: not others})) != one:
                return True
    except Exception:  # a damaged signature: counting it says what is wrong
        return False
    return False
