"""What was not the same when two traces were recorded: inputs, weights, versions, batch, steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ..counting.evaluate import COUNTERS
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.roots import IS_ROOT
from ..workload.divisors import both_modes
from .alignment import parent_of
from .profiles import Side

_NAMED = 2
"""So many modules, parameters or ops are named one by one."""

_SIZES = ("numel",)
_MEASURED = (*_SIZES, "nonzero", "class", "min", "max")
"""What is known of values without statistics, and with them."""


def circumstances(base: Side, head: Side, aligned: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each thing that makes two sides differ, or hides that they do.

    Args:
        base: one side.
        head: the other.
        aligned: path of a module in `base` -> its path in `head`.
    """
    yield from _inputs(base, head)
    yield from _weights(base, head, aligned)
    yield from _roots(base, head)
    yield from _recorders(base, head)
    yield from _environments(base, head)
    yield from _paths(aligned)
    yield from _estimates(base, head)
    yield from _gaps(base, head)


def _changed(what: str, one: object, two: object) -> Iterator[str]:
    if one != two:
        yield f"{what} {_text(one)} -> {_text(two)}"


def _text(value: object) -> str:
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(_text(each) for each in value) or "none"
    return "unknown" if value is None or value == "" else str(value)


def _inputs(base: Side, head: Side) -> Iterator[str]:
    """Compare fingerprints of the first inputs; and what is known of all of them."""
    prints = [[m.fingerprint.inputs for m in side.trace.manifests] for side in (base, head)]
    if None in prints[0] or None in prints[1]:
        yield "inputs cannot be compared: one recording has no fingerprint of them"
    elif _kinds(prints[0]) != _kinds(prints[1]):
        yield "inputs cannot be compared: the recordings have fingerprints of different kinds"
    elif prints[0] != prints[1]:
        yield "the inputs were not the same: counts that depend on data differ for that alone"
    else:
        yield from _later_inputs(base, head)


def _kinds(prints: list[str | None]) -> set[str]:
    """Return how fingerprints were made: what stands before their colons."""
    return {each.partition(":")[0] for each in prints if each is not None}


def _later_inputs(base: Side, head: Side) -> Iterator[str]:
    """Compare all that went into the models, by what both sides know of it."""
    levels = {m.statistics for side in (base, head) for m in side.trace.manifests}
    one, two = (_values(side, _SIZES if "none" in levels else _MEASURED) for side in (base, head))
    if one != two:
        yield "later inputs were not the same, only the first was"
    elif "none" in levels and len(levels) > 1 and _root_count(base) > 1:
        yield "later inputs cannot be compared: one side did not measure them"


def _root_count(side: Side) -> int:
    calls = side.trace.module_calls.filter(IS_ROOT)
    return int(calls.select(pl.len()).pipe(collected, side.trace).item())


def _values(side: Side, facts: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return what is known of all that went into the models, in no order."""
    given = (
        side.trace.module_calls.filter(IS_ROOT)
        .select("rank", pl.col("inputs").list.eval(pl.element().struct.field("value_id")))
        .explode("inputs")
        .select("rank", value_id="inputs")
    )
    found = side.trace.values.join(given, on=["rank", "value_id"], how="semi")
    return found.group_by(facts).len().sort(facts).pipe(collected, side.trace).rows()


def _weights(base: Side, head: Side, aligned: Mapping[str, str]) -> Iterator[str]:
    one, two = (
        _parameters(side, names) for side, names in ((base, aligned), (head, dict[str, str]()))
    )
    differing = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    if differing:
        named = [f"{n} {_shape(one.get(n))} -> {_shape(two.get(n))}" for n in differing[:_NAMED]]
        yield f"the weights have other shapes: {'; '.join(named)}{_more(differing)}"
        return
    prints = [[m.fingerprint.parameters for m in side.trace.manifests] for side in (base, head)]
    if None in prints[0] or None in prints[1]:
        yield "weights cannot be compared: one recording has no fingerprint of them"
    elif _kinds(prints[0]) != _kinds(prints[1]):
        yield "weights cannot be compared: the recordings have fingerprints of different kinds"
    elif prints[0] != prints[1]:
        yield "the weights were not the same: their shapes are, their values are not"


def _parameters(side: Side, names: Mapping[str, str]) -> dict[str, tuple[Any, ...]]:
    found = {}
    first = side.trace.modules.filter(pl.col("same_as").is_null())
    for path, own in first.select("path", "parameters").iter_rows():
        for each in own or ():
            name = f"{names.get(path, path)}.{each['name']}"
            found[name] = (*(each["shape"] or ()), each["dtype"])
    return found


def _shape(parameter: tuple[Any, ...] | None) -> str:
    if parameter is None:
        return "absent"
    *sizes, dtype = parameter
    return f"{'x'.join(map(str, sizes)) or 'scalar'} {dtype}"


def _more(found: list[str]) -> str:
    return f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""


def _roots(base: Side, head: Side) -> Iterator[str]:
    """Compare of what samples are, and how often, in which mode and on how much of them at once.

    A loop over time steps and one call of all of them are the same samples.
    """
    one, two = _root_calls(base), _root_calls(head)
    for name, what in (("batch", "batch"), ("time_steps", "time steps of a sample")):
        samples = [side.sampled.completed[name].unique().sort().to_list() for side in (base, head)]
        yield from _changed(what, *samples)
        calls = [[each for each in side[name] if each is not None] for side in (one, two)]
        if samples[0] == samples[1] and all(calls):
            yield from _changed(f"{name.replace('_', ' ')} in one call of the model", *calls)
    for name, mode in (("inference", "eval"), ("training", "training")):
        yield from _changed(f"calls of the model in {mode} mode", one[name], two[name])


def _root_calls(side: Side) -> dict[str, Any]:
    found = (
        side.trace.module_calls.filter(IS_ROOT)
        .select(
            pl.col("batch", "time_steps").unique().sort().implode(),
            inference=pl.col("training").not_().sum(),
            training=pl.col("training").sum(),
        )
        .pipe(collected, side.trace)
    )
    return found.row(0, named=True)


def _recorders(base: Side, head: Side) -> Iterator[str]:
    one, two = base.trace.manifests, head.trace.manifests
    for what, field in (("statistics", "statistics"), ("status", "status"), ("seed", "seed"),
                        ("recorded by opjoule", "opjoule_version")):  # fmt: skip
        yield from _changed(what, *(_distinct(getattr(m, field) for m in s) for s in (one, two)))
    yield from _changed("ranks", len(one), len(two))
    yield from _changed("steps", *(max((m.steps for m in s), default=0) for s in (one, two)))
    if one[0].statistics == two[0].statistics != "full":
        yield f"statistics are {one[0].statistics}: what was not measured is not compared"


def _environments(base: Side, head: Side) -> Iterator[str]:
    one, two = (side.trace.manifest.environment for side in (base, head))
    for name in sorted({**one.packages, **two.packages}):
        if name != "opjoule":
            yield from _changed(name, one.packages.get(name), two.packages.get(name))
    yield from _changed(
        "devices", *([f"{d.name} {d.model}" for d in e.devices] for e in (one, two))
    )


def _distinct(values: Iterable[Any]) -> Any:
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else found


def _paths(aligned: Mapping[str, str]) -> Iterator[str]:
    """Tell which modules were taken for one another though their paths differ."""
    moved = {one: two for one, two in aligned.items() if one != two}
    tops = [
        f"{one} for {two}"
        for one, two in moved.items()
        if moved.get(parent_of(one) or "") != parent_of(two)
        or one.rpartition(".")[2] != two.rpartition(".")[2]
    ]
    if moved:
        have = f"{number(len(moved), 'module')} {agreeing(len(moved), 'has', 'have')}"
        yield f"{have} other paths: took {', '.join(tops[:_NAMED])}{_more(tops)}"


def _estimates(base: Side, head: Side) -> Iterator[str]:
    """Tell of how many samples energies are, if not of as many; and what their estimators warn.

    Not what is assumed, which is told before, nor what is to be known of the samples of a side.
    """
    one, two = (
        (*side.sampled.warnings, *both_modes(side.sampled, side.per)) for side in (base, head)
    )
    yield from of_sides(one, two)
    for name, old in base.reports.items():
        new = head.reports[name]
        if old.samples != new.samples and base.per == "total":
            each = (_per_sample(report.per_sample_pj) for report in (old, new))
            yield (
                f"energy.{name} is of {_text(old.samples)} -> {_text(new.samples)} samples; "
                f"of one sample: {' -> '.join(each)}"
            )
        own = (old.warnings_beside(base.sampled), new.warnings_beside(head.sampled))
        yield from of_sides(*own, of=name)


def of_sides(base: Sequence[str], head: Sequence[str], of: str = "") -> Iterator[str]:
    """Yield what is said of both sides, each once, and of which side where it is of one."""
    for text in dict.fromkeys((*base, *head)):
        side = "" if text in base and text in head else "BASE" if text in base else "HEAD"
        whose = ", ".join(name for name in (of, side) if name)
        yield f"{whose}: {text}" if whose else text


def _per_sample(energy_pj: float | None) -> str:
    return "unknown" if energy_pj is None else f"{energy_pj:.6g} pJ"


def _gaps(base: Side, head: Side) -> Iterator[str]:
    """Tell what is unknown or was hidden, on either side."""
    for counter in COUNTERS:
        unknown = base.unknown(counter), head.unknown(counter)
        if any(unknown):
            yield (
                f"{counter} of {number(unknown[0], 'call')} in BASE and {unknown[1]} in HEAD are "
                "unknown and "
                f"left out ({', '.join(_unknown_ops(base, head, counter))})"
            )
    for name, side in (("BASE", base), ("HEAD", head)):
        for manifest in side.trace.manifests:
            for hidden in manifest.hidden[:_NAMED]:
                calls = number(hidden.calls, "call")
                yield f"{name}: {hidden.what}: {calls} not seen: {hidden.why}"
            for inexact in manifest.inexact[:_NAMED]:
                yield f"{name}: {inexact.what} may not be bitwise identical: {inexact.why}"


def _unknown_ops(base: Side, head: Side, counter: str) -> list[str]:
    kinds = (side.kinds.filter(pl.col(counter).is_null())["op"] for side in (base, head))
    found = list(dict.fromkeys(op for ops in kinds for op in ops))
    return [*found[:_NAMED], *([f"and {len(found) - _NAMED} more"] if found[_NAMED:] else [])]
