"""The parameters of modules: what a module and those below it hold, each tensor once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .modules import rolled_up, scopes_of

if TYPE_CHECKING:
    from ..trace.trace import Trace


def parameters_of(trace: Trace) -> pl.DataFrame:
    """Return the parameters that each module holds with those below it, as PyTorch counts them.

    A tensor that several modules or names hold (tied weights, a shared module) counts once in
    each row. Traces that do not number the tensors count one for each name of a module; the
    further paths of a shared module hold those of its first path there too.

    Returns:
        `module` (path; `Global`: all), `parameters` (elements) and `bytes`: a row for each path
        that holds any.
    """
    if "parameters" not in trace.facts:
        trace.facts["parameters"] = _summed(trace.whole)
    found: pl.DataFrame = trace.facts["parameters"]
    return found


def _summed(trace: Trace) -> pl.DataFrame:
    held = rolled_up(_own(trace), scopes_of(trace))
    once = held.unique(["module", "rank", "owner", "number"], keep="first", maintain_order=True)
    return once.group_by("module", maintain_order=True).agg(
        parameters=pl.col("numel").sum(), bytes=pl.col("bytes").sum()
    )


def _own(trace: Trace) -> pl.DataFrame:
    """Return own parameters: `module`, `numel`, `bytes` and what tells the tensor from others.

    That is `rank`, `owner` and `number`: the tensor's number (no owner), else its place in the
    first path of its module. A path that several ranks have is that of the lowest.
    """
    first = trace.modules.sort("rank", "module_id").unique(
        "path", keep="first", maintain_order=True
    )
    place = pl.int_ranges(pl.col("parameters").list.len())
    known = pl.col("parameter_ids").is_not_null()
    return (
        first.filter(pl.col("parameters").list.len() > 0)
        .select(
            "rank", "parameters", module="path",
            owner=pl.when(~known).then(pl.coalesce("same_as", "module_id")),
            number=pl.when(known).then("parameter_ids").otherwise(place),
        )
        .explode("parameters", "number")
        .unnest("parameters")
        .select("module", "rank", "owner", "number", "numel", "bytes")
    )  # fmt: skip
