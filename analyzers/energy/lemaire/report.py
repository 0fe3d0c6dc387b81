"""Lemaire: operations, addressing and memory of a spiking or formal network's inference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import TraceError
from ....schemas.costs import LemaireConfig
from ...frames import added_up
from ...trace.filters import CHOOSING, Filter, parse_filters
from ...trace.trace import narrowed
from ...workload.account import account_of
from ...workload.inference import forward_part, mode_warnings, passes_left_out, passes_warnings
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.spikes import check_spikes
from ..report import EnergyReport
from ..revisions import variant_of
from ..row_keys import KEYS, MOST_STEPS
from .actions import largest, totals
from .energies import breakdown_pj, priced, total_pj, word_bytes
from .left_out import left_out
from .scope import SCOPE, input_types, nothing_charged, unmatched
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace


def estimate_lemaire(
    trace: Trace,
    config: LemaireConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of the forward calls of linear layers, convolutions and their neurons.

    Args:
        trace: the trace.
        config: energies and options; by default 32-bit words and the authors' memory cost.
        revision: "source": calls in eval mode, counted as the authors do; "spikingjelly-2.0" or
            "spikingjelly-2026-08": in whatever mode the model was.
        strict: refuse what the model does not cover instead of leaving it out.
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say; "per-call": every call of the model
            is one; by default what was recorded.
        where: filters, see `where.parse_filters`. Those on modules and ops, of the trace too,
            choose among the rows: what a neuron is charged stands at the neuron, and is of no op.
        spikes: what a spike tensor may hold: the model knows "binary" alone.

    Returns:
        A report whose components are `ops`, `addressing`, `inout`, `params` and `potential`;
        `count` in its rows are operations or words moved. `details` has `buffer_sizes_bytes` (the
        largest memory of each kind), `layers` (the authors' table: potentials, weights, bias,
        in/out, ops and addressing of each layer with the neurons that it feeds, in pJ), `terms`
        (count and energy of each action by layer) and `actions` (counts by kind and size of the
        memory in words, which `energies.prices_of` prices anew).

    Raises:
        ConfigError: unknown revision, or a filter that means nothing.
        TraceError: no product is charged, the trace lacks statistics, its batch or time steps are
            not known, or strict finds what is outside.
    """
    config = config or LemaireConfig()
    variant: Variant = variant_of("lemaire", revision)
    check_spikes(spikes, ("binary",))
    trace = narrowed(regrouped(narrowed(trace), samples), where)
    part, whole = trace, trace.unchosen
    if variant.eval_only:
        whole = forward_part(whole, eval_only=True)
        part = whole if trace.wide is None else forward_part(trace, eval_only=True)
    many = samples_of(part, batch, time_steps, samples=samples, eval_only=variant.eval_only)
    count = partial(variant.count, whole, config, samples=many)
    counted = count(by_step=trace.manifest.steps <= MOST_STEPS)
    rest, charged = left_out(part, counted, variant)
    trained = passes_left_out(trace, part)
    named = rest.select("what", "calls", "macs", "uncovered")
    account = account_of(charged, named, beside=trained)
    passes = passes_warnings(trace, trained)
    warnings = (*variant.warnings(rest, trace), *passes, *counted.warnings)
    chosen = [each for each in parse_filters(trace.filters) if each.field in CHOOSING]
    counts = _chosen(counted.actions, whole, chosen)
    nothing = account.charges_nothing and not (warnings and variant.allows_nothing)
    empty = counted.inputs.is_empty() or counts.is_empty()
    if nothing or (empty and not variant.allows_nothing):
        forward_part(part, eval_only=False)
        raise TraceError(nothing_charged(part, rest))
    if strict and warnings:
        raise TraceError(f"{warnings[0]} (strict)")
    modes = mode_warnings(part) if variant.eval_only else many.energy_modes
    inputs = counted.inputs
    if chosen:
        inputs = inputs.filter(pl.col("module").is_in(counts["module"].unique().implode()))
    energies = priced(counts, config, variant)
    breakdown = breakdown_pj(energies)
    word = word_bytes(config, variant)
    return EnergyReport(
        estimator="lemaire",
        revision=revision,
        total_pj=total_pj(breakdown),
        breakdown_pj=breakdown,
        counts=_counts(counts, word, variant),
        rows=_rows(energies),
        scopes=scopes_of(part),
        config=config.model_dump(),
        scope=SCOPE,
        warnings=(*warnings, *counted.notes, *modes, *unmatched(trace, config), *many.warnings),
        account=account,
        sampled=many,
        input_types=input_types(inputs),
        details={
            "buffer_sizes_bytes": {
                f"{part}_buffer_bytes": words * word for part, words in largest(counts).items()
            },
            "layers": _layers(energies),
            "terms": _summed(energies, "layer", "what"),
            "actions": counts.group_by("component", "what", "size", maintain_order=True).agg(
                added_up(pl.col("count"))
            ),
        },
        recount=lambda keys: _rows(
            priced(_chosen(count(by_step="step" in keys).actions, whole, chosen), config, variant)
        ),
    )


def _chosen(counts: pl.DataFrame, trace: Trace, filters: Sequence[Filter]) -> pl.DataFrame:
    """Return the action counts of the modules and ops that filters choose."""
    for each in filters:
        if each.field == "module":
            paths = trace.modules.filter(each.of_module_calls(trace))["path"].unique()
            counts = counts.filter(pl.col("module").is_in(paths.to_list()))
        else:
            ops = trace.signatures.filter(each.of_calls(trace))["op"].unique()
            counts = counts.filter(pl.col("op").is_in(ops.to_list()))
    return counts


def _summed(energies: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """Return counts and energies by some keys."""
    return energies.group_by(keys, maintain_order=True).agg(added_up(pl.col("count", "energy_pj")))


def _rows(energies: pl.DataFrame) -> pl.DataFrame:
    return _summed(energies, *KEYS, "component")


def _counts(counts: pl.DataFrame, word: float, variant: Variant) -> dict[str, float]:
    """Return operations, and bytes moved, under SpikingJelly's names."""
    n = totals(counts)
    return {
        "synop": n["synop"],
        "mac": n["mac"],
        "ac": n["ac"] + (n["synop"] if variant.acs_with_synops else 0.0),
        "read_in_bytes": n["read_in"] * word,
        "write_out_bytes": n["write_out"] * word,
        "read_params_bytes": (n["read_params"] + n["read_bias"]) * word,
        "read_potential_bytes": n["read_potential"] * word,
        "write_potential_bytes": n["write_potential"] * word,
        "acc_addr": n["acc_addr"],
        "mac_addr": n["mac_addr"],
        **{name: n[operation] for name, operation in variant.more_counts.items()},
    }


_AUTHORS = {
    "potentials_pj": ("read_potential", "write_potential"),
    "weights_pj": ("read_params",),
    "bias_pj": ("read_bias",),
    "in_out_pj": ("read_in", "write_out"),
    "ops_pj": ("synop", "ac", "mac", "mul", "state_ac", "state_mac"),
    "addressing_pj": ("acc_addr", "mac_addr"),
}
"""Columns of the authors' table, and the actions in them."""


def _layers(energies: pl.DataFrame) -> pl.DataFrame:
    """Return the energy of each layer by the authors' columns."""
    energy, what = pl.col("energy_pj"), pl.col("what")
    parts = {name: added_up(energy.filter(what.is_in(list(of)))) for name, of in _AUTHORS.items()}
    table = energies.group_by("layer", maintain_order=True).agg(**parts)
    # One by one: `sum_horizontal` adds in another order on other numbers of threads.
    total = pl.reduce(lambda one, other: one + other, [pl.col(name) for name in _AUTHORS])
    return table.with_columns(total_pj=total)
