"""What is missing of counted operations: ops without a rule, and calls that were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...schemas import TraceError
from ..text import agreeing, listed, number, percent
from .account import Account, account_of
from .inference import passes_left_out, passes_warnings

if TYPE_CHECKING:
    from ..trace.trace import Trace


class Gaps(NamedTuple):
    """What is not in the counts.

    Attributes:
        account: ops that no rule covers, and calls that were not measured or are of unknown size.
        unmeasured: calls that were not measured, or whose size is not known.
        share: of the dense MACs in those; None: not known.
        passes: a sentence on passes in training mode, if products of them are left out.
    """

    account: Account
    unmeasured: int
    share: float | None
    passes: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """Return a sentence each on what was not measured and on passes in training mode."""
        if not self.unmeasured:
            return [*self.passes]
        return [
            *self.passes,
            f"{number(self.unmeasured, 'call')} {agreeing(self.unmeasured, 'was', 'were')} not "
            f"measured or {agreeing(self.unmeasured, 'is', 'are')} of unknown size "
            f"({percent(self.share)} of the MACs) and {agreeing(self.unmeasured, 'is', 'are')} "
            "left out: the total is a lower bound",
        ]


def gaps_of(trace: Trace, counted: pl.DataFrame, whole: Trace, *, open_ops: bool = True) -> Gaps:
    """Return what is missing of counts.

    Args:
        trace: the part that was counted.
        counted: what `tally` returned.
        whole: the trace that it is the inference, or all forward passes, of.
        open_ops: whether it is not known what ops do that no rule covers. In the sets of
            SpikingJelly they count nothing, by definition.

    Raises:
        TraceError: there are products, and of none of them MACs and ACs are known.
    """
    known = pl.col("macs").is_not_null() & pl.col("acs").is_not_null()
    unsized = pl.col("flops").is_null() | pl.col("dense_macs").is_null()
    uncovered = pl.col("how") == "uncovered"
    open_ones = counted.filter(~known & ~uncovered)
    missing = (
        pl.when(uncovered)
        .then("op")
        .when(unsized)
        .then(pl.format("{} (size not known)", "op"))
        .otherwise(pl.format("{} (not measured)", "op"))
    )
    rest = counted.filter(~known).select(
        what=missing,
        calls="calls",
        macs="dense_macs",
        uncovered=uncovered,
        unmeasured=pl.lit(True) if open_ops else ~uncovered,
    )
    trained = passes_left_out(whole, trace)
    passes = passes_warnings(whole, trained)
    charged = int(counted.filter(known)["dense_macs"].sum())
    account = account_of(charged, rest, beside=trained)
    products = counted.filter(pl.col("dense_macs").is_null() | (pl.col("dense_macs") > 0))
    if products.height and account.charges_nothing:
        raise TraceError(f"{trace.path}: {_nothing_known(trace, products, unsized)}")
    if passes and products.is_empty():
        raise TraceError(f"{trace.path}: {passes[0]}")
    macs = open_ones["dense_macs"]
    lost = account.left_out_macs
    return Gaps(
        account=account,
        unmeasured=int(open_ones["calls"].sum()),
        share=None if lost is None else int(macs.sum()) / (charged + lost or 1),
        passes=tuple(passes),
    )


def _nothing_known(trace: Trace, products: pl.DataFrame, unsized: pl.Expr) -> str:
    """Return why no product can be charged, and what to do."""
    calls = number(int(products["calls"].sum()), "call")
    if products.filter(unsized).height:
        ops = listed(products.filter(unsized)["op"].unique(maintain_order=True).to_list(), 3)
        return (
            f"no product ({calls}) can be charged: the sizes of {ops} were not recorded (nested or "
            "sparse tensors). Record without them (for a TransformerEncoder: "
            "enable_nested_tensor=False)"
        )
    return (
        f"no product ({calls}) was measured (statistics={trace.manifest.statistics!r}), so "
        "spike-driven and dense calls cannot be told apart. Record with statistics='synaptic' or "
        "'full', count all as dense with --spikes none, or say what it was with --assume"
    )


def input_types(counted: pl.DataFrame, spikes: str = "binary") -> str:
    """Return how many products and convolutions were spike-driven, and what was left of them.

    Args:
        counted: what `tally` returned.
        spikes: what a spike tensor may hold.
    """
    products = counted.filter(
        pl.col("family").is_in(
            ["product", "product backward", "convolution", "convolution backward"]
        )
    )
    measured = products.filter(pl.col("macs").is_not_null() & pl.col("acs").is_not_null())
    calls, known = int(products["calls"].sum()), int(measured["calls"].sum())
    if not known:
        return ""
    driven = measured.filter((pl.col("macs") == 0) & (pl.col("dense_macs") > 0))
    if spikes == "none":
        return f"all {known} products and convolutions as dense"
    kind = "spikes" if spikes == "binary" else f"{spikes} spikes"
    text = f"{kind} into {int(driven['calls'].sum())} of {known} products and convolutions"
    dense = int(driven["dense_macs"].sum())
    if dense:
        share = int(driven["acs"].sum()) / dense
        text += f", where {share:.1%} of the dense multiply-accumulates are left as accumulations"
    rest = calls - known
    return text + (f"; {rest} more {agreeing(rest, 'was', 'were')} not measured" if rest else "")


def took_spikes(what: str, spiking: int, measured: int, calls: int, *, more: str = "") -> str:
    """Return how many calls took spikes, and of how many it was not measured.

    Args:
        what: the calls, in the plural.
        spiking: those that took spikes.
        measured: those of which it is known.
        calls: all of them.
        more: what is said of those that took spikes.
    """
    if not measured:
        return f"not measured whether the {what} ({calls}) take spikes"
    rest = calls - measured
    text = f"{spiking} of {measured} {what} take spikes{more}"
    return text + (f"; {rest} more {agreeing(rest, 'was', 'were')} not measured" if rest else "")


def outside_modules(rows: pl.DataFrame) -> list[str]:
    """Return one sentence on work outside every module, if any is charged.

    Args:
        rows: rows of a report.
    """
    whole = float(rows["energy_pj"].sum())
    outside = float(rows.filter(pl.col("module").is_null())["energy_pj"].sum())
    if not outside:
        return []
    return [
        f"{outside / whole:.1%} of the energy is of work outside every module (rows without a "
        "module), which goes with the module call before it: --where 'module=*' leaves it out"
    ]
