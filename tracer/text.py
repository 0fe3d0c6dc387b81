"""Text that any file can hold: what no encoding takes is shown as an escape."""

from __future__ import annotations

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
