"""Near names for what was misspelt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import ConfigError


def refuse_unknown(verb: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Refuse options that a function does not have.

    Args:
        verb: the function, as a user calls it.
        options: what it was called with.
        known: what it takes.

    Raises:
        ConfigError: one is unknown; names the nearest, and what there is.
    """
    for name in options:
        if name not in known:
            hint = f"{meant(name, known)}options are {', '.join(known)}"
            raise ConfigError(f"unknown option {name!r} of {verb}: {hint}")


def meant(word: str, names: Iterable[str]) -> str:
    """Return "did you mean flops? " for a word that is near to one of the names, else "".

    Args:
        word: what was written.
        names: what there is.
    """
    from difflib import get_close_matches  # only a refusal needs it

    known = {name.lower(): name for name in names}
    near = get_close_matches(word.lower(), known, n=1)
    return f"did you mean {known[near[0]]}? " if near else ""
