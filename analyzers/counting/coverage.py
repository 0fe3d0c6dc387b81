"""How far a count reaches: op by op, counted by rule, by class, as free, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ...schemas import RuleError
from ..answers.page import Page, is_assumed
from ..answers.result import Result
from ..frames import at_once
from ..rules import PRODUCTS, OpRule, rule_set
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.trace import Trace, narrowed
from ..workload.ran import ran_of
from .evaluate import tally
from .pages import coverage_page

_UNSIZED = pl.any_horizontal(pl.col("flops", "bytes", "dense_macs").is_null())
"""A size is not known: that of every other call gives its FLOPs, whatever was measured."""

HOW = ("rule", "class", "free", "uncovered")
"""How an op may be counted, best first."""


@dataclass(frozen=True, repr=False, eq=False)
class Coverage(Result):
    """How far a count reaches.

    Attributes:
        frame: `op`, `how` (one of `HOW`), `family`, `calls`, `bytes` (operands and results,
            dense), `dense_macs` (multiply-accumulates of its products if no operand were spikes;
            null: not known for some call), `unmeasured` (calls with an unknown counter, since a
            statistic was not recorded or a size is not known); uncovered ops first, then by bytes.
        decided: calls of which provenance decided whether a constant operand is spikes.
        unattributed: calls of backward passes whose forward call and module are not known.
        hidden: calls of modules that ran where the recorder does not see, and forked processes.
        unsized: of the unmeasured calls, those of which a size is not known.
        dense_macs: of all products; None: a size is not known.
        counted_macs: of the products whose MACs and ACs are known.
        hints: what another setting of `spikes` would change.
        left_out: what was read of a trace that need not be whole, and what not; else None.
        assumed: what is assumed of data that was not measured, a line each.
        rules: name of the rule set; "" where it is not told.
    """

    frame: pl.DataFrame
    decided: int = 0
    unattributed: int = 0
    hidden: int = 0
    unsized: int = 0
    dense_macs: int | None = 0
    counted_macs: int = 0
    hints: tuple[str, ...] = ()
    left_out: str | None = None
    assumed: tuple[str, ...] = ()
    rules: str = ""

    def page(self) -> Page:
        """Return what is shown."""
        return coverage_page(self)

    def summary(self) -> dict[str, Any]:
        """Return its line, its shares, and that of the products, as plain data."""
        return {"line": self.line(), "shares": self.shares, "macs_share": self.macs_share}

    def to_dict(self) -> dict[str, Any]:
        """Return the coverage as plain data, ready for JSON."""
        return {
            **self.summary(),
            "rules": self.rules,
            "assumed": list(self.assumed),
            "rows": self.frame.to_dicts(),
        }

    @property
    def total(self) -> dict[str, float]:
        """Share of the calls and of the bytes by how they were counted, see `shares`."""
        return self.shares

    @property
    def macs_share(self) -> float | None:
        """Share of the products that is counted, by dense MACs; 1 if there are none.

        None: a size is not known.
        """
        if self.dense_macs is None:
            return None
        return self.counted_macs / self.dense_macs if self.dense_macs else 1.0

    @property
    def calls(self) -> int:
        """All calls."""
        return int(self.frame["calls"].sum())

    @property
    def shares(self) -> dict[str, float]:
        """Share of the calls by how they were counted, and of the bytes: `rule_bytes`, ...

        Bytes are those of calls that are no views: a view moves nothing.
        """
        calls = self._by_how(self.frame, "calls")
        moving = self._by_how(self.frame.filter(pl.col("family") != "view"), "bytes")
        return {**calls, **{f"{how}_bytes": share for how, share in moving.items()}}

    @staticmethod
    def _by_how(frame: pl.DataFrame, figure: str) -> dict[str, float]:
        whole = int(frame[figure].sum())
        found = dict(frame.group_by("how").agg(pl.col(figure).sum()).iter_rows())
        return {how: found.get(how, 0) / whole if whole else 0.0 for how in HOW}

    @property
    def uncovered(self) -> list[str]:
        """Ops that nothing covers."""
        return self.frame.filter(pl.col("how") == "uncovered")["op"].to_list()

    def line(self) -> str:
        """Return one line that belongs under every total."""
        shares = self.shares
        parts = [
            f"coverage: of {number(self.calls, 'call')} {_percent(shares['rule'])} by rule, "
            f"{_percent(shares['free'])} free, {_percent(shares['class'])} by class, "
            f"{_percent(shares['uncovered'])} not counted"
        ]
        missed = self.uncovered
        if missed:
            first = ", ".join(missed[:3]) + (f" and {len(missed) - 3} more" if missed[3:] else "")
            parts.append(
                f"not counted: {first} ({_percent(shares['uncovered_bytes'])} of the bytes)"
            )
        unmeasured = int(self.frame["unmeasured"].sum()) - self.unsized
        if unmeasured:
            parts.append(
                f"{number(unmeasured, 'call')} {agreeing(unmeasured, 'lacks', 'lack')} statistics: "
                f"{agreeing(unmeasured, 'its', 'their')} MACs, ACs or SynOps are unknown"
            )
        if self.unsized:
            parts.append(
                f"{number(self.unsized, 'call')} {agreeing(self.unsized, 'is', 'are')} of unknown "
                "size (nested, sparse or packed tensors) and not counted"
            )
        if self.macs_share != 1:
            share = "?" if self.macs_share is None else _percent(self.macs_share)
            parts.append(f"MACs and ACs are known of {share} of the products, by dense MACs")
        if self.decided:
            products = number(self.decided, "product")
            parts.append(f"in {products} provenance decided if a constant is spikes")
        if self.unattributed:
            belong = agreeing(self.unattributed, "belongs", "belong")
            parts.append(
                f"{number(self.unattributed, 'backward call')} {belong} to no known module"
            )
        if self.hidden:
            calls = f"{number(self.hidden, 'call')} {agreeing(self.hidden, 'was', 'were')}"
            them = agreeing(self.hidden, "it", "them")
            parts.append(f"{calls} hidden (opjoule info names {them})")
        told = [] if self.left_out is None else [self.left_out]
        rests = ["MACs, ACs and SynOps rest on what is assumed"] if is_assumed(self.assumed) else []
        return "; ".join([*parts, *self.hints, *rests, *told])


def coverage(
    trace: Trace | str | os.PathLike[str],
    *,
    rules: str = "full",
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    extra_rules: Iterable[OpRule] = (),
) -> Coverage:
    """Tell for each op of a trace how it is counted.

    Args:
        trace: the trace, or its directory.
        rules: name of the rule set.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        extra_rules: rules of your own, asked first.

    Raises:
        ConfigError: no such rule set, or a filter means nothing.
    """
    trace = narrowed(trace, where, assume)
    found = covered(trace, tally(trace, rule_set(rules, extra_rules)))
    return replace(found, rules=rules)


def covered(trace: Trace, counted: pl.DataFrame, hints: Iterable[str] = ()) -> Coverage:
    """Return the coverage of what `tally` counted, with hints at other settings of `spikes`."""
    known = pl.col("macs").is_not_null() & pl.col("acs").is_not_null()
    return Coverage(
        frame=by_op(counted),
        decided=int(counted.filter(pl.col("family").is_in(PRODUCTS))["decided"].sum()),
        unattributed=_unattributed(trace),
        hidden=sum(hidden.calls for manifest in trace.manifests for hidden in manifest.hidden),
        unsized=int(counted.filter(_UNSIZED)["unmeasured"].sum()),
        dense_macs=counted.select(_whole("dense_macs")).item(),
        counted_macs=int(counted.filter(known)["dense_macs"].sum()),
        hints=tuple(hints),
        left_out=trace.left_out,
        assumed=trace.assumed,
    )


def by_op(counted: pl.DataFrame) -> pl.DataFrame:
    """Return how each op is counted: `Coverage.frame` of what `tally` counted."""
    return (
        counted.lazy()
        .group_by("op", "how", "family", maintain_order=True)
        .agg(
            pl.col("calls").sum(),
            bytes=pl.col("moved").sum(),
            dense_macs=_whole("dense_macs"),
            unmeasured=pl.col("unmeasured").sum(),
        )
        .with_columns(first=pl.col("how") == "uncovered")
        .sort("first", "bytes", "calls", "op", descending=[True, True, True, False])
        .drop("first")
        .pipe(at_once)
    )


def _whole(name: str) -> pl.Expr:
    """Return a sum that is null if it is not known of every call."""
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum())


def _unattributed(trace: Trace) -> int:
    outside = (pl.col("stage") == "backward") & pl.col("module_id").is_null()
    if ran_of(trace).filter(outside).is_empty():
        return 0
    lost = trace.calls.filter(outside & pl.col("forward_seq").is_null())
    return int(collected(lost.select(pl.len()), trace).item())


def refuse_gaps(trace: Trace, found: Coverage, counted: pl.DataFrame) -> None:
    """Refuse a count that does not reach everything, for `strict`.

    Raises:
        RuleError: an op is not covered (names it, its calls and the first module that ran it),
            a statistic is missing, or work was hidden.
    """
    for op, calls in found.frame.filter(how="uncovered").select("op", "calls").iter_rows():
        first = counted.filter(op=op, how="uncovered").sort("rank", "first_seq").row(0, named=True)
        place = _place(trace, first["rank"], first["first_seq"])
        raise RuleError(
            f"{op}: no rule covers it ({number(calls, 'call')}, first {place}). "
            "Give it one (extra_rules), or count without strict."
        )
    lacking = counted.filter(pl.col("unmeasured") > 0)
    unsized = lacking.filter(_UNSIZED)
    if unsized.height:
        op, calls = unsized["op"][0], int(unsized["unmeasured"].sum())
        raise RuleError(
            f"{op}: the size of its operands is not known ({number(calls, 'call')} on nested, "
            "sparse or packed tensors). Count without strict to leave such calls out."
        )
    if lacking.height:
        op, calls = lacking["op"][0], int(lacking["unmeasured"].sum())
        raise RuleError(
            f"{op}: its operands were not measured ({number(calls, 'call')} without statistics). "
            'Record with statistics="full", or count without strict.'
        )
    for manifest in trace.manifests:
        for hidden in manifest.hidden:
            raise RuleError(
                f"{hidden.what}: {number(hidden.calls, 'call')} not seen: {hidden.why}. "
                "Count without strict to leave them out."
            )


def _place(trace: Trace, rank: int, seq: int) -> str:
    """Return where a call ran, in words."""
    call = trace.calls.filter((pl.col("rank") == rank) & (pl.col("seq") == seq))
    modules = trace.modules.lazy().select("rank", "module_id", "path")
    found = call.select("rank", "module_id").join(modules, on=["rank", "module_id"])
    paths = collected(found, trace)["path"].to_list()
    return f"in {paths[0]}" if paths else "outside every module"


def _percent(share: float) -> str:
    """Return a share as text that is 0 or 100 only if it is exactly that."""
    text = f"{100 * share:.1f} %"
    if text == "100.0 %" and share < 1:
        return "99.9 %"
    if text == "0.0 %" and share > 0:
        return "<0.1 %"
    return text.replace(".0 %", " %")
