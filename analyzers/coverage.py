"""Coverage."""

from __future__ import annotations

from typing import Any


class Coverage: ...


def coverage(trace: Any, **options: Any) -> Any:
    raise NotImplementedError
