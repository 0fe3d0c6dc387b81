"""The modules of a trace in words: classes, parameters and shapes, as the tree stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..trace.files import collected
from .modules import scopes_of
from .parameters import parameters_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

_KEY = ["rank", "module_id"]


def modules_of(trace: Trace) -> pl.DataFrame:
    """Return the module tree of a trace, whether a module ran or not.

    Returns:
        A row for each path, as the tree stands: `module`, `parent` (path; null: a root), `depth`
        (0: a root), `class`, `neuron`, `parameters` (elements, with those of the modules below,
        see `parameters_of`), `own` (own parameters in words: "weight
        16x3x3x3"), `inputs` and `outputs` (shapes in its first call; null: it was not called) and
        `same_as` (first path of a shared module).
    """
    scopes = scopes_of(trace)
    first = trace.modules.sort(_KEY).unique("path", keep="first", maintain_order=True)
    paths = trace.modules.select("rank", same_as="module_id", first="path")
    told = first.join(paths, on=["rank", "same_as"], how="left", maintain_order="left").select(
        "rank", "module_id", "class", "neuron", module="path", same_as="first",
        own=_series(first["parameters"], _parameters),
    )  # fmt: skip
    return (
        told.join(_places(scopes), on="module", how="left", maintain_order="left")
        .join(parameters_of(trace).drop("bytes"), on="module", how="left", maintain_order="left")
        .join(_shapes(trace), on=_KEY, how="left", maintain_order="left")
        .sort("place", maintain_order=True)
        .select(
            "module", "parent", "depth", "class", "neuron",
            pl.col("parameters").fill_null(0), "own", "inputs", "outputs", "same_as",
        )
    )  # fmt: skip


def in_words(trace: Trace, *, wide: bool = False) -> pl.DataFrame:
    """Return what is shown beside the path of a module.

    Args:
        trace: the trace.
        wide: with parameters and shapes.

    Returns:
        `module` (each path once) and `class` (without its package); if `wide`, also `parameters`
        and `outputs`, see `modules_of`.
    """
    key = ("modules in words", wide)
    if key not in trace.facts:
        trace.facts[key] = _in_words(trace.whole, wide)
    found: pl.DataFrame = trace.facts[key]
    return found


def _in_words(trace: Trace, wide: bool) -> pl.DataFrame:
    name = pl.col("class").str.split(".").list.last()
    if wide:
        return modules_of(trace).select("module", name, "parameters", "outputs")
    first = trace.modules.sort(_KEY).unique("path", keep="first", maintain_order=True)
    return first.select(name, module="path").select("module", "class")


def with_classes(trace: Trace, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with `class`, that of their `module_id`; null outside every module."""
    name = pl.col("class").str.split(".").list.last()
    told = trace.modules.select("rank", "module_id", name)
    return rows.join(told, on=_KEY, how="left", maintain_order="left")


def _places(scopes: pl.DataFrame) -> pl.DataFrame:
    """Return the parent, depth and place of each module."""
    lines = scopes.sort("place").group_by("module", maintain_order=True).agg("scope", "place")
    return lines.select(
        "module",
        parent=pl.col("scope").list.get(-2, null_on_oob=True),
        depth=pl.col("scope").list.len().cast(pl.Int64) - 1,
        place=pl.col("place").list.last(),
    )


def _shapes(trace: Trace) -> pl.DataFrame:
    """Return the shapes that went into and out of the first call of each module."""
    first = collected(trace.module_calls.group_by(_KEY).agg(pl.col("module_call_id").min()), trace)
    calls = trace.module_calls.join(first.lazy(), on=[*_KEY, "module_call_id"], how="semi")
    rows = collected(calls.select(*_KEY, "inputs", "outputs"), trace)
    return rows.select(
        *_KEY, *(_series(rows[name], _tensors).alias(name) for name in ("inputs", "outputs"))
    )


def _series(values: pl.Series, show: Any) -> pl.Series:
    texts = [None if value is None else show(value) for value in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def _parameters(parameters: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['name']} {shape_text(each['shape'])}" for each in parameters)


def _tensors(values: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(shape_text(each["shape"]) for each in values)


def shape_text(shape: Iterable[int] | None) -> str:
    """Return a shape as text: 16\u00d73\u00d73, "scalar" without dimensions, ? if it is unknown."""
    if shape is None:
        return "?"
    return "\u00d7".join(map(str, shape)) or "scalar"
