"""Filters: `stage=forward`, `step=3:10`, `module=encoder.*`, ..., from text to expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...schemas import STAGES, ConfigError
from ...schemas.spelling import meant

if TYPE_CHECKING:
    from .trace import Trace

_NONE = pl.lit(False)
_ALL = pl.lit(True)

CHOOSING = ("module", "op")
"""Fields of filters that choose among what ran together; others choose runs of the model."""

_OPTIMIZER = "optimizer"
"""The stage of what optimizers do."""


class Filter(NamedTuple):
    """One filter; alternatives are ORed, filters are ANDed.

    Attributes:
        text: as the user wrote it.
        field: stage, step, module, label, op, training or rank.
        values: the alternatives.
    """

    text: str
    field: str
    values: tuple[str, ...]

    def of_calls(self, trace: Trace) -> pl.Expr:
        """Return the condition on rows of `calls`."""
        if self.field == "module":
            return self._in_modules(trace)
        if self.field == "op":
            ops = trace.signatures.filter(
                [any(self._names(op, packet)) for op, packet in _op_names(trace)]
            )
            return of_pairs(ops, "signature_id")
        return self._of_columns()

    def of_module_calls(self, trace: Trace) -> pl.Expr:
        """Return the condition on rows of `module_calls`; an op does not narrow them."""
        if self.field == "module":
            return self._in_modules(trace)
        return _ALL if self.field == "op" else self._of_columns()

    def of_neurons(self, trace: Trace) -> pl.Expr:
        """Return the condition on updates of neurons: they are of modules, and of no op."""
        return _NONE if self.field == "op" else self.of_module_calls(trace)

    def of_optimizer_steps(self) -> pl.Expr:
        """Return the condition on rows of `optimizer_steps`: they are of no module and no op."""
        if self.field in CHOOSING:
            return _NONE
        if self.field == "training":
            return pl.lit("true" in self.values)
        if self.field == "stage":
            return pl.lit(_OPTIMIZER in self.values)
        return self._of_columns()

    def has_module(self, path: str) -> bool:
        """Tell whether a filter on modules leaves a module, by its path."""
        return any(below(path, value) for value in self.values)

    def knows(self, trace: Trace) -> bool:
        """Tell whether a trace has a module that a filter on modules names; others: True."""
        return self.field != "module" or any(map(self.has_module, trace.modules["path"]))

    def _names(self, op: str, packet: str) -> Iterable[bool]:
        return (fnmatchcase(op, v) or fnmatchcase(packet, v) for v in self.values)

    def _of_columns(self) -> pl.Expr:
        column = pl.col(self.field)
        if self.field == "step":
            return pl.any_horizontal(_in_range(column, *_range(v)) for v in self.values)
        if self.field == "training":
            mode = pl.when(pl.col("stage") == _OPTIMIZER).then(pl.lit(True)).otherwise(column)
            return mode.is_in([value == "true" for value in self.values]).fill_null(False)
        if self.field == "rank":
            return column.is_in([int(value) for value in self.values])
        named = column.is_in([value for value in self.values if value]).fill_null(False)
        return named | column.is_null() if "" in self.values else named

    def _in_modules(self, trace: Trace) -> pl.Expr:
        paths = trace.modules["path"].to_list()
        chosen = [self.has_module(path) for path in paths]
        if not any(chosen):
            known = ", ".join(paths[:6]) + (", ..." if len(paths) > 6 else "")
            raise ConfigError(
                f"{self.text}: no module of {trace.path} has that path"
                + (f"; there are {known}." if paths else "; it names no modules.")
            )
        return of_pairs(trace.modules.filter(chosen), "module_id")


def parse_filters(filters: Iterable[str]) -> list[Filter]:
    r"""Return filters from text.

    Each is FIELD=VALUE, with commas between alternatives: `stage=forward,backward`; `step=3`,
    `step=3:10` (10 left out), `step=3:`, `step=:10`; `module=GLOB` (the path, with or without
    the root's class; what it matches counts with all below it); `label=NAME` (`label=`: calls
    without one); `op=GLOB` (aten.add*, with or without overload); `training=true` or `false` (the
    mode of the module; what an optimizer does is training, and other work outside every module has
    no mode, so that neither keeps it); `rank=0`. Spaces around a value are left out; behind a
    backslash a comma or a space is part of the value (`label=a\,b`).

    Raises:
        ConfigError: a filter is malformed.
    """
    return [_parsed(text) for text in filters]


def _parsed(text: str) -> Filter:
    field, equals, value = text.partition("=")
    field = field.strip()
    if not equals or field not in _CHECKS:
        near = "" if field in _CHECKS else meant(field, _CHECKS)
        raise ConfigError(
            f"invalid filter {text!r}: {near}expected FIELD=VALUE; fields are {', '.join(_CHECKS)}."
        )
    values = tuple(_plain(word) for word in re.split(r"(?<!\\),", value))
    for each in values:
        problem = _CHECKS[field](each)
        if problem:
            raise ConfigError(f"{text!r}: {each!r} is not a valid {field}; {problem}.")
    return Filter(text, field, values)


def _plain(word: str) -> str:
    """Return a value as it is meant: without spaces around it, nor backslashes that keep some."""
    kept = re.fullmatch(r"\s*(.*?(?:\\\s)?)\s*", word, re.DOTALL)
    assert kept is not None  # the pattern fits everything
    return re.sub(r"\\([,\s])", r"\1", kept[1])


def written(value: str) -> str:
    """Return a value as a filter names it, see `parse_filters`."""
    inside = value.strip()
    start, end = value[: len(value) - len(value.lstrip())], value[len(value.rstrip()) :]
    if not inside:
        start, end = value, ""
    around = [re.sub(r"(\s)", r"\\\1", part) for part in (start, end)]
    return around[0] + inside.replace(",", "\\,") + around[1]


def _check_stage(value: str) -> str:
    return "" if value in STAGES else f"stages are {', '.join(STAGES)}"


def _check_step(value: str) -> str:
    try:
        first, last = _range(value)
    except ValueError:
        return "write 3, or 3:10 for steps 3 to 9"
    if first is not None and last is not None and last <= first:
        return "the range is empty: the last step is left out"
    return ""


def _check_name(value: str) -> str:
    return "" if value else "it is empty"


def _check_training(value: str) -> str:
    return "" if value in ("true", "false") else "write true or false"


def _check_rank(value: str) -> str:
    return "" if value.isascii() and value.isdigit() and len(value) < 10 else "write a number"


_CHECKS: dict[str, Callable[[str], str]] = {
    "stage": _check_stage,
    "step": _check_step,
    "module": _check_name,
    "label": lambda value: "",
    "op": _check_name,
    "training": _check_training,
    "rank": _check_rank,
}


def _range(value: str) -> tuple[int | None, int | None]:
    """Return (first, end) of "3" or "3:10"; None is open.

    Raises:
        ValueError: it is neither.
    """
    parts = value.split(":")
    if (
        len(parts) > 2
        or not any(parts)
        or any(p and not (p.isascii() and p.isdigit()) for p in parts)
    ):
        raise ValueError(value)
    ends = [int(part) if part else None for part in parts]
    if any(end is not None and end >= 1 << 31 for end in ends):
        raise ValueError(value)
    first = ends[0]
    if len(ends) == 1:
        return first, None if first is None else first + 1
    return first, ends[1]


def _in_range(column: pl.Expr, first: int | None, end: int | None) -> pl.Expr:
    low = _ALL if first is None else column >= first
    return (low & (_ALL if end is None else column < end)).fill_null(False)


def fits(path: str, pattern: str) -> bool:
    """Tell whether the path of a module fits a glob; the root's class may be left out."""
    _, _, below = path.partition(".")
    return fnmatchcase(path, pattern) or (bool(below) and fnmatchcase(below, pattern))


def below(path: str, pattern: str) -> bool:
    """Tell whether the path of a module, or of one above it, fits a glob."""
    parts = path.split(".")
    return any(fits(".".join(parts[:size]), pattern) for size in range(1, len(parts) + 1))


def _op_names(trace: Trace) -> Iterable[tuple[str, str]]:
    return trace.signatures.select("op", "packet").iter_rows()


def of_pairs(rows: pl.DataFrame, key: str) -> pl.Expr:
    """Return whether (rank, key) of a row stands in `rows`: ids are unique in a rank only."""
    conditions = [
        (pl.col("rank") == rank) & pl.col(key).is_in(group[key].to_list())
        for (rank,), group in rows.group_by("rank")
    ]
    return pl.any_horizontal(conditions).fill_null(False) if conditions else _NONE


def of_signatures(calls: pl.LazyFrame, signatures: pl.DataFrame) -> pl.LazyFrame:
    """Return the calls of some signatures, with the other columns of these.

    The numbers alone are asked first: they reach the reader of the parts, which then decodes
    little of other calls.

    Args:
        calls: the calls.
        signatures: `rank` and `signature_id`, each once, and what is wanted of them.
    """
    numbers = signatures["signature_id"].unique().implode()
    return calls.filter(pl.col("signature_id").is_in(numbers)).join(
        signatures.lazy(), on=["rank", "signature_id"]
    )


def of_numbers(calls: pl.LazyFrame, found: pl.DataFrame) -> pl.LazyFrame:
    """Return single calls, with the other columns of what tells them.

    Parts that hold none of them are not read.

    Args:
        calls: the calls.
        found: `rank` and `seq`, each once, and what is wanted of them.
    """
    within = pl.col("seq").is_between(found["seq"].min(), found["seq"].max())
    if found.is_empty():
        within = _NONE
    return calls.filter(within).join(found.lazy(), on=["rank", "seq"])
