"""Firing rates and what sparse inputs leave of the work, by layer.

Effective operations are those of NeuroBench: a pair of a nonzero input element and a nonzero weight
that meet in a Linear or a convolution. They are ACs where all elements of the input are -1, 0 and
1, else MACs. The products of recurrent cells with their weights are among them; NeuroBench adds the
products of an LSTM's and a GRU's gates, which meet no weight. Activation sparsity is the share of
zeros in what neurons and activation modules give.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from ..answers.page import Page
from ..answers.result import Result
from ..rules import RULE_SETS
from ..rules.call import FLAGGED
from ..rules.geometry import valid_pairs
from ..text import agreeing, listed, number
from ..trace.signatures import SIGNATURE, of_each_signature
from ..trace.trace import narrowed
from ..units import count_text, share_text
from ..workload.layers import MODULE, layers_of, weight_products
from ..workload.products import product_signatures
from .aggregate import collapsed
from .coefficients import KIND, forms
from .evaluate import evaluated
from .firing import deviating, firing_of, known_sum, known_total, over_time, per_sample
from .pages import rates_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..trace.trace import Trace
    from ..workload.samples import Samples


@dataclass(frozen=True, repr=False, eq=False)
class Rates(Result):
    """Firing rates and effective operations of forward passes.

    Attributes:
        layers: a row for each neuron and activation layer: `module`, `kind` (IF, LIF, other, or the
            activation's class), `neurons` (null: batch or time steps are not known, or they
            differ), `calls`, `elements` and `nonzero` of its outputs, `nonzero_per_sample` (spikes
            of a sample), `rate` (nonzero by elements: spikes a neuron and time step), `rate_std`
            (its standard deviation over samples, or the means of their batches) and `sparsity`
            (1 - rate). Null: not measured.
        steps: `module`, `time_step` and `rate` of neurons that are called once for each time step.
        products: a row for each Linear, convolution and recurrent cell: `module`, `kind`, `calls`,
            `inputs` (elements), `nonzero`, `nonzero_share`, `dense` (pairs of input and weight
            elements that meet), `effective_macs` and `effective_acs` (pairs without zeros), in all,
            and each also `_per_sample`.
        totals: `dense`, `effective_macs`, `effective_acs` and `nonzero` (spikes) of one sample,
            `activation_sparsity`, and `rate`, of all neurons together. None: not known.
        deviations: the standard deviation over samples of `rate`, `nonzero` and
            `activation_sparsity`. None: fewer than two samples, or not known.
        sampled: the samples.
        left_out: other products that ran, by op: attention, recurrent layers and the like.
        assumed: what is assumed of data that was not measured.
        on_devices: products ran on a device that does not count zeros of weights.
        analog: neurons that gave other numbers than whole ones and than zeros and one other.
    """

    layers: pl.DataFrame
    steps: pl.DataFrame
    products: pl.DataFrame
    totals: Mapping[str, float | None]
    deviations: Mapping[str, float | None]
    sampled: Samples
    left_out: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    on_devices: bool = False
    analog: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        return (*self.assumed, *self.sampled.warnings, *self._gaps())

    def _gaps(self) -> Sequence[str]:
        found = self.sampled.both_modes("rates are")
        if self.left_out:
            found.append(
                f"no Linear, convolution or cell, so not among them: {', '.join(self.left_out)}"
            )
        silent = self.layers.filter(pl.col("nonzero").is_null())["module"].to_list()
        if silent:
            found.append(
                f"outputs of {number(len(silent), 'layer')} were not measured ({silent[0]}, ...): "
                "record with statistics='full'"
            )
        if self.analog:
            found.append(
                f"{listed(list(self.analog), 3)} {agreeing(len(self.analog), 'gives', 'give')} "
                "values that are no spikes: the rate is the share of those that are not 0"
            )
        if self.on_devices:
            found.append("zeros of weights are counted on CPUs alone: pruned weights count in full")
        return found

    def line(self) -> str:
        """Return the totals in one line."""
        each = self.totals
        samples, steps = self.sampled.samples, self.sampled.time_steps
        of = f" of {number(steps, 'time step')}" if steps and steps > 1 else ""
        rate = "" if each["rate"] is None else f"mean firing rate {self._share('rate')}, "
        return (
            f"{rate}activation sparsity {self._share('activation_sparsity')}; "
            f"a sample: effective MAC {count_text(each['effective_macs'])}, "
            f"effective AC {count_text(each['effective_acs'])} of {count_text(each['dense'])} "
            f"({number(samples, 'sample') if samples else 'samples unknown'}{of})"
        )

    def _share(self, name: str) -> str:
        return share_text(self.totals[name], self.deviations[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the rates as plain data, ready for JSON."""
        return {
            "samples": self.sampled.samples,
            "batch": self.sampled.batch,
            "time_steps": self.sampled.time_steps,
            "totals": dict(self.totals),
            "deviations": dict(self.deviations),
            "layers": self.layers.to_dicts(),
            "steps": self.steps.to_dicts(),
            "products": self.products.to_dicts(),
            "left_out": list(self.left_out),
            "assumed": list(self.assumed),
            "coverage": self.line(),
            "warnings": list(self.warnings),
        }

    @property
    def frame(self) -> pl.DataFrame:
        """The same as `layers`."""
        return self.layers

    @property
    def total(self) -> Mapping[str, float | None]:
        """The same as `totals`."""
        return self.totals

    def page(self, of: str | None = None) -> Page:
        """Return what is shown.

        Args:
            of: "layers", "products" or "time"; by default layers and products.
        """
        return rates_page(self, of)

    def plot(self, of: str | None = None, *, width: float | None = None) -> Figure:
        """Return a picture: a bar for each layer, and rates over time, if there are any.

        Args:
            of: "layers", "products" or "time"; by default layers and time.
            width: inches; by default a column of a paper.

        Raises:
            OpjouleError: matplotlib is not installed; or there are no rates over time.
            ConfigError: unknown `of` or width.
        """
        from ..plotting.firing import rates_figure

        return rates_figure(self, of, width=width)


def rates(
    trace: Trace | str | os.PathLike[str],
    *,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Rates:
    """Return firing rates and effective operations of a trace's forward passes.

    Args:
        trace: the trace, or its directory.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: a filter or setting that means nothing.
        TraceError: there is no forward pass, or a part is damaged.
    """
    firing = firing_of(narrowed(trace, where, assume), samples, batch, time_steps)
    part, layers, each = firing.part, firing.layers, firing.sampled.samples or None
    products, left_out = _products(part)
    products = per_sample(products, _EFFECTIVE, each)
    deviations = deviating(firing, ["module"]).select("module", "rate_std")
    return Rates(
        layers=layers.join(deviations, on="module", how="left", maintain_order="left").select(
            "module", "kind", "neurons", "calls", "elements", "nonzero", "nonzero_per_sample",
            rate=pl.col("nonzero") / pl.col("elements"),
            rate_std="rate_std",
            sparsity=1 - pl.col("nonzero") / pl.col("elements"),
        ),
        steps=over_time(firing.active, firing.calls),
        products=products,
        totals={
            **{name: known_total(products, f"{name}_per_sample") for name in _EFFECTIVE},
            **firing.totals(),
        },
        deviations=firing.deviations(),
        sampled=firing.sampled,
        left_out=left_out,
        assumed=part.assumed,
        on_devices=_on_devices(part),
        analog=firing.analog(),
    )  # fmt: skip


_EFFECTIVE = ("dense", "effective_macs", "effective_acs")


def _on_devices(trace: Trace) -> bool:
    ran = weight_products(trace).select(SIGNATURE)
    asked = trace.signatures.join(ran, on=list(SIGNATURE), how="semi")
    devices = asked["operands"].explode().struct.field("device").drop_nulls()
    return bool((devices != "cpu").any())


def effective_operations(trace: Trace, keys: Sequence[str]) -> pl.DataFrame:
    """Return the effective operations of the products of Linear and convolution modules.

    Args:
        trace: the trace.
        keys: of `aggregate.KEYS`, `module_id` among them: what is kept apart.

    Returns:
        `rank`, `signature_id`, `op`, `keys`, `module` (path), `calls`, `effective_macs` and
        `effective_acs` (null: not measured).
    """
    own, _ = layer_products(trace, keys)
    return own.select(
        "rank", "signature_id", "op", *keys, "module", "calls", "effective_macs", "effective_acs"
    )


def layer_products(
    trace: Trace, keys: Sequence[str], *, spikes: str = "ternary", cells: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the products of Linear and convolution modules, and the other products.

    Args:
        trace: the trace.
        keys: of `aggregate.KEYS`, `module_id` among them: what is kept apart.
        spikes: what an input may hold to drive a layer as spikes; its values decide alone.
        cells: recurrent cells are layers too.

    Returns:
        Rows of `collapsed`; those of layers with `module` (path), `kind`, `driven` (its input is
        spikes; null: not measured), `inputs` (elements), `nonzero`, `dense` (pairs that meet),
        `fanout` (those with a nonzero input), `effective` (and a nonzero weight),
        `effective_macs` and `effective_acs` (null: not measured), and `dense_macs` of a call.
    """
    rows = collapsed(trace, keys, spikes=spikes, by_values_only=True)
    layers = layers_of(trace).select(*MODULE, "module", "kind", second_numel="weight_numel")
    if cells:
        layers = pl.concat([layers, _cells(trace)])
    weights = weight_products(trace).select(*SIGNATURE, "slot", "second_numel")
    products = pl.concat(
        [weights.select(SIGNATURE), product_signatures(trace).select(SIGNATURE)]
    ).unique()
    rows = rows.join(products, on=list(SIGNATURE), how="semi", maintain_order="left").join(
        weights, on=list(SIGNATURE), how="left", maintain_order="left"
    )
    counted = _effective(trace, rows)
    own = counted.join(layers, on=[*MODULE, "second_numel"], how="inner", maintain_order="left")
    rest = counted.filter(pl.col("dense_macs").is_null() | (pl.col("dense_macs") > 0)).join(
        layers, on=[*MODULE, "second_numel"], how="anti", maintain_order="left"
    )
    spiking, pairs = pl.col("driven"), pl.col("effective")
    return own.with_columns(
        effective_acs=pl.when(spiking).then(pairs).when(~spiking).then(0),
        effective_macs=pl.when(~spiking).then(pairs).when(spiking).then(0),
    ), rest


def _cells(trace: Trace) -> pl.DataFrame:
    """Return the weights of recurrent cells: two each, or one row if both are of a size."""
    own = pl.col("parameters").list.eval(
        pl.element().filter(pl.element().struct.field("shape").list.len() == 2)
    )
    return (
        trace.modules.filter(pl.col("class").is_in(_CELLS))
        .select(*MODULE, module="path", kind=pl.col("class").str.split(".").list.last(), own=own)
        .explode("own")
        .select(*MODULE, "module", "kind", second_numel=pl.col("own").struct.field("numel"))
        .unique(maintain_order=True)
    )


_CELLS = [f"torch.nn.modules.rnn.{name}Cell" for name in ("RNN", "LSTM", "GRU")]


def _products(trace: Trace) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the products of Linear, convolutions and cells, and the ops of other products."""
    own, rest = layer_products(trace, ["module_id"], cells=True)
    summed = (
        own.group_by("module", "kind", maintain_order=True)
        .agg(
            pl.col("calls").sum(),
            *(known_sum(name).alias(name) for name in
              ("inputs", "nonzero", "dense", "effective_macs", "effective_acs")),
            place=pl.col("first_seq").min(),
        )
        .sort("place")
        .with_columns(nonzero_share=pl.col("nonzero") / pl.col("inputs"))
    )  # fmt: skip
    columns = ("module", "kind", "calls", "inputs", "nonzero", "nonzero_share", "dense",
               "effective_macs", "effective_acs")  # fmt: skip
    return summed.select(columns), tuple(rest["op"].unique(maintain_order=True))


_PAIRS = replace(RULE_SETS["full"], name="full, by elements", complex_as_one=True)
"""The rules where an element is one thing, complex or not."""


def _effective(trace: Trace, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with `driven`, `effective`, `dense`, `inputs` and `nonzero` of their products.

    A pair is effective where the rules would count it if the first factor were spikes, and the
    second factor, as a pruned weight, is not zero.
    """
    slot = pl.col("slot")
    of_slot = {
        name: pl.coalesce(*(pl.when(slot == n).then(pl.col(f"in{n}_{what}")) for n in range(3)))
        for name, what in (
            ("driven", "spikes"),
            ("nonzero", "nonzero"),
            ("open", "nonzero_unknown"),
        )
    }
    told = rows.with_columns(**of_slot)
    flags: dict[str, pl.Expr] = {
        f"{name}_spikes": (slot == int(name[2:])).fill_null(False)
        if name.startswith("in")
        else pl.lit(False)
        for name in FLAGGED
    }
    flags |= {f"{name}_decided": pl.lit(False) for name in FLAGGED[:-1]}
    asked = told.with_columns(**flags)
    known = forms(trace, _PAIRS, asked)
    sizes = of_each_signature(trace, valid_pairs, {"pairs": pl.Int64, "input": pl.Int64})
    measured = pl.col("driven").is_not_null() & (pl.col("open") == 0)
    return (
        asked.join(known, on=list(KIND), how="left", nulls_equal=True, maintain_order="left")
        .with_columns(fanout=evaluated("acs", known))
        .with_columns(effective=pl.col("fanout") - pl.col("zero_pairs"))
        .join(sizes, on=list(SIGNATURE), how="left", maintain_order="left")
        .with_columns(
            fanout=pl.when(measured).then(pl.col("fanout").cast(pl.Int64)),
            effective=pl.when(measured).then(pl.col("effective").cast(pl.Int64)),
            nonzero=pl.when(measured).then("nonzero"),
            dense=pl.col("pairs") * pl.col("calls"),
            inputs=pl.col("input") * pl.col("calls"),
        )
    )
