"""What of the products of a trace an estimator charges, and what it leaves out: one account.

Products of the trace = charged + left out, in dense MACs, call by call. The share, the statement,
the warnings and the refusals of every estimator come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ..frames import at_once
from ..text import agreeing, number, percent

_REST = pl.Schema({"what": pl.String, "calls": pl.Int64, "macs": pl.Int64})


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={**_REST, "macs_share": pl.Float64})


@dataclass(frozen=True)
class Account:
    """What is charged of the products, and what is not.

    Attributes:
        charged_macs: dense MACs of the products that are charged.
        left_out: `what`, `calls`, `macs` (dense; 0 for work that is no product, null: a size is
            not known) and `macs_share`, of all products (null: not known), most first.
        notes: what else a reader of the coverage has to know.
        charges_nothing: whether there are products and none of them is charged; of an op that no
            rule covers it is not known if it is one.
        unknown: what is left out since its size, or what it holds, is not known. If there is any,
            the energy of what is charged is a lower bound.
    """

    charged_macs: int = 0
    left_out: pl.DataFrame = field(default_factory=_nothing)
    notes: tuple[str, ...] = ()
    charges_nothing: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def at_least(self) -> bool:
        """Whether an energy of what is charged is a lower bound."""
        return bool(self.unknown)

    @property
    def left_out_macs(self) -> int | None:
        """Dense MACs of the products that are left out; None: the size of one is not known."""
        macs = self.left_out["macs"]
        return None if macs.null_count() else int(macs.sum())

    @property
    def share(self) -> float | None:
        """Share of the products that is charged, by dense MACs; None: not known, or no products."""
        rest = self.left_out_macs
        whole = None if rest is None else self.charged_macs + rest
        return self.charged_macs / whole if whole else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data.

        Returns:
            `left_out`, `charged_macs`, `charged_share` and `at_least` (an energy of what is charged
            is a lower bound).
        """
        return {
            "left_out": self.left_out.to_dicts(),
            "charged_macs": self.charged_macs,
            "charged_share": self.share,
            "at_least": self.at_least,
        }

    def line(self) -> str:
        """Return one sentence on how much of the products is charged."""
        if not self.charged_macs and self.left_out_macs == 0:
            text = "there are no products to charge"
        else:
            text = f"{percent(self.share)} of the MACs of the products are charged"
        calls = int(self.left_out["calls"].sum())
        if calls:
            text += f", {number(calls, 'call')} {agreeing(calls, 'is', 'are')} left out"
        unknown = self.left_out["macs"].null_count()
        if unknown:
            text += f" ({number(unknown, 'kind')} of unknown size)"
        return "; ".join([text, *self.notes])


def account_of(
    charged_macs: int,
    rest: pl.DataFrame,
    notes: tuple[str, ...] = (),
    *,
    beside: pl.DataFrame | None = None,
    unknown: Sequence[str] = (),
) -> Account:
    """Return the account of an estimator.

    Args:
        charged_macs: dense MACs of the products that it charges.
        rest: `what`, `calls` and `macs` of what it does not charge; rows of one `what` are added.
            With `uncovered` (null: false), which of them no rule covers, and `unmeasured`, of which
            it is not known what they hold or do.
        notes: see `Account`.
        beside: more such rows, of what the energy does not speak of: it is no lower bound for them.
        unknown: what else is left out as not known.
    """
    lost = pl.col("macs").is_null()
    if "unmeasured" in rest:
        lost |= pl.col("unmeasured")
    told = (*rest.filter(lost)["what"].unique(maintain_order=True), *unknown)
    if beside is not None:
        rest = pl.concat([rest, beside], how="diagonal")
    calls, macs = pl.col("calls").cast(pl.Int64), pl.col("macs").cast(pl.Int64)
    known_macs = pl.when(macs.null_count() == 0).then(macs.sum())
    whole = charged_macs + int(rest["macs"].sum() or 0)
    known = not rest["macs"].null_count()
    share = pl.col("macs") / (whole or 1) if known else pl.lit(None)
    share = pl.when(pl.col("macs") == 0).then(0.0).otherwise(share)
    order = [pl.col("macs").is_not_null(), -pl.col("macs"), -pl.col("calls"), "what"]
    found = (
        rest.lazy()
        .group_by("what")
        .agg(calls.sum(), known_macs.alias("macs"))
        .with_columns(macs_share=share.cast(pl.Float64))
        .sort(order)
    )
    sure = rest.filter(~pl.col("uncovered").fill_null(False)) if "uncovered" in rest else rest
    products = sure.filter(macs.is_null() | (macs > 0))
    nothing = not charged_macs and products.height > 0
    return Account(charged_macs, at_once(found), notes, nothing, told)
