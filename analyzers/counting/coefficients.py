"""The rules' linear forms as a table: what each counter of each kind of call is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import OpjouleError, RuleError, TraceError
from ..rules import RuleSet
from ..rules.amount import CALLS, STATISTICS, amount
from ..rules.call import FLAGGED, Call, call_of
from ..rules.rule import Figures
from ..trace.manifests import plain

if TYPE_CHECKING:
    from ..trace.trace import Trace

COUNTERS = ("flops", "bytes", "synops", "macs", "acs")
"""The five counters, in the order of the tables."""

PARTS = (CALLS, *STATISTICS)
"""What a form is linear in."""

KIND = ("rank", "signature_id", *(f"{slot}_spikes" for slot in FLAGGED),
        *(f"{slot}_decided" for slot in FLAGGED[:-1]))  # fmt: skip
"""What tells kinds of calls apart: the signature, and what is known of the operands' spikes."""

LARGEST = (1 << 63) - 1

_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(KIND, pl.Boolean),
    "rank": pl.Int32,
    "signature_id": pl.Int32,
    "op": pl.String,
    "how": pl.String,
    "family": pl.String,
    "moved": pl.Int64,
    "matters": pl.Boolean,
    **{f"{counter}:{part}": pl.Int64 for counter in COUNTERS for part in PARTS},
}


def forms(trace: Trace, rules: RuleSet, rows: pl.DataFrame) -> pl.DataFrame:
    """Return how each kind of call is counted.

    Args:
        trace: the trace.
        rules: the rule set.
        rows: collapsed calls.

    Returns:
        `KIND`, `op`, `how` (rule, class, free or uncovered), `family`, `moved` (bytes of a call's
        operands and results, dense), `matters` (whether the count hangs on what provenance decided)
        and `<counter>:<part>`, the coefficients of the five counters (null: unknown).

    Raises:
        TraceError: a signature is missing or damaged.
        RuleError: a rule fails.
    """
    signatures = _signatures(trace)
    kinds = rows.select(KIND).unique(maintain_order=True)
    data = []
    for kind in kinds.iter_rows(named=True):
        key = (kind["rank"], kind["signature_id"])
        if key not in signatures:
            raise TraceError(
                f"{trace.path} is damaged: a call of rank {key[0]} is of signature {key[1]}, "
                "which it does not tell."
            )
        data.append({**kind, **_form(trace, rules, signatures[key], kind)})
    return pl.DataFrame(data, schema=_SCHEMA, orient="row")


def _signatures(trace: Trace) -> dict[tuple[int, int], dict[str, Any]]:
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for row in trace.signatures.iter_rows(named=True):
        key = (row["rank"], row["signature_id"])
        if key in found:
            raise TraceError(f"{trace.path} is damaged: it tells signature {key[1]} twice.")
        found[key] = row
    return found


def _form(
    trace: Trace, rules: RuleSet, signature: Mapping[str, Any], kind: Mapping[str, Any]
) -> dict[str, Any]:
    flags = {slot: kind[f"{slot}_spikes"] for slot in FLAGGED}
    call = _call(trace, signature, flags)
    how, family, figures = found = _figures(trace, rules, call)
    form = {"op": call.op, "how": how, "family": family, "moved": call.moved}
    matters = False
    for slot in FLAGGED[:-1]:
        if kind[f"{slot}_decided"] and not matters:
            otherwise = _call(trace, signature, flags | {slot: not flags[slot]})
            matters = _figures(trace, rules, otherwise) != found
    coefficients = _coefficients(figures)
    if any(abs(each or 0) > LARGEST for each in (call.moved, *coefficients.values())):
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


def _figures(trace: Trace, rules: RuleSet, call: Call) -> tuple[str, str, Figures | None]:
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


def _coefficients(figures: Figures | None) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for counter in COUNTERS:
        figure = None if figures is None else getattr(figures, counter)
        parts = {} if figure is None else amount(figure).parts
        for part in PARTS:
            found[f"{counter}:{part}"] = None if figure is None else parts.get(part, 0)
    return found
