"""Plain JSON as dataclasses: every field is of the type that it is declared with, or refused.

Pydantic does the same for configurations; to load it takes longer than to count a small trace.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def __init__(self, place: str, what: str) -> None:
        """Keep place and reason."""
        self.place, self.what = place, what
        super().__init__(f"{place}: {what}")

    def inside(self, place: str) -> Misfit:
        """Return the same fault, of a value that holds this one at a place."""
        return Misfit(f"{place}.{self.place}" if self.place else place, self.what)


def read(kind: Any, value: Any) -> Any:
    """Return plain data as a value of a type.

    Args:
        kind: a dataclass, int, str, bool, `Annotated[int, range(...)]`, a Literal, a list, a
            dictionary with texts as keys, or one of these or None.
        value: the data; fields that a dataclass does not have are passed over.

    Raises:
        Misfit: it is of another type, outside its range, or a field is missing.
    """
    return _reader(kind)(value)


_Reader = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> _Reader:
    """Return what reads values of a type: types are looked at once, a trace has many manifests."""
    origin, told = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (rest,) = (_reader(each) for each in told if each is not NoneType)
        return lambda value: None if value is None else rest(value)
    if origin is Annotated:
        return _ranged(_reader(told[0]), told[1])
    if origin is Literal:
        return _literal(told)
    if origin is list:
        return _list(_reader(told[0]))
    if origin is dict:
        return _dictionary(_reader(told[1]))
    return _object(kind) if is_dataclass(kind) else _plain(kind)


_WORDS = {int: "a whole number", str: "a text", bool: "true or false", list: "a list",
          dict: "an object"}  # fmt: skip


def _plain(kind: type) -> _Reader:
    def plain(value: Any) -> Any:
        if type(value) is not kind:
            raise Misfit("", f"it is not {_WORDS[kind]}")
        return value

    return plain


def _ranged(number: _Reader, allowed: range) -> _Reader:
    def ranged(value: Any) -> Any:
        if number(value) not in allowed:
            raise Misfit("", f"it is not from {allowed.start} to {allowed.stop - 1}")
        return value

    return ranged


def _literal(allowed: tuple[str, ...]) -> _Reader:
    def literal(value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise Misfit("", f"it is none of {', '.join(allowed)}")
        return value

    return literal


def _list(each: _Reader) -> _Reader:
    whole = _plain(list)

    def values(value: Any) -> Any:
        found: list[Any] = []
        try:
            for one in whole(value):
                found.append(each(one))
        except Misfit as error:
            raise (error.inside(str(len(found))) if type(value) is list else error) from None
        return found

    return values


def _dictionary(each: _Reader) -> _Reader:
    whole, text = _plain(dict), _plain(str)

    def entries(value: Any) -> Any:
        found = {}
        for key, one in whole(value).items():
            text(key)
            try:
                found[key] = each(one)
            except Misfit as error:
                raise error.inside(key) from None
        return found

    return entries


def _object(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    readers = [(each.name, _reader(hints[each.name])) for each in fields(kind)]
    needed = [
        each.name
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    ]
    whole = _plain(dict)

    def told(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        found = {}
        content = whole(value)
        for name, reader in readers:
            if name in content:
                try:
                    found[name] = reader(content[name])
                except Misfit as error:
                    raise error.inside(name) from None
        for name in needed:
            if name not in found:
                raise Misfit(name, "it is missing")
        return kind(**found)

    return told
