"""From a trace to the charges of Lemaire's model, by revision, before anything is priced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import ConfigError, TraceError
from ....schemas.costs import LemaireConfig
from ...trace.filters import parse_filters
from ...workload.account import Account, account_of
from ...workload.inference import forward_part, without_training
from ...workload.layers import layers_of
from ...workload.modules import scopes_of
from ...workload.samples import samples_of
from ..row_keys import MOST_STEPS
from .layer_groups import by_release, by_runtime
from .left_out import left_out, owners_of
from .network import by_authors
from .scope import input_types, unmatched, warnings_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

_BUILDERS = {
    "source": by_authors,
    "spikingjelly-2.0": by_release,
    "spikingjelly-2026-08": by_runtime,
}


@dataclass(frozen=True)
class Amounts:
    """What is charged, without prices, and what a report tells beside it.

    Attributes:
        charges: see `charges.SCHEMA`; `step` is null in runs of very many steps.
        revision: whose counts these are.
        recount: returns the charges told apart by step, or not.
        others: see `EnergyReport`.
    """

    charges: pl.DataFrame
    revision: str
    recount: Callable[[bool], pl.DataFrame]
    warnings: tuple[str, ...]
    account: Account
    batch: int | None
    time_steps: int | None
    samples: int | None
    input_types: str
    scopes: pl.DataFrame


def amounts_of(
    trace: Trace,
    config: LemaireConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
) -> Amounts:
    """Return what `estimate_lemaire` charges; arguments and errors are its."""
    config = config or LemaireConfig()
    if revision not in _BUILDERS:
        raise ConfigError(f"unknown revision {revision!r} of lemaire: {', '.join(_BUILDERS)}")
    source = revision == "source"
    filters = [where] if isinstance(where, str) else list(where or ())
    narrow = [each.text for each in parse_filters(filters) if each.field in ("module", "op")]
    whole = without_training(trace) if source else trace
    whole = whole.where(*(text for text in filters if text not in narrow)) if filters else whole
    part = whole.where(*narrow) if narrow else whole
    samples = samples_of(whole, batch, time_steps, eval_only=source, ran=part.module_calls)
    build = partial(_BUILDERS[revision], whole, config, samples=samples)
    found = build(by_step=trace.manifest.steps <= MOST_STEPS)
    if source and found.inputs.is_empty():
        raise TraceError(_nothing(part))
    layers = layers_of(part)
    rest, charged = left_out(part, owners_of(part, layers), found.covered, found.sums)
    warnings = warnings_of(rest, layers, revision, trace.filters)
    if strict and warnings:
        raise TraceError(f"{warnings[0]} (strict)")
    return Amounts(
        charges=_chosen(found.charges, whole, narrow),
        revision=revision,
        recount=lambda by_step: _chosen(build(by_step=by_step).charges, whole, narrow),
        warnings=(*warnings, *unmatched(trace, config), *samples.warnings),
        account=account_of(charged, rest),
        batch=samples.batch,
        time_steps=samples.time_steps,
        samples=samples.samples,
        input_types=input_types(found.inputs),
        scopes=scopes_of(part.modules),
    )


def _nothing(trace: Trace) -> str:
    """Return why no layer is charged, and what to do."""
    forward_part(trace, eval_only=True)
    return (
        f"{trace.path}: no Linear or convolution module ran in eval mode: call model.eval() before "
        "you record the inference, or widen --where"
    )


def _chosen(charges: pl.DataFrame, trace: Trace, filters: Sequence[str]) -> pl.DataFrame:
    """Return the charges of the modules and ops that filters choose."""
    for each in parse_filters(filters):
        if each.field == "module":
            paths = trace.modules.filter(each.of_module_calls(trace))["path"].unique()
            charges = charges.filter(pl.col("module").is_in(paths.to_list()))
        else:
            ops = trace.signatures.filter(each.of_calls(trace))["op"].unique()
            charges = charges.filter(pl.col("op").is_in(ops.to_list()))
    return charges
