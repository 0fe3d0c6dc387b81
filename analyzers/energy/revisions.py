"""Which variant of a model computes an estimate: the only place that looks at a revision's name.

Each model's package says in `variant.py` what may differ between revisions, and what it is in the
revision `source`. How SpikingJelly's two revisions differ is in the package `spikingjelly`, which
nothing else imports: without it the revision `source` works as before.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ...schemas import ConfigError

SOURCE = "source"
"""The models as their own authors publish them."""


def revisions_of(estimator: str) -> tuple[str, ...]:
    """Return the revisions of an estimator, `source` first."""
    return (SOURCE, *(revision for name, revision in _others() if name == estimator))


def variant_of(estimator: str, revision: str) -> Any:
    """Return what a revision of an estimator does differently from others: its `Variant`.

    Raises:
        ConfigError: the estimator has no such revision.
    """
    if revision == SOURCE:
        return import_module(f".{estimator}.variant", __package__).SOURCE
    found = _others().get((estimator, revision))
    if found is None:
        known = ", ".join(revisions_of(estimator))
        raise ConfigError(f"unknown revision {revision!r} of {estimator}: choose from {known}")
    module, _, name = found.partition(":")
    return getattr(import_module(f".spikingjelly.{module}", __package__), name)


def _others() -> dict[tuple[str, str], str]:
    """Return (estimator, revision) -> "module:NAME" of variants beside the source's."""
    if find_spec(".spikingjelly", __package__) is None:
        return {}
    return import_module(".spikingjelly", __package__).VARIANTS  # type: ignore[no-any-return]
