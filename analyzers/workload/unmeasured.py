"""What is missing of counted operations: ops without a rule, and calls that were not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError
from ..text import agreeing, number
from .products import product_macs

if TYPE_CHECKING:
    from ..trace.trace import Trace

_LEFT_OUT = {"what": pl.String, "calls": pl.Int64, "macs_share": pl.Float64}


@dataclass(frozen=True)
class Gaps:
    """What is not in the counts.

    Attributes:
        left_out: see `EnergyReport`: ops that no rule covers, then calls that were not measured;
            shares are of the dense MACs of products, convolutions and attention.
        unmeasured: calls that were not measured.
        share: of the dense MACs in those.
    """

    left_out: pl.DataFrame
    unmeasured: int
    share: float

    def warnings(self) -> list[str]:
        """Return one sentence on what was not measured, if anything was not."""
        if not self.unmeasured:
            return []
        return [
            f"{number(self.unmeasured, 'call')} {agreeing(self.unmeasured, 'was', 'were')} not "
            f"measured ({self.share:.1%} of the MACs) and {agreeing(self.unmeasured, 'is', 'are')} "
            "left out: the total is a lower bound"
        ]


def gaps_of(trace: Trace, counted: pl.DataFrame) -> Gaps:
    """Return what is missing of counts.

    Args:
        trace: the trace.
        counted: what `tally` returned.

    Raises:
        TraceError: no product, convolution or attention was measured, so that nobody knows
            whether they multiply.
    """
    dense = counted.join(_dense(trace), on=["rank", "signature_id"], how="left").select(
        "op", "how", "calls", "unmeasured", macs=pl.col("each") * pl.col("calls")
    )
    products = dense.filter(pl.col("macs").is_not_null() & (pl.col("how") != "uncovered"))
    if products.height and (products["unmeasured"] == products["calls"]).all():
        calls = number(int(products["calls"].sum()), "call")
        raise TraceError(
            f"{trace.path}: no product or convolution ({calls}) was measured (statistics = "
            f"{trace.manifest.statistics}), so nobody knows which of them spikes drive: record "
            "with statistics='synaptic' or 'full'"
        )
    whole = int(dense["macs"].sum()) or 1
    open_ones = dense.filter((pl.col("unmeasured") > 0) & (pl.col("how") != "uncovered"))
    rest = [
        _summed(dense.filter(pl.col("how") == "uncovered"), pl.col("op"), "calls", whole),
        _summed(
            open_ones.with_columns(pl.col("macs").fill_null(0)),
            pl.format("{} (not measured)", "op"),
            "unmeasured",
            whole,
        ),
    ]
    return Gaps(
        left_out=pl.concat(rest),
        unmeasured=int(open_ones["unmeasured"].sum()),
        share=int(open_ones["macs"].sum()) / whole,
    )


def _dense(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id` and `each`, the dense MACs of a call, of products."""
    rows = [
        (row["rank"], row["signature_id"], macs)
        for row in trace.signatures.iter_rows(named=True)
        if (macs := product_macs(row)) is not None
    ]
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "each": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _summed(rows: pl.DataFrame, what: pl.Expr, calls: str, whole: int) -> pl.DataFrame:
    """Return rows by op, as `EnergyReport.left_out` has them; null shares where MACs are."""
    macs = pl.when(pl.col("macs").null_count() == 0).then(pl.col("macs").sum())
    return (
        rows.group_by(what=what, maintain_order=True)
        .agg(calls=pl.col(calls).sum(), macs_share=macs / whole)
        .sort("calls", descending=True, maintain_order=True)
        .cast(pl.Schema(_LEFT_OUT))
    )


def input_types(counted: pl.DataFrame, spikes: str = "binary") -> str:
    """Return how many products and convolutions were spike-driven, and what was left of them.

    Args:
        counted: what `tally` returned.
        spikes: what a spike tensor may hold.
    """
    products = counted.filter(pl.col("family").is_in(["product", "convolution"]))
    measured = products.filter(pl.col("macs").is_not_null() & pl.col("acs").is_not_null())
    calls, known = int(products["calls"].sum()), int(measured["calls"].sum())
    if not known:
        return ""
    driven = measured.filter((pl.col("macs") == 0) & (pl.col("flops") > 0))
    kind = "spikes" if spikes == "binary" else f"{spikes} spikes"
    text = f"{kind} into {int(driven['calls'].sum())} of {known} products and convolutions"
    dense = int(driven["flops"].sum()) // 2
    if dense:
        share = int(driven["acs"].sum()) / dense
        text += f", where {share:.1%} of the dense multiply-accumulates are left as accumulations"
    rest = calls - known
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
