"""NeuroMC's figures by stage, op, core type, process and memory level, by SpikingJelly's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from .addon_traffic import OPERATIONS
from .fragment_table import PLACE, Pieces
from .fragments import Fragment
from .prices import COMPONENTS, PRICED

if TYPE_CHECKING:
    from ...trace.trace import Trace

PRESET = "neuromc_like_v1"
"""SpikingJelly's name of the hardware."""

_MOST = 2**63 - 1

MOST_LISTED = 100_000
"""Fragments up to which the table of fragments has a row for each that ran."""


def rows_of(pieces: Pieces, priced: pl.DataFrame, trace: Trace, *, by_step: bool) -> pl.DataFrame:
    """Return the rows of a report: each component of what ran in a module, stage and step.

    Returns:
        `module`, `stage`, `op`, `label`, `step` (null unless asked for), `component`, `energy_pj`,
        `amount` (MACs, operations or bits) and `fragments`.
    """
    ops = pl.DataFrame(
        {"fragment": range(len(pieces.fragments)), "op": [one.op for one in pieces.fragments]},
        schema={"fragment": pl.UInt32, "op": pl.String},
    )
    each = priced.group_by("fragment", "component", maintain_order=True).agg(
        pl.col("energy_pj", "amount").sum()
    )
    paths = trace.modules.select("rank", "module_id", module="path")
    grouped = pieces.grouped(by_step)
    if sum(pieces.counts()) * max(each["amount"].to_list(), default=0) > _MOST:
        each = each.cast({"amount": pl.Float64})
    # What differs but in rank, or in a fragment of the same op, is one row: numbered before steps.
    rows = (
        grouped.select(*PLACE, "fragment")
        .unique(maintain_order=True)
        .join(ops, on="fragment", how="left", maintain_order="left")
        .join(paths, on=["rank", "module_id"], how="left", maintain_order="left")
    )
    told = rows.select("module", "stage", "op", "label").unique(maintain_order=True)
    told = told.with_row_index("row")
    rows = rows.join(told, on=["module", "stage", "op", "label"], nulls_equal=True).select(
        *PLACE, "fragment", "row"
    )
    components = pl.Enum(COMPONENTS)
    summed = (
        grouped.join(rows, on=[*PLACE, "fragment"], nulls_equal=True, maintain_order="left")
        .select("row", "step", "fragment", "calls")
        .join(each.cast({"component": components}), on="fragment", maintain_order="left_right")
        .group_by("row", "step", "component", maintain_order=True)
        .agg(
            (pl.col("energy_pj", "amount") * pl.col("calls")).sum(),
            fragments=pl.col("calls").sum(),
        )
    )
    return summed.join(told, on="row", maintain_order="left").select(
        "module", "stage", "op", "label", "step",
        pl.col("component").cast(pl.String), "energy_pj", "amount", "fragments",
    )  # fmt: skip


def details_of(
    pieces: Pieces,
    counts: Sequence[int],
    priced: pl.DataFrame,
    revision: str,
    parts: Mapping[str, float],
) -> dict[str, Any]:
    """Return the figures by SpikingJelly's names, the fragments, and `amounts` for other prices.

    Args:
        pieces: the fragments.
        counts: how often each ran.
        priced: amounts of each fragment, once, with `energy_pj`.
        revision: 2026-08 names a core type beside the primitive counts.
        parts: energy by component.
    """
    times = pl.DataFrame(
        {"fragment": range(len(counts)), "calls": counts},
        schema={"fragment": pl.UInt32, "calls": pl.Int64},
    )
    whole = priced.join(times, on="fragment", maintain_order="left").with_columns(
        pl.col("energy_pj") * pl.col("calls")
    )
    ran = list(zip(pieces.fragments, counts, strict=True))
    return {
        "energy_mac_pj": parts["mac"],
        "energy_extra_compute_pj": parts["extra_compute"],
        "energy_base_memory_pj": parts["base_memory"],
        "energy_extra_memory_pj": parts["extra_memory"],
        "energy_compute_pj": parts["mac"] + parts["extra_compute"],
        "energy_memory_pj": parts["base_memory"] + parts["extra_memory"],
        "energy_by_stage": _energy_by(whole, pieces, lambda one: one.stage),
        "energy_by_op": _energy_by(whole, pieces, lambda one: one.op),
        "energy_by_core_type": _energy_by(whole, pieces, lambda one: one.core),
        "energy_by_process_key": _energy_by(whole, pieces, lambda one: one.process),
        "energy_by_memory_level_dir": _energy_by_level(whole),
        "counts_by_core_type": _counted(ran, whole, lambda one: one.core),
        "counts_by_process_key": _counted(ran, whole, lambda one: one.process),
        "primitive_counts": _primitives(ran, whole, revision),
        "memory_bits_by_level": _bits_by_level(whole),
        "mapping_summary": mapping_summary(pieces, counts),
        "amounts": totals_of(whole),
    }


def totals_of(whole: pl.DataFrame) -> pl.DataFrame:
    """Return amounts by component and `PRICED`: all that other prices need."""
    return (
        whole.with_columns(pl.col("amount").cast(pl.Float64) * pl.col("calls"))
        .group_by("component", *PRICED, maintain_order=True)
        .agg(pl.col("amount").sum())
    )


def _energy_by(
    whole: pl.DataFrame, pieces: Pieces, key: Callable[[Fragment], str]
) -> dict[str, float]:
    found = dict.fromkeys((key(one) for one in pieces.fragments), 0.0)
    for place, energy in whole.group_by("fragment").agg(pl.col("energy_pj").sum()).iter_rows():
        found[key(pieces.fragments[place])] += energy
    return found


def _energy_by_level(whole: pl.DataFrame) -> dict[str, dict[str, float]]:
    sums = whole.drop_nulls("level").group_by("level", "direction").agg(pl.col("energy_pj").sum())
    found: dict[str, dict[str, float]] = {}
    for level, direction, energy in sums.sort("level", "direction").iter_rows():
        found.setdefault(level, {})[direction] = energy
    return found


def _bits_by_level(whole: pl.DataFrame) -> dict[str, Any]:
    """Return bits by level and direction; Python's integers have no end."""
    found: dict[str, dict[str, int]] = {}
    bits = whole.drop_nulls("level").select("level", "direction", "amount", "calls")
    for level, direction, amount, calls in bits.sort("level", "direction").iter_rows():
        by = found.setdefault(level, {})
        by[direction] = by.get(direction, 0) + amount * calls
    return {
        "preset_name": PRESET,
        "totals": {level: sum(by.values()) for level, by in found.items()},
        "by_level_dir": found,
    }


def _operations(whole: pl.DataFrame) -> dict[int, dict[str, int]]:
    """Return operations by fragment, over all its runs."""
    found: dict[int, dict[str, int]] = {}
    chosen = whole.filter(pl.col("component") == "extra_compute")
    for place, what, amount, calls in chosen.select(
        "fragment", "what", "amount", "calls"
    ).iter_rows():
        found.setdefault(place, {})[what] = amount * calls
    return found


def _counted(
    ran: Sequence[tuple[Fragment, int]], whole: pl.DataFrame, key: Callable[[Fragment], str]
) -> dict[str, dict[str, int]]:
    """Return fragments, MACs and operations by a property of fragments."""
    operations = _operations(whole)
    found: dict[str, dict[str, int]] = {}
    for place, (one, n) in enumerate(ran):
        by = found.setdefault(key(one), dict.fromkeys(("fragments", "mac", *OPERATIONS), 0))
        by["fragments"] += n
        by["mac"] += one.macs * n
        for what, amount in operations.get(place, {}).items():
            by[what] += amount
    return found


def _primitives(
    ran: Sequence[tuple[Fragment, int]], whole: pl.DataFrame, revision: str
) -> dict[str, Any]:
    def without(found: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        return {name: {op: by[op] for op in OPERATIONS} for name, by in found.items()}

    all_of = _counted(ran, whole, lambda one: "all").get("all", {})
    totals = {name: all_of.get(name, 0) for name in ("mac", *OPERATIONS)}
    named = {"core_type": "fp_soma"} if revision == "spikingjelly-2026-08" else {}
    return {
        "totals": totals,
        "by_stage": without(_counted(ran, whole, lambda one: one.stage)),
        "by_op": without(_counted(ran, whole, lambda one: one.op)),
        **named,
    }


def mapping_summary(pieces: Pieces, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return the fragments as they ran, modules and optimizers first, then the traced ones.

    Of more than `MOST_LISTED` each kind is told once, with `calls`.
    """
    told = [_told(one) for one in pieces.fragments]
    if sum(counts) > MOST_LISTED:
        return [{**each, "calls": n} for each, n in zip(told, counts, strict=True) if n]
    return [told[place] for place in pieces.in_order().to_list()]


def _told(one: Fragment) -> dict[str, Any]:
    loops = one.loops
    return {
        "op_name": one.op,
        "stage": one.stage,
        "phase": one.phase,
        "core_type": one.core,
        "process_key": one.process,
        "source": one.source,
        "loop_dims": {
            "B": loops.batch, "T": loops.steps, "C": loops.c, "K": loops.k,
            "OY": loops.oy, "OX": loops.ox, "FY": loops.fy, "FX": loops.fx,
        },
        "input_precision_bits": one.input_bits,
        "weight_precision_bits": one.weight_bits,
        "output_precision_bits": one.output_bits,
        "mac_count": one.macs,
        "b_type": int(one.batch_reused),
        "t_type": int(one.step_reused),
        "optimizer_has_momentum": one.momentum,
        "optimizer_has_momentum_buffer": one.momentum_buffer,
        "optimizer_has_weight_decay": one.weight_decay,
    }  # fmt: skip


def parts_of(priced: pl.DataFrame, counts: Sequence[int]) -> dict[str, float]:
    """Return energy by component of fragments that ran so often."""
    times = pl.Series(counts, dtype=pl.Float64)
    energy = priced["energy_pj"] * times.gather(priced["fragment"])
    sums = dict(
        priced.select("component", energy=energy).group_by("component").agg(pl.col("energy").sum())
        .iter_rows()
    )  # fmt: skip
    return {name: sums.get(name, 0.0) for name in COMPONENTS}
