"""What stands under a table of networks: models, coverage, guesses and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from ..energy.estimators import ESTIMATORS
from ..energy.statement import model_statement_of
from ..text import listed
from ..units import share_text
from ..workload.divisors import spread_text
from .columns import COUNTED, ENERGY, RATIO, bare, energy_of, estimators_of, machines_of, title_of
from .networks import Network

if TYPE_CHECKING:
    from ..energy.report import EnergyReport
    from .breakeven import Breakeven


def footnotes_of(
    networks: Sequence[Network], columns: Sequence[str], deviating: Set[str]
) -> Iterator[str]:
    """Yield the lines under a table of these columns.

    Args:
        networks: its rows.
        columns: what it shows.
        deviating: names of the networks of which it shows a deviation.
    """
    first = networks[0]
    unit = {"total": "the whole recording", "sample": "one sample", "step": "one step"}[first.per]
    yield f"Figures of {unit}: operations and energies of inference; nothing is measured power."
    yield from _gathered(
        {each.name: list(_of_network(each, columns, deviating)) for each in networks}
    )
    if any(each.pads for each in networks):
        yield "MACs of convolutions count their padding, ACs and SynOps do not: no spike is there."
    ratios = [title_of(bare(name)) for name in columns if name.startswith(RATIO)]
    if ratios:
        yield f"Ratio: by the value of {first.name}."
    for name in estimators_of(columns):
        reports = [each.reports[name] for each in networks if name in each.reports]
        if energy_of(name) in map(bare, columns):
            yield from map(model_statement_of, reports[:1])
            yield from _of_estimates(name, networks)
    yield from _without(networks, {*map(bare, columns)})
    for machine in dict.fromkeys(
        machine for name in columns for machine in machines_of(bare(name))
    ):
        yield from _of_twins(machine, networks)
    if len([name for name in columns if name.startswith(ENERGY)]) > 1:
        yield "Energies of different estimators speak of different machines: do not compare them."


def coverage_of(networks: Sequence[Network], columns: Sequence[str]) -> Iterator[str]:
    """Yield how far the counts of each network reach, and what is charged of its products."""
    for each in networks:
        yield f"{each.name}: {each.counts.coverage.line()}"
        for name, estimate in _estimates(each, columns).items():
            yield f"{each.name}, {name}: {estimate.coverage}"


def warnings_of(networks: Sequence[Network], columns: Sequence[str]) -> Iterator[str]:
    """Yield what a reader of the figures has to know of each network, and of what it costs."""
    for each in networks:
        own = (*each.counts.warnings, *each.sampled.warnings)
        yield from (f"{each.name}: {text}" for text in dict.fromkeys(own))
        for name, estimate in _estimates(each, columns).items():
            yield from (f"{each.name}, {name}: {text}" for text in _more(each, estimate))


def _gathered(lines: Mapping[str, Sequence[str]], what: str = "") -> Iterator[str]:
    """Yield the lines of networks, each once, after the names of the networks that it is of."""
    for line in dict.fromkeys(line for each in lines.values() for line in each):
        names = [name for name, each in lines.items() if line in each]
        whose = "all networks" if len(names) == len(lines) > 1 else ", ".join(names)
        yield f"{what}{whose}: {line}"


def _of_network(network: Network, columns: Sequence[str], deviating: Set[str]) -> Iterator[str]:
    sampled = network.sampled
    if network.trained:
        yield "its forward passes ran in training mode."
    yield from (f"{text}." for text in network.left_out)
    if "guessed" in (sampled.batch_from, sampled.time_steps_from):
        yield "batch or time steps are a guess."
    if network.name in deviating:
        yield f"{spread_text(sampled, network.per)}."
    yield from (f"{line}." for line in (*network.counts.assumed, *sampled.warnings))
    shares = [f"{share_text(share)} of {COUNTED[name]}" for name, share in network.outside.items()
              if name in map(bare, columns)]  # fmt: skip
    if shares:
        yield (
            f"{', '.join(shares)} ran outside every module, such as in the preparation of data; "
            '--where "module=*" leaves it out.'
        )
    yield f"{network.counts.coverage.line()}."


def _of_estimates(estimator: str, networks: Sequence[Network]) -> Iterator[str]:
    lines = {}
    for each in networks:
        if estimator in each.refused:
            yield f"{estimator} does not apply to {each.name}: {each.refused[estimator]}"
        elif report := each.reports.get(estimator):
            lines[each.name] = [f"{text}." for text in (report.coverage, *_more(each, report))]
    yield from _gathered(lines, f"{estimator} of ")


def _without(networks: Sequence[Network], columns: Set[str]) -> Iterator[str]:
    """Yield why estimators that were asked have no column: they apply to none of the networks."""
    asked = {name: each for name in ESTIMATORS if (each := _refusals(networks, name))}
    lines = {
        name: tuple(dict.fromkeys(each))
        for name, each in asked.items()
        if len(each) == len(networks) and energy_of(name) not in columns
    }
    for reasons in dict.fromkeys(lines.values()):
        names = [name for name, each in lines.items() if each == reasons]
        yield f"No energy by {listed(names)}: {'; '.join(reasons)}"


def _refusals(networks: Sequence[Network], estimator: str) -> list[str]:
    return [each.refused[estimator] for each in networks if estimator in each.refused]


def _of_twins(machine: str, networks: Sequence[Network]) -> Iterator[str]:
    for each in networks:
        if reason := each.refused.get(f"twin on {machine}"):
            yield f"{each.name} has no quantized twin on {machine}: {reason}"
        elif each.twins[machine].rate is None:
            yield f"{each.name} has no quantized twin: none of its layers has spikes as input."
        else:
            twin = each.twins[machine]
            for line in (*twin.lines(), f"on {machine}, {twin.coverage}", *_more(each, twin)):
                yield f"{each.name}: {line}."


def _estimates(network: Network, columns: Sequence[str]) -> Mapping[str, EnergyReport | Breakeven]:
    """Return the estimates of a network that a table shows, by name."""
    shown = {*map(bare, columns)}
    energies = {name: each for name, each in network.reports.items() if energy_of(name) in shown}
    return {**energies, **{f"twin on {name}": each for name, each in network.twins.items()}}


def _more(network: Network, found: EnergyReport | Breakeven) -> list[str]:
    """Return the warnings of an estimate that the lines of its network do not have."""
    told = network.counts
    known = (*told.assumed, *network.sampled.warnings, *told.coverage.hints)
    return [text for text in found.warnings if text not in known]
