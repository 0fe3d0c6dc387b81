"""Many machine files over one trace, which is read once for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import ConfigError
from ...schemas.costs import Machine, load_machines
from ..energy.machine.many import priced_all
from ..energy.machine.report import counted_of
from ..energy.prices import finite

if TYPE_CHECKING:
    from ..trace.trace import Trace


def sweep_machines(
    trace: Trace | str | os.PathLike[str],
    machines: str | os.PathLike[str] | Machine | Sequence[str | os.PathLike[str] | Machine],
    **options: Any,
) -> pl.DataFrame:
    """Estimate a trace on many machines, counting it once for all that ask for the same.

    For variants of one chip. The figures of different chips speak of different models: do not rank
    them by these.

    Args:
        trace: the trace, or its directory.
        machines: names, TOML files, or what `load_machine` gave.
        **options: revision, samples, batch, time_steps, where, spikes; see `energy`.

    Returns:
        `machine`, `total_pj`, `per_sample_pj` (null: the number of samples is not known) and
        `unknown` (terms that are not in the total, since the trace does not tell them), a row for
        each machine, in order.

    Raises:
        ConfigError: no machine, or one that means nothing.
        TraceError: there is no pass of a machine's scope.
    """
    known = load_machines(machines)
    if not known:
        raise ConfigError("a sweep over machines needs at least one")
    totals: list[float] = [0.0] * len(known)
    unknown: list[tuple[str, ...]] = [()] * len(known)
    samples: list[int | None] = [None] * len(known)
    for scope in sorted({each.machine.scope for each in known}):
        places = [n for n, each in enumerate(known) if each.machine.scope == scope]
        chosen = [known[place] for place in places]
        actions = counted_of(trace, chosen, **options)
        found = priced_all(actions, chosen)
        for place, total, lost in zip(places, found.totals_pj, found.unknown, strict=True):
            totals[place] = finite(known[place].machine.name, float(total))
            unknown[place] = lost
            samples[place] = actions.tables.samples.samples
    each = [total / n if n else None for total, n in zip(totals, samples, strict=True)]
    data = {
        "machine": [each.machine.name for each in known],
        "total_pj": totals,
        "per_sample_pj": each,
        "unknown": [list(names) for names in unknown],
    }
    kinds: dict[str, Any] = {"per_sample_pj": pl.Float64, "unknown": pl.List(pl.String)}
    return pl.DataFrame(data, schema_overrides=kinds)
