"""Keeping `torch.inference_mode` and the stack of modes together.

As it ends, inference mode puts back the dispatch keys of when it began, with them the key through
which PyTorch asks modes. A recording that ends inside would leave the key on without a mode, and
every op after it fails; of one that begins inside nothing more would be seen.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch

_KEYS = (torch._C.DispatchKey.Python, torch._C.DispatchKey.PythonTLSSnapshot)
_is_on: Any = torch._C._dispatch_tls_is_dispatch_key_included
_turn: Any = torch._C._dispatch_tls_set_dispatch_key_included


_leave: Any = torch.inference_mode.__exit__
_running: set[int] = set()


@wraps(_leave)
def _leave_and_mend(self: Any, *error: Any) -> Any:
    answer = _leave(self, *error)
    _mend()
    return answer


def follow(recorder: object) -> None:
    """Put the keys right after each inference mode that begins from here on."""
    _running.add(id(recorder))
    kind: Any = torch.inference_mode
    kind.__exit__ = _leave_and_mend


def let_go(recorder: object) -> None:
    """Follow none for this recorder any more; what runs now keeps its way out."""
    _running.discard(id(recorder))
    kind: Any = torch.inference_mode
    if not _running and kind.__exit__ is _leave_and_mend:
        kind.__exit__ = _leave


def _mend() -> None:
    """Let PyTorch ask modes exactly if there are any."""
    wanted = torch._C._len_torch_dispatch_stack() > 0
    for key in _KEYS:
        if _is_on(key) != wanted:
            _turn(key, wanted)
