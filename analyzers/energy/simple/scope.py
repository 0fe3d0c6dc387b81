"""What the simple model covers, and the words for what it does not."""

from __future__ import annotations

import polars as pl

from ....schemas import TraceError
from ...text import number
from ...trace.files import collected
from ...workload.layers import layers_of
from ..arithmetic import Operations
from ..memory_accesses import free_weights
from ..report import Scope
from .actions import LAYERS, Actions
from .variant import Variant

SCOPE = Scope(
    title="SpikingJelly 2.0's simple energy: arithmetic, and memory at a flat price",
    source=(
        "SpikingJelly 2.0.0, spikingjelly.activation_based.op_counter, the only one to publish "
        "this model; operations: M. Horowitz, Computing's energy problem (and what we can do "
        "about it), ISSCC 2014; price of a byte: S. Shen et al., STEP (arXiv 2505.11151), Table 9"
    ),
    stages=("forward",),
    technology="45 nm CMOS for the operations, none stated for the memory",
    covers=(
        "multiply-accumulates, accumulations, each use of a weight or bias of linear layers and "
        "convolutions, each read and write of a neuron's state"
    ),
    leaves_out=(
        "multiplications, divisions and comparisons by themselves, functions such as exp, moving "
        "activations and spikes, addressing, parameters of other layers, mapping to hardware"
    ),
)

_UNPUBLISHED = (
    "this model and its price of a byte come from SpikingJelly 2.0, there is no other publication; "
    "here it counts with the rule set full and without the additions of SpikingJelly's own tool"
)


def scope_of(variant: Variant) -> Scope:
    """Return the scope of a revision."""
    tools = (
        "accumulations (also those with which SpikingJelly itself adds up the fan-out of "
        "convolutions with spike input)"
    )
    covers = SCOPE.covers.replace("accumulations, each", f"{tools}, each", 1)
    return SCOPE._replace(covers=covers) if variant.tool_additions else SCOPE


def warnings_of(
    operations: Operations, actions: Actions, gaps: list[str], variant: Variant, strict: bool
) -> list[str]:
    """Return what a reader has to know.

    Raises:
        TraceError: under strict, nothing was counted or something is left out.
    """
    found = []
    products = operations.counted.filter(pl.col("how") != "uncovered")["dense_macs"]
    if actions.rows.is_empty() and not products.sum() and not products.null_count():
        found.append(
            "nothing was counted: no MAC, no AC, no weight and no neuron in the forward pass"
        )
    found += gaps
    if actions.unread:
        calls = number(actions.unread, "layer call")
        found.append(f"weights of {calls} left out: input not measured")
    found += operations.uncovered()
    if variant.names_uncovered:
        found += [*_without_memory(operations), *free_weights(operations.part, operations.counted)]
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    found += operations.without_macs()
    return found if variant.tool_additions else [*found, _UNPUBLISHED]


def _without_memory(operations: Operations) -> list[str]:
    """Return one sentence on the layers whose parameters are not charged."""
    part = operations.part
    others = layers_of(part).filter(~pl.col("kind").is_in(LAYERS))
    ran = collected(
        others.lazy().join(part.module_calls, on=["rank", "module_id"], how="semi"), part
    ).sort("rank", "module_id")
    if ran.is_empty():
        return []
    return [
        f"the model has no memory of {', '.join(ran['kind'].unique().sort())}: parameters of "
        f"{', '.join(ran['module'].unique(maintain_order=True))} left out"
    ]
