"""What Lemaire's model speaks of, and the words for what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import LemaireConfig
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


def warnings_of(
    rest: pl.DataFrame, layers: pl.DataFrame, revision: str, filters: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what a reader of the figure has to know; under strict the first one is refused.

    Args:
        rest: what `left_out` returns.
        layers: what `layers_of` returns, of the modules that ran.
        revision: SpikingJelly 2.0 names modules, August 2026 transposed convolutions only.
        filters: those that the trace was narrowed by before.
    """
    if revision == "spikingjelly-2026-08":
        transposed = layers.filter(pl.col("kind").str.starts_with("ConvTranspose"))
        return tuple(
            f"Lemaire takes {kind} as dense, which is a lower bound of its memory"
            for kind in transposed["kind"].unique(maintain_order=True)
        )
    named = rest.filter(pl.col("kind") == "module")["what"].to_list()
    found = [f"Lemaire does not cover {name}; its energy is left out" for name in named]
    if revision != "source":
        return tuple(found)
    work = rest.filter(pl.col("kind").is_in(["product", "op"]))["what"].to_list()
    if named or work:
        found = [f"Lemaire does not cover {listed(named + work)}; left out"]
    for what in rest.filter(pl.col("kind") == "training")["what"]:
        found.append(
            f"Lemaire leaves out {what}: call model.eval() before recording, or "
            "leave them out with --where training=false"
        )
    hiding = [text for text in filters if text.strip().startswith(("module", "op"))]
    if hiding:
        found.append(
            f"the trace was narrowed by {hiding[0]!r}: neurons that this left out are not charged, "
            "and layers that feed them count as layers without; use where= instead"
        )
    return tuple(found)


def unmatched(trace: Trace, config: LemaireConfig) -> list[str]:
    """Name neurons of the configuration that the trace does not have: a slip of the pen, mostly."""
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


def coverage_line(share: float) -> str:
    """Return the share of MACs that is covered, in words."""
    return f"{share:.1%} of the MACs of convolutions and products in the forward pass"


def input_types(inputs: pl.DataFrame) -> str:
    """Return which layers took spikes, how sparse they were, and which did not.

    Args:
        inputs: see `lemaire_tables.Charged`.
    """
    spiking, other = inputs.filter("spikes"), inputs.filter(~pl.col("spikes"))
    elements = int((spiking["in_numel"] * spiking["calls"]).sum())
    told = []
    if elements:
        rate = int(spiking["in_nonzero"].sum()) / elements
        told.append(f"spikes into {_named(spiking)} ({rate:.1%} of the elements)")
    if other.height:
        told.append(f"other values into {_named(other)}")
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


def _named(rows: pl.DataFrame) -> str:
    return listed(rows["module"].unique(maintain_order=True).to_list())


def listed(names: list[str], most: int = 8) -> str:
    """Return names with commas, cut off after `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
