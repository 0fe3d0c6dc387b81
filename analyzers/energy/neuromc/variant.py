"""What revisions of NeuroMC do differently, and what its authors do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....schemas.costs import NeuroMCConfig
from ...rules.geometry import Product
from ...rules.rule import Counted
from . import products, traffic
from .addons import OPTIMIZERS, Options
from .fragments import Fragment, Fragments
from .left_out import Fate, fate_of
from .run import Run


@dataclass(frozen=True)
class Variant:
    """A revision.

    Attributes:
        cut: returns the fragments of a run.
        base_moves: returns what the operands of a fragment with MACs move.
        extra_moves: returns what the add-on of a fragment moves.
        fate: returns what becomes of the calls of a signature of these sizes, counted so.
        optimizers: those that have fragments, by name, with the options that have to be off.
        spike_modes: what a spike tensor may hold.
        by_values_only: constants are spikes if their values are.
        stages_by_name: options of declared stages are read off their names.
        only_fragments: ops inside neurons, of losses and outside modules have to have fragments or
            to be free too, and what runs again in a backward pass does not count.
        whose: who computes it so, for the scope; None: NeuroMC's authors.
        default_core: a core that its counts of operations name beside the total.
    """

    cut: Callable[[Run], Fragments]
    base_moves: Callable[[Fragment, NeuroMCConfig], list[traffic.Move]]
    extra_moves: Callable[[Fragment], list[traffic.Move]]
    fate: Callable[[Mapping[str, Any], Product | None, Counted], Fate]
    optimizers: Mapping[str, Options] = field(default_factory=lambda: OPTIMIZERS)
    spike_modes: tuple[str, ...] = ("binary", "none")
    by_values_only: bool = False
    stages_by_name: bool = False
    only_fragments: bool = False
    whose: str | None = None
    default_core: str | None = None


SOURCE = Variant(
    cut=products.cut,
    base_moves=traffic.base_moves,
    extra_moves=traffic.extra_moves,
    fate=fate_of,
)
"""As NeuroMC's authors have it."""
