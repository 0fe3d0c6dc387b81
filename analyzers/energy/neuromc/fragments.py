"""Fragments: the pieces of work that NeuroMC's hardware is charged for, and the calls they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from ...frames import at_once

PLACE = ("rank", "module_id", "stage", "label")
"""What fragments are charged to, besides the step."""

_CALLS = {"key": pl.UInt32, "step": pl.Int32, "seq": pl.Int64, "product": pl.Int64}

_CUTS = {
    "key": pl.UInt32,
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "stage": pl.String,
    "label": pl.String,
    "section": pl.Int8,
    "number": pl.Int32,
    "fragment": pl.UInt32,
}

SPIKE_CORES = ("fp_soma", "wg")
"""Cores that take 1-bit inputs: a MAC is an addition and a selection."""

CORES = {
    "forward": ("ann_fe", "fp_soma"),
    "grad_input": ("ann_be", "bp_grad"),
    "grad_weight": ("ann_we", "wg"),
    "norm": ("ann_bn", "fp_bn"),
    "norm_backward": ("ann_bn_bp", "bp_bn"),
}
"""Core by the role of a fragment: for dense inputs, and for spikes."""


class Loops(NamedTuple):
    """Sizes of the loops of a fragment; all of them multiplied are its MACs."""

    batch: int = 1
    steps: int = 1
    c: int = 1
    k: int = 1
    oy: int = 1
    ox: int = 1
    fy: int = 1
    fx: int = 1

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.fy * self.fx

    @property
    def total(self) -> int:
        """All sizes multiplied."""
        return self.batch * self.steps * self.c * self.k * self.oy * self.ox * self.taps

    def positions_of(self, channels: int) -> int:
        """Values of `channels` channels at every position, sample and step."""
        return self.oy * self.ox * channels * self.batch * self.steps

    @classmethod
    def spatial(cls, out: tuple[int, ...], kernel: tuple[int, ...], **sizes: int) -> Loops:
        """Return the loops of a convolution; what a 1-d one lacks is 1."""
        oy, ox = (*out, 1, 1)[:2]
        fy, fx = (*kernel, 1, 1)[:2]
        return cls(oy=oy, ox=ox, fy=fy, fx=fx, **sizes)


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """One piece of work.

    Attributes:
        op: what it is: `linear.forward`, `soma.backward`, `adam`, or the aten op.
        stage: the stage that it is charged to: the user's, or forward, backward, optimizer.
        phase: forward, backward or optimizer.
        core: the core that does it, e.g. fp_soma.
        process: with_nothing, with_sg (neurons), with_bn or with_opt.
        source: module, trace (an op outside the modules that are known) or optimizer.
        loops: sizes of its loops.
        macs: multiply-accumulates.
        inputs: elements of the tensor that streams in.
        weights: elements of the second operand; in a weight gradient: of the output's gradient.
        outputs: elements of the result.
        input_bits: width of an input element.
        output_bits: width of an output element.
        weight_bits: width of an element of the second operand.
        groups: groups of a convolution; sums run within a group.
        parts: equal pieces that the fragment is worked off in, each with weights of its own reads.
        batch_reused: weights are there from an earlier batch.
        step_reused: weights are there from an earlier time step.
        norm_modelled: batch norm's backward operations are charged.
        momentum: SGD: momentum is on.
        momentum_buffer: SGD: its buffer existed before the step.
        weight_decay: SGD: weight decay is on.
    """

    op: str
    stage: str
    phase: str
    core: str
    process: str = "with_nothing"
    source: str = "module"
    loops: Loops = field(default_factory=Loops)
    macs: int = 0
    inputs: int = 0
    weights: int = 0
    outputs: int = 0
    input_bits: int = 16
    weight_bits: int = 16
    output_bits: int = 16
    groups: int = 1
    parts: int = 1
    batch_reused: bool = False
    step_reused: bool = False
    norm_modelled: bool = True
    momentum: bool = False
    momentum_buffer: bool = False
    weight_decay: bool = False

    @property
    def role(self) -> str:
        """Key of `CORES`; "" for what the optimizer does."""
        return next((role for role, cores in CORES.items() if self.core in cores), "")

    @property
    def reused(self) -> bool:
        """Whether the weights are there already, by the stage."""
        return self.batch_reused or self.step_reused


def bits_of(core: str) -> int:
    """Return the width of an input element of a core."""
    return 1 if core in SPIKE_CORES else 16


@dataclass
class Fragments:
    """Fragments of a run and the calls that they stand for; calls that are alike are cut once.

    Attributes:
        twins: for each rank the first one with the same signatures, which is cut for it.
        kinds: every distinct fragment once.
        refused: why a revision refuses the run, in words.
    """

    twins: Mapping[int, int]
    kinds: list[Fragment] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _calls: list[pl.DataFrame] = field(default_factory=list)
    _cuts: list[pl.DataFrame] = field(default_factory=list)
    _keys: int = 0
    _places: dict[Fragment, int] = field(default_factory=dict)

    def add(
        self,
        calls: pl.DataFrame,
        keys: Sequence[str],
        cut: Callable[[dict[str, Any]], Sequence[Fragment]],
        section: int = 0,
    ) -> None:
        """Take in calls.

        Args:
            calls: rows with `PLACE`, `step`, `seq`, `keys` and, of products, `product`: the seq of
                the call that is charged.
            keys: columns that decide which fragments a call is, stage and label apart.
            cut: returns the fragments of a call from a row of `keys` and `PLACE`, without module.
            section: sections are listed one after the other.
        """
        if "product" not in calls.columns:
            calls = calls.with_columns(product=pl.lit(None))
        if calls.is_empty():
            return
        alike, own = list(dict.fromkeys((*PLACE, *keys))), ("step", "seq", "product")
        grouped = calls.group_by(alike, maintain_order=True).agg(own)
        first = self._keys
        self._keys += grouped.height
        told = grouped.select(each for each in alike if each != "module_id")
        cuts = (
            grouped.lazy()
            .with_columns(key=pl.int_range(first, self._keys), fragment=self._numbers(told, cut))
            .filter(pl.col("fragment").list.len() > 0)
        )
        self._cuts.append(
            cuts.with_columns(
                section=pl.lit(section), number=pl.int_ranges(pl.col("fragment").list.len())
            )
            .explode("fragment", "number")
            .select(_typed(_CUTS))
            .pipe(at_once)
        )
        of_each = cuts.select(*own, "key").explode(own).select(_typed(_CALLS))
        self._calls.append(at_once(of_each))

    def _numbers(
        self, calls: pl.DataFrame, cut: Callable[[dict[str, Any]], Sequence[Fragment]]
    ) -> pl.Series:
        """Return places in `kinds` of the fragments of each row.

        Rows that are equal, or would be if the ranks of twins were, are cut once.
        """
        found: list[list[int]] = [[]] * calls.height
        first_of = (
            calls.lazy().with_columns(pl.col("rank").replace(self.twins)).with_row_index("row")
        )
        equal = at_once(first_of.group_by(calls.columns, maintain_order=True).agg("row"))
        for told in equal.iter_rows(named=True):
            numbers = []
            for one in cut(told):
                numbers.append(self._places.setdefault(one, len(self.kinds)))
                if numbers[-1] == len(self.kinds):
                    self.kinds.append(one)
            for row in told["row"]:
                found[row] = numbers
        return pl.Series(found, dtype=pl.List(pl.UInt32))

    def counts(self) -> list[int]:
        """Return how often each fragment ran."""
        found = [0] * len(self.kinds)
        grouped = self.grouped()
        for kind, calls in zip(grouped["fragment"], grouped["calls"], strict=True):
            found[kind] += calls
        return found

    def grouped(self, by_step: bool = False) -> pl.DataFrame:
        """Return `PLACE`, `step` (null unless asked for), `fragment` and `calls`, in order."""
        step = pl.col("step") if by_step else pl.lit(None, pl.Int32)
        return (
            self._all()
            .lazy()
            .group_by("key", *(["step"] if by_step else []))
            .agg(calls=pl.len().cast(pl.Int64), seq=pl.col("seq").min())
            .with_columns(step=step)
            .sort("seq", "key", "step")
            .join(self._cut().lazy(), on="key", maintain_order="left_right")
            .select(*PLACE, "step", "fragment", "calls")
            .pipe(at_once)
        )

    def in_order(self) -> pl.Series:
        """Return places in `kinds` of the fragments as they ran, by section and time."""
        return (
            self._all()
            .join(self._cut(), on="key", maintain_order="left_right")
            .sort("section", "rank", "seq", "number", maintain_order=True)["fragment"]
        )

    def products(self) -> pl.DataFrame:
        """Return `rank` and `seq` of the product calls that fragments stand for, each once."""
        ranks = self._cut().lazy().select("key", "rank").unique()
        of = self._all().lazy().drop_nulls("product").join(ranks, on="key")
        return at_once(of.select("rank", seq="product").unique())

    def _all(self) -> pl.DataFrame:
        return pl.concat(self._calls) if self._calls else pl.DataFrame(schema=_CALLS)

    def _cut(self) -> pl.DataFrame:
        return pl.concat(self._cuts) if self._cuts else pl.DataFrame(schema=_CUTS)


def _typed(schema: Mapping[str, Any]) -> list[pl.Expr]:
    return [pl.col(name).cast(kind) for name, kind in schema.items()]
