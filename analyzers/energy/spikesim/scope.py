"""What SpikeSim's model covers of a trace, and the words for what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas import ConfigError, TraceError
from ....schemas.costs.spikesim import SpikeSimConfig
from ...text import listed
from ...workload.account import Account, account_of
from ...workload.products import products_of, uncharged
from ...workload.unmeasured import took_spikes
from ..report import Scope
from .variant import Variant

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


_SRAM = (
    "sram_xbar_pj: the released tool uses 671.089 as the area of an SRAM crossbar in square "
    "micrometres too; it is most likely no energy, and makes the total some 59 times RRAM's"
)
_EVENT = (
    "event mode is an extension of SpikingJelly's; SpikeSim itself is dense: there every "
    "processing element works at every position, whether spikes come or not"
)


def outside_reason(variant: Variant, config: SpikeSimConfig) -> pl.Expr:
    """Return why a row of `conv_calls` is outside the model, null if it is inside.

    Args:
        variant: the revision's. Where it is of inference alone, all rows are; else a convolution in
            training mode is outside.
        config: whether calls are inside although autograd recorded them, by the authors' revision.
    """
    with_gradients = variant.authors and config.with_gradients
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
        .when(pl.col("training").fill_null(False) & (not variant.inference_only))
        .then(pl.lit("training"))
        .when(recorded & ~pl.lit(with_gradients))
        .then(pl.lit("gradients"))
    )


def outside_warnings(outside: pl.DataFrame, variant: Variant) -> list[str]:
    """Return one sentence for each reason why calls are outside, with the modules.

    Args:
        outside: rows of `conv_calls` with `reason`.
        variant: the revision's; only the authors' one takes gradients by option.
    """
    found = []
    for (reason,), rows in outside.group_by("reason", maintain_order=True):
        names = list(dict.fromkeys(path or "(no module)" for path in rows["module"]))
        cure = _CURES.get(str(reason), "")
        if not variant.authors:
            cure = cure.partition(",")[0]
        found.append(
            f"SpikeSim does not cover {_REASONS[str(reason)]}; left out: {listed(names)}"
            + (f" ({cure})" if cure else "")
        )
    return found


def nothing_covered(outside: pl.DataFrame) -> str:
    """Return why no call at all is covered, and what to do."""
    reasons = outside["reason"].unique(maintain_order=True).to_list()
    if reasons:
        cures = [cure for reason, cure in _CURES.items() if reason in reasons]
        text = ", ".join(_REASONS[reason] for reason in reasons)
        text = f"SpikeSim finds no convolution to estimate: it does not cover {text}"
        return "; ".join([text, *cures[:1]])
    return (
        "SpikeSim finds no convolution to estimate: it covers the forward calls of Conv2d modules "
        "in eval mode, and the trace (as filtered) has none"
    )


def neuron_warning(trace: Trace) -> str | None:
    """Return a sentence that names neurons that are neither IF nor LIF; None without any."""
    others = trace.modules.filter(~pl.col("neuron").is_in(["IF", "LIF"]))
    if others.is_empty():
        return None
    kinds = sorted({name.rsplit(".", 1)[-1] for name in others["class"]})
    return (
        f"SpikeSim's neuron module is IF or LIF; the trace has {others.height} of another kind: "
        f"{listed(kinds)}"
    )


def check_options(config: SpikeSimConfig, variant: Variant) -> None:
    """Refuse options that exclude each other.

    Raises:
        ConfigError: they do, or the revision has no such option.
    """
    if config.sites == "pooled" and not variant.authors:
        raise ConfigError(
            "sites = 'pooled' is not available in this revision of the model: expected 'output'"
        )
    if config.sites == "pooled" and config.activity_mode == "event":
        raise ConfigError(
            "sites = 'pooled' goes with activity_mode = 'dense': events are known at the output "
            "positions of the convolution"
        )


def warnings_of(
    trace: Trace,
    config: SpikeSimConfig,
    variant: Variant,
    calls: pl.DataFrame,
    passes: list[str],
    strict: bool,
) -> list[str]:
    """Return what a reader has to know.

    Args:
        trace: the trace.
        config: the options.
        variant: the revision's.
        calls: rows of `conv_calls` with `reason`.
        passes: what is said of passes in training mode that are left out.
        strict: refuse what is left out.

    Raises:
        TraceError: under strict, something is left out; or nothing is covered.
    """
    outside = calls.filter(pl.col("reason").is_not_null())
    found = [*outside_warnings(outside, variant), *passes]
    neurons = neuron_warning(trace) if config.require_if_lif_neurons else None
    found += [neurons] if neurons else []
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    if calls.height == outside.height:
        if strict or variant.inference_only:
            raise TraceError(f"{trace.path}: {nothing_covered(outside)}")
        found.append(nothing_covered(outside))
    if config.activity_mode == "event" and variant.names_event_mode:
        found.append(_EVENT)
    if config.device == "sram" and variant.authors:
        found.append(_SRAM)
    return found


def input_types(counts: pl.DataFrame) -> str:
    """Return how many calls take spikes, and how sparse the inputs are."""
    calls, spiking, measured = (
        int(rows["calls"].sum())
        for rows in (
            counts,
            counts.filter("in0_spikes"),
            counts.filter(pl.col("in0_spikes").is_not_null()),
        )
    )
    elements = int((counts["in_numel"] * counts["calls"]).sum())
    text = took_spikes("convolution calls", spiking, measured, calls)
    if not elements or counts["nonzero"].null_count():
        return text
    zeros = 1 - int(counts["nonzero"].sum()) / elements
    return f"{text}; {zeros:.1%} of all input elements are zero"


def left_out(trace: Trace, covered: pl.DataFrame, trained: pl.DataFrame) -> Account:
    """Return the account: which forward products are charged.

    Args:
        trace: the trace, of inference alone where the revision is.
        covered: rows of `conv_calls` that are inside the model.
        trained: what `passes_left_out` returned.
    """
    products = products_of(trace, ("training", "grad_enabled"))
    key = ["rank", "module_id", "signature_id", "training", "grad_enabled"]
    rest = uncharged(products, covered.select(*key, "calls"), complex_as_one=True)
    charged = int(products["macs"].sum()) - int(rest["macs"].sum())
    paths = trace.modules.select("rank", "module_id", module="path")
    named = rest.join(paths, on=["rank", "module_id"], how="left", maintain_order="left")
    place = pl.col("module").fill_null("no module")
    named = named.select(
        what=pl.format("{} ({})", place, "op"), calls="calls", macs="macs",
        uncovered=pl.col("family") == "",
    )  # fmt: skip
    return account_of(charged, named, beside=trained)
