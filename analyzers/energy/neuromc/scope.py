"""What an estimate by NeuroMC speaks of, what it warns of, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import NeuroMCConfig
from ...workload.samples import Samples, in_eval_mode
from ..report import Scope
from ..spikesim.scope import listed
from .account import Account
from .free_ops import FREE

if TYPE_CHECKING:
    from ...trace.trace import Trace

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
_ARITHMETIC = ("add", "sub", "rsub", "mul", "div", "sqrt", "rsqrt", "sigmoid", "sum", "mean")


def scope_of(rows: pl.DataFrame, revision: str) -> Scope:
    """Return the scope of an estimate with these rows."""
    ran = set(rows["stage"])
    whose = f"; as SpikingJelly computes it ({revision})"
    if revision == "source":
        names = _without_evidence(set(rows["op"]))
        whose = f"; no external evidence for {listed(names)}" if names else ""
    return Scope(
        title="NeuroMC",
        source=_SOURCE + whose,
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


def refusals(account: Account, revision: str) -> list[str]:
    """Return what strict refuses, in words; else these are warnings."""
    found = []
    if account.left_out.height:
        names = [f"{what} (calls={n})" for what, n in account.left_out[:, :2].iter_rows()]
        found.append(f"NeuroMC has no fragment for {listed(names, most=12)}")
    if account.half_run:
        found.append(
            "SpikingJelly 2.0 refuses layers that ran backward less often than forward: "
            + listed(list(account.half_run))
        )
    return found


def warnings_of(
    account: Account, trace: Trace, config: NeuroMCConfig, revision: str, refused: list[str],
    samples: Samples,
) -> list[str]:  # fmt: skip
    """Return what a reader of the figures has to know."""
    found = [f"left out: {text}" for text in refused]
    found += _both_modes(trace, samples)
    if account.outside.height:
        names = [f"{what} ({n})" for what, n in account.outside[:, :2].iter_rows()]
        found.append(f"outside the account, as losses are: {listed(names)}")
    if revision == "source":
        found += [*_unproven(account), *_elementwise(account, trace), *_weights(account, config)]
        if account.unplaced:
            found.append(
                f"{account.unplaced} products in the backward pass come from forward calls that "
                "the trace does not tell: whether they are gradients of inputs or of weights was "
                "told by their sizes"
            )
    if account.unmeasured:
        found.append(
            f"{account.unmeasured} products have inputs that were not measured; they count as dense"
        )
    found += _recomputed(account, revision)
    return [*found, *samples.warnings]


def _both_modes(trace: Trace, samples: Samples) -> list[str]:
    """Tell if samples of training steps and of evaluation are averaged together."""
    evaluated, every = in_eval_mode(trace, samples), samples.samples
    if not evaluated or evaluated == every:
        return []
    return [
        f"{evaluated} of {every} samples ran in eval mode: the energy a sample is the mean of "
        "evaluation and training; estimate them apart, with --where label=... or step=..."
    ]


def _unproven(account: Account) -> list[str]:
    """Name what is charged by formulas that no output of NeuroMC confirms."""
    names = _without_evidence({one.op for one in account.pieces.fragments})
    if not names:
        return []
    return [
        f"{listed(names)}: no external evidence; the formulas are those of SpikingJelly 2.0, and "
        "no published output of NeuroMC shows them"
    ]


def _without_evidence(ops: set[str]) -> list[str]:
    found = {op.partition(".")[0] for op in ops}
    return [name for op, name in _UNPROVEN.items() if op in found]


def _elementwise(account: Account, trace: Trace) -> list[str]:
    """Name arithmetic outside neurons and batch norms that the model does not charge."""
    ops = trace.signatures.select("rank", "signature_id", "op")
    arithmetic = pl.col("op").is_in(
        [op for op in FREE if op.split(".")[1].removesuffix("_") in _ARITHMETIC]
    )
    found = (
        account.op_counts.filter(pl.col("stage") != "optimizer")
        .join(account.neurons, on=["rank", "module_id"], how="anti", nulls_equal=True)
        .join(ops, on=["rank", "signature_id"])
        .filter(arithmetic)
        .group_by("op")
        .agg(pl.col("calls").sum())
        .sort("calls", "op", descending=[True, False])
    )
    if found.is_empty():
        return []
    names = [f"{op} ({calls})" for op, calls in found.iter_rows()]
    return [f"element-wise work outside neurons is not charged: {listed(names)}"]


def _weights(account: Account, config: NeuroMCConfig) -> list[str]:
    """Tell how weights are read where a call holds several samples or steps."""
    several = [
        one
        for one in account.pieces.fragments
        if one.macs and one.source == "module" and one.loops.batch > 1
    ]
    if not several or config.weight_reads == "sample":
        return []
    return [
        "weights are read once a call, however many samples and time steps it holds; NeuroMC's own "
        'workloads read them for each (weight_reads = "sample")'
    ]


def _recomputed(account: Account, revision: str) -> list[str]:
    ran = account.op_counts.filter(pl.col("stage") == "recompute")["calls"].sum()
    if not ran or revision == "source":
        return []
    return [f"{ran} calls that ran again inside the backward pass are left out ({revision})"]


def shared(left_out: pl.DataFrame, charged_macs: int) -> pl.DataFrame:
    """Return `what`, `calls` and `macs_share`: of the MACs that are charged or left out."""
    known = left_out["macs"].sum() + charged_macs
    return left_out.select(
        "what", "calls", macs_share=pl.col("macs").cast(pl.Float64) / float(known or 1)
    )


def coverage(account: Account, charged_macs: int) -> str:
    """Return one line on how much of the MACs is charged."""
    missed = int(account.left_out["macs"].sum())
    share = charged_macs / (charged_macs + missed) if charged_macs + missed else 1.0
    unknown = account.left_out["macs"].null_count()
    more = f"; of {unknown} ops left out the MACs are not known" if unknown else ""
    calls = int(account.left_out["calls"].sum())
    return f"{share:.1%} of the MACs are charged, {calls} calls are left out{more}"


def input_types(account: Account) -> str:
    """Return how many forward products take spikes."""
    products, spiking = account.inputs
    return f"{spiking} of {products} forward products take spikes (1 bit)" if products else ""
