"""What the conventions of other tools are made of: sums over kinds of calls and over layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ..counting.count import summed_up
from ..counting.coverage import covered
from ..counting.evaluate import FIGURES, tally
from ..counting.rates import layer_products
from ..rules import RULE_SETS, RuleSet
from ..rules.call import call_of
from ..trace.files import collected
from ..trace.signatures import SIGNATURE, of_each_signature
from ..workload.hints import spike_hints
from ..workload.layer_calls import called
from ..workload.layers import MODULE, layers_of, neurons_of
from ..workload.modules import scopes_of, with_paths
from .rows import NOT_MEASURED, NOT_SIZED, OF_SIZES

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from ..workload.samples import Samples

_PRODUCT = (*MODULE, "signature_id")
"""What names a kind of product of a layer."""

_COUNTED = ("macs", "acs", "synops")


@dataclass(frozen=True)
class Figures:
    """What a rule set counts of everything.

    Attributes:
        total: by counter; None: not known.
        at_least: the counters that are lower bounds, since some calls are unknown.
    """

    total: dict[str, int | None]
    at_least: tuple[str, ...]

    def gap(self, kind: str) -> str:
        """Return what a reader has to know of a counter; "" if it is exact."""
        if self.total[kind] is None:
            sized = kind not in OF_SIZES and self.total["dense_macs"] is not None
            return NOT_MEASURED if sized else NOT_SIZED
        return "a lower bound: some calls are unknown" if kind in self.at_least else ""


def figures_of(counted: pl.DataFrame, rules: RuleSet) -> Figures:
    """Return what a rule set counts of everything.

    Args:
        counted: what `tally` returned.
        rules: the rule set.
    """
    row = summed_up(counted, rules)
    at_least = tuple((row["at_least"] or "").split())
    return Figures({name: row[name] for name in FIGURES}, at_least)


_CONTENT = ("nonzero", "ones", "minus_ones", "min", "max")
"""What is recorded of the elements of a value; equal ones have equal figures."""


@dataclass(frozen=True)
class Facts:
    """What ran in the forward passes of a trace.

    Attributes:
        part: the forward passes.
        sampled: their samples.
        figures: what opjoule counts of them.
        coverage: how far that reaches, in a line.
        own: the same by kind of call: `op`, `family`, `FIGURES`, `twice` (FLOPs of its products as
            FlopCounterMode counts them), `layer` (path of the layer whose product it is, else null)
            and `inside` (it ran inside a neuron).
        layers: a row for each kind of product of each layer, in the order in which they ran:
            `module`, `kind`, `fan` (outputs that an input element meets away from borders, at
            stride 1), `inputs`, `nonzero`, `dense` (dense MACs), opjoule's `macs`, `acs` and
            `synops`, `driven` (some of its inputs hold only -1, 0 and 1), `plain` (its inputs
            hold only 0 and 1), `spikes` and `spikes_fanout` (nonzero inputs and the pairs that
            they meet, of those that hold only 0 and 1), and of the operations that NeuroBench
            calls MACs and ACs (`n_macs`, `n_acs`) their dense MACs, pairs and pairs with a nonzero
            input (`mac_dense`, `mac_pairs`, `mac_fanout`, `ac_fanout`). Null: not measured.
        spiking: there are neurons.
    """

    part: Trace
    sampled: Samples
    figures: Figures
    coverage: str
    own: pl.DataFrame
    layers: pl.DataFrame
    spiking: bool

    @property
    def elsewhere(self) -> pl.DataFrame:
        """The rows of `own` that are no layer's product."""
        return self.own.filter(pl.col("layer").is_null())

    @property
    def unknown(self) -> str:
        """Why a figure of layers is not known."""
        return NOT_SIZED if self.layers["dense"].null_count() else NOT_MEASURED

    def own_figure(self, kind: str) -> int | None:
        """Return opjoule's own figure; None if it is not known, or a lower bound."""
        return None if kind in self.figures.at_least else self.figures.total[kind]

    def has_run(self, classes: str) -> list[str]:
        """Return the names of the classes that ran whose full name starts with `classes`."""
        named = self.part.modules.filter(pl.col("class").str.starts_with(classes))
        ran = (
            self.part.module_calls.join(named.lazy(), on=list(MODULE), how="semi")
            .select(MODULE)
            .unique()
            .pipe(collected, self.part)
        )
        found = named.join(ran, on=list(MODULE), how="semi")["class"]
        return [name.rpartition(".")[2] for name in found.unique(maintain_order=True)]

    def share_of_steps(self, module: str) -> float | None:
        """Return one time step's share of all that a layer ran; None: steps are not known.

        The user's word comes first, then what the layer's calls took, then the samples' steps. A
        network without neurons whose time steps nobody tells has one.
        """
        of_samples = self.sampled.completed.select("batch", "time_steps")
        told = bool(self.sampled.frame["given"].any())
        if not self.spiking and not told:
            return 1.0
        layers = layers_of(self.part).filter(module=module)
        of_calls = called(self.part, layers).select("batch", "time_steps")
        samples = self.sampled.samples
        for rows in (of_samples,) if told else (of_calls, of_samples):
            if rows.height and not any(column.null_count() for column in rows):
                steps = int((rows["batch"] * rows["time_steps"]).sum())
                return samples / steps if samples and steps else None
        return None

    def input_differs(self, module: str) -> bool:
        """Tell whether calls of a layer in one sample surely take different inputs.

        They do where the inputs are other values, of which another number of elements is zero or
        one, or the smallest or the largest is another. In a call of several steps nobody knows.
        """
        layers = layers_of(self.part).filter(module=module)
        calls = called(self.part, layers).select("rank", "sample", value_id="in_value")
        asked = calls.select("rank", "value_id").drop_nulls().unique()
        known = (
            self.part.values.filter(pl.col("value_id").is_in(asked["value_id"].implode()))
            .select("rank", "value_id", *_CONTENT)
            .join(asked.lazy(), on=["rank", "value_id"], how="semi")
            .pipe(collected, self.part)
        )
        held = calls.drop_nulls("sample").join(known, on=["rank", "value_id"])
        found = held.group_by("rank", "sample")
        several = [pl.col(name).drop_nulls().n_unique() > 1 for name in _CONTENT]
        return bool(found.agg(differs=pl.any_horizontal(several))["differs"].any())


def facts_of(part: Trace, sampled: Samples) -> Facts:
    """Return what ran in the forward passes of a trace.

    Args:
        part: the forward passes.
        sampled: their samples.
    """
    rules = RULE_SETS["full"]
    counted = tally(part, rules, ["module_id"])
    layers = _layers(part, counted)
    marks = layers.select(*_PRODUCT, layer="module")
    inside = (
        scopes_of(part)
        .join(neurons_of(part).select(scope="module"), on="scope", how="semi")
        .select("module", inside=pl.lit(True))
        .unique()
    )
    of_products = of_each_signature(part, _flop_counter, {"twice": pl.Int64})
    counted_there = counted.join(
        of_products, on=list(SIGNATURE), how="left", maintain_order="left"
    ).with_columns(pl.col("twice") * pl.col("calls"))
    own = (
        with_paths(part, counted_there)
        .join(marks, on=list(_PRODUCT), how="left", nulls_equal=True, maintain_order="left")
        .join(inside, on="module", how="left", maintain_order="left")
        .select("op", "family", *FIGURES, "twice", "layer", pl.col("inside").fill_null(False))
    )
    coverage = covered(part, counted, spike_hints(part, "binary")).line()
    spiking = neurons_of(part).height > 0
    return Facts(part, sampled, figures_of(counted, rules), coverage, own, layers, spiking)


def _flop_counter(signature: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the FLOPs of the products of a signature as FlopCounterMode counts them."""
    elements = call_of(signature, {}).of_elements().as_strided()
    dense = RULE_SETS["torch"].figures(elements)[2].dense_macs
    return {"twice": None if dense is None else 2 * dense}


def _layers(part: Trace, own: pl.DataFrame) -> pl.DataFrame:
    signed, _ = layer_products(part, ["module_id"])
    plain, _ = layer_products(part, ["module_id"], spikes="binary")
    spiking = pl.col("driven")
    by_signs = signed.group_by(_PRODUCT, maintain_order=True).agg(
        pl.col("module", "kind").first(),
        place=pl.col("first_seq").min(),
        inputs=_sum("inputs"),
        nonzero=_sum("nonzero"),
        dense=_sum(pl.col("dense_macs") * pl.col("calls")),
        pairs=_sum("dense"),
        driven=_any("driven"),
        n_macs=_sum("effective_macs"),
        n_acs=_sum("effective_acs"),
        mac_dense=_sum(pl.col("dense_macs") * pl.col("calls"), ~spiking),
        mac_pairs=_sum("dense", ~spiking),
        mac_fanout=_sum("fanout", ~spiking),
        ac_fanout=_sum("fanout", spiking),
    )
    by_values = plain.group_by(_PRODUCT, maintain_order=True).agg(
        plain=pl.when(spiking.null_count() == 0).then(spiking.all()),
        spikes=_sum("nonzero", spiking),
        spikes_fanout=_sum("fanout", spiking),
    )
    sums = own.group_by(_PRODUCT, maintain_order=True).agg(_sum(name) for name in _COUNTED)
    fan = pl.col("out_channels") * pl.col("kernel_numel") // pl.col("groups")
    shapes = layers_of(part).select(*MODULE, fan=fan)
    keys = list(_PRODUCT)
    return (
        by_signs.join(by_values, on=keys, how="left", maintain_order="left")
        .join(sums, on=keys, how="left", maintain_order="left")
        .join(shapes, on=list(MODULE), how="left", maintain_order="left")
        .sort("rank", "place")
    )


def _sum(what: str | pl.Expr, where: pl.Expr | None = None) -> pl.Expr:
    """Return a sum of the rows that fit, null if one of them, or whether it fits, is not known."""
    value = pl.col(what) if isinstance(what, str) else what
    if where is not None:
        value = pl.when(where).then(value).when(~where).then(0)
    found = pl.when(value.null_count() == 0).then(value.sum())
    return found if isinstance(what, str) and where is None else found.cast(pl.Int64)


def _any(name: str) -> pl.Expr:
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).any())
