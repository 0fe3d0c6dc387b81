"""Refusals that are also what SpikingJelly raises in their place, so that `except` clauses hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..schemas import ConfigError, OpjouleError, RecordError, TraceError


class RefusedError(TraceError, ValueError, NotImplementedError):
    """What ran is not covered, or lacks something: SpikingJelly raises one of the other two."""


class MeaninglessError(ConfigError, ValueError):
    """A cost, option or rule has no meaning."""


class MisuseError(RecordError, ValueError, RuntimeError):
    """A call at the wrong time or with the wrong things: SpikingJelly raises one of the others."""


_ALSO: dict[type[OpjouleError], type[OpjouleError]] = {
    TraceError: RefusedError,
    ConfigError: MeaninglessError,
    RecordError: MisuseError,
}


@contextmanager
def refusing() -> Iterator[None]:
    """Raise opjoule's own refusals anew as those of this file; also a decorator."""
    try:
        yield
    except (TraceError, ConfigError, RecordError) as error:
        kind = _ALSO.get(type(error))
        if kind is None:
            raise
        raise kind(str(error)) from None
