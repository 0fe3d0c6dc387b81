"""What the simple estimator charges: operations and bytes, before anything is priced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import ConfigError, TraceError
from ....schemas.costs.compute import ComputeConfig
from ...counting.coverage import Coverage, covered
from ...text import number
from ...workload.geometry import layers_of
from ...workload.inference import forward_part, narrowed
from ...workload.samples import Samples, samples_of
from ...workload.unmeasured import Gaps, gaps_of, input_types
from ..compute import KEYS, MOST_STEPS, check_spikes, operations, rows_of
from .memory import KINDS, parameter_uses, state_accesses

if TYPE_CHECKING:
    from ...trace.trace import Trace

REVISIONS = ("source", "spikingjelly-2.0")

TOOL_OP = "sum of the fan-out"
"""Stands for the op of the additions that SpikingJelly counts of its own."""

COMPONENTS = {
    "mac": "mac",
    "ac": "ac",
    "weight_read_bytes": "parameter_memory",
    "bias_read_bytes": "parameter_memory",
    "neuron_state_read_bytes": "neuron_state_memory",
    "neuron_state_write_bytes": "neuron_state_memory",
}
"""What is charged, by name, and the component that it is part of."""

SCHEMA = {
    **dict.fromkeys(("module", "stage", "op", "label"), pl.String),
    "step": pl.Int32,
    "component": pl.String,
    "what": pl.String,
    "count": pl.Int64,
}

_KNOWN = ("product", "convolution", "batch norm", "sum", "mean", "addition")
_KNOWN_OPS = ("aten.avg_pool2d.default", "aten.sigmoid_.default")
"""Families and ops that SpikingJelly's counters of MACs, ACs and SynOps have rules for."""

_NOBODY = (
    "nobody but SpikingJelly 2.0 has published this model and its price of a byte; here it counts "
    "with the rule set full and without the additions of SpikingJelly's own tool"
)


@dataclass(frozen=True)
class Amounts:
    """What is charged of a trace.

    Attributes:
        revision: the revision that it was counted under.
        spikes: what a spike tensor may hold.
        rows: `module`, `stage`, `op`, `label`, `step`, `component`, `what` (of `COMPONENTS`) and
            `count`: operations or bytes.
        synops: synaptic operations; told, not charged.
        tool_acs: accumulations that SpikingJelly's own tool adds; among `rows`.
        recount: makes `rows` for given keys.
        warnings: see `EnergyReport`, also for the rest.
    """

    revision: str
    rows: pl.DataFrame
    synops: int
    tool_acs: int
    recount: Callable[[Sequence[str]], pl.DataFrame]
    warnings: tuple[str, ...]
    left_out: pl.DataFrame
    coverage: str
    samples: Samples
    input_types: str
    spikes: str


def amounts_of(
    trace: Trace,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> Amounts:
    """Return what is charged; arguments and errors are those of `estimate_simple`."""
    if revision not in REVISIONS:
        raise ConfigError(
            f"no revision {revision!r} of simple: {', '.join(REVISIONS)}; of SpikingJelly's "
            "revisions only 2.0 has this estimator"
        )
    check_spikes(spikes, revision)
    part = forward_part(narrowed(trace, where), eval_only=revision == "source")
    keys = KEYS if part.manifest.steps <= MOST_STEPS else KEYS[:-1]
    counted = operations(part, revision, keys, spikes)
    coverage, gaps = covered(part, counted), gaps_of(part, counted)
    uses = parameter_uses(part, keys, by_values_only=revision != "source", spikes=spikes)
    rows = _together(part, counted, uses, revision, keys, time_steps)
    return Amounts(
        revision=revision,
        rows=rows,
        synops=int(counted["synops"].sum()),
        tool_acs=int(rows.filter(op=TOOL_OP)["count"].sum()),
        recount=partial(_recount, part, revision, spikes, time_steps),
        warnings=_warnings(part, coverage, gaps, counted, uses, rows, revision, strict),
        left_out=gaps.left_out,
        coverage=coverage.line(),
        samples=samples_of(part, batch, time_steps, eval_only=revision == "source"),
        input_types=input_types(counted, spikes),
        spikes=spikes,
    )


def _recount(
    part: Trace, revision: str, spikes: str, time_steps: int | None, keys: Sequence[str]
) -> pl.DataFrame:
    uses = parameter_uses(part, keys, by_values_only=revision != "source", spikes=spikes)
    counted = operations(part, revision, keys, spikes)
    return _together(part, counted, uses, revision, keys, time_steps)


def _together(part: Trace, counted: pl.DataFrame, uses: pl.DataFrame, revision: str,
              keys: Sequence[str], time_steps: int | None) -> pl.DataFrame:  # fmt: skip
    """Return the rows of `Amounts`: operations, parameters and neuron states."""
    library = revision != "source"
    states = state_accesses(part, keys, time_steps=time_steps, library=library)
    arithmetic = rows_of(part, counted, ComputeConfig()).with_columns(what="component")
    tool = uses.with_columns(op=pl.lit(TOOL_OP))
    every = [
        arithmetic,
        *([_rows(tool, "ac", "fanout_sums")] if library else []),
        _rows(uses, "weight_read_bytes"),
        _rows(uses, "bias_read_bytes"),
        _rows(states, "neuron_state_read_bytes", "bytes"),
        _rows(states, "neuron_state_write_bytes", "bytes"),
    ]
    return pl.concat([rows.select(list(SCHEMA)) for rows in every])


def _rows(counted: pl.DataFrame, what: str, column: str | None = None) -> pl.DataFrame:
    """Return one column of counts as rows; keys that are not kept apart become null."""
    missing = [pl.lit(None).alias(key) for key in KEYS if key not in counted.columns]
    return (
        counted.filter(pl.col(column or what) > 0)
        .with_columns(*missing)
        .with_columns(pl.col(key).cast(SCHEMA[key]) for key in KEYS)
        .group_by(KEYS, maintain_order=True)
        .agg(count=pl.col(column or what).sum())
        .with_columns(component=pl.lit(COMPONENTS[what]), what=pl.lit(what))
    )


def _warnings(
    part: Trace,
    coverage: Coverage,
    gaps: Gaps,
    counted: pl.DataFrame,
    uses: pl.DataFrame,
    rows: pl.DataFrame,
    revision: str,
    strict: bool,
) -> tuple[str, ...]:
    """Return what a reader has to know; under strict refuse what is missing.

    Raises:
        TraceError: under strict, nothing was counted or something is not covered.
    """
    found = []
    matched = pl.col("family").is_in(_KNOWN) | pl.col("op").is_in(_KNOWN_OPS)
    if rows.is_empty() and not counted.select(matched.any()).item():
        found.append(
            "nothing was counted: no MAC, no AC, no weight and no neuron in the forward pass"
        )
    found += gaps.warnings()
    unread = int(uses.filter(pl.col("weight_read_bytes").is_null())["calls"].sum())
    if unread:
        found.append(f"weights of {number(unread, 'layer call')} left out: input not measured")
    if revision == "source":
        found += _uncovered(part, coverage)
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    return tuple([*found, _NOBODY] if revision == "source" else found)


def _uncovered(part: Trace, coverage: Coverage) -> list[str]:
    """Return what there is no rule, or no memory, for."""
    found = []
    if coverage.uncovered:
        found.append(f"no rule covers {', '.join(coverage.uncovered)}: left out")
    others = layers_of(part).filter(~pl.col("kind").is_in(KINDS))
    ran = others.lazy().join(part.module_calls, on=["rank", "module_id"], how="semi").collect()
    if ran.height:
        found.append(
            f"the model has no memory of {', '.join(ran['kind'].unique().sort())}: parameters of "
            f"{', '.join(ran['module'].unique(maintain_order=True))} left out"
        )
    return found
