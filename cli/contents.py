"""What a trace is of: models, calls by stage and label, modes, batches, optimizers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..analyzers.units import bytes_text, count_text, number_text

if TYPE_CHECKING:
    from ..analyzers import Trace

_NAMED = 8
"""So many models, labels or optimizers are named in one line."""


def contents(trace: Trace) -> dict[str, Any]:
    """Count what a trace holds.

    Returns:
        `models` (each root with its modules, parameters, their bytes, and neurons by kind),
        `calls`, `stages` and `labels` (calls of each), `root_calls` (how often the models were
        called, by training flag, batch and time steps), `samples` (how many, their batch and time
        steps, and how these are known: told, observed or guessed) and `optimizers` (class,
        hyper-parameters and steps).
    """
    import polars as pl

    from ..analyzers.trace.files import collected

    stage, label = (pl.col(name).cast(pl.String) for name in ("stage", "label"))
    calls = collected(trace.calls.group_by(stage, label).len("calls"), trace)
    sums = {
        key: calls.drop_nulls(key).group_by(key).agg(pl.col("calls").sum()).sort("calls", key)
        for key in ("stage", "label")
    }
    keys = ("training", "batch", "time_steps")
    roots = trace.module_calls.filter(pl.col("parent_call_id").is_null() & (stage == "forward"))
    modes = collected(roots.group_by(keys).len("calls"), trace).sort(keys)
    return {
        "models": list(_models(trace)),
        "calls": int(calls["calls"].sum()),
        "stages": dict(sums["stage"].reverse().iter_rows()),
        "labels": dict(sums["label"].reverse().iter_rows()),
        "root_calls": modes.to_dicts(),
        "samples": _samples(trace),
        "optimizers": _optimizers(trace),
    }


def _models(trace: Trace) -> Iterable[dict[str, Any]]:
    """Yield the roots of the module tree; what several ranks or callers share counts once."""
    import polars as pl

    from ..analyzers.workload.parameters import parameters_of

    sums = parameters_of(trace)
    held = {path: (numel, size) for path, numel, size in sums.iter_rows()}
    found: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    columns = ("path", "class", "neuron")
    first = trace.modules.filter(pl.col("same_as").is_null())
    for path, kind, neuron in first.select(columns).iter_rows():
        if path in seen:
            continue
        seen.add(path)
        numel, size = held.get(path, (0, 0))
        root = found.setdefault(
            path.partition(".")[0],
            {"path": path, "class": kind, "modules": 0, "parameters": numel, "bytes": size,
             "neurons": {}},
        )  # fmt: skip
        root["modules"] += 1
        if neuron is not None:
            root["neurons"][neuron] = root["neurons"].get(neuron, 0) + 1
    return found.values()


def _samples(trace: Trace) -> dict[str, Any]:
    from ..analyzers.workload.samples import samples_of

    found = samples_of(trace)
    return {
        "count": found.samples,
        "inferences": found.completed.height,
        "batch": found.batch,
        "batch_from": found.batch_from,
        "time_steps": found.time_steps,
        "time_steps_from": found.time_steps_from,
    }


def _optimizers(trace: Trace) -> list[dict[str, Any]]:
    """Return classes of optimizers with the hyper-parameters they started with, and steps."""
    found: dict[str, dict[str, Any]] = {}
    steps: dict[str, set[tuple[int, int]]] = {}
    columns = ("class", "hyper", "rank", "optimizer_step_id")
    for kind, hyper, rank, number in trace.optimizer_steps.select(columns).iter_rows():
        found.setdefault(kind, {"class": kind, "hyper": json.loads(hyper or "{}")})
        steps.setdefault(kind, set()).add((rank, number))
    return [each | {"steps": len(steps[kind])} for kind, each in found.items()]


def content_lines(held: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what `contents` counted as (heading, lines) for people."""
    return [
        ("model", _some([_model(each) for each in held["models"]])),
        ("calls", [f"{held['calls']:,}{_of(held['stages'])}"]),
        ("labels", [_of(held["labels"]).removeprefix(": ")] if held["labels"] else []),
        ("model calls", _some([_mode(each) for each in held["root_calls"]])),
        ("samples", [_sampled(held["samples"])] if held["samples"]["inferences"] else []),
        ("optimizer", _some([_optimizer(each) for each in held["optimizers"]])),
    ]


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - _NAMED
    return [*lines[:_NAMED], *([f"and {more} more"] if more > 0 else [])]


def _of(counts: Mapping[str, int]) -> str:
    parts = _some([f"{name} {count:,}" for name, count in counts.items()])
    return f": {', '.join(parts)}" if parts else ""


def _model(model: Mapping[str, Any]) -> str:
    neurons = ", ".join(f"{count} {kind}" for kind, count in model["neurons"].items())
    return (
        f"{model['path']} ({model['class']}): {number_text(model['modules'], 'module')}, "
        f"{count_text(model['parameters'])} parameters of {bytes_text(model['bytes'])}"
        + (f", neurons: {neurons}" if neurons else "")
    )


def _mode(calls: Mapping[str, Any]) -> str:
    known = [
        f"{name} {calls[key]}"
        for name, key in (("batch", "batch"), ("time steps", "time_steps"))
        if calls[key] is not None
    ]
    mode = "training" if calls["training"] else "eval"
    return ", ".join([f"{calls['calls']:,} in {mode} mode", *known])


def _sampled(samples: Mapping[str, Any]) -> str:
    """Return how many samples there are and how batch and time steps are known."""
    count, inferences = samples["count"], samples["inferences"]
    head = "number unknown" if count is None else f"{count:,}"
    said = [f"{head} in {number_text(inferences, 'inference')}"]
    for name, key in (("batch", "batch"), ("time steps", "time_steps")):
        value, origin = samples[key], samples[f"{key}_from"]
        if origin is None:
            said.append(f"{name} unknown")
        else:
            said.append(f"{name} {'varying' if value is None else value} ({origin})")
    return ", ".join(said)


def _optimizer(optimizer: Mapping[str, Any]) -> str:
    kind = optimizer["class"].rpartition(".")[2]
    rate = optimizer["hyper"].get("lr")
    steps = optimizer["steps"]
    return (
        f"{kind}{f', lr {rate:g}' if isinstance(rate, float) else ''}, {number_text(steps, 'step')}"
    )
