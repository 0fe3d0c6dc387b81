"""NeuroMC: what training or running a spiking network costs on an accelerator with its memories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....schemas import ConfigError, TraceError
from ....schemas.costs import NeuroMCConfig, load_config
from ...trace.trace import narrowed
from ...workload.modules import scopes_of
from ...workload.samples import Samples, samples_of
from ..report import EnergyReport
from ..row_keys import MOST_STEPS
from .account import Account, account_of
from .prices import amounts_of, price
from .rows import details_of, parts_of, rows_of
from .scope import input_types, refusals, scope_of, warnings_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")


def estimate_neuromc(
    trace: Trace,
    config: NeuroMCConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
) -> EnergyReport:
    """Estimate the energy of everything that was recorded: forward, backward, optimizer.

    Products of matrices, convolutions (1-d and 2-d), batch norms, neurons and steps of SGD, Adam
    and AdamW are charged, in training and evaluation alike; losses are outside the account. Stages
    are what calls were part of, or the user's (`NeuroMCConfig.stages`).

    Args:
        trace: the trace.
        config: the hardware; by default NeuroMC's, with the memory sizes of the revision.
        revision: "source" counts each product once; "spikingjelly-2.0" and "spikingjelly-2026-08"
            count as these do.
        strict: refuse ops and optimizers without a fragment instead of leaving them out.
        batch: samples in a batch, where the trace does not know.
        time_steps: time steps of a sample, where the trace does not know.
        where: filters, see `where.parse_filters`.

    Returns:
        A report whose components are `mac`, `extra_compute`, `base_memory` and `extra_memory`;
        `amount` in its rows are MACs, operations or bits, `fragments` how many there are.
        `details` has the figures by SpikingJelly's names (`energy_by_stage`,
        `energy_by_core_type`, `energy_by_memory_level_dir`, `mapping_summary`, ...) and `amounts`,
        which `prices_of` needs.

    Raises:
        ConfigError: no such revision.
        TraceError: nothing is covered; or under strict, something is not.
    """
    if revision not in REVISIONS:
        raise ConfigError(f"no revision {revision!r} of neuromc: {', '.join(REVISIONS)}")
    config = config or default_config(revision)
    part = narrowed(trace, where)
    samples = samples_of(part, batch, time_steps)
    of_all = samples if part is trace else samples_of(trace, batch, time_steps)
    account = account_of(part, trace, revision, config, of_all)
    refused = refusals(account, revision)
    if strict and refused:
        raise TraceError(f"{trace.path}: {refused[0]} (strict)")
    if not account.pieces.fragments:
        raise TraceError(f"{trace.path}: {_nothing(account)}")
    return _report(part, account, config, revision, refused, samples)


def default_config(revision: str) -> NeuroMCConfig:
    """Return the hardware that a revision assumes."""
    preset = revision if revision == "spikingjelly-2026-08" else None
    config = load_config("neuromc", preset=preset)
    assert isinstance(config, NeuroMCConfig)
    return config


def _nothing(account: Account) -> str:
    if account.op_counts.is_empty():
        return "no calls were recorded, or the filters leave none"
    known = ", ".join(account.left_out["what"].head(6))
    return (
        "NeuroMC has fragments for products of matrices, convolutions, batch norms, neurons and "
        "optimizers, and the trace (as filtered) has none" + (f", but {known}" if known else "")
    )


def _report(
    trace: Trace, account: Account, config: NeuroMCConfig, revision: str, refused: list[str],
    samples: Samples,
) -> EnergyReport:  # fmt: skip
    pieces = account.pieces
    priced = price(amounts_of(pieces.fragments, revision, config), config)
    counts = pieces.counts()
    parts = parts_of(priced, counts)
    details = details_of(pieces, counts, priced, revision, parts)
    rows = rows_of(pieces, priced, trace, by_step=trace.manifest.steps <= MOST_STEPS)
    totals = details["primitive_counts"]["totals"]
    return EnergyReport(
        estimator="neuromc",
        revision=revision,
        total_pj=sum(parts.values()),
        breakdown_pj={f"{name}_pj": value for name, value in parts.items()},
        counts={**totals, "fragments": sum(counts)},
        rows=rows,
        scopes=scopes_of(trace.modules),
        config=config.model_dump(),
        scope=scope_of(rows, revision),
        warnings=tuple(warnings_of(account, trace, config, revision, refused, samples)),
        account=account.products,
        batch=samples.batch,
        time_steps=samples.time_steps,
        samples=samples.samples,
        input_types=input_types(account),
        details=details,
        recount=lambda keys: rows_of(pieces, priced, trace, by_step="step" in keys),
    )
