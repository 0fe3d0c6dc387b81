"""Whether the static tables of a trace hold what their columns promise: checked once, at opening.

Whatever reads them later relies on it: ids are there and unique, JSON is objects, sizes are the
products of shapes, everything fits into 64 bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from ...schemas import TraceError
from .manifests import plain

_LARGEST = 1 << 62
_LONGEST_NAME, _LONGEST_TEXT = 1 << 20, 1 << 24
_DEEPEST = 64
_NULL = pl.element().is_null().any()

Fault = tuple[str, pl.Expr]
"""What is wrong with a table, in words, and the rows of which that holds."""


def check_static(
    path: Path, signatures: pl.DataFrame, modules: pl.DataFrame, optimizer_steps: pl.DataFrame
) -> None:
    """Check the static tables.

    Raises:
        TraceError: one of them holds what no recorder writes.
    """
    tables = (
        ("signatures", signatures, _in_signatures),
        ("modules", modules, _in_modules),
        ("optimizer_steps", optimizer_steps, _in_optimizer_steps),
    )
    for name, frame, faults in tables:
        _check(path, name, frame, faults)
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
        yield f"{name} is null", pl.col(name).is_null() | _any(name, pl.element().is_null())
    yield from _sized("operands", ("role", "slot", "name", "dtype", "layout", "device"))
    yield (
        "an operand is neither in nor out",
        _any("operands", ~_field("role").is_in(["in", "out"])),
    )
    slots = _field("slot")
    yield "an operand has no slot", _any("operands", (slots < 0) | (slots >= 1 << 24))


def _in_modules() -> Iterator[Fault]:
    yield from _texts("path", "class", "attributes")
    yield from _numbers("module_id")
    yield "module_id repeats", pl.struct("rank", "module_id").is_duplicated()
    for name in ("parameters", "buffers"):
        yield from _sized(name, ("name", "dtype"))
    numbers = pl.col("parameter_ids")
    wrong = (numbers.list.len() != pl.col("parameters").list.len()) | _any(
        "parameter_ids", ~pl.element().is_between(0, _LARGEST).fill_null(False)
    )
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


def _sized(name: str, fields: tuple[str, ...]) -> Iterator[Fault]:
    """Yield what may be wrong with lists of tensors: names, sizes, and that those fit shapes."""
    yield f"{name} is null", pl.col(name).is_null() | _any(name, pl.element().is_null())
    missing = pl.any_horizontal(_field(each).is_null() for each in fields)
    yield f"{name}: {', '.join(fields)} may not be null", _any(name, missing)
    numel, size = _field("numel"), _field("bytes")
    fits = numel.is_between(0, _LARGEST) & size.is_between(0, _LARGEST)
    yield f"{name}: numel or bytes is no size", _any(name, ~fits.fill_null(False))
    shape = _field("shape")
    wrong = shape.list.eval(pl.element().is_null() | (pl.element() < 0)).list.any()
    yield f"{name}: a shape holds what is no size", _any(name, wrong.fill_null(False))
    product = shape.list.eval(pl.element().cast(pl.Float64).product()).list.first().fill_null(1.0)
    exact = shape.list.eval(pl.element().product()).list.first().fill_null(1)
    differs = (product >= _LARGEST) | (exact != numel)
    differs = differs & shape.is_not_null() & (shape.list.len() > 0)
    yield f"{name}: numel is not the product of the shape", _any(name, differs)


def _field(name: str) -> pl.Expr:
    return pl.element().struct.field(name)


def _any(name: str, condition: pl.Expr) -> pl.Expr:
    """Return whether a condition holds for an element of a list."""
    return pl.col(name).list.eval(condition.any()).list.first().fill_null(False)


def _check_parents(path: Path, modules: pl.DataFrame) -> None:
    for name in ("parent_id", "same_as"):
        known = modules.select("rank", pl.col("module_id").alias(name))
        lost = modules.filter(pl.col(name).is_not_null()).join(known, on=["rank", name], how="anti")
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
