"""NeuroMC's figures by module, stage, op, core and memory; most by SpikingJelly's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ...frames import added_up, at_once
from ...workload.modules import with_paths
from .actions import COMPONENTS, OPERATIONS
from .energies import totals_of
from .fragments import Fragment, Fragments

if TYPE_CHECKING:
    from ...trace.trace import Trace

PRESET = "neuromc_like_v1"
"""SpikingJelly's name of the hardware."""

MOST_LISTED = 100_000
"""Fragments up to which the table of fragments has a row for each that ran."""

_MOST = 2**63 - 1

_TOLD = ("module", "stage", "op", "label", "step")


def rows_of(found: Fragments, priced: pl.DataFrame, trace: Trace, *, by_step: bool) -> pl.DataFrame:
    """Return the rows of a report: each component of what ran in a module, stage and step.

    Returns:
        `module`, `stage`, `op`, `label`, `step` (null unless asked for), `component`, `energy_pj`,
        `amount` (MACs, operations or bits) and `fragments`.
    """
    ops = pl.LazyFrame({"op": [one.op for one in found.kinds]}, schema={"op": pl.String})
    each = priced.group_by("fragment", "component", maintain_order=True).agg(
        added_up(pl.col("energy_pj")), pl.col("amount").sum(), pl.col("calls").first()
    )
    whole = zip(each["calls"], each["amount"], strict=True)
    if sum(calls * amount for calls, amount in whole) > _MOST:
        each = each.cast({"amount": pl.Float64})
    return (
        with_paths(trace, found.grouped(by_step))
        .lazy()
        .join(ops.with_row_index("fragment"), on="fragment", how="left", maintain_order="left")
        .join(each.lazy().drop("calls"), on="fragment", maintain_order="left_right")
        .with_columns(pl.col("energy_pj", "amount") * pl.col("calls"))
        .group_by(*_TOLD, "component", maintain_order=True)
        .agg(added_up(pl.col("energy_pj")), pl.col("amount").sum(), fragments=pl.col("calls").sum())
        .pipe(at_once)
    )


def details_of(
    found: Fragments, priced: pl.DataFrame, parts: Mapping[str, float], default_core: str | None
) -> dict[str, Any]:
    """Return the figures by SpikingJelly's names, the fragments, and `amounts` for other energies.

    Args:
        found: the fragments.
        priced: their actions, see `energies.priced`.
        parts: energy by component.
        default_core: a core that is named beside the counts of operations.
    """
    ran = found.counts()
    by = {
        name: _sums(found, ran, priced, key)
        for name, key in (
            ("stage", lambda one: one.stage),
            ("op", lambda one: one.op),
            ("core_type", lambda one: one.core),
            ("process_key", lambda one: one.process),
        )
    }
    counted = ("fragments", "mac", *OPERATIONS)
    totals = {n: sum(of[n] for of in by["op"].values()) for n in ("mac", *OPERATIONS)}
    return {
        **{f"energy_{name}_pj": parts[name] for name in COMPONENTS},
        "energy_compute_pj": parts["mac"] + parts["extra_compute"],
        "energy_memory_pj": parts["base_memory"] + parts["extra_memory"],
        **{
            f"energy_by_{name}": {key: of["energy_pj"] for key, of in sums.items()}
            for name, sums in by.items()
        },
        **{f"counts_by_{n}": _only(by[n], counted) for n in ("core_type", "process_key")},
        "primitive_counts": {
            "totals": totals,
            **{f"by_{name}": _only(by[name], OPERATIONS) for name in ("stage", "op")},
            **({"core_type": default_core} if default_core else {}),
        },
        **_of_memory(priced),
        "mapping_summary": _mapping_summary(found, ran),
        "amounts": totals_of(priced),
    }


def _only(sums: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    return {key: {name: of[name] for name in names} for key, of in sums.items()}


def _sums(
    found: Fragments, ran: Sequence[int], priced: pl.DataFrame, key: Callable[[Fragment], str]
) -> dict[str, dict[str, Any]]:
    """Return fragments, MACs, operations and energy by a property of fragments."""
    names = ("fragments", "mac", *OPERATIONS)
    sums: dict[str, dict[str, Any]] = {}
    for one, n in zip(found.kinds, ran, strict=True):
        of = sums.setdefault(key(one), {**dict.fromkeys(names, 0), "energy_pj": 0.0})
        of["fragments"] += n
        of["mac"] += one.macs * n
    columns = ("fragment", "what", "amount", "calls", "energy_pj")
    for place, what, amount, calls, energy in priced.select(columns).iter_rows():
        of = sums[key(found.kinds[place])]
        of["energy_pj"] += energy * calls
        if what in OPERATIONS:
            of[what] += amount * calls
    return sums


def _of_memory(priced: pl.DataFrame) -> dict[str, Any]:
    """Return bits and energy by level and direction; Python's integers have no end."""
    bits: dict[str, dict[str, int]] = {}
    spent: dict[str, dict[str, float]] = {}
    columns = ("level", "direction", "amount", "calls", "energy_pj")
    moved = priced.lazy().select(columns).drop_nulls("level")
    moved = moved.sort("level", "direction", maintain_order=True)
    for level, direction, amount, calls, energy in at_once(moved).iter_rows():
        of, cost = bits.setdefault(level, {}), spent.setdefault(level, {})
        of[direction] = of.get(direction, 0) + amount * calls
        cost[direction] = cost.get(direction, 0.0) + energy * calls
    return {
        "energy_by_memory_level_dir": spent,
        "memory_bits_by_level": {
            "preset_name": PRESET,
            "totals": {level: sum(of.values()) for level, of in bits.items()},
            "by_level_dir": bits,
        },
    }


def _mapping_summary(found: Fragments, ran: Sequence[int]) -> list[dict[str, Any]]:
    """Return the fragments as they ran, modules and optimizers first, then the traced ones.

    Of more than `MOST_LISTED` each kind is listed once, with `calls`.
    """
    told = [_told(one) for one in found.kinds]
    if sum(ran) > MOST_LISTED:
        return [{**each, "calls": n} for each, n in zip(told, ran, strict=True) if n]
    return [told[place] for place in found.in_order().to_list()]


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
