"""What Lemaire's model speaks of, and the words for what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import LemaireConfig
from ...text import agreeing, listed
from ...workload.layers import MODULE
from ...workload.products import products_of
from ..report import Scope

if TYPE_CHECKING:
    from ...trace.trace import Trace

SCOPE = Scope(
    title="Lemaire et al. 2022",
    source=(
        "E. Lemaire et al., An analytical estimation of spiking neural networks energy efficiency, "
        "ICONIP 2022 (arXiv 2210.13107); counts and constants of its authors' code, Qualia plugin "
        "SNN 2.6.0"
    ),
    stages=("forward",),
    technology="45 nm CMOS, integer arithmetic, static RAM, one memory for each tensor of a layer",
    covers="operations, addressing and memory of linear layers, convolutions and their neurons",
    leaves_out="pooling, normalisation, attention, transposed convolutions, training",
)


def warnings_of(rest: pl.DataFrame, trace: Trace) -> tuple[str, ...]:
    """Return what a reader of the figure has to know; under strict the first one is refused.

    Args:
        rest: what `left_out` returns.
        trace: the trace.
    """
    kind = pl.col("kind")
    work = [
        *rest.filter(kind == "module")["what"],
        *rest.filter(kind.is_in(["product", "op"]))["what"],
    ]
    return (f"Lemaire does not cover {listed(work)}; left out",) if work else ()


def nothing_charged(trace: Trace, rest: pl.DataFrame) -> str:
    """Return why no product is charged, and what to do.

    Args:
        trace: the part that is estimated.
        rest: what `left_out` returns.
    """
    products = rest.filter(pl.col("macs").is_null() | (pl.col("macs") > 0))
    if products.is_empty():
        return f"{trace.path}: no Linear or convolution module ran a product: widen --where"
    unknown = " (sizes not recorded)" if products["macs"].null_count() else ""
    text = (
        f"{trace.path}: no Linear or convolution module ran a product with weights of its own "
        f"size; those that ran are of {listed(products['what'].to_list(), 3)}{unknown}"
    )
    if "fused layer" in products_of(trace)["family"]:
        text += (
            ". To record the layers inside fused ones, call "
            "torch.backends.mha.set_fastpath_enabled(False) before"
        )
    return text


def unmatched(trace: Trace, config: LemaireConfig) -> list[str]:
    """Name neurons of the configuration that the trace does not have: mostly a misspelt name."""
    known = LemaireConfig.model_fields["neurons"].default
    classes = trace.modules.filter(pl.col("neuron").is_not_null())
    names = {*classes["neuron"], *classes["class"]}
    names |= {name.rsplit(".", 1)[-1] for name in classes["class"]}
    there = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in classes["class"]})) or "none"
    return [
        f"neurons.{key} = {value} is of no neuron of the trace, whose classes are {there}"
        for key, value in config.neurons.items()
        if key not in names and value != known.get(key)
    ]


def input_types(inputs: pl.DataFrame) -> str:
    """Return which layers took spikes, how sparse they were, and which did not.

    Args:
        inputs: see `actions.Counted`.
    """
    spiking, other = inputs.filter("spikes"), inputs.filter(~pl.col("spikes"))
    elements = int((spiking["in_numel"] * spiking["calls"]).sum())
    told = []
    if elements:
        rate = int(spiking["in_nonzero"].sum()) / elements
        told.append(f"spikes into {_named(spiking)} ({rate:.1%} of the elements)")
    if other.height:
        told.append(f"other values into {_named(other)}")
    if "summed" in inputs.columns and (sums := spiking.filter("summed")).height:
        told.append(f"{_named(sums)} as sums of spikes")
    by_origin = inputs.filter("decided")
    for rows, words in (
        (by_origin.filter("spikes"), "spikes"),
        (by_origin.filter(~pl.col("spikes")), "no spikes"),
    ):
        if rows.height:
            told.append(
                f"constant inputs of {_named(rows)} taken for {words}, by where they come from"
            )
    return "; ".join(told)


def lost_sums(layers: pl.DataFrame) -> tuple[str, ...]:
    """Say which layers would be spiking if it were known how many spikes went in.

    Args:
        layers: groups of layer calls with `module`, `how`, `binary`, `summed` and `lost`.
    """
    fits = pl.col("binary") | pl.col("summed") | pl.col("lost")
    rows = layers.filter(fits.all().over(MODULE) & (pl.col("how") != "spiking"))
    rows = rows.filter("lost")
    if rows.is_empty():
        return ()
    many = rows.select(MODULE).n_unique()
    return (
        f"{_named(rows)} {agreeing(many, 'takes', 'take')} whole numbers that came out of adding "
        "spikes, but the trace does not tell how many spikes they are: charged as "
        f"{' and '.join(rows['how'].unique().sort())}, not as driven by spikes. To change that, "
        f"record {agreeing(many, 'it', 'them')} with the sum itself as input, whole and not pooled",
    )


def unlike_inputs(layers: pl.DataFrame) -> tuple[str, ...]:
    """Say which hybrid layers are charged one time step although their steps may differ.

    Args:
        layers: `module` of the layers.
    """
    if layers.is_empty():
        return ()
    many = layers.height
    return (
        f"{_named(layers)} {agreeing(many, 'takes', 'take')} values that are no spikes and are not "
        "seen to be the same at each time step: operations, input and weights are charged for one "
        "step, as the model has it for direct encoding, where they are. To charge a dense pass at "
        "every step, set hybrid_first_layer = false",
    )


def _named(rows: pl.DataFrame) -> str:
    return listed(rows["module"].unique(maintain_order=True).to_list())
