"""What a user assumes of data that was not measured: every analysis then sees it as if it had been.

A recording without data (on the meta device, or with `statistics="none"`) has shapes alone. An
assumption fills in what the elements were: all nonzero, or spikes with a share of ones. What was
measured is never replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ...schemas import ConfigError, SpikeClass
from ...schemas.several import texts
from ..rules import PRODUCTS, carries_spikes, factors_of, family_of
from ..rules.geometry import meeting_pairs
from ..text import agreeing, number
from .files import collected
from .filters import below
from .neurons import FIRES
from .signatures import of_each_signature

if TYPE_CHECKING:
    from .trace import Trace

_SPIKES = int(
    SpikeClass.BINARY
    | SpikeClass.TERNARY
    | SpikeClass.SCALED
    | SpikeClass.WHOLE
    | SpikeClass.EVENTS
)
_SLOTS = ("in0", "in1", "in2", "out0")
_DEEPEST = 64
"""Views, copies and poolings between a neuron and what reads its spikes, beyond which none are."""
_VALUE = ("rank", "value_id")
_SIZES = {
    **{f"{slot}_numel": pl.Int64 for slot in _SLOTS},
    "pairs": pl.Int64,
    "x": pl.Int32,
    "w": pl.Int32,
    "back": pl.Boolean,
}


class Assumption(NamedTuple):
    """One assumption.

    Attributes:
        text: as the user wrote it.
        share: of ones in spikes; None: no element is zero.
        modules: a glob: what enters products of these modules is spikes; None: what leaves neurons.
    """

    text: str
    share: float | None
    modules: str | None


def parse_assumptions(given: str | Sequence[str]) -> tuple[Assumption, ...]:
    """Return assumptions from text: "dense", "spikes=0.1", "spikes=0.05@Net.block1.*".

    Raises:
        ConfigError: one of them means nothing.
    """
    return tuple(map(_parsed, texts(given)))


def _parsed(text: str) -> Assumption:
    if not isinstance(text, str):
        raise ConfigError(f"assume={text!r} is no text")
    if text.strip() == "dense":
        return Assumption(text, None, None)
    name, equals, value = text.partition("=")
    share, at, modules = value.partition("@")
    try:
        found = float(share)
    except ValueError:
        found = math.nan
    if name.strip() != "spikes" or not equals or not 0 <= found <= 1 or bool(at) != bool(modules):
        raise ConfigError(
            f"invalid assumption {text!r}: write dense, spikes=SHARE or spikes=SHARE@MODULES, with "
            "a share from 0 to 1"
        )
    return Assumption(text, found, modules.strip() or None)


def assuming(trace: Trace, given: str | Sequence[str]) -> Trace:
    """Return a whole trace in which what was not measured is what is assumed.

    Args:
        trace: the trace, not narrowed.
        given: see `parse_assumptions`. A later one comes first where two speak of one tensor; what
            none of them speaks of is dense.

    Returns:
        The trace, with a line for each assumption in `assumed`.

    Raises:
        ConfigError: an assumption means nothing, or speaks of no tensor of the trace.
    """
    assumptions = parse_assumptions(given)
    if not assumptions:
        return trace
    missing = _unmeasured(trace)
    lines, found = [], []
    for each in assumptions:
        if each.share is None:
            lines.append(_line(each, missing, "no element is zero"))
            continue
        spiking = _entering(trace, each) if each.modules else _leaving(trace, each)
        told = missing.join(spiking, on=list(_VALUE), how="semi")
        what = f"enters the products of {each.modules}" if each.modules else "leaves neurons"
        text = f"what {what} is spikes, {each.share:g} of the elements 1; all else has no zeros"
        lines.append(_line(each, told, text))
        found.append(spiking.with_columns(share=pl.lit(each.share)))
    schema = {"rank": pl.Int32, "value_id": pl.Int64, "share": pl.Float64}
    shares = pl.concat([pl.DataFrame(schema=schema), *found], how="vertical_relaxed")
    shares = shares.unique(_VALUE, keep="last", maintain_order=True)
    return _filled(trace, shares, tuple(lines))


def _line(each: Assumption, told: pl.DataFrame, text: str) -> str:
    products = told.select("rank", "seq").n_unique()
    if not products:
        return f"assume {each.text} changes nothing: every product that it speaks of was measured"
    on_it = f"{number(products, 'product')} {agreeing(products, 'rests', 'rest')} on it"
    return f"assumed ({each.text}), not measured: {text}; {on_it}"


def _unmeasured(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `seq` and `value_id` of operands of products that lack a class."""
    operands = _operands(trace, lambda op: family_of(op) in PRODUCTS)
    calls = operands.filter(pl.col("class").is_null() & pl.col("value_id").is_not_null())
    return collected(calls.select("rank", "seq", "value_id"), trace)


def _operands(trace: Trace, asked: Any) -> pl.LazyFrame:
    """Return the first three operands of the calls of some ops, one a row."""
    signatures = trace.signatures.filter([asked(op) for op in trace.signatures["op"]])
    calls = trace.calls.join(
        signatures.lazy().select("rank", "signature_id", "op"),
        on=["rank", "signature_id"],
        how="inner",
    )
    kept = ("rank", "seq", "op", "module_id", "stage")
    return pl.concat(
        calls.select(
            *kept,
            slot=pl.lit(slot),
            value_id=f"in{slot}_value",
            **{"class": f"in{slot}_class"},
        )
        for slot in range(3)
    )


def _entering(trace: Trace, each: Assumption) -> pl.DataFrame:
    """Return the values that enter products of modules: first factors, second ones too of others.

    Parameters, and what is made from one alone (a cast, a transpose), are no activations.
    """
    chosen = [below(path, str(each.modules)) for path in trace.modules["path"]]
    modules = trace.modules.filter(chosen).select("rank", "module_id")
    if modules.is_empty():
        raise ConfigError(f"assume {each.text!r}: no module of {trace.path} fits {each.modules!r}")
    factors = {op: factors_of(op) for op in trace.signatures["op"].unique()}
    places = [(op, slot) for op, pair in factors.items() for slot in pair or ()]
    known = pl.DataFrame(places, schema={"op": pl.String, "slot": pl.Int32}, orient="row")
    operands = _operands(trace, lambda op: factors[op] is not None)
    forward = operands.filter(pl.col("stage").cast(pl.String).is_in(["forward", "recompute"]))
    read = forward.join(known.lazy(), on=["op", "slot"], how="semi").join(
        modules.lazy(), on=["rank", "module_id"], how="semi"
    )
    fixed = trace.values.filter(pl.col("kind").cast(pl.String).is_in(["parameter", "buffer"]))
    made = trace.calls.select("rank", "out0_value", value_id="in0_value").join(
        fixed.select(_VALUE), on=list(_VALUE), how="semi"
    )
    weights = pl.concat(
        [fixed.select(_VALUE), made.select("rank", value_id="out0_value").drop_nulls()]
    )
    found = read.select(_VALUE).drop_nulls().join(weights, on=list(_VALUE), how="anti")
    entering = collected(found.unique(), trace).sort(_VALUE)
    if entering.is_empty():
        raise ConfigError(f"assume {each.text!r}: no product runs in modules that fit it")
    return entering


def _leaving(trace: Trace, each: Assumption) -> pl.DataFrame:
    """Return the values that neurons made, and what views, copies and maximum poolings make of it.

    Of a neuron that hands several tensors back, spikes are the first.
    """
    neurons = trace.modules.filter(FIRES).select("rank", "module_id")
    if neurons.is_empty():
        raise ConfigError(
            f"assume {each.text!r}: no module of {trace.path} is known to be a spiking neuron. "
            f"Say which modules are driven by spikes: {each.text}@MODULES"
        )
    first = pl.col("outputs").list.first().struct.field("value_id")
    made = trace.module_calls.join(neurons.lazy(), on=["rank", "module_id"], how="semi").select(
        "rank", value_id=first
    )
    found = front = collected(made.drop_nulls().unique(), trace)
    carrying = trace.signatures.filter([carries_spikes(op) for op in trace.signatures["op"]])
    steps = trace.calls.join(
        carrying.lazy().select("rank", "signature_id"), on=["rank", "signature_id"], how="semi"
    )
    carried = collected(steps.select("rank", "out0_value", value_id="in0_value"), trace)
    for _ in range(_DEEPEST):
        reached = carried.join(front, on=list(_VALUE), how="semi")
        front = reached.select("rank", value_id="out0_value").drop_nulls().unique()
        front = front.join(found, on=list(_VALUE), how="anti")
        if front.is_empty():
            break
        found = pl.concat([found, front])
    return found.sort(_VALUE)


def _filled(trace: Trace, shares: pl.DataFrame, lines: tuple[str, ...]) -> Trace:
    """Return the trace with what is assumed in the place of nulls."""
    sizes = of_each_signature(trace, _sizes, _SIZES)
    calls = trace.calls.join(
        sizes.lazy(), on=["rank", "signature_id"], how="left", maintain_order="left"
    )
    for slot in _SLOTS:
        calls = _with_share(calls, shares, f"{slot}_value", f"{slot}_share")
        asked = pl.col(f"{slot}_class").is_null() & pl.col(f"{slot}_value").is_not_null()
        calls = calls.with_columns(_facts(f"{slot}_", asked, f"{slot}_share", f"{slot}_numel"))
    calls = calls.with_columns(**_pairs()).select(trace.calls.collect_schema().names())
    values = _with_share(trace.values, shares, "value_id", "share")
    unknown = pl.col("class").is_null()
    ones = pl.when(unknown & pl.col("share").is_not_null()).then(_count("share", "numel"))
    values = values.with_columns(
        _facts("", unknown, "share", "numel"), ones=pl.coalesce("ones", ones)
    ).drop("share")
    operands = _with_share(trace.call_operands, shares, "value_id", "share").join(
        trace.values.select(*_VALUE, "numel"), on=list(_VALUE), how="left", maintain_order="left"
    )
    asked = pl.col("class").is_null() & pl.col("value_id").is_not_null()
    operands = operands.with_columns(_facts("", asked, "share", "numel")).drop("share", "numel")
    return replace(
        trace, calls=calls, values=values, call_operands=operands,
        assumed=(*trace.assumed, *lines), opened=None,
    )  # fmt: skip


def _with_share(rows: pl.LazyFrame, shares: pl.DataFrame, value: str, name: str) -> pl.LazyFrame:
    told = shares.lazy().select(
        "rank", pl.col("value_id").alias(value), pl.col("share").alias(name)
    )
    return rows.join(told, on=["rank", value], how="left", maintain_order="left")


def _count(share: str, numel: str) -> pl.Expr:
    """Return how many elements are not zero, rounded; all where no share is assumed."""
    return (pl.col(share).fill_null(1.0) * pl.col(numel)).round().cast(pl.Int64)


def _facts(prefix: str, asked: pl.Expr, share: str, numel: str) -> list[pl.Expr]:
    """Return class and nonzero elements, filled in where they are asked for."""
    bits = pl.when(pl.col(share).is_null()).then(pl.lit(0)).otherwise(pl.lit(_SPIKES))
    facts = {"class": bits.cast(pl.Int16), "nonzero": _count(share, numel)}
    return [
        pl.when(asked & pl.col(f"{prefix}{name}").is_null())
        .then(fact)
        .otherwise(f"{prefix}{name}")
        .alias(f"{prefix}{name}")
        for name, fact in facts.items()
    ]


def _sizes(signature: Mapping[str, Any]) -> dict[str, Any]:
    """Return the elements of a call's operands, and how many pairs of its factors meet."""
    found: dict[str, Any] = dict.fromkeys(_SIZES)
    for operand in signature["operands"] or ():
        name = f"{operand['role']}{operand['slot']}_numel"
        if name in found and operand["shape"] is not None:
            found[name] = operand["numel"]
    if (meeting := meeting_pairs(signature)) is not None:
        found |= meeting
    return found


def _pairs() -> dict[str, pl.Expr]:
    """Return the statistics of products: as if nonzero elements lay anywhere, independently."""

    def share(slot: pl.Expr) -> pl.Expr:
        each = [
            pl.when(slot == n).then(pl.col(f"in{n}_nonzero") / pl.col(f"in{n}_numel"))
            for n in range(3)
        ]
        return pl.coalesce(*each)

    def rounded(value: pl.Expr) -> pl.Expr:
        return value.round().cast(pl.Int64)

    pairs, x, w, back = (pl.col(name) for name in ("pairs", "x", "w", "back"))
    expected = {
        "x_fanout": rounded(pairs * share(x)),
        "grad_fanout": pl.when(back).then(rounded(pairs * share(pl.lit(0)))),
        "overlap": pl.when(~back).then(rounded(pairs * share(x) * share(w))),
    }
    return {name: pl.coalesce(name, found) for name, found in expected.items()}
