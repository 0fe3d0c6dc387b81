"""Simple: compute energy, and a flat energy for each byte of weights, biases and neuron states.

The model and its price of a byte are SpikingJelly 2.0's own; nobody else has published them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.compute import SimpleConfig
from ...workload.unmeasured import outside_modules
from ..compute import KEYS
from ..report import EnergyReport, Scope
from .amounts import COMPONENTS, Amounts, amounts_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

STRUCTURAL: frozenset[str] = frozenset()
"""Fields of the configuration that amounts depend on: none, all are prices."""

SCOPE = Scope(
    title="SpikingJelly 2.0's simple energy: arithmetic, and memory at a flat price",
    source=(
        "SpikingJelly 2.0.0, spikingjelly.activation_based.op_counter, the only one to publish "
        "this model; operations: M. Horowitz, Computing's energy problem (and what we can do "
        "about it), ISSCC 2014"
    ),
    stages=("forward",),
    technology="45 nm CMOS for the operations, none stated for the memory",
    covers=(
        "multiply-accumulates, accumulations, each use of a weight or bias of linear layers and "
        "convolutions, each read and write of a neuron's state"
    ),
    leaves_out="activations, spikes, addressing, parameters of other layers, mapping to hardware",
)

_TOOLS = (
    "multiply-accumulates, accumulations (also those with which SpikingJelly itself adds up the "
    "fan-out of convolutions with spike input), each use of a weight or bias of linear layers and "
    "convolutions, each read and write of a neuron's state"
)


def estimate_simple(
    trace: Trace,
    config: SimpleConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of arithmetic, parameters and neuron states of the forward passes.

    Args:
        trace: the trace.
        config: energies; by default 32-bit floats and SpikingJelly's price of a byte.
        revision: "spikingjelly-2.0": what it counts, in whatever mode the model was, with the
            additions of its own tool; "source": the same prices on counts of the rule set `full`,
            without those additions, of forward passes in eval mode.
        strict: refuse what is not covered, and a trace in which nothing is counted.
        batch: samples in a batch, where the trace does not know.
        time_steps: time steps of a sample, where the trace does not know.
        where: filters, see `where.parse_filters`. Those on ops leave neuron states alone.
        spikes: what a spike tensor may hold, see `estimate_compute`.

    Returns:
        A report whose components are `mac`, `ac`, `parameter_memory` and `neuron_state_memory`;
        `count` in its rows are operations or bytes. `breakdown_pj` also has `memory_pj`, the sum
        of the last two; `details` has `tool_acs`, the accumulations of SpikingJelly's own tool.

    Raises:
        ConfigError: no such revision, or kind of spikes.
        TraceError: there is no forward pass in eval mode, no product of it was measured, or the
            time steps of a neuron are not known; under strict, nothing was counted or something is
            left out.
    """
    found = amounts_of(
        trace, revision=revision, strict=strict, batch=batch, time_steps=time_steps, where=where,
        spikes=spikes,
    )  # fmt: skip
    return price(found, config or SimpleConfig())


def price(found: Amounts, config: SimpleConfig) -> EnergyReport:
    """Return the report of amounts at the prices of a configuration.

    Args:
        found: what `amounts_of` returned.
        config: the prices.
    """
    sums = _sums(found)
    parts = breakdown_pj(sums, config)
    release = found.revision != "source"
    memory = {what: n for what, n in sums.items() if what.endswith("_bytes")}
    counts = {**sums, "synop": found.synops, "memory_access_bytes": sum(memory.values())}
    rows = _priced(found.rows, config)
    outside = [] if release else outside_modules(rows)
    return EnergyReport(
        estimator="simple",
        revision=found.revision,
        total_pj=parts["mac_pj"] + parts["ac_pj"] + parts["memory_pj"],
        breakdown_pj=parts,
        counts={name: float(n) for name, n in counts.items()},
        rows=rows,
        config=config.model_dump(),
        scope=replace(SCOPE, covers=_TOOLS) if release else SCOPE,
        warnings=(*found.warnings, *outside, *found.samples.warnings),
        left_out=found.left_out,
        coverage=found.coverage,
        batch=found.samples.batch,
        time_steps=found.samples.time_steps,
        samples=found.samples.samples,
        input_types=found.input_types,
        details={"tool_acs": found.tool_acs, "spikes": found.spikes},
        recount=lambda keys: _priced(found.recount(keys), config),
    )


def _sums(found: Amounts) -> dict[str, int]:
    sums = dict(found.rows.group_by("what").agg(pl.col("count").sum()).iter_rows())
    return {what: int(sums.get(what, 0)) for what in COMPONENTS}


def _unit_pj(config: SimpleConfig) -> dict[str, float]:
    """Return the price of each kind of amount."""
    operations = {"mac": config.e_mac_pj, "ac": config.e_ac_pj}
    return {what: operations.get(what, config.e_memory_pj_per_byte) for what in COMPONENTS}


def breakdown_pj(sums: Mapping[str, float], config: SimpleConfig) -> dict[str, float]:
    """Return a report's parts; `memory_pj` is that of parameters and of neuron states together.

    Args:
        sums: operations and bytes by the names of `COMPONENTS`.
        config: the prices.
    """
    amounts: dict[str, float] = dict.fromkeys(COMPONENTS.values(), 0)
    units = {COMPONENTS[what]: unit for what, unit in _unit_pj(config).items()}
    for what, component in COMPONENTS.items():
        amounts[component] += sums[what]
    parts = {f"{name}_pj": n * units[name] for name, n in amounts.items()}
    memory = parts["parameter_memory_pj"] + parts["neuron_state_memory_pj"]
    return {**parts, "memory_pj": memory}


def _priced(rows: pl.DataFrame, config: SimpleConfig) -> pl.DataFrame:
    """Return the rows of a report: reads and writes of a component together."""
    units = pl.col("what").replace_strict(_unit_pj(config), return_dtype=pl.Float64)
    return (
        rows.with_columns(energy_pj=pl.col("count") * units)
        .group_by(*KEYS, "component", maintain_order=True)
        .agg(pl.col("count", "energy_pj").sum())
    )
