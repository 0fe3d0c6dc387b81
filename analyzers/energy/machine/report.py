"""A machine as a file: so many of each quantity at a price each, whatever the file says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.machine import Machine
from ...trace.trace import narrowed
from ...workload.hints import spike_hints
from ...workload.inference import forward_part, mode_warnings
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.spikes import check_spikes
from ...workload.unmeasured import input_types, outside_modules
from ..report import EnergyReport
from ..revisions import variant_of
from ..row_keys import keys_of
from .actions import CAPACITY, Actions, fields_of, rows_of, told_apart
from .energies import breakdown_pj, priced
from .scope import account, refuse_nothing, scope_of, warnings_of
from .tables import Tables
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from ...workload.account import Account


def estimate_machine(
    trace: Trace,
    config: Machine,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of a trace on a machine.

    Args:
        trace: the trace.
        config: the machine, see `load_machine`.
        revision: "source" counts with the rule set `full`; those of SpikingJelly with their rules.
        strict: refuse ops that no rule covers, and quantities that were not recorded.
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say, or "per-call".
        where: filters, see `where.parse_filters`.
        spikes: what a spike tensor may hold, see `estimate_compute`.

    Returns:
        A report whose components are the machine's terms. A quantity that the trace does not hold
        is in the warnings and the coverage, and not in the total.

    Raises:
        ConfigError: a filter means nothing, or names a module that the trace does not have.
        TraceError: there is no pass of the machine's scope, or nothing of any term is known, or it
            prices products and charges none of those that ran.
    """
    actions = counted_of(
        trace,
        [config],
        revision=revision,
        batch=batch,
        time_steps=time_steps,
        samples=samples,
        where=where,
        spikes=spikes,
    )
    charged = account(actions, config, actions.on(config))
    refuse_nothing(actions.part, config, charged)
    return report_of(actions, config, charged, revision=revision, strict=strict)


def report_of(
    actions: Actions, config: Machine, charged: Account, *, revision: str, strict: bool = False
) -> EnergyReport:
    """Return what actions cost on a machine, and what a reader of the figure has to know.

    Args:
        actions: of one network, see `counted_of`.
        config: the machine.
        charged: their account on it, see `scope.account`.
        revision: as of `estimate_machine`; so is `strict`.
        strict: refuse what is left out.

    Raises:
        TraceError: nothing of any term is known; under strict, something is left out.
    """
    variant: Variant = variant_of("machine", revision)
    part, many, spikes = actions.part, actions.tables.samples, actions.tables.spikes
    counts = actions.on(config)
    warnings = warnings_of(actions, config, counts, strict)
    rows, parts = priced(rows_of(actions, config), config), breakdown_pj(counts, config)
    outside = outside_modules(rows) if config.machine.scope == "forward" else []
    hints = spike_hints(part, spikes) if variant.names_uncovered else ()
    inference = config.machine.scope == "forward" and variant.eval_only
    modes = mode_warnings(part) if inference else many.energy_modes
    return EnergyReport(
        estimator=f"machine.{config.machine.name}",
        revision=revision,
        total_pj=sum(parts.values()),
        breakdown_pj=parts,
        counts={name: float(found.total) for name, found in counts.items()
                if found.known or not found.unknown},
        rows=rows,
        scopes=scopes_of(part),
        config=config.model_dump(mode="json"),
        scope=scope_of(config),
        warnings=(*warnings, *modes, *outside, *hints, *many.warnings),
        account=charged,
        sampled=many,
        input_types=input_types(actions.tables.of("calls"), spikes),
        details={"spikes": spikes, "actions": _actions(actions, config)},
        recount=lambda keys: priced(rows_of(actions.by(keys), config), config),
    )  # fmt: skip


def counted_of(
    trace: Trace | str | os.PathLike[str],
    machines: Sequence[Machine],
    *,
    revision: str = "source",
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> Actions:
    """Return the actions that machines of one scope share: nothing is counted before it is asked.

    They speak of forward passes in eval mode, or in scope "training" of everything.

    Args:
        trace: the trace, or its directory.
        machines: the machines.
        revision: as of `estimate_machine`; so are the others.
        batch: samples in a batch.
        time_steps: time steps of a sample.
        samples: how many samples there are in all, or "per-call".
        where: filters.
        spikes: what a spike tensor may hold.
    """
    variant: Variant = variant_of("machine", revision)
    check_spikes(spikes, variant.spike_modes)
    whole = part = narrowed(regrouped(narrowed(trace), samples), where)
    forward = machines[0].machine.scope == "forward"
    if forward:
        part = forward_part(whole, eval_only=variant.eval_only)
    eval_only = variant.eval_only and forward
    many = samples_of(part, batch, time_steps, samples=samples, eval_only=eval_only)
    fields = fields_of(machines)
    kept = told_apart(keys_of(part), fields)
    tables = Tables(
        part, variant, kept, fields, spikes=spikes, time_steps=time_steps, samples=many,
        backward=not forward,
    )  # fmt: skip
    return Actions(part, tables, whole if forward else part)


def _actions(actions: Actions, machine: Machine) -> pl.DataFrame:
    """Return `term`, `CAPACITY` and `count`: what prices multiply."""
    rows = [
        (name, at, count) for name, found in actions.on(machine).items() for at, count in found.sums
    ]
    schema = {"term": pl.String, CAPACITY: pl.Float64, "count": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
