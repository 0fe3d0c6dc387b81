"""NeuroMC as SpikingJelly's two revisions compute it: layers by their modules, the rest traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ...rules.geometry import Norm, Product
from ...rules.rule import Counted
from ...rules.spikingjelly import NEUROMC_CHARGED, NEUROMC_FREE
from ..neuromc.addons import SGD_OPTIONS, Options, add_neurons, add_norms, add_optimizers
from ..neuromc.fragments import Fragments
from ..neuromc.left_out import Fate, spatial_of
from ..neuromc.run import Run
from ..neuromc.variant import Variant
from . import neuromc_traffic
from .neuromc_layers import add_layers, batch_norms, counts, half_run_backward, layer_rows
from .neuromc_traced import add_traced


def _cut(run: Run, *, release: bool) -> Fragments:
    found = Fragments(run.trace.alike["signatures"])
    layers = layer_rows(run, release=release)
    add_layers(found, run, layers, release=release)
    calls = run.calls.join(
        _volumes(run), on=["rank", "signature_id"], how="anti", maintain_order="left"
    )
    own = batch_norms(run.trace)
    norms = calls.filter(pl.col("sort") == "norm")
    add_norms(found, run, norms.join(own, on=own.columns, how="semi"), counts)
    add_neurons(found, run, counts)
    add_optimizers(found, run)
    add_traced(found, run, calls, _trainable(run) if release else frozenset())
    if release:
        found.refused += half_run_backward(run, layers)
    return found


def _volumes(run: Run) -> pl.DataFrame:
    """Return the batch norms of three dimensions in space, for which there is no fragment."""
    rows = [key for key, one in run.geometries.items() if isinstance(one, Norm) and one.spatial > 2]
    return pl.DataFrame(rows, schema={"rank": pl.Int32, "signature_id": pl.Int32}, orient="row")


def _trainable(run: Run) -> frozenset[tuple[int, ...]]:
    """Return the shapes of trainable parameters; 2026-08 has forgotten the model by then."""
    return frozenset(
        tuple(parameter["shape"])
        for parameters in run.trace.modules["parameters"].to_list()
        for parameter in parameters or ()
        if parameter["requires_grad"]
    )


def _fate_of(signature: Mapping[str, Any], one: Product | None, counted: Counted) -> Fate:
    """Return what becomes of an op; neither revision knows any of three dimensions in space."""
    if signature["op"] in NEUROMC_FREE:
        return "free"
    known = signature["op"] in NEUROMC_CHARGED and spatial_of(one) <= 2
    return "charged" if known else "left out"


_OPTIMIZERS: Mapping[str, Options] = {"SGD": SGD_OPTIONS, "Adam": (), "AdamW": ()}
"""Both revisions charge Adam and AdamW whatever their options are."""

RELEASE = Variant(
    cut=lambda run: _cut(run, release=True),
    base_moves=neuromc_traffic.release_base_moves,
    extra_moves=neuromc_traffic.release_extra_moves,
    fate=_fate_of,
    optimizers=_OPTIMIZERS,
    spike_modes=("binary",),
    by_values_only=True,
    only_fragments=True,
    whose="SpikingJelly",
)
"""Revision spikingjelly-2.0."""

TUTORIAL = Variant(
    cut=lambda run: _cut(run, release=False),
    base_moves=neuromc_traffic.tutorial_base_moves,
    extra_moves=neuromc_traffic.tutorial_extra_moves,
    fate=_fate_of,
    optimizers=_OPTIMIZERS,
    spike_modes=("binary",),
    by_values_only=True,
    stages_by_name=True,
    only_fragments=True,
    whose="SpikingJelly",
    default_core="fp_soma",
)
"""Revision spikingjelly-2026-08."""
