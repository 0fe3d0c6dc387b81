"""SpikeSim's report by stage: a stage is a Conv2d module, and its calls add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ...frames import added_up
from .actions import tiles

_SUMS = ("all_sites", "pe_cycles", "live_sites", "live_patches", "full_rows", "rest_rows")


def stages_of(counts: pl.DataFrame, rows: pl.DataFrame, xbar_size: int) -> dict[str, Any]:
    """Return a report's details by stage.

    Args:
        counts: what `mapped` returns.
        rows: the priced rows of the report.
        xbar_size: the crossbar's size.
    """
    return {
        "energy_by_stage": _energy_by_stage(rows),
        "energy_by_component": _energy_by_component(rows),
        "event_stats_by_stage": _statistics_by_stage(counts, xbar_size),
        "stage_metadata": _metadata_by_stage(counts, xbar_size),
    }


def _energy_by_stage(rows: pl.DataFrame) -> dict[str, float]:
    """Return the energy of each stage in pJ, by module path."""
    found = rows.group_by("module", maintain_order=True).agg(added_up(pl.col("energy_pj")))
    return dict(found.iter_rows())


def _energy_by_component(rows: pl.DataFrame) -> dict[str, Any]:
    """Return the energy by component in pJ, `by_stage` and in `totals`; `total_pj` in each."""
    by_stage: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = {"total_pj": 0.0}
    frame = rows.group_by("module", "component", maintain_order=True).agg(
        added_up(pl.col("energy_pj"))
    )
    for module, component, energy_pj in frame.iter_rows():
        stage = by_stage.setdefault(module, {"total_pj": 0.0})
        for part in (stage, totals):
            part[f"{component}_pj"] = part.get(f"{component}_pj", 0.0) + energy_pj
            part["total_pj"] += energy_pj
    return {"by_stage": by_stage, "totals": totals}


def _statistics_by_stage(counts: pl.DataFrame, xbar_size: int) -> dict[str, dict[str, Any]]:
    """Return what was active of each stage, and what there was, by module path.

    `output_tile_site` are sites times output tiles, `patch_tile` (site, input tile) pairs, `row`
    inputs that meet a kernel position (padding too where nothing is left out by events), in all
    and by input tile.
    """
    stages: dict[str, dict[str, Any]] = {}
    for row in _summed(counts, "event").iter_rows(named=True):
        widths = tiles(row["in_channels"], xbar_size)
        dense = [row["all_sites"] * row["kernel_numel"] * width for width in widths]
        rows = row["full_rows"] + row["rest_rows"]
        known = {
            "active_output_tile_site_count": row["live_sites"] * row["out_tiles"],
            "active_patch_tile_count": row["live_patches"],
            "active_row_count": rows,
            "active_row_count_by_tile": _by_tile(row, rows, dense),
            "dense_output_tile_site_count": row["all_sites"] * row["out_tiles"],
            "dense_patch_tile_count": row["all_sites"] * row["in_tiles"],
            "dense_pe_cycle_count": row["pe_cycles"],
            "dense_row_count": sum(dense),
            "dense_row_count_by_tile": dense,
        }
        before = stages.get(row["module"])
        stages[row["module"]] = known if before is None else _added(before, known)
    return stages


def _by_tile(row: Mapping[str, Any], rows: int, dense: list[int]) -> list[int]:
    """Return the active rows of each input tile: all of `dense` where events do not count."""
    if len(dense) == 1:
        return [rows]
    return [row[f"rows_{tile}"] for tile in range(len(dense))] if row["event"] else dense


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: _plus(value, other[name]) for name, value in one.items()}


def _plus(one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [a + b for a, b in zip(one, other, strict=False)]
    return one + other


def _metadata_by_stage(counts: pl.DataFrame, xbar_size: int) -> dict[str, dict[str, Any]]:
    """Return each stage's geometry and how its calls were counted, by module path.

    `shape_mismatch_detected`: its calls had different shapes; those of the first one are told.
    """
    shapes = counts.group_by("module").agg(
        pl.struct("in_shape", "out_shape").n_unique().alias("shapes"),
        pl.col("calls").sum(),
        events=pl.col("calls").filter("event").sum(),
    )
    firsts = counts.unique("module", keep="first", maintain_order=True)
    found = {}
    for row in (
        firsts.drop("calls").join(shapes, on="module", maintain_order="left").iter_rows(named=True)
    ):
        found[row["module"]] = {
            "scope": row["module"],
            "in_channels": row["in_channels"],
            "out_channels": row["out_channels"],
            "kernel_size": row["kernel"],
            "stride": row["stride"],
            "padding": row["padding"],
            "dilation": row["dilation"],
            "input_shape": row["in_shape"],
            "output_shape": row["out_shape"],
            "input_tile_channels": tiles(row["in_channels"], xbar_size),
            "out_channel_tiles": row["out_tiles"],
            "total_calls": row["calls"],
            "event_driven_calls": row["events"],
            "dense_fallback_calls": row["calls"] - row["events"],
            "shape_mismatch_detected": row["shapes"] > 1,
        }
    return found


def _summed(counts: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """Add up the counts of each module and geometry."""
    geometry = (
        *("module", "in_channels", "out_channels", "kernel_numel"),
        *("in_tiles", "out_tiles", "full_tiles", "rest"),
    )
    return counts.group_by(*geometry, *keys, maintain_order=True).agg(
        pl.col(*_SUMS).sum(), pl.col("^rows_[0-9]+$").sum()
    )
