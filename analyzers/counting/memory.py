"""Peaks of memory: how many bytes of storages are live after each call, and what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ...schemas import STAGES, TraceError
from ..answers.page import Column, Page, Sheet
from ..answers.result import Result
from ..answers.tree import as_tree
from ..trace.files import collected
from ..trace.trace import Trace, narrowed
from ..units import bytes_text, count_text, share_text
from ..workload.modules import rolled_up, scopes_of, with_paths

_PEAKS = (
    Column("stage", "stage", left=True, style="bold"),
    Column("peak_bytes", "peak", bytes_text),
    Column("step", "step", count_text, optional=2),
    Column("op", "after", left=True, optional=1),
    Column("module", "in", left=True, optional=3),
)
_LIVE = (
    Column("bytes", "live at the peak", bytes_text),
    Column("share", "share", share_text),
    Column("storages", "storages", count_text, optional=1),
)
_STORAGE = ("rank", "storage_id")
_KINDS = ("parameter", "buffer", "gradient", "optimizer", "neuron_state", "model_input",
          "activation")  # fmt: skip
_SAID = {"optimizer": "optimizer state", "neuron_state": "neuron state",
         "model_input": "model input"}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Memory(Result):
    """Live bytes of the storages that a recording has seen.

    Attributes:
        frame: a row for each stage that ran: `stage`, `peak_bytes` (the most bytes that were live
            after one of its calls), `rank`, `seq`, `step`, `op` and `module` of that call.
        live: what is live at the highest peak: `kind` (parameter, buffer, gradient, optimizer,
            neuron_state, model_input or activation), `storages`, `bytes` and `share`.
        modules: the same by `module`: that in which a storage was made, of parameters the one that
            read them first; with what is below it.
        notes: what a reader of the figures has to know.
    """

    frame: pl.DataFrame
    live: pl.DataFrame
    modules: pl.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> dict[str, Any]:
        """The row of `frame` with the highest peak."""
        return self.frame.sort("peak_bytes", descending=True, maintain_order=True).row(
            0, named=True
        )

    def page(self) -> Page:
        """Return what is shown: peaks by stage, and what is live at the highest."""
        peak = self.total
        kinds = self.live.with_columns(pl.col("kind").replace(_SAID))
        return Page(
            (
                Sheet(self.frame, _PEAKS),
                Sheet(kinds, [Column("kind", "kind", left=True, style="bold"), *_LIVE]),
                Sheet(
                    as_tree(self.modules),
                    [Column("module", "module", left=True, style="bold"), *_LIVE],
                ),
            ),
            title=f"peak {bytes_text(peak['peak_bytes'])} in stage {peak['stage']}",
            notes=(
                f"peak {bytes_text(peak['peak_bytes'])} ({peak['peak_bytes']:,} bytes) after "
                f"{peak['op']}, call {peak['seq']}, stage {peak['stage']}",
                "bytes of tensors' storages, without what kernels take for themselves and what an "
                "allocator rounds up or keeps",
            ),
            warnings=self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, ready for JSON."""
        return {
            "total": self.total,
            "stages": self.frame.to_dicts(),
            "live": self.live.to_dicts(),
            "modules": self.modules.to_dicts(),
            "assumed": [],
            "warnings": list(self.notes),
        }


def memory(
    trace: Trace | str | os.PathLike[str], *, where: str | Sequence[str] | None = None
) -> Memory:
    """Tell how much memory the tensors of a recorded run take at most, stage by stage.

    A storage is live from the call that makes it to the last call before it is let go; one that
    was there before the recording, from its beginning.

    Args:
        trace: the trace, or its directory; recorded with `memory=True`.
        where: filters, see `where.parse_filters`: peaks over these calls, of all that is live.

    Raises:
        TraceError: it was not recorded when storages were let go, or there is no call.
    """
    part = narrowed(trace, where)
    lives = _lives(part)
    live = _live_after(part, lives)
    if live.is_empty():
        raise TraceError(f"{part.path}: no call fits: there is no peak.")
    peaks = (
        live.sort("peak_bytes", "rank", "seq", descending=[True, False, False])
        .unique("stage", keep="first", maintain_order=True)
        .sort(pl.col("stage").replace_strict({s: i for i, s in enumerate(STAGES)}, default=9))
    )
    named = _named(part, peaks)
    highest = max(named.iter_rows(named=True), key=lambda row: row["peak_bytes"])
    there, whole = _at(lives, highest), highest["peak_bytes"]
    modules = rolled_up(with_paths(part, there), scopes_of(part))
    return Memory(
        frame=named,
        live=_summed(there, "kind", {kind: n for n, kind in enumerate(_KINDS)}, whole),
        modules=_summed(
            modules, "module", dict(modules.select("module", "place").iter_rows()), whole
        ),
        notes=tuple(_notes(part)),
    )


def _notes(trace: Trace) -> Iterator[str]:
    """Yield what is not in the figures, and that they rest on no assumption."""
    if trace.left_out:
        yield trace.left_out
    if trace.assumed:
        yield "bytes follow from shapes: what is assumed of the data changes none of them"


def _summed(rows: pl.DataFrame, key: str, order: Mapping[str, int], whole: int) -> pl.DataFrame:
    found = rows.group_by(key).agg(storages=pl.len().cast(pl.Int64), bytes=pl.col("bytes").sum())
    share = pl.col("bytes") / (whole or None)
    return found.with_columns(share=share).sort(pl.col(key).replace_strict(order), key)


def _lives(trace: Trace) -> pl.DataFrame:
    """Return each storage: `rank`, `storage_id`, `bytes`, `kind`, `module_id`, `born`, `gone`.

    It is live after the calls from `born` on, up to that before `gone` (null: to the end).
    """
    whole = trace.whole
    values = collected(
        whole.values.filter(pl.col("storage_id").is_not_null()).select(
            "rank", "value_id", "storage_id", "storage_bytes", pl.col("kind").cast(pl.String)
        ),
        whole,
    )
    if not values["storage_bytes"].count():
        raise TraceError(
            f"{whole.path} does not tell when tensors were let go: record with --memory "
            "(memory=True)."
        )
    seen = _seen(whole, values)
    let_go = whole.calls.select("rank", "seq", "let_go").filter(pl.col("let_go").is_not_null())
    gone = (
        collected(let_go, whole).explode("let_go").select("rank", storage_id="let_go", gone="seq")
    )
    ranks = {kind: place for place, kind in enumerate(("activation", *_KINDS[:3], *_KINDS[4:6]))}
    kinds = values.with_columns(place=pl.col("kind").replace_strict(ranks, default=0)).sort("place")
    sizes = kinds.group_by(_STORAGE, maintain_order=True).agg(
        bytes=pl.col("storage_bytes").max(), kind=pl.col("kind").last()
    )
    of_optimizer = (pl.col("stage") == "optimizer") & (pl.col("kind") == "activation")
    return (
        sizes.join(seen, on=_STORAGE)
        .join(gone, on=_STORAGE, how="left")
        .with_columns(kind=pl.when(of_optimizer).then(pl.lit("optimizer")).otherwise("kind"))
        .sort(_STORAGE)
    )


def _seen(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return of each storage `born` (-1: before the first call), `stage` and `module_id`."""
    slots = [("in", f"in{slot}_value") for slot in range(3)] + [("out", "out0_value")]
    calls = collected(
        trace.calls.select("rank", "seq", "stage", "module_id", *(name for _, name in slots)), trace
    )
    more = collected(
        trace.call_operands.select("rank", "seq", "value_id", pl.col("role").cast(pl.String)), trace
    )
    operands = [
        *(calls.select("rank", "seq", value_id=name, role=pl.lit(role)) for role, name in slots),
        more.select("rank", "seq", "value_id", "role"),
    ]
    reached = (
        pl.concat(operands)
        .drop_nulls("value_id")
        .join(values.select("rank", "value_id", "storage_id"), on=["rank", "value_id"])
        .group_by(_STORAGE)
        .agg(
            seq=pl.col("seq").min(),
            read=pl.col("seq").filter(pl.col("role") == "in").min(),
            made=pl.col("seq").filter(pl.col("role") == "out").min(),
        )
    )
    new = pl.col("made").is_not_null() & (
        pl.col("read").is_null() | (pl.col("made") < pl.col("read"))
    )
    return reached.join(
        calls.select("rank", "seq", "stage", "module_id"), on=["rank", "seq"]
    ).select(*_STORAGE, "stage", "module_id", born=pl.when(new).then("made").otherwise(-1))


def _live_after(trace: Trace, lives: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `seq`, `stage`, ... and `peak_bytes`, what is live after each call."""
    changes = pl.concat(
        [
            lives.select("rank", seq="born", change="bytes"),
            lives.drop_nulls("gone").select("rank", seq="gone", change=-pl.col("bytes")),
        ]
    )
    sums = (
        changes.group_by("rank", "seq")
        .agg(pl.col("change").sum())
        .sort("rank", "seq")
        .with_columns(peak_bytes=pl.col("change").cum_sum().over("rank"))
    )
    calls = collected(
        trace.calls.select("rank", "seq", "stage", "step", "module_id", "signature_id"), trace
    ).sort("rank", "seq")
    return calls.join_asof(
        sums.select("rank", "seq", "peak_bytes").sort("rank", "seq"),
        on="seq", by="rank", strategy="backward", check_sortedness=False,
    )  # fmt: skip


def _named(trace: Trace, peaks: pl.DataFrame) -> pl.DataFrame:
    ops = trace.signatures.select("rank", "signature_id", "op")
    told = with_paths(trace, peaks).join(
        ops, on=["rank", "signature_id"], how="left", maintain_order="left"
    )
    return told.select("stage", "peak_bytes", "rank", "seq", "step", "op", "module")


def _at(lives: pl.DataFrame, peak: Mapping[str, Any]) -> pl.DataFrame:
    """Return the storages that are live after a call."""
    still = pl.col("gone").is_null() | (pl.col("gone") > peak["seq"])
    return lives.filter((pl.col("rank") == peak["rank"]) & (pl.col("born") <= peak["seq"]) & still)
