"""The errors that opjoule raises, all made from facts.

::

    OpjouleError
    ├── TraceError             a trace is missing, damaged, unfinished, or lacks what was asked for
    │   └── TraceVersionError  a trace of a format that this opjoule does not read
    ├── ConfigError            a cost, preset, filter or option that means nothing
    ├── RuleError              rules that contradict each other, or ops that no rule covers
    └── RecordError            a recording that cannot start or go on

Every message says what is wrong, where (file, op or field), and what to do.
"""

from __future__ import annotations


class OpjouleError(Exception):
    """Base of all errors that opjoule raises on purpose.

    Names in a message come from traces and models: what would steer a terminal is shown as an
    escape, whoever prints it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Return text with characters that would steer a terminal as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TraceError(OpjouleError):
    """A trace is missing, damaged, unfinished, or lacks what was asked for."""


class TraceVersionError(TraceError):
    """A trace is of a format that this opjoule does not read."""


class ConfigError(OpjouleError):
    """A cost, preset, filter or option has no meaning."""


class RuleError(OpjouleError):
    """Rules contradict each other, or calls are covered by no rule."""


class RecordError(OpjouleError):
    """A recording cannot start or go on."""
