"""The quantized twin of a spiking network: the same layers, once a sample instead of T times.

Yan, Bai, Tang and Wong (arXiv 2409.08290): a spiking network of T steps tells T + 1 levels apart,
as activations of ceil(log2(T + 1)) bits do. Its twin multiplies dense activations of so many bits
by the same weights, once, and has no neurons with a state.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ....schemas import ConfigError
from ....schemas.costs import changed
from ....schemas.costs.machine import Machine
from ....schemas.quantities import QUANTITIES
from ...workload.layer_products import GRADIENT
from ...workload.layers import MODULE
from .tables import BYTES, Tables

_DENSE = ("weight_reads_dense", "bias_reads", "activation_reads", "activation_writes")
_SPIKES = ("spikes_in", "input_events")


def twin_bits(time_steps: int) -> int:
    """Return the bits of an activation that tells as many levels apart: ceil(log2(T + 1))."""
    return time_steps.bit_length()


def twin_of(machine: Machine, bits: int) -> Machine:
    """Return the machine as the twin meets it: each term at the width that it has there.

    Raises:
        ConfigError: a term counts what the twin's work does not tell.
    """
    changes: dict[tuple[str, ...], Any] = {}
    for name, term in machine.term.items():
        if term.network != "recorded" and any(q.source == "traffic" for q in term.quantities):
            raise ConfigError(
                f"term {name!r}: {term.quantity[0]} of a twin that was not recorded is unknown; "
                'give the term network = "recorded", or use reads and writes of layers'
            )
        if term.twin_bits is not None:
            changes["term", name, "bits"] = bits if term.twin_bits == "activation" else (
                term.twin_bits
            )  # fmt: skip
    if not changes:
        return machine
    made = changed(machine, changes)
    assert isinstance(made, Machine)
    return made


class TwinTables(Tables):
    """Tables of the twin of what was recorded; steps must not be told apart.

    A layer runs once a sample where it ran T times, dense. What is no layer's product runs once
    too; neurons and their states are gone.
    """

    network = "twin"

    def __init__(self, recorded: Tables, time_steps: int) -> None:
        """Build them from the tables of the spiking network.

        Args:
            recorded: its tables.
            time_steps: its time steps.
        """
        self.__dict__ |= vars(recorded)
        self.made: dict[str, pl.DataFrame] = {}
        self.recorded, self.steps = recorded, time_steps

    def _calls(self) -> pl.DataFrame:
        rows = self.recorded.of("calls").join(self._runs(), on=list(MODULE), how="left",
                                              maintain_order="left")  # fmt: skip
        times = pl.coalesce("runs", pl.lit(self.steps))
        product, gone = pl.col("dense_macs") > 0, pl.col("of") == "neurons"
        dense = pl.col("dense_macs") // times
        columns = {"dense_macs": dense}
        for name, of_product in (("macs", dense), ("flops", 2 * dense), ("acs", pl.lit(0)),
                                 ("synops", pl.lit(0))):  # fmt: skip
            columns[name] = (
                pl.when(gone).then(0).when(product).then(of_product)
                .otherwise(pl.col(name) // times)
            )  # fmt: skip
        return rows.with_columns(**columns, driven=pl.lit(False)).drop("runs")

    def _layers(self) -> pl.DataFrame:
        rows = self.recorded.of("layers").join(self._runs(), on=list(MODULE), how="left",
                                               maintain_order="left")  # fmt: skip
        once = [
            (pl.col(name) // pl.col("runs")).alias(name)
            for dense in _DENSE
            for name in (dense, dense + BYTES)
        ]
        rows = rows.with_columns(once).with_columns(pl.lit(0).alias(name) for name in _SPIKES)
        return rows.with_columns(
            pl.col("weight_reads_dense").alias("weight_reads"),
            pl.col(f"weight_reads_dense{BYTES}").alias(f"weight_reads{BYTES}"),
            driven=pl.lit(False),
        ).drop("runs")

    def _runs(self) -> pl.DataFrame:
        """Return how often each layer ran for a sample: T times, or once on what is repeated."""
        samples = self.samples.samples or 1
        ran = self.recorded.of("layers").filter(pl.col(GRADIENT).is_null())
        rows = ran.group_by(*MODULE).agg(
            pl.col("activation_writes").sum(), each=pl.col("outputs_each").first()
        )  # fmt: skip
        outputs = pl.col("activation_writes") // (samples * pl.col("each"))
        every = outputs % self.steps == 0
        return rows.select(*MODULE, runs=pl.when(every).then(self.steps).otherwise(1))

    def _effective(self) -> pl.DataFrame:
        rows = self.of("layers")
        return rows.with_columns(
            effective_macs=pl.col("weight_reads_dense"), effective_acs=pl.lit(0, pl.Int64)
        )

    def _neurons(self) -> pl.DataFrame:
        return self._nothing("neurons")

    def _states(self) -> pl.DataFrame:
        return self._nothing("states")

    def _nothing(self, source: str) -> pl.DataFrame:
        names = [name for name, each in QUANTITIES.items() if each.source == source]
        rows = self.recorded.of(source)
        held = [name for each in names for name in (each, each + BYTES) if name in rows.columns]
        return rows.with_columns(pl.lit(0, pl.Int64).alias(name) for name in held)

    def _samples(self) -> pl.DataFrame:
        return self.recorded.of("samples").with_columns(time_steps="samples")
