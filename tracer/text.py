"""Text that any file can hold: what no encoding takes is shown as an escape."""

from __future__ import annotations

import json
import marshal
from functools import lru_cache
from typing import Any


def writable(thing: Any) -> Any:
    """Return text, or lists and dicts of it, with lone surrogates as escapes; all else as it is."""
    if isinstance(thing, str):
        return thing if thing.isascii() else thing.encode(errors="backslashreplace").decode()
    if isinstance(thing, dict):
        return {writable(key): writable(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [writable(each) for each in thing]
    return thing


_EXACT = 2
"""A version of marshal in which equal values, and no others, have the same bytes."""


def json_of(told: dict[str, Any]) -> str:
    """Return JSON; modules and calls of a network are much alike, and most was made before."""
    try:
        return _as_json(marshal.dumps(told, _EXACT))
    except ValueError:  # a number or text of a class of its own
        return json.dumps(told)


@lru_cache(maxsize=4096)
def _as_json(told: bytes) -> str:
    return json.dumps(marshal.loads(told))
