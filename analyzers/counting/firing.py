"""How often neurons and activation modules give something else than zero, and how far it varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...schemas import SpikeClass
from ..frames import at_once
from ..trace.neurons import FIRES
from ..workload.divisors import deviations, divisors
from ..workload.inference import forward_part
from ..workload.layer_calls import neuron_calls
from ..workload.layers import MODULE
from ..workload.modules import scopes_of
from ..workload.samples import SAMPLE, numbers_of, regrouped, samples_of

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from ..workload.samples import Samples

_ACTIVATIONS = "torch.nn.modules.activation."
_NO_ACTIVATIONS = ("MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax")


class Firing(NamedTuple):
    """What neurons and activation modules gave in forward passes.

    Attributes:
        part: the forward passes.
        sampled: their samples.
        active: what `active_of` returned.
        calls: what `neuron_calls` returned of them.
        layers: what `by_layer` returned, and `nonzero_per_sample`.
    """

    part: Trace
    sampled: Samples
    active: pl.DataFrame
    calls: pl.DataFrame
    layers: pl.DataFrame

    def totals(self) -> dict[str, float | None]:
        """Return `nonzero` (spikes) of a sample, `rate`, `activation_sparsity`; None: unknown."""
        spiking = self.layers.filter("spiking")
        share = _share(self.layers)
        return {
            "nonzero": known_total(spiking, "nonzero_per_sample"),
            "rate": _share(spiking),
            "activation_sparsity": None if share is None else 1 - share,
        }

    def deviations(self) -> dict[str, float | None]:
        """Return the standard deviations of `totals`; None: fewer than two samples, or unknown."""
        neurons = deviating(self, spiking=True).row(0, named=True)
        every = deviating(self).row(0, named=True)
        return {
            "nonzero": neurons["nonzero_std"],
            "rate": neurons["rate_std"],
            "activation_sparsity": every["rate_std"],
        }

    def analog(self) -> tuple[str, ...]:
        """Return the neurons (paths) of which some output was neither spikes nor counts of them."""
        spikes = SpikeClass.BINARY | SpikeClass.TERNARY | SpikeClass.SCALED | SpikeClass.WHOLE
        other = self.calls.filter((pl.col("out_class") & int(spikes)) == 0).select(MODULE).unique()
        named = self.active.filter("spiking").join(
            other, on=list(MODULE), how="semi", maintain_order="left"
        )
        return tuple(named["module"].unique(maintain_order=True))

    def of_samples(self) -> pl.LazyFrame:
        """Return the calls with `spiking`, the `sample` that each is part of, and its `units`."""
        known = numbers_of(self.part)
        numbers = known.lazy().select(*SAMPLE, "number").unique()
        weights = divisors(self.sampled, "sample", ["sample"]).lazy()
        return (
            self.calls.lazy()
            .join(self.active.lazy(), on=list(MODULE))
            .join(numbers, on=list(SAMPLE))
            .with_columns(sample="number")
            .join(weights.cast({"sample": known.schema["number"]}), on="sample", how="left")
        )


def firing_of(
    trace: Trace,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Firing:
    """Return what neurons and activation modules gave in a trace's forward passes.

    Samples, batch and time steps are those of `rates.rates`.
    """
    part = forward_part(regrouped(trace, samples), eval_only=False)
    sampled = samples_of(part, batch, time_steps, samples=samples)
    active = active_of(part)
    calls = neuron_calls(part, active)
    layers = per_sample(by_layer(part, active, calls), ("nonzero",), sampled.samples or None)
    return Firing(part, sampled, active, calls, layers)


def per_sample(frame: pl.DataFrame, names: Sequence[str], samples: int | None) -> pl.DataFrame:
    """Return a frame with figures divided by how many samples there are, null if that is None."""
    each = pl.lit(samples, pl.Float64)
    return frame.with_columns((pl.col(name) / each).alias(f"{name}_per_sample") for name in names)


def known_total(frame: pl.DataFrame, name: str) -> float | None:
    """Return the sum of a column; None if a part of it is not known."""
    return None if frame[name].null_count() else float(frame[name].sum())


def _share(layers: pl.DataFrame) -> float | None:
    """Return the share of nonzero elements; None: not known, or there is no layer."""
    elements, nonzero = known_total(layers, "elements"), known_total(layers, "nonzero")
    return nonzero / elements if elements and nonzero is not None else None


def known_sum(name: str) -> pl.Expr:
    """Return a sum that is null if a part of it is not known."""
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum())


def active_of(trace: Trace) -> pl.DataFrame:
    """Return `MODULE`, `module`, `kind` and `spiking` of spiking neurons and activation modules."""
    name = pl.col("class").str.split(".").list.last()
    activation = pl.col("class").str.starts_with(_ACTIVATIONS) & ~name.is_in(_NO_ACTIVATIONS)
    neuron = FIRES.fill_null(False)
    return trace.modules.filter(neuron | activation).select(
        *MODULE, module="path", kind=pl.coalesce("neuron", name), spiking=neuron
    )


def by_layer(trace: Trace, active: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Return neurons, calls and what outputs hold of each module of `active_of`, in their order."""
    places = scopes_of(trace).lazy().select(module="scope", place="place").unique()
    size = pl.col("out_numel") / (pl.col("batch") * pl.col("time_steps"))
    one = size.n_unique() == 1
    return (
        calls.lazy()
        .join(active.lazy(), on=list(MODULE))
        .sort("rank", "module_call_id")
        .group_by("module", "kind", "spiking", "population", maintain_order=True)
        .agg(
            neurons=pl.when(one).then(size.first()).round().cast(pl.Int64),
            calls=pl.len().cast(pl.Int64),
            elements=known_sum("out_numel"),
            nonzero=known_sum("out_nonzero"),
        )
        .group_by("module", "kind", "spiking", maintain_order=True)
        .agg(*(known_sum(name) for name in ("neurons", "calls", "elements", "nonzero")))
        .join(places, on="module", how="left", maintain_order="left")
        .sort("place", maintain_order=True)
        .pipe(at_once)
    )


def over_time(active: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Return the rate of neurons at each time step, of those that one call is one step of.

    The rate of a module that is the neurons of several layers is that of all of them together.
    """
    stepped = active.filter("spiking").join(
        calls.filter(pl.col("time_steps") == 1), on=list(MODULE)
    )
    within = pl.int_range(pl.len(), dtype=pl.Int64).over(*SAMPLE, "module_id", "population")
    return (
        stepped.sort("rank", "module_call_id")
        .with_columns(time_step=within)
        .group_by("module", "time_step", maintain_order=True)
        .agg(rate=known_sum("out_nonzero") / known_sum("out_numel"))
        .sort("module", "time_step")
    )


def deviating(firing: Firing, keys: Sequence[str] = (), *, spiking: bool = False) -> pl.DataFrame:
    """Return the standard deviation over samples of what modules gave, see `divisors.deviations`.

    A sample in which none of the modules gave anything has no rate.

    Args:
        firing: of `firing_of`.
        keys: what is kept apart: nothing, or `module`.
        spiking: of neurons alone, without activation modules.

    Returns:
        `keys`, `rate_std` and `nonzero_std`. Null: fewer than two samples, or not known.
    """
    sums = (
        firing.of_samples()
        .filter(pl.col("spiking") | (not spiking))
        .group_by(*keys, "sample")
        .agg(known_sum("out_nonzero"), known_sum("out_numel"), pl.col("units").first())
        .filter((pl.col("out_numel") > 0).fill_null(True))
    )
    names = {"rate": "rate_std", "out_nonzero": "nonzero_std"}
    rated = at_once(sums.with_columns(rate=pl.col("out_nonzero").cast(pl.Float64)))
    shares = {"rate": "out_numel"}
    return deviations(rated, firing.sampled, "sample", keys, names, shares=shares)
