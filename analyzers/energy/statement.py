"""The paragraph that states an estimate in a paper: what, by which model, of what, how far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...schemas.costs.loading import CONFIGS
from ..answers.page import is_assumed
from ..text import number, percent

if TYPE_CHECKING:
    from .report import EnergyReport

_MOST = 6
"""So many constants that differ from the defaults are named one by one."""


def statement_of(report: EnergyReport) -> str:
    """Return the statement of an estimate.

    It names the energy (in all, and of a sample), estimator, revision and opjoule's version, the
    technology and cost regime, the stages, what is covered and what is not, input types and
    sparsity, batch, time steps and samples averaged over, the coverage, and the source.
    """
    return ". ".join(part[0].upper() + part[1:].rstrip(".") for part in _parts(report)) + "."


def model_statement_of(report: EnergyReport) -> str:
    """Return what an estimate says of its model, the same for all networks that it is used on."""
    parts = (*_model(report), f"source: {report.scope.source}")
    return ". ".join(part[0].upper() + part[1:].rstrip(".") for part in parts) + "."


def _model(report: EnergyReport) -> Iterator[str]:
    from ... import __version__

    scope = report.scope
    kind, _, machine = report.estimator.partition(".")
    what = f"on the machine {machine} by" if machine else f"with the {kind} estimator of"
    yield (
        f"estimated {what} opjoule {__version__}: {scope.title}, "
        f"revision {report.revision}, {scope.technology}; {regime(report)}"
    )
    yield f"stages: {', '.join(scope.stages)}"
    yield f"charged: {scope.covers}; not charged: {scope.leaves_out}"


def _parts(report: EnergyReport) -> Iterator[str]:
    kind = "Energy (assumed)" if is_assumed(report.assumed) else "Energy"
    yield f"{kind}: {_energies(report)}"
    yield from _model(report)
    if report.input_types:
        yield f"inputs: {report.input_types}"
    if averaged := _averaged(report):
        yield averaged
    if report.left_out.height:
        yield _left_out(report)
    yield from report.assumed
    yield f"coverage: {report.coverage}"
    yield f"source: {report.scope.source}"


def _energies(report: EnergyReport) -> str:
    each, least = report.per_sample_pj, "at least " if report.at_least else ""
    if each is None:
        return f"{least}{report.total_pj:.10g} pJ for the whole recording"
    return f"{least}{each:.10g} pJ a sample ({report.total_pj:.10g} pJ in all)"


def _averaged(report: EnergyReport) -> str:
    sampled = report.sampled
    known = [
        f"{name} {value}" + (" (a guess)" if origin == "guessed" else "")
        for name, value, origin in (
            ("batch", report.batch, sampled.batch_from),
            ("time steps", report.time_steps, sampled.time_steps_from),
        )
        if value is not None
    ]
    if report.samples:
        varying = report.batch is None and sampled.told is None
        doubt = " (a guess)" if varying and sampled.batch_from == "guessed" else ""
        known.append(f"averaged over {number(report.samples, 'sample')}{doubt}")
    return ", ".join(known)


def _left_out(report: EnergyReport) -> str:
    rows = report.left_out
    share = None if rows["macs_share"].null_count() else float(rows["macs_share"].sum())
    known = f", {percent(share)} of the MACs"
    calls = number(int(rows["calls"].sum()), "call")
    return f"left out: {number(rows.height, 'kind')} of operations ({calls}{known})"


def regime(report: EnergyReport) -> str:
    """Return the cost regime: the constants and options that are not the estimator's defaults."""
    made = CONFIGS.get(report.estimator)
    if made is None:
        return "prices of its file"
    default = dict(leaves(made().model_dump()))
    given = dict(leaves(report.config))
    changed = {
        name: given.get(name)
        for name in {**default, **given}
        if given.get(name) != default.get(name)
    }
    if not changed:
        return "default constants"
    named = ", ".join(f"{name} = {_text(value)}" for name, value in list(changed.items())[:_MOST])
    more = len(changed) - _MOST
    return f"default constants but {named}" + (f" and {more} more" if more > 0 else "")


def leaves(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of nested data: tables by key, lists by place."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from leaves(value, (*path, str(key)))
    elif isinstance(data, list | tuple) and data:
        for place, value in enumerate(data):
            yield from leaves(value, (*path, str(place)))
    else:
        yield ".".join(path), data


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
