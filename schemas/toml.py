"""TOML files that users write: read with one line for whatever is wrong with them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from .errors import ConfigError

_LARGEST = 1_000_000


def path_text(given: str | os.PathLike[str], what: str) -> str:
    """Return a name, or the path of a file, as text.

    Args:
        given: what the caller was given.
        what: what it is, for the error.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return os.fsdecode(given)
    except TypeError:
        raise ConfigError(f"{what}={given!r} is no name and no path of a file") from None


def toml_text(file: str) -> str:
    """Return what stands in a file.

    Raises:
        ConfigError: it cannot be read, is too large, or is no text.
    """
    try:
        if Path(file).stat().st_size > _LARGEST:
            raise ConfigError(f"{file}: no such file has more than {_LARGEST:,} bytes")
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # no UTF-8, a name with a null character
        raise ConfigError(f"{file}: not TOML ({error})") from None


def toml_data(file: str, text: str) -> dict[str, Any]:
    """Return what the text of a file says, as plain data.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{file}: not TOML (nested too deep)") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not TOML ({error})") from None
