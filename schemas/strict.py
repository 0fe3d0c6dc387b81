"""Plain JSON as dataclasses: every field is of the type that it is declared with, or refused.

Pydantic does the same for configurations; to load it takes longer than to count a small trace.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


class Misfit(ValueError):
    """A value is not of the type that it should be of.

    Attributes:
        place: where it stands, such as `parts.0.rows`.
        what: what is wrong with it.
    """

    def __init__(self, place: tuple[str, ...], what: str) -> None:
        """Keep place and reason."""
        self.place, self.what = ".".join(place), what
        super().__init__(f"{self.place}: {what}")


def read(kind: Any, value: Any, place: tuple[str, ...] = ()) -> Any:
    """Return plain data as a value of a type.

    Args:
        kind: a dataclass, int, str, bool, `Annotated[int, range(...)]`, a Literal, a list, a
            dictionary with texts as keys, or one of these or None.
        value: the data; fields that a dataclass does not have are passed over.
        place: where it stands.

    Raises:
        Misfit: it is of another type, outside its range, or a field is missing.
    """
    origin, told = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (rest,) = (each for each in told if each is not NoneType)
        return None if value is None else read(rest, value, place)
    if origin is Annotated:
        found = read(told[0], value, place)
        if found not in told[1]:
            raise Misfit(place, f"it is not from {told[1].start} to {told[1].stop - 1}")
        return found
    if origin is Literal:
        if not isinstance(value, str) or value not in told:
            raise Misfit(place, f"it is none of {', '.join(told)}")
        return value
    if origin is list:
        _check(list, value, place)
        return [read(told[0], each, (*place, str(n))) for n, each in enumerate(value)]
    if origin is dict:
        _check(dict, value, place)
        return {_text(k, place): read(told[1], v, (*place, str(k))) for k, v in value.items()}
    if is_dataclass(kind):
        return _object(kind, value, place)
    _check(kind, value, place)
    return value


def _object(kind: Any, value: Any, place: tuple[str, ...]) -> Any:
    if isinstance(value, kind):
        return value
    _check(dict, value, place)
    found = {}
    for name, (hint, needed) in _fields(kind).items():
        if name in value:
            found[name] = read(hint, value[name], (*place, name))
        elif needed:
            raise Misfit((*place, name), "it is missing")
    return kind(**found)


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field of a dataclass, and whether it has to be told."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        each.name: (
            hints[each.name],
            each.default is MISSING and each.default_factory is MISSING,
        )
        for each in fields(kind)
    }


def _text(key: Any, place: tuple[str, ...]) -> str:
    _check(str, key, place)
    return str(key)


_WORDS = {int: "a whole number", str: "a text", bool: "true or false", list: "a list",
          dict: "an object"}  # fmt: skip


def _check(kind: type, value: Any, place: tuple[str, ...]) -> None:
    if type(value) is not kind:
        raise Misfit(place, f"it is not {_WORDS[kind]}")
