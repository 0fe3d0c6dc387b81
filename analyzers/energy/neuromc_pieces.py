"""From calls to fragments: calls that are alike are described once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from .neuromc_fragments import Fragment
from .neuromc_modules import WHERE

_CALLS = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "stage": pl.String,
    "label": pl.String,
    "step": pl.Int32,
    "seq": pl.Int64,
    "place": pl.Int32,
    "fragment": pl.UInt32,
    "section": pl.Int8,
}


@dataclass
class Pieces:
    """Fragments and the calls that they stand for.

    Attributes:
        fragments: every distinct fragment once.
        calls: one row for each fragment that ran: what it is charged to (`WHERE`), when (`seq`, and
            `place` among those of one call), `fragment`, its place in the list, and `section`, by
            which they are told in order.
    """

    fragments: list[Fragment] = field(default_factory=list)
    calls: list[pl.DataFrame] = field(default_factory=list)
    _places: dict[Fragment, int] = field(default_factory=dict)

    def add(
        self,
        calls: pl.DataFrame,
        keys: Sequence[str],
        describe: Callable[[dict[str, Any]], Sequence[Fragment]],
        section: int = 0,
    ) -> None:
        """Take in calls.

        Args:
            calls: rows with `WHERE`, `seq` and `keys`.
            keys: columns that decide which fragments a call is; stage and label always do.
            describe: returns the fragments of a call from a row of `keys`, stage and label.
            section: sections are told one after the other.
        """
        keys = list(dict.fromkeys((*keys, "stage", "label")))
        distinct = calls.select(keys).unique(maintain_order=True).with_row_index("key")
        rows = [
            (key, place, self._place_of(one))
            for key, row in enumerate(distinct.select(keys).iter_rows(named=True))
            for place, one in enumerate(describe(row))
        ]
        schema = {"key": pl.UInt32, "place": pl.Int32, "fragment": pl.UInt32}
        found = pl.DataFrame(rows, schema=schema, orient="row")
        self.calls.append(
            calls.join(distinct, on=keys, how="left", nulls_equal=True, maintain_order="left")
            .join(found, on="key", maintain_order="left_right")
            .with_columns(section=pl.lit(section))
            .select(pl.col(name).cast(kind) for name, kind in _CALLS.items())
        )

    def add_rows(self, rows: Sequence[tuple[Any, ...]], fragments: Sequence[Fragment]) -> None:
        """Take in single fragments with rows of (rank, module, stage, label, step, seq, place)."""
        full = [(*row, self._place_of(one), 0) for row, one in zip(rows, fragments, strict=True)]
        self.calls.append(pl.DataFrame(full, schema=_CALLS, orient="row"))

    def _place_of(self, one: Fragment) -> int:
        if one not in self._places:
            self._places[one] = len(self.fragments)
            self.fragments.append(one)
        return self._places[one]

    def table(self) -> pl.DataFrame:
        """Return all calls in one table."""
        return pl.concat(self.calls) if self.calls else pl.DataFrame(schema=_CALLS)

    def counts(self) -> list[int]:
        """Return how often each fragment ran."""
        found = dict(self.table().group_by("fragment").len().iter_rows())
        return [found.get(place, 0) for place in range(len(self.fragments))]

    def grouped(self) -> pl.DataFrame:
        """Return `WHERE`, `fragment` and `calls`: how often it ran there."""
        return (
            self.table()
            .group_by(*WHERE, "fragment", maintain_order=False)
            .agg(calls=pl.len().cast(pl.Int64), seq=pl.col("seq").min())
            .sort("rank", "seq", "fragment")
            .drop("seq")
        )
