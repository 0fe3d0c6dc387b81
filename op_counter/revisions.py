"""Which revision of SpikingJelly's op_counter the names of this package answer as."""

from __future__ import annotations

import sys

from .refusals import MeaninglessError

SOURCE = "source"
RELEASE = "spikingjelly-2.0"
TUTORIAL = "spikingjelly-2026-08"
REVISIONS = (RELEASE, TUTORIAL, SOURCE)

revision = RELEASE
"""The default of `opjoule.op_counter.revision`; assign to the package's attribute to change it."""

_FULL = "full"
_WORDS = {
    RELEASE: "SpikingJelly 2.0, the release that pip installs",
    TUTORIAL: "SpikingJelly of August 2026, which its tutorial documents",
    SOURCE: "the model's own authors, corrected where opjoule's documentation says so",
}


def chosen() -> str:
    """Return the revision that names of both revisions answer as: `opjoule.op_counter.revision`.

    Raises:
        ConfigError: it was set to something else than a revision.
    """
    return checked(getattr(sys.modules[__package__ or ""], "revision", RELEASE))


def checked(name: object) -> str:
    """Return `name` if it is a revision.

    Raises:
        ConfigError: it is none.
    """
    if name not in REVISIONS:
        raise MeaninglessError(
            f"op_counter.revision = {name!r}: choose from {', '.join(REVISIONS)}"
        )
    return str(name)


def rules_of(name: str) -> str:
    """Return the rule set of opjoule that counts as a revision does."""
    return _FULL if name == SOURCE else name


def note(name: str) -> str:
    """Return one line: whose figures these are, and how to ask for the source's."""
    said = f"Figures of {_WORDS[name]} (revision {name})."
    if name == SOURCE:
        return said
    return f'{said} For the model\'s own authors: opjoule.op_counter.revision = "{SOURCE}".'
