"""Lemaire: operations, addressing and memory of a spiking or formal network's inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import LemaireConfig
from ..report import EnergyReport
from .amounts import Amounts, amounts_of
from .charges import KEYS, amounts, largest
from .prices import breakdown_pj, energy_pj, total_pj, word_bytes
from .scope import SCOPE

if TYPE_CHECKING:
    from ...trace.trace import Trace

STRUCTURAL = frozenset(
    {
        "snn_fifo_capacity_elements",
        "bias_additions",
        "conv_address_every_output",
        "linear_address_every_spike",
        "respect_groups",
        "linear_dense_addressing",
        "sum_every_element",
        "neurons_behind_others",
        "hybrid_first_layer",
        "spikes_by_provenance",
        "sums_of_spikes",
        "neurons",
        "sparse_share",
    }
)
"""Fields of the configuration that amounts depend on; all others are prices."""


def estimate_lemaire(
    trace: Trace,
    config: LemaireConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
) -> EnergyReport:
    """Estimate the energy of the forward calls of linear layers, convolutions and their neurons.

    Args:
        trace: the trace.
        config: energies and options; by default 32-bit words and the authors' memory cost.
        revision: "source": calls in eval mode, counted as the authors do; "spikingjelly-2.0" or
            "spikingjelly-2026-08": in whatever mode the model was.
        strict: refuse what the model does not cover instead of leaving it out.
        batch: samples in a call, where the trace does not know.
        time_steps: time steps of a sample in a call, where the trace does not know.
        where: filters, see `where.parse_filters`. Those on modules and ops choose among the rows;
            what a neuron is charged stands at the neuron.

    Returns:
        A report whose components are `ops`, `addressing`, `inout`, `params` and `potential`;
        `amount` in its rows are operations or words moved. `details` has `buffer_sizes_bytes` (the
        largest memory of each kind), `layers` (the authors' table: potentials, weights, bias,
        in/out, ops and addressing of each layer with the neurons that it feeds, in pJ), `terms`
        (amount and energy of each charge by layer) and `charges` (amounts by kind and size of the
        memory in words, which `lemaire_prices.prices_of` prices anew).

    Raises:
        ConfigError: no such revision, or a filter that means nothing.
        TraceError: no layer is covered, the trace lacks statistics, its batch or time steps are
            open, or strict finds what is outside.
    """
    config = config or LemaireConfig()
    found = amounts_of(
        trace, config, revision=revision, strict=strict, batch=batch, time_steps=time_steps,
        where=where,
    )  # fmt: skip
    return price(found, config)


def price(found: Amounts, config: LemaireConfig) -> EnergyReport:
    """Return the report of amounts at the prices of a configuration.

    Args:
        found: what `amounts_of` returned for the same values of the `STRUCTURAL` fields.
        config: the prices.
    """
    revision = found.revision
    charges = _priced(found.charges, config, revision)
    breakdown = breakdown_pj(charges)
    return EnergyReport(
        estimator="lemaire",
        revision=revision,
        total_pj=total_pj(breakdown),
        breakdown_pj=breakdown,
        counts=_counts(found, config),
        rows=_rows(charges),
        scopes=found.scopes,
        config=config.model_dump(),
        scope=SCOPE,
        warnings=found.warnings,
        account=found.account,
        batch=found.batch,
        time_steps=found.time_steps,
        samples=found.samples,
        input_types=found.input_types,
        details={
            "buffer_sizes_bytes": _buffers(found, config),
            "layers": _layers(charges),
            "terms": _terms(charges),
            "charges": _pooled(found),
        },
        recount=lambda keys: _rows(_priced(found.recount("step" in keys), config, revision)),
    )


def _pooled(found: Amounts) -> pl.DataFrame:
    """Return the charges by what is done and the memory's size: all that a total needs."""
    kinds = found.charges.group_by("component", "what", "size", maintain_order=True)
    return kinds.agg(pl.col("amount").sum())


def _priced(charges: pl.DataFrame, config: LemaireConfig, revision: str) -> pl.DataFrame:
    energies = energy_pj(charges, config, revision)
    return charges.with_columns(energy_pj=pl.Series(energies, dtype=pl.Float64))


def _rows(charges: pl.DataFrame) -> pl.DataFrame:
    return charges.group_by(*KEYS, "component", maintain_order=True).agg(
        pl.col("energy_pj", "amount").sum()
    )


def _counts(found: Amounts, config: LemaireConfig) -> dict[str, float]:
    """Return operations, and bytes moved, under SpikingJelly's names."""
    n = amounts(found.charges)
    size = word_bytes(config, found.revision)
    counts = {
        "synop": n["synop"],
        "mac": n["mac"],
        "ac": n["ac"],
        "read_in_bytes": n["read_in"] * size,
        "write_out_bytes": n["write_out"] * size,
        "read_params_bytes": (n["read_params"] + n["read_bias"]) * size,
        "read_potential_bytes": n["read_potential"] * size,
        "write_potential_bytes": n["write_potential"] * size,
        "acc_addr": n["acc_addr"],
        "mac_addr": n["mac_addr"],
    }
    if found.revision == "spikingjelly-2026-08":
        return {**counts, "state_acc_like": n["state_ac"], "state_mac_like": n["state_mac"]}
    counts["ac"] += n["synop"]
    return counts if found.revision == "spikingjelly-2.0" else {**counts, "mul": n["mul"]}


def _buffers(found: Amounts, config: LemaireConfig) -> dict[str, float]:
    size = word_bytes(config, found.revision)
    return {f"{part}_buffer_bytes": n * size for part, n in largest(found.charges).items()}


_AUTHORS = {
    "potentials_pj": ("read_potential", "write_potential"),
    "weights_pj": ("read_params",),
    "bias_pj": ("read_bias",),
    "in_out_pj": ("read_in", "write_out"),
    "ops_pj": ("synop", "ac", "mac", "mul", "state_ac", "state_mac"),
    "addressing_pj": ("acc_addr", "mac_addr"),
}
"""Columns of the authors' table, and the charges in them."""


def _layers(charges: pl.DataFrame) -> pl.DataFrame:
    """Return the energy of each layer by the authors' columns."""
    energy, what = pl.col("energy_pj"), pl.col("what")
    parts = {name: energy.filter(what.is_in(list(of))).sum() for name, of in _AUTHORS.items()}
    table = charges.group_by("layer", maintain_order=True).agg(**parts)
    return table.with_columns(total_pj=pl.sum_horizontal(list(_AUTHORS)))


def _terms(charges: pl.DataFrame) -> pl.DataFrame:
    """Return amount and energy of each charge by layer."""
    return charges.group_by("layer", "what", maintain_order=True).agg(
        pl.col("amount", "energy_pj").sum()
    )
