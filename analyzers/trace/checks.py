"""Whether the static tables of a trace hold what their columns promise: checked once, at opening.

Whatever reads them later relies on it: ids are there and unique, JSON is objects, sizes are the
products of shapes, everything fits into 64 bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from ...schemas import TraceError
from ..frames import at_once
from .manifests import plain

_LARGEST = 1 << 62
_LONGEST_NAME, _LONGEST_TEXT = 1 << 20, 1 << 24
_DEEPEST = 64

Fault = tuple[str, pl.Expr]
"""What is wrong with a table, in words, and the rows of which that holds."""

_TENSOR = ("name", "dtype")
_TOLD = {
    "operands": ("role", "slot", *_TENSOR, "layout", "device"),
    "parameters": _TENSOR,
    "buffers": _TENSOR,
}
"""What each tensor of a list has to tell besides its sizes."""


def check_static(
    path: Path, signatures: pl.DataFrame, modules: pl.DataFrame, optimizer_steps: pl.DataFrame
) -> None:
    """Check the static tables.

    Raises:
        TraceError: one of them holds what no recorder writes.
    """
    tables = (
        ("signatures", signatures, _in_signatures, ("operands",)),
        ("modules", modules, _in_modules, ("parameters", "buffers")),
        ("optimizer_steps", optimizer_steps, _in_optimizer_steps, ()),
    )
    for name, frame, faults, tensors in tables:
        _check(path, name, frame, faults)
        for column in tensors:
            _check_tensors(path, name, frame, column)
    _check_parents(path, modules)
    for frame, column, kind in (
        (signatures, "arguments", dict),
        (modules, "attributes", dict),
        (optimizer_steps, "hyper", dict),
        (optimizer_steps, "state", list),
    ):
        for text in frame[column].unique():
            if not _is_json(text, kind):
                raise _damaged(path, f"{column} {plain(text)!r} is no JSON {kind.__name__}")


def _check(
    path: Path, name: str, frame: pl.DataFrame, faults: Callable[[], Iterator[Fault]]
) -> None:
    said, wrong = zip(*faults(), strict=True)
    found = frame.select(
        each.fill_null(True).any().alias(str(place)) for place, each in enumerate(wrong)
    )
    for what, holds in zip(said, found.row(0), strict=True):
        if frame.height and holds:
            raise _damaged(path, f"{name}: {what}")


def _damaged(path: Path, what: str) -> TraceError:
    return TraceError(f"{path} is damaged: {what}.")


def _in_signatures() -> Iterator[Fault]:
    yield from _texts("op", "packet", "arguments")
    begins = pl.col("op").str.starts_with(pl.col("packet") + ".")
    yield "packet is not the op without its overload", ~begins
    yield from _numbers("signature_id")
    yield "signature_id repeats", pl.struct("rank", "signature_id").is_duplicated()
    yield "is_view is null", pl.col("is_view").is_null()
    for name in ("tags", "mutates"):
        yield f"{name} is null", pl.col(name).is_null() | _has_null(name)
    yield "operands is null", pl.col("operands").is_null()
    fields = [pl.element().struct.field(name) for name in ("slot", "numel", "bytes")]
    sizes = pl.all_horizontal(each.is_between(0, _LARGEST).fill_null(False) for each in fields)
    stored = pl.col("stored")
    yield "stored holds what is no size", stored.is_not_null() & stored.list.eval(~sizes).list.any()


def _in_modules() -> Iterator[Fault]:
    yield from _texts("path", "class", "attributes")
    yield from _numbers("module_id")
    yield "module_id repeats", pl.struct("rank", "module_id").is_duplicated()
    for name in ("parameters", "buffers"):
        yield f"{name} is null", pl.col(name).is_null()
    numbers = pl.col("parameter_ids")
    wrong = numbers.list.len() != pl.col("parameters").list.len()
    wrong = wrong | (numbers.list.min() < 0) | (numbers.list.max() > _LARGEST)
    wrong = wrong.fill_null(False) | _has_null("parameter_ids")
    yield "parameter_ids does not number the parameters", numbers.is_not_null() & wrong
    for name in ("parent_id", "same_as"):
        number = pl.col(name)
        yield (
            f"{name} is no earlier module",
            number.is_between(0, pl.col("module_id") - 1).not_() & (number.is_not_null()),
        )


def _in_optimizer_steps() -> Iterator[Fault]:
    yield from _texts("class", "hyper", "state")
    yield from _numbers(
        "optimizer_step_id", "group", "first_seq", "step", "parameters", "vector_elements",
        "matrix_elements",
    )  # fmt: skip
    yield "last_seq is null", pl.col("last_seq").is_null()


def _texts(*names: str) -> Iterator[Fault]:
    for name in names:
        most = _LONGEST_TEXT if name in ("arguments", "attributes", "hyper") else _LONGEST_NAME
        size = pl.col(name).str.len_bytes()
        yield f"{name} is null or too long", size > most


def _numbers(*names: str) -> Iterator[Fault]:
    for name in names:
        yield f"{name} is null or no number of its kind", ~pl.col(name).is_between(0, _LARGEST)


def _has_null(name: str) -> pl.Expr:
    """Return whether an element of a list is null."""
    values = pl.col(name)
    return values.list.drop_nulls().list.len() != values.list.len()


def _check_tensors(path: Path, name: str, frame: pl.DataFrame, column: str) -> None:
    """Check a list of tensors in each row: names, sizes, and that those fit shapes.

    Of a tensor that is null, its names are.
    """
    tensors = (
        frame.lazy()
        .select(column)
        .filter(pl.col(column).list.len() > 0)
        .explode(column)
        .unnest(column)
        .pipe(at_once)
    )
    _check(path, name, tensors, partial(_in_tensors, column))
    shapes = tensors.lazy().select("shape", "numel").drop_nulls("shape").unique().pipe(at_once)
    for shape, numel in shapes.iter_rows():
        if any(size is None or size < 0 for size in shape):
            raise _damaged(path, f"{name}: {column}: a shape holds what is no size")
        if shape and math.prod(shape) != numel:
            raise _damaged(path, f"{name}: {column}: numel is not the product of the shape")


def _in_tensors(column: str) -> Iterator[Fault]:
    fields = _TOLD[column]
    missing = pl.any_horizontal(pl.col(each).is_null() for each in fields)
    yield f"{column}: {', '.join(fields)} may not be null", missing
    sizes = (pl.col(size).is_between(0, _LARGEST).fill_null(False) for size in ("numel", "bytes"))
    yield f"{column}: numel or bytes is no size", ~pl.all_horizontal(sizes)
    if "role" in fields:
        yield "an operand is neither in nor out", ~pl.col("role").is_in(["in", "out"])
        yield "an operand has no slot", ~pl.col("slot").is_between(0, (1 << 24) - 1)


def _check_parents(path: Path, modules: pl.DataFrame) -> None:
    for name in ("parent_id", "same_as"):
        known = modules.lazy().select("rank", pl.col("module_id").alias(name))
        named = modules.lazy().filter(pl.col(name).is_not_null())
        lost = at_once(named.join(known, on=["rank", name], how="anti"))
        if lost.height:
            raise _damaged(path, f"modules: {name} {lost[name][0]} is the number of no module")


def _is_json(text: str, kind: type) -> bool:
    if text.count("[") + text.count("{") > _DEEPEST and _depth(text) > _DEEPEST:
        return False
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def _depth(text: str) -> int:
    """Return how deep brackets stand in one another at most; those in strings count too."""
    depth = deepest = 0
    for c in text:
        depth += (c in "[{") - (c in "]}")
        deepest = max(depth, deepest)
    return deepest
