"""Traces with nothing to answer from, and what filters that leave nothing could have named."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError, TraceError
from .files import collected
from .filters import Filter, parse_filters, written

if TYPE_CHECKING:
    from .trace import Trace

_NAMED = 8
"""So many names are told."""


def has_calls(trace: Trace) -> bool:
    """Tell whether a trace, as narrowed, has any call."""
    return not collected(trace.calls.select("seq").head(1), trace).is_empty()


def refuse_empty(trace: Trace) -> None:
    """Refuse what a recording left that ended before its first calls were saved.

    Raises:
        TraceError: there is no call; says what was left out.
    """
    ended = any(manifest.status != "complete" for manifest in trace.manifests)
    if ended and not has_calls(trace):
        raise TraceError(f"{trace.path} holds no calls that can be read; {trace.left_out}.")


def refuse_nothing(trace: Trace, filters: Sequence[str]) -> None:
    """Refuse filters that leave nothing of a trace that has calls.

    Raises:
        ConfigError: no call fits; names the filter that none fits and what there is instead.
    """
    if not filters or has_calls(trace.where(*filters)) or not has_calls(trace):
        return
    for each in parse_filters(filters):
        if not has_calls(trace.where(each.text)):
            raise ConfigError(f"no calls fit --where {each.text}: {_choices(trace, each)}.")
    words = " ".join(f"--where {text}" for text in filters)
    raise ConfigError(f"no calls fit {words} together, though some fit each of them.")


def _choices(trace: Trace, each: Filter) -> str:
    """Return what a filter of this field could have named, in words."""
    if each.field == "op":
        return _near(trace, each.values)
    if each.field == "module":
        return "nothing ran in that module itself or below it"
    if each.field == "rank":
        return _named("rank", [str(manifest.rank) for manifest in trace.manifests])
    found = trace.calls.select(pl.col(each.field).drop_nulls().unique())
    values = collected(found, trace)[each.field]
    if each.field == "step":
        steps = [int(value) for value in values.sort()]
        several = f"s {steps[0]} to {steps[-1]}" if steps[1:] else f" {steps[0]}"
        return f"the trace has step{several}" if steps else "the trace has no steps"
    if each.field == "training":
        modes = [f"{'training' if value else 'eval'} mode" for value in values.sort()]
        return f"all calls of modules are in {modes[0]}" if modes else "no module was called"
    if each.values == ("",):
        return "every call has a label"
    return _named(each.field, [written(value) for value in sorted(values.cast(pl.String))])


def _named(what: str, names: Sequence[str]) -> str:
    if not names:
        return f"the trace has no {what}s"
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return f"the trace has {what}{'s' * (len(names) > 1)} {', '.join(names[:_NAMED])}{more}"


def _near(trace: Trace, patterns: Sequence[str]) -> str:
    """Return ops whose names hold what was asked for, or are near to it."""
    names = sorted(set(trace.signatures["packet"]))
    asked = [pattern.strip("*?").removesuffix(".default") for pattern in patterns]
    holding = [name for name in names if any(word and word in name for word in asked)]
    close = [name for word in asked for name in get_close_matches(word, names, n=3, cutoff=0.6)]
    near = list(dict.fromkeys([*close, *holding]))
    if near:
        return f"near to that are {', '.join(near[:_NAMED])}"
    return "opjoule coverage names the ops that there are"
