"""What SpikeSim's model covers of a trace, and the words for what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...workload.products import forward_products
from ..report import Scope

if TYPE_CHECKING:
    from ...trace.trace import Trace

SCOPE = Scope(
    title="SpikeSim, Moitra et al. 2023",
    source=(
        "A. Moitra et al., SpikeSim: an end-to-end compute-in-memory hardware evaluation tool for "
        "benchmarking spiking neural networks, IEEE TCAD 2023 (arXiv 2210.12899); constants of "
        "its released tool"
    ),
    stages=("forward",),
    technology="65 nm CMOS, in-memory crossbars, eight columns a converter",
    covers="2-d convolutions in inference: crossbars, converters, buffers, H-tree, LIF modules",
    leaves_out="fully connected, grouped and transposed layers, pooling, batch norm, training",
)

_REASONS = {
    "transposed": "transposed convolutions",
    "dimensions": "1-d and 3-d convolutions",
    "outside": "convolutions outside Conv2d modules",
    "grouped": "grouped convolutions",
    "training": "convolutions in training mode",
    "gradients": "convolutions whose gradients were recorded",
}
_CURES = {
    "training": "call model.eval() before recording",
    "gradients": "record under torch.no_grad(), or set with_gradients = true",
}


def outside_reason(with_gradients: bool) -> pl.Expr:
    """Return why a row of `conv_calls` is outside the model, null if it is inside.

    Args:
        with_gradients: calls in eval mode are inside although autograd recorded them.
    """
    recorded = pl.col("grad_enabled").fill_null(False) & pl.col("differentiable")
    return (
        pl.when(pl.col("transposed"))
        .then(pl.lit("transposed"))
        .when(pl.col("kernel").list.len() != 2)
        .then(pl.lit("dimensions"))
        .when(pl.col("kind").fill_null("") != "Conv2d")
        .then(pl.lit("outside"))
        .when(pl.col("groups") != 1)
        .then(pl.lit("grouped"))
        .when(pl.col("training").fill_null(False))
        .then(pl.lit("training"))
        .when(recorded & ~pl.lit(with_gradients))
        .then(pl.lit("gradients"))
    )


def outside_warnings(outside: pl.DataFrame, revision: str) -> list[str]:
    """Return one sentence for each reason why calls are outside, with the modules.

    Args:
        outside: rows of `conv_calls` with `reason`.
        revision: gradients have a cure by option in the revision source only.
    """
    found = []
    for (reason,), rows in outside.group_by("reason", maintain_order=True):
        names = list(dict.fromkeys(path or "(no module)" for path in rows["module"]))
        cure = _CURES.get(str(reason), "")
        if revision != "source":
            cure = cure.partition(",")[0]
        found.append(
            f"SpikeSim does not cover {_REASONS[str(reason)]}; left out: {listed(names)}"
            + (f" ({cure})" if cure else "")
        )
    return found


def nothing_covered(outside: pl.DataFrame) -> str:
    """Return why no call at all is covered, and what to do."""
    reasons = set(outside["reason"])
    for reason, cure in _CURES.items():
        if reason in reasons:
            return f"SpikeSim finds no convolution to estimate: all were left out; {cure}"
    return (
        "SpikeSim finds no convolution to estimate: it covers the forward calls of Conv2d modules "
        "in eval mode, and the trace (as filtered) has none"
    )


def neuron_warning(trace: Trace) -> str | None:
    """Return a sentence that names neurons that are neither IF nor LIF; None without any."""
    others = trace.modules.filter(pl.col("neuron") == "other")
    if others.is_empty():
        return None
    kinds = sorted({name.rsplit(".", 1)[-1] for name in others["class"]})
    return (
        f"SpikeSim's neuron module is IF or LIF; the trace has {others.height} of another kind: "
        f"{listed(kinds)}"
    )


def left_out(trace: Trace, covered: pl.DataFrame) -> tuple[pl.DataFrame, float]:
    """Return the forward products that are not covered, and the share of MACs that is.

    Args:
        trace: the trace.
        covered: rows of `conv_calls` that are inside the model.

    Returns:
        `what`, `calls` and `macs_share` as in `EnergyReport`, and the covered share of all MACs.
    """
    inside = covered.group_by("module", "op").agg(
        done=pl.col("calls").sum(), done_macs=(pl.col("macs") * pl.col("calls")).sum()
    )
    products = forward_products(trace)
    total = int(products["macs"].sum()) or 1
    rest = (
        products.join(inside, on=["module", "op"], how="left", nulls_equal=True)
        .with_columns(
            calls=pl.col("calls") - pl.col("done").fill_null(0),
            macs=pl.col("macs") - pl.col("done_macs").fill_null(0),
        )
        .filter(pl.col("calls") > 0)
        .select(
            what=pl.format("{} ({})", pl.col("module").fill_null("(no module)"), "op"),
            calls="calls",
            macs_share=pl.col("macs") / total,
        )
    )
    return rest, int(inside["done_macs"].sum()) / total


def listed(names: list[str], most: int = 8) -> str:
    """Return names with commas, cut off after `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
