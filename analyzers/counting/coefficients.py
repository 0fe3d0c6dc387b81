"""The rules' linear forms as a table: what each counter of each kind of call is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import OpjouleError, RuleError, TraceError
from ..frames import at_once
from ..rules import RuleSet
from ..rules.amount import CALLS, STATISTICS, amount
from ..rules.call import FLAGGED, Call, call_of
from ..rules.rule import Figures
from ..trace.manifests import plain
from ..trace.signatures import SIGNATURE, distinct_signatures, signature_rows

if TYPE_CHECKING:
    from ..trace.trace import Trace

COUNTERS = ("flops", "bytes", "synops", "macs", "acs")
"""The five counters, in the order of the tables."""

PARTS = (CALLS, *STATISTICS)
"""What a form is linear in."""

KIND = (*SIGNATURE, *(f"{slot}_spikes" for slot in FLAGGED),
        *(f"{slot}_decided" for slot in FLAGGED[:-1]))  # fmt: skip
"""What tells kinds of calls apart: the signature, and what is known of the operands' spikes."""

LARGEST = (1 << 63) - 1

_SCHEMA: dict[str, Any] = {
    "content": pl.UInt32,
    **dict.fromkeys(KIND[len(SIGNATURE) :], pl.Boolean),
    "op": pl.String,
    "how": pl.String,
    "family": pl.String,
    "moved": pl.Int64,
    "dense_macs": pl.Int64,
    "matters": pl.Boolean,
    **{f"{counter}:{part}": pl.Int64 for counter in COUNTERS for part in PARTS},
}


def forms(trace: Trace, rules: RuleSet, rows: pl.DataFrame, *, dense: bool = False) -> pl.DataFrame:
    """Return how each kind of call is counted.

    Args:
        trace: the trace.
        rules: the rule set.
        rows: collapsed calls.
        dense: whether no operand is spikes, whatever is known of it.

    Returns:
        `KIND`, `op`, `how` (rule, class, free or uncovered), `family`, `moved` (bytes of a call's
        operands and results, dense), `dense_macs` (see `Figures`; null: unknown), `matters`
        (whether the count hangs on what provenance decided) and `<counter>:<part>`, the
        coefficients of the five counters (null: unknown).

    Raises:
        TraceError: a signature is missing or damaged.
        RuleError: a rule fails.
    """
    _, places = distinct_signatures(trace)
    kinds = (
        rows.lazy()
        .select(KIND)
        .unique(maintain_order=True)
        .join(places.lazy(), on=list(SIGNATURE), how="left", maintain_order="left")
        .pipe(at_once)
    )
    _check_signatures(trace, kinds)
    alike = ["content", *KIND[len(SIGNATURE) :]]
    asked = kinds.lazy().select(alike).unique(maintain_order=True).pipe(at_once)
    signatures = {row["content"]: row for row in signature_rows(trace)}
    told: dict[tuple[Any, ...], dict[str, Any]] = {}
    if not rules.extra:  # the same for every question about a trace
        told = trace.facts.setdefault(("forms", rules.name, dense), told)
    for kind in asked.iter_rows(named=True):
        key = tuple(kind.values())
        if key not in told:
            told[key] = _form(trace, rules, signatures[kind["content"]], kind, dense)
    data = [{**kind, **told[tuple(kind.values())]} for kind in asked.iter_rows(named=True)]
    found = pl.LazyFrame(data, schema=_SCHEMA)
    told_of = kinds.lazy().join(found, on=alike, nulls_equal=True, maintain_order="left")
    return at_once(told_of.drop("content"))


def _check_signatures(trace: Trace, kinds: pl.DataFrame) -> None:
    """Refuse a trace that does not tell a signature; none is told twice, see `trace.checks`."""
    if kinds["content"].null_count():
        rank, number = kinds.filter(pl.col("content").is_null()).select(SIGNATURE).row(0)
        raise TraceError(
            f"{trace.path} is damaged: a call of rank {rank} is of signature {number}, which it "
            "does not tell."
        )


def _form(
    trace: Trace,
    rules: RuleSet,
    signature: Mapping[str, Any],
    kind: Mapping[str, Any],
    dense: bool,
) -> dict[str, Any]:
    flags = {slot: kind[f"{slot}_spikes"] for slot in FLAGGED}
    call = _call(trace, signature, flags)
    how, family, figures = found = _figures(trace, rules, call.dense() if dense else call)
    form = {
        "op": call.op, "how": how, "family": family, "moved": call.moved,
        "dense_macs": figures.dense_macs,
    }  # fmt: skip
    matters = False
    for slot in FLAGGED[:-1]:
        if kind[f"{slot}_decided"] and not matters:
            otherwise = _call(trace, signature, flags | {slot: not flags[slot]})
            matters = _figures(trace, rules, otherwise) != found
    coefficients = _coefficients(figures)
    sizes = (call.moved, figures.dense_macs, *coefficients.values())
    if any(abs(each or 0) > LARGEST for each in sizes):
        raise TraceError(
            f"{trace.path}: one call of {plain(call.op)} is said to count more than 2**63. "
            "Its signature is damaged, or the rule for it wrong."
        )
    return {**form, "matters": matters, **coefficients}


def _call(trace: Trace, signature: Mapping[str, Any], flags: Mapping[str, bool | None]) -> Call:
    try:
        call = call_of(signature, flags)
        _ = call.moved
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise TraceError(
            f"{trace.path} is damaged: signature {signature['signature_id']} "
            f"({plain(str(signature['op']))}) makes no sense: {plain(str(error))}."
        ) from None
    return call


def _figures(trace: Trace, rules: RuleSet, call: Call) -> tuple[str, str, Figures]:
    try:
        return rules.figures(call)
    except OpjouleError:
        raise
    except Exception as error:
        shapes = ", ".join(str(list(operand.shape)) for operand in call.ins.values())
        raise RuleError(
            f"{plain(call.op)}: its rule cannot count a call of {trace.path} on {plain(shapes)}: "
            f"{type(error).__name__}: {plain(str(error))}."
        ) from error


_NAMES = {counter: [(part, f"{counter}:{part}") for part in PARTS] for counter in COUNTERS}
"""Counter -> what its form is linear in, and the column of that coefficient."""


def _coefficients(figures: Figures) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for counter, names in _NAMES.items():
        figure = getattr(figures, counter)
        parts = {} if figure is None else amount(figure).parts
        rest = None if figure is None else 0
        for part, name in names:
            found[name] = parts.get(part, rest)
    return found
