"""What revisions of Lemaire's model do differently, and what the model's authors do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from .actions import Counted
from .network import count_network
from .scope import warnings_of

if TYPE_CHECKING:
    from ...trace.trace import Trace


@dataclass(frozen=True)
class Variant:
    """What a revision of the model does.

    Attributes:
        count: counts the actions: (trace, config, samples=, by_step=) -> `Counted`.
        warnings: (what is left out, the trace) -> what a reader has to know; `strict` refuses
            the first one.
        eval_only: only calls in eval mode are inference.
        allows_nothing: an estimate that charges no product stands if a warning says why.
        word_bytes: bytes of a word; None: `word_bits` of the configuration.
        piecewise: the cost of memory is piecewise, whatever the configuration says.
        acs_with_synops: the additions of a report include the synaptic operations.
        more_counts: further figures of a report: name -> name of the operation.
        free: classes of modules without work of their own, and without a warning.
    """

    count: Callable[..., Counted]
    warnings: Callable[[pl.DataFrame, Trace], tuple[str, ...]]
    eval_only: bool = False
    allows_nothing: bool = True
    word_bytes: float | None = None
    piecewise: bool = False
    acs_with_synops: bool = True
    more_counts: Mapping[str, str] = field(default_factory=dict)
    free: frozenset[str] = frozenset()


SOURCE = Variant(
    count=count_network,
    warnings=warnings_of,
    eval_only=True,
    allows_nothing=False,
    more_counts={"mul": "mul"},
    free=frozenset("Flatten Unflatten Identity Dropout Dropout1d Dropout2d Dropout3d ReLU".split()),
)
"""As the authors publish it. Free is what does nothing in inference, or is folded into a layer."""
