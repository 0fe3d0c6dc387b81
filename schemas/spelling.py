"""Near names for what was misspelt."""

from __future__ import annotations

from collections.abc import Iterable


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
