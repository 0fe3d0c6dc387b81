"""Recording needs PyTorch, which analyzing does without: said in one line where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from ..schemas import RecordError

if find_spec("torch") is None:
    raise RecordError(
        "recording needs PyTorch, which is not installed: pip install 'opjoule[torch]'"
    )
