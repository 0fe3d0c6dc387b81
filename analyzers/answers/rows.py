"""Which rows of a result a page shows, in what order, and what stands beside a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from ...schemas import ConfigError
from ...schemas.spelling import meant
from ..text import number
from ..units import AT_LEAST, count_text
from .page import Column, Sheet
from .tree import EVERYTHING, as_tree, parents

if TYPE_CHECKING:
    import polars as pl

BY_SIZE = (("op",), ("class",))
"""Rows that are sorted by what they count unless something else is asked."""

Words = Callable[..., "pl.DataFrame"]
"""Makes what stands beside a module, see `workload.module_facts.in_words`."""


def no_words(*, wide: bool = False) -> pl.DataFrame:
    """Return that nothing is known of any module."""
    import polars as pl

    more = {"parameters": pl.Int64, "outputs": pl.String} if wide else {}
    return pl.DataFrame(schema={"module": pl.String, "class": pl.String, **more})


@dataclass(frozen=True)
class Rows:
    """What is asked of the rows of a page.

    Attributes:
        wide: beside each module also its parameters and the shapes of its results.
        depth: so many levels of modules; those below are part of the ones above them.
        sort: the column to sort by: figures from the largest on, texts from A on.
        top: so many rows; a line says what the others are.
    """

    wide: bool = False
    depth: int | None = None
    sort: str | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("depth", "top"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name}={value}: expected a number of at least 1")


def asked(**rows: Any) -> Rows:
    """Return what is asked of the rows.

    Raises:
        ConfigError: an option that there is not, or a number that means nothing.
    """
    known = [each.name for each in fields(Rows)]
    for name in rows:
        if name not in known:
            hint = f"{meant(name, known)}options are {', '.join(known)}"
            raise ConfigError(f"unknown option {name!r} of a page: {hint}")
    return Rows(**rows)


class Figures(NamedTuple):
    """What may be sorted by.

    Attributes:
        columns: name as it is asked for -> column of the frame.
        main: the one of these that rows are sorted by where only `top` is asked.
        title: what its sum is of; "": its unit tells.
        show: makes the text of its sum.
    """

    columns: Mapping[str, str]
    main: str
    title: str
    show: Callable[[float | None], str]


def arranged(
    sheet: Sheet, keys: Sequence[str], rows: Rows, figures: Figures, words: Words
) -> Sheet:
    """Return the rows that are asked for, in order, and beside a module what it is.

    Modules alone are drawn as a tree, unless they are sorted or cut.

    Args:
        sheet: all rows, with a column for each key.
        keys: what rows are told apart by.
        rows: what is asked of them.
        figures: what may be sorted by.
        words: makes what stands beside a module.

    Raises:
        ConfigError: no such column; or levels of modules where each has its own figures alone.
    """
    frame, columns, notes = sheet.frame, list(sheet.columns), list(sheet.notes)
    inclusive = "module" in keys and EVERYTHING in frame["module"]
    if rows.depth is not None:
        frame = _to_depth(frame, rows.depth, inclusive)
    if "module" in keys:
        frame, more = _beside(frame, words(wide=rows.wide), rows.wide, keys)
        place = 1 + [column.name for column in columns].index("module")
        columns[place:place] = more
    if "class" in keys:
        frame = frame.with_columns(frame["class"].fill_null("(no module)"))
    by = rows.sort or (figures.main if rows.top or tuple(keys) in BY_SIZE else None)
    if by is not None:
        frame = _sorted(frame, by, keys, figures)
    elif tuple(keys) == ("module",):
        frame = as_tree(frame)
    if rows.top is not None:
        frame, line = _cut(frame, rows.top, inclusive, figures)
        notes += line
    return sheet._replace(frame=frame, columns=columns, notes=notes)


def _to_depth(frame: pl.DataFrame, depth: int, inclusive: bool) -> pl.DataFrame:
    if "module" not in frame.columns:
        raise ConfigError(f"depth={depth} is of modules: ask for rows by module")
    if not inclusive and frame.height:
        raise ConfigError(f"depth={depth}: exclusive figures are of one module each, at any depth")
    paths = [path for path in frame["module"].unique(maintain_order=True) if path is not None]
    above = dict(zip(paths, parents(paths), strict=True))

    def level(path: str | None) -> int:
        return 1 + level(above[path]) if path is not None and path in above else 0

    return frame.filter([path == EVERYTHING or level(path) <= depth for path in frame["module"]])


def _beside(
    frame: pl.DataFrame, told: pl.DataFrame, wide: bool, keys: Sequence[str]
) -> tuple[pl.DataFrame, list[Column]]:
    """Return the rows with what their modules are, and the columns of that."""
    columns = [] if "class" in keys else [Column("class", "class", left=True, optional=6)]
    if wide:
        columns += [
            Column("parameters", "parameters", lambda v: "" if v is None else count_text(v)),
            Column("outputs", "output", left=True, wrap=True),
        ]
    told = told.select("module", *(column.name for column in columns))
    return frame.join(told, on="module", how="left", maintain_order="left"), columns


def _sorted(frame: pl.DataFrame, by: str, keys: Sequence[str], figures: Figures) -> pl.DataFrame:
    """Return the rows by a column; the row of everything first."""
    known = {**dict.fromkeys(keys), **figures.columns}
    known |= {name: name for name in ("class", "parameters", "outputs") if name in frame.columns}
    if by not in known:
        raise ConfigError(
            f"no column {by!r} to sort by: {meant(by, known)}there are {', '.join(known)}"
        )
    name = known[by] or by
    down = frame.schema[name].is_numeric()
    rows = frame.sort(name, descending=down, nulls_last=True, maintain_order=True)
    if "module" not in keys:
        return rows
    first = rows["module"] == EVERYTHING
    return rows.filter(first).vstack(rows.filter(~first.fill_null(False)))


def _cut(
    frame: pl.DataFrame, top: int, inclusive: bool, figures: Figures
) -> tuple[pl.DataFrame, list[str]]:
    """Return the first rows, and a line about the others, if there are some."""
    pinned = int((frame["module"] == EVERYTHING).sum()) if inclusive else 0
    rest = frame[pinned + top :]
    if not rest.height:
        return frame, []
    line = f"... and {number(rest.height, 'more row')}"
    if inclusive:
        return frame[: pinned + top], [f"{line} (a module includes those below it)"]
    values = rest[figures.columns[figures.main]]
    told = rest["at_least"].drop_nulls().to_list() if "at_least" in rest.columns else []
    bounded = any(figures.main in text.split() for text in told)
    sign = AT_LEAST if values.null_count() or bounded else ""
    added: Any = values.sum()
    total = figures.show(added) if values.count() else "?"
    return frame[: pinned + top], [f"{line}: {sign}{total} {figures.title}".rstrip()]
