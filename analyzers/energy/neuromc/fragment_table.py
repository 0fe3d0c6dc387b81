"""From calls to fragments: calls that are alike are described once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from .fragments import Fragment

PLACE = ("rank", "module_id", "stage", "label")
"""What fragments are charged to, besides the step."""

_CALLS = {"key": pl.UInt32, "step": pl.Int32, "seq": pl.Int64}

_KINDS = {
    "key": pl.UInt32,
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "stage": pl.String,
    "label": pl.String,
    "section": pl.Int8,
    "place": pl.Int32,
    "fragment": pl.UInt32,
}


@dataclass
class Pieces:
    """Fragments and the calls that they stand for.

    Attributes:
        fragments: every distinct fragment once.
    """

    fragments: list[Fragment] = field(default_factory=list)
    _calls: list[pl.DataFrame] = field(default_factory=list)
    _kinds: list[tuple[Any, ...]] = field(default_factory=list)
    _keys: int = 0
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
            calls: rows with `PLACE`, `step`, `seq` and `keys`.
            keys: columns that decide which fragments a call is, stage and label apart.
            describe: returns the fragments of a call from a row of `keys` and `PLACE`.
            section: sections are told one after the other.
        """
        alike = list(dict.fromkeys((*PLACE, *keys)))
        grouped = calls.group_by(alike, maintain_order=True).agg("step", "seq")
        found = [describe(row) for row in grouped.select(alike).iter_rows(named=True)]
        first = self._keys
        self._keys += grouped.height
        places = grouped.select(PLACE).iter_rows()
        for key, (place, fragments) in enumerate(zip(places, found, strict=True), start=first):
            self._keep(key, place, section, fragments)
        kept = pl.Series([bool(fragments) for fragments in found], dtype=pl.Boolean)
        numbered = grouped.select("step", "seq", key=pl.int_range(first, self._keys))
        self._calls.append(numbered.filter(kept).explode("step", "seq").select(**_typed()))

    def add_single(
        self, rows: Sequence[tuple[tuple[Any, ...], int | None, int, Sequence[Fragment]]]
    ) -> None:
        """Take in calls given one by one as (`PLACE`, step, seq, fragments)."""
        known: dict[tuple[Any, ...], int] = {}
        calls = []
        for place, step, seq, fragments in rows:
            alike = (place, tuple(fragments))
            if alike not in known:
                known[alike] = self._keys
                self._keep(self._keys, place, 0, fragments)
                self._keys += 1
            calls.append((known[alike], step, seq))
        self._calls.append(pl.DataFrame(calls, schema=_CALLS, orient="row"))

    def _keep(
        self, key: int, place: tuple[Any, ...], section: int, fragments: Sequence[Fragment]
    ) -> None:
        for number, one in enumerate(fragments):
            if one not in self._places:
                self._places[one] = len(self.fragments)
                self.fragments.append(one)
            self._kinds.append((key, *place, section, number, self._places[one]))

    def counts(self) -> list[int]:
        """Return how often each fragment ran."""
        found = [0] * len(self.fragments)
        for place, calls in self.grouped().select("fragment", "calls").iter_rows():
            found[place] += calls
        return found

    def grouped(self, by_step: bool = False) -> pl.DataFrame:
        """Return `PLACE`, `step` (null unless asked for), `fragment` and `calls`."""
        step = pl.col("step") if by_step else pl.lit(None, pl.Int32)
        return (
            self._all()
            .group_by("key", *(["step"] if by_step else []))
            .agg(calls=pl.len().cast(pl.Int64), seq=pl.col("seq").min())
            .with_columns(step=step)
            .sort("seq")
            .join(self._kinds_table(), on="key", maintain_order="left_right")
            .select(*PLACE, "step", "fragment", "calls")
        )

    def in_order(self) -> pl.Series:
        """Return the fragments (their places in the list) as they are told, by section and time."""
        return (
            self._all()
            .join(self._kinds_table(), on="key", maintain_order="left_right")
            .sort("section", "rank", "seq", "place", maintain_order=True)["fragment"]
        )

    def _all(self) -> pl.DataFrame:
        return pl.concat(self._calls) if self._calls else pl.DataFrame(schema=_CALLS)

    def _kinds_table(self) -> pl.DataFrame:
        return pl.DataFrame(self._kinds, schema=_KINDS, orient="row")


def _typed() -> dict[str, pl.Expr]:
    return {name: pl.col(name).cast(kind) for name, kind in _CALLS.items()}
