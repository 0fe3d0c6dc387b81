"""What an estimate by NeuroMC covers, what it warns of, and what it refuses."""

from __future__ import annotations

import polars as pl

from ....schemas import TraceError
from ...text import agreeing, listed, number
from ...trace.files import collected
from ...trace.neurons import FIRES
from ...workload.layers import MODULE
from ...workload.samples import Samples
from ...workload.unmeasured import took_spikes
from ..report import Scope
from .addons import decays_uncounted
from .fragments import Fragments
from .left_out import LeftOut
from .run import Run
from .variant import Variant

_STAGES = ("forward", "recompute", "backward", "optimizer")

_SOURCE = (
    "NeuroMC (github.com/dayanhn/NeuroMC, commit 712c66f): constants of its code, formulas checked "
    "against its output for fragments of S-ResNet18, S-ResNet50 and S-VGG16"
)
_UNPROVEN = {
    "bn": "batch norm",
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
}


def scope_of(rows: pl.DataFrame, variant: Variant, revision: str) -> Scope:
    """Return the scope of an estimate with these rows."""
    ran, names = set(rows["stage"]), _without_evidence(set(rows["op"]))
    if variant.whose:
        note = f"; as {variant.whose} computes it ({revision})"
    else:
        note = f"; no external evidence for {listed(names)}" if names else ""
    return Scope(
        title="NeuroMC",
        source=_SOURCE + note,
        stages=tuple(stage for stage in _STAGES if stage in ran),
        technology="32 nm CMOS, 1-bit spikes, 16-bit values, 32-bit optimizer",
        covers=(
            "matrix products, 1-d and 2-d convolutions, neurons and their surrogate gradients, "
            "batch norm, SGD, Adam and AdamW: operations, registers and static RAM"
        ),
        leaves_out=(
            "DRAM and network on chip, losses, element-wise operations outside neurons and batch "
            "norm, pooling, attention kernels, sparsity of spikes"
        ),
    )


def refusals(found: Fragments, missing: LeftOut) -> list[str]:
    """Return what strict refuses, in words; else these are warnings."""
    names = [f"{what} (calls={n})" for what, n in missing.refused[:, :2].iter_rows()]
    unnamed = [f"NeuroMC has no fragment for {listed(names, most=12)}"] if names else []
    return [*unnamed, *found.refused]


def refuse_uncharged(run: Run, found: Fragments, missing: LeftOut) -> None:
    """Refuse a trace in which nothing, or none of the products, is charged.

    Raises:
        TraceError: nothing is charged; says why, and what to do.
    """
    path, rest = run.trace.path, missing.account.left_out
    if found.kinds and not missing.account.charges_nothing:
        return
    products = rest.filter(pl.col("macs").is_null() | (pl.col("macs") > 0))
    if products.height:
        calls, names = int(products["calls"].sum()), listed(products["what"].to_list(), 3)
        unsized = products["macs"].null_count() > 0
        why = "the sizes were not recorded of" if unsized else "there are no fragments for"
        raise TraceError(
            f"{path}: NeuroMC can charge none of the products ({number(calls, 'call')}): {why} "
            f"{names}. {_cure(unsized)}"
        )
    if collected(run.trace.calls.head(1), run.trace).is_empty():
        raise TraceError(f"{path}: no calls were recorded, or the filters leave none")
    known = listed(rest["what"].to_list(), most=6)
    raise TraceError(
        f"{path}: NeuroMC has fragments for products of matrices, convolutions, batch norms, "
        "neurons and optimizers, and the trace (as filtered) has none"
        + (f", but {known}" if known else "")
    )


def _cure(unsized: bool) -> str:
    if unsized:
        return (
            "Record without nested and sparse tensors (for a TransformerEncoder: "
            "enable_nested_tensor=False)"
        )
    return (
        "Record plain matmuls and convolutions instead (for fused attention and encoder layers: "
        "torch.backends.mha.set_fastpath_enabled(False)), or estimate with compute"
    )


def warnings_of(
    run: Run, found: Fragments, missing: LeftOut, variant: Variant, revision: str,
    samples: Samples,
) -> list[str]:  # fmt: skip
    """Return what a reader of the figures has to know."""
    warnings = [f"left out: {text}" for text in refusals(found, missing)]
    warnings += samples.energy_modes
    if missing.outside.height:
        text = _counted(missing.outside)
        warnings.append(f"losses and work outside every module are not modelled: {text}")
    if variant.whose is None:
        warnings += [*_unproven(found), *_decays(run)]
        warnings += [*_element_wise(missing), *_weights(run, found)]
        warnings += [*_unplaced(run), *_other_neurons(run)]
    warnings += _unmeasured(run)
    if missing.recomputed and variant.only_fragments:
        ran = number(missing.recomputed, "call")
        warnings.append(f"{ran} that ran again inside the backward pass are left out ({revision})")
    return [*warnings, *samples.warnings]


def _counted(table: pl.DataFrame) -> str:
    return listed([f"{what} ({calls})" for what, calls in table[:, :2].iter_rows()])


def _unproven(found: Fragments) -> list[str]:
    """Name what is charged by formulas that no output of NeuroMC confirms."""
    names = _without_evidence({one.op for one in found.kinds})
    if not names:
        return []
    return [
        f"{listed(names)}: no external evidence; the formulas are those of SpikingJelly 2.0, and "
        "no published output of NeuroMC shows them"
    ]


def _decays(run: Run) -> list[str]:
    if not decays_uncounted(run):
        return []
    return ["AdamW is charged as Adam is: no term is for its weight decay"]


def _without_evidence(ops: set[str]) -> list[str]:
    found = {op.partition(".")[0] for op in ops}
    return [name for op, name in _UNPROVEN.items() if op in found]


def _other_neurons(run: Run) -> list[str]:
    """Name the neurons that are charged as LIF neurons although they are of another kind."""
    others = run.neurons.filter(pl.col("neuron") != "LIF")
    if others.is_empty():
        return []
    ran = collected(run.trace.module_calls.select(MODULE).unique(), run.trace)
    others = others.join(ran, on=list(MODULE), how="semi")
    if others.is_empty():
        return []
    classes = sorted({name.rsplit(".", 1)[-1] for name in others["class"]})
    text = (
        f"NeuroMC's neuron module is LIF: {number(others.height, 'neuron')} of another kind "
        f"{agreeing(others.height, 'is', 'are')} charged as one: {listed(classes)}"
    )
    silent = others.filter(~FIRES)
    if silent.height:
        text += " (comparisons and spikes of those that give their membrane potential too)"
    return [text]


def _element_wise(missing: LeftOut) -> list[str]:
    if missing.element_wise.is_empty():
        return []
    text = _counted(missing.element_wise)
    return [f"element-wise work outside neurons is not charged: {text}"]


def _weights(run: Run, found: Fragments) -> list[str]:
    """Say how weights are read where a call holds several samples or steps."""
    several = any(
        one.macs and one.source == "module" and one.loops.batch > 1 for one in found.kinds
    )
    if not several or run.config.weight_reads == "sample":
        return []
    return [
        "weights are read once a call, however many samples and time steps it holds: a sample's "
        "energy falls as the batch grows; NeuroMC's own workloads read them for each "
        '(weight_reads = "sample")'
    ]


def _unplaced(run: Run) -> list[str]:
    unplaced = run.calls.filter(pl.col("role").is_null()).height
    if not unplaced:
        return []
    return [
        f"{number(unplaced, 'product')} in the backward pass "
        f"{agreeing(unplaced, 'comes', 'come')} from forward calls that were not recorded: whether "
        f"{agreeing(unplaced, 'it is a gradient', 'they are gradients')} of inputs or of weights "
        "was decided by size"
    ]


def _forward(run: Run) -> pl.Series:
    """Return for each forward product whether its input is spikes; null: not measured."""
    forward = (pl.col("role") == "forward") & (pl.col("sort") != "norm")
    return run.calls.filter(forward)["first_spikes"]


def _unmeasured(run: Run) -> list[str]:
    unmeasured = _forward(run).null_count()
    if not unmeasured:
        return []
    return [
        f"{number(unmeasured, 'product')} {agreeing(unmeasured, 'has an input', 'have inputs')} "
        f"that {agreeing(unmeasured, 'was', 'were')} not measured and "
        f"{agreeing(unmeasured, 'counts', 'count')} as dense"
    ]


def input_types(run: Run) -> str:
    """Return how many forward products take spikes, and of how many it was not measured."""
    forward = _forward(run)
    if forward.is_empty():
        return ""
    spiking, calls = int(forward.sum()), len(forward)
    measured = calls - forward.null_count()
    return took_spikes("forward products", spiking, measured, calls, more=" (1 bit)")
