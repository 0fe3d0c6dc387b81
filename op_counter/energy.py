"""SpikingJelly's energy estimators by its names: of a model with inputs, or of a trace."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import polars as pl

from ..analyzers.energy import estimate
from ..analyzers.trace.files import collected
from .configs import (
    ComputeEnergyConfig,
    LemaireEnergyConfig,
    SimpleEnergyConfig,
    SpikeSimEnergyConfig,
)
from .refusals import RefusedError, refusing
from .reports import (
    ComputeEnergyReport,
    LemaireEnergyReport,
    SimpleEnergyReport,
    SpikeSimEnergyReport,
)
from .revisions import RELEASE, SOURCE, TUTORIAL, chosen
from .runs import MISSING, forward_of

if TYPE_CHECKING:
    from ..analyzers import Trace
    from ..analyzers.energy import EnergyReport

_LOG = logging.getLogger("opjoule.op_counter")

_TRAINING = (
    "SpikeSim covers inference alone, and the model is in training mode: call model.eval() before"
)


@refusing()
def estimate_compute_energy(
    model: Any, inputs: Any = MISSING, *, config: ComputeEnergyConfig | None = None
) -> ComputeEnergyReport:
    """Return the energy of the MACs and ACs of one forward pass, as of August 2026 or the source.

    The name is SpikingJelly's of August 2026; 2.0 has `estimate_simple_energy` instead.

    Args:
        model: the model, or a trace (its path, or opened).
        inputs: one tensor, a tuple or list of arguments, or a dict of keyword ones; none for a
            trace.
        config: energies and options; by default 32-bit floats.

    Raises:
        ConfigError: a cost means nothing.
        TraceError: the trace has nothing to estimate, or nothing was counted under `strict`.
    """
    config = deepcopy(config) if config else ComputeEnergyConfig()
    with forward_of(model, inputs, ignored=config.extra_ignore_modules or ()) as trace:
        revision = _of(TUTORIAL)
        energy = estimate(trace, "compute", config.typed(), revision=revision, strict=config.strict)
    if config.verbose:
        _log(energy)
    return ComputeEnergyReport.of(energy, config)


@refusing()
def estimate_simple_energy(
    model: Any, inputs: Any = MISSING, *, config: SimpleEnergyConfig | None = None
) -> SimpleEnergyReport:
    """Return the energy of MACs, ACs, weights, biases and neuron states of one forward pass.

    The name and the model are SpikingJelly 2.0's own, nobody else has published them; the revision
    "source" leaves out what its own tool adds. Arguments and errors are those of
    `estimate_compute_energy`.
    """
    config = deepcopy(config) if config else SimpleEnergyConfig()
    ignored = config.extra_ignore_modules or ()
    with forward_of(model, inputs, grad=False, ignored=ignored) as trace:
        revision = _of(RELEASE)
        energy = estimate(trace, "simple", config.typed(), revision=revision, strict=config.strict)
    return SimpleEnergyReport.of(energy, config)


@refusing()
def estimate_lemaire_energy(
    model: Any, inputs: Any = MISSING, *, config: LemaireEnergyConfig | None = None
) -> LemaireEnergyReport:
    """Return Lemaire's analytical energy of one forward inference.

    Both revisions of SpikingJelly have this name: `opjoule.op_counter.revision` decides.
    Arguments and errors are those of `estimate_compute_energy`; `config.strict` refuses modules
    that the model has no formulas for.
    """
    revision = chosen()
    config = deepcopy(config) if config else LemaireEnergyConfig()
    grad = None if revision == TUTORIAL else False
    with forward_of(model, inputs, grad=grad) as trace:
        strict = config.refuses(revision)
        energy = estimate(trace, "lemaire", config.typed(), revision=revision, strict=strict)
    return LemaireEnergyReport.of(energy, config)


@refusing()
def estimate_spikesim_energy(model: Any, inputs: Any = MISSING, *,
                             config: SpikeSimEnergyConfig | None = None,
                             strict: bool = True) -> SpikeSimEnergyReport:  # fmt: skip
    """Return the energy of Conv2d inference on SpikeSim's crossbars, as of 2.0 or the source.

    Args:
        model: the model in eval mode, or a trace (its path, or opened).
        inputs: of the model; none for a trace.
        config: crossbars and energies.
        strict: refuse what is outside the model, training mode included, instead of warning.

    Raises:
        ConfigError: a value of the configuration means nothing.
        TraceError: something is outside the model, under `strict`.
    """
    return _spikesim(model, inputs, config, strict, _of(RELEASE))


@refusing()
def estimate_spikesim_event_energy(model: Any, inputs: Any = MISSING, *,
                                   config: SpikeSimEnergyConfig | None = None,
                                   strict: bool = False) -> SpikeSimEnergyReport:  # fmt: skip
    """Do what `estimate_spikesim_energy` does, as of August 2026: by default it warns."""
    return _spikesim(model, inputs, config, strict, _of(TUTORIAL))


def _spikesim(model: Any, inputs: Any, config: SpikeSimEnergyConfig | None, strict: bool,
              revision: str) -> SpikeSimEnergyReport:  # fmt: skip
    config = deepcopy(config) if config else SpikeSimEnergyConfig()
    with forward_of(model, inputs, grad=False) as trace:
        training = _trains(trace)
        if training and strict:
            raise RefusedError(f"{_TRAINING} (strict).")
        energy = estimate(trace, "spikesim", config.typed(), revision=revision, strict=strict)
    report = SpikeSimEnergyReport.of(energy, config)
    if training:
        report.warnings.insert(0, f"{_TRAINING}.")
    return report


def _trains(trace: Trace) -> bool:
    """Tell whether a model was called in training mode."""
    root = pl.col("parent_call_id").is_null() & (pl.col("stage").cast(pl.String) == "forward")
    modes = collected(
        trace.module_calls.filter(root).select(pl.col("training").any()), trace, engine="auto"
    )
    return bool(modes.item())


def _log(energy: EnergyReport) -> None:
    """Log what was counted, by module and op."""
    for row in energy.rows.iter_rows(named=True):
        where = row["module"] or "outside every module"
        what = f"{row['count']} {row['component'].upper()}"
        _LOG.info("%s in %s: %s, %s pJ", row["op"], where, what, row["energy_pj"])


def _of(only: str) -> str:
    """Return the revision of a name that one revision has: that one, or the source if chosen."""
    return SOURCE if chosen() == SOURCE else only
