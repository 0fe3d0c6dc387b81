"""The module tree: one roll-up for counts, energies and comparisons.

What ran in a module belongs to every module above it too, and to `Global`, which is everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from ..trace.trace import Trace

GLOBAL = "Global"
"""The scope of everything, also of what ran outside every module."""

_SCOPES = {"module": pl.String, "scope": pl.String, "place": pl.Int32}


def no_scopes() -> pl.DataFrame:
    """Return the scopes of a tree without modules."""
    return pl.DataFrame(schema=_SCOPES)


def scopes_of(trace: Trace) -> pl.DataFrame:
    """Return the scopes of the modules of a trace, see `scopes_in`."""
    if "scopes" not in trace.facts:
        whole = trace.whole
        once = pl.col("rank").is_in(whole.alike["modules"].values())
        trace.facts["scopes"] = scopes_in(whole.modules.filter(once))
    found: pl.DataFrame = trace.facts["scopes"]
    return found


def scopes_in(*trees: pl.DataFrame) -> pl.DataFrame:
    """Return the scopes that each module is in: itself and every module above it.

    Args:
        *trees: `rank`, `module_id`, `parent_id` and `path` of modules. A path that several have
            (each rank has its own copy of the tree) is one module, with the scopes of the first.

    Returns:
        `module` and `scope` (paths) and `place`, the scope's place in the tree; each pair once.
    """
    places: dict[str, int] = {}
    known: dict[str, list[str]] = {}
    for tree in trees:
        lines: dict[tuple[int, int], tuple[tuple[int, str], ...]] = {}
        columns = tree.select("rank", "module_id", "parent_id", "path").sort("rank", "module_id")
        for rank, number, parent, path in columns.iter_rows():
            lines[rank, number] = (*lines.get((rank, parent), ()), (number, path))
        # Further paths of shared modules stand at the end of the table, wherever they are in it.
        for _, line in sorted(lines.items(), key=lambda entry: (entry[0][0], entry[1])):
            path = line[-1][1]
            places.setdefault(path, len(places))
            known.setdefault(path, [each for _, each in line])
    rows = ((path, scope, places[scope]) for path, line in known.items() for scope in line)
    return pl.DataFrame(list(rows), schema=_SCOPES, orient="row")


def rolled_up(rows: pl.DataFrame, scopes: pl.DataFrame, *, exclusive: bool = False) -> pl.DataFrame:
    """Return each row once for every scope that it is in, `Global` included.

    Args:
        rows: rows with `module`, the path of the innermost module (null: outside every module).
        scopes: what `scopes_in` returned; a module that is not in it is a scope of its own.
        exclusive: return each row once, for its innermost module alone.

    Returns:
        The rows with the scope as `module`, and `place`, which sorts them as the tree stands:
        `Global` first; in exclusive rows, what ran outside every module last.
    """
    last = pl.lit(scopes.height, pl.Int32)
    if exclusive:
        own = scopes.filter(pl.col("module") == pl.col("scope")).select("module", "place")
        rows = rows.join(own, on="module", how="left", maintain_order="left")
        return rows.with_columns(pl.col("place").fill_null(last))
    everything = rows.with_columns(module=pl.lit(GLOBAL), place=pl.lit(-1, pl.Int32))
    inside = rows.filter(pl.col("module").is_not_null()).join(
        scopes, on="module", how="left", maintain_order="left_right"
    )
    placed = {"module": pl.coalesce("scope", "module"), "place": pl.coalesce("place", last)}
    columns = [placed.get(name, pl.col(name)).alias(name) for name in everything.columns]
    return pl.concat([everything, inside.select(columns)])


def with_paths(trace: Trace, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with `module`, the path of their `module_id`; null outside every module."""
    paths = trace.modules.select("rank", "module_id", module="path")
    return rows.join(paths, on=["rank", "module_id"], how="left", maintain_order="left")
