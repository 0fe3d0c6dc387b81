"""How far a count reaches: op by op, counted by rule, by class, as free, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ...schemas import RuleError
from ..rules import OpRule, rule_set
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.trace import Trace, narrowed
from .evaluate import tally

_DRIVEN = ("product", "convolution", "attention", "recurrence")
"""Families whose MACs become ACs where an operand is spikes."""

HOW = ("rule", "class", "free", "uncovered")
"""How an op may be counted, best first."""


@dataclass(frozen=True)
class Coverage:
    """How far a count reaches.

    Attributes:
        frame: `op`, `how` (one of `HOW`), `family`, `calls`, `bytes` (operands and results,
            dense), `unmeasured` (calls that lack a statistic which a counter needs); uncovered ops
            first, then by bytes.
        decided: calls of which provenance decided whether a constant operand is spikes.
        unattributed: calls of backward passes whose forward call and module are not known.
        hidden: calls of modules that ran where the recorder does not see.
    """

    frame: pl.DataFrame
    decided: int = 0
    unattributed: int = 0
    hidden: int = 0

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
        unmeasured = int(self.frame["unmeasured"].sum())
        if unmeasured:
            parts.append(
                f"{number(unmeasured, 'call')} {agreeing(unmeasured, 'lacks', 'lack')} statistics: "
                f"{agreeing(unmeasured, 'its', 'their')} MACs, ACs or SynOps are unknown"
            )
        if self.decided:
            products = number(self.decided, "product")
            parts.append(f"in {products} provenance decided if a constant is spikes")
        if self.unattributed:
            belong = agreeing(self.unattributed, "belongs", "belong")
            parts.append(
                f"{number(self.unattributed, 'backward call')} {belong} to no known module"
            )
        if self.hidden:
            calls = f"{number(self.hidden, 'module call')} {agreeing(self.hidden, 'was', 'were')}"
            them = agreeing(self.hidden, "it", "them")
            parts.append(f"{calls} hidden (opjoule info names {them})")
        return "; ".join(parts)


def coverage(
    trace: Trace | str | os.PathLike[str],
    *,
    rules: str = "full",
    where: str | Sequence[str] | None = None,
    extra_rules: Iterable[OpRule] = (),
) -> Coverage:
    """Tell for each op of a trace how it is counted.

    Args:
        trace: the trace, or its directory.
        rules: name of the rule set.
        where: filters, see `where.parse_filters`.
        extra_rules: rules of your own, asked first.

    Raises:
        ConfigError: no such rule set, or a filter means nothing.
    """
    trace = narrowed(trace, where)
    return covered(trace, tally(trace, rule_set(rules, extra_rules)))


def covered(trace: Trace, counted: pl.DataFrame) -> Coverage:
    """Return the coverage of what `tally` counted."""
    frame = (
        counted.group_by("op", "how", "family", maintain_order=True)
        .agg(pl.col("calls", "moved", "unmeasured").sum())
        .rename({"moved": "bytes"})
        .with_columns(first=pl.col("how") == "uncovered")
        .sort("first", "bytes", "calls", "op", descending=[True, True, True, False])
        .drop("first")
    )
    return Coverage(
        frame=frame,
        decided=int(counted.filter(pl.col("family").is_in(_DRIVEN))["decided"].sum()),
        unattributed=_unattributed(trace),
        hidden=sum(hidden.calls for manifest in trace.manifests for hidden in manifest.hidden),
    )


def _unattributed(trace: Trace) -> int:
    lost = (
        (pl.col("stage").cast(pl.String) == "backward")
        & pl.col("module_id").is_null()
        & pl.col("forward_seq").is_null()
    )
    return int(collected(trace.calls.select(lost.sum()), trace.path).item() or 0)


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
    paths = collected(found, trace.path)["path"].to_list()
    return f"in {paths[0]}" if paths else "outside every module"


def _percent(share: float) -> str:
    """Return a share as text that is 0 or 100 only if it is exactly that."""
    text = f"{100 * share:.1f} %"
    if text == "100.0 %" and share < 1:
        return "99.9 %"
    if text == "0.0 %" and share > 0:
        return "<0.1 %"
    return text.replace(".0 %", " %")
