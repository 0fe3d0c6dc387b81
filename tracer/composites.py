"""Composite ops that reach the dispatcher whole, as under inference mode: run so that their parts
are seen, with the dispatch keys as they were outside the handler."""

from __future__ import annotations

from typing import Any

import torch

from .operands import Op

_KEY = torch._C.DispatchKey
_IMPLICIT = _KEY.CompositeImplicitAutograd
_AUTOCAST = {
    device: getattr(_KEY, f"Autocast{device.upper()}")
    for device in ("cpu", "cuda", "xpu", "mps", "xla", "hpu")
    if hasattr(_KEY, f"Autocast{device.upper()}")
}
# Ops whose choice of kernel depends on ADInplaceOrView being there.
_WITH_INPLACE = ("aten.linear", "aten.matmul")


def _outside_sets(inference: bool) -> tuple[Any, Any]:
    with torch.inference_mode(inference):
        return torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()


class Composites:
    """Runs implicit composite kernels; remembers what could not be run so."""

    def __init__(self) -> None:
        self._sets = {flag: _outside_sets(flag) for flag in (False, True)}
        self.inexact: dict[tuple[str, str], int] = {}

    def run(self, mode: Any, func: Any, op: Op, args: Any, kwargs: Any) -> tuple[bool, Any]:
        """Run the composite kernel of `func` with `mode` on.

        Returns:
            (True, result), or (False, None) if the op is to be run as it is.
        """
        include, exclude = self._sets[torch.is_inference_mode_enabled()]
        for device, key in _AUTOCAST.items():
            exclude = exclude.remove(key) if torch.is_autocast_enabled(device) else exclude.add(key)
        if op.packet in _WITH_INPLACE:
            exclude = exclude.remove(_KEY.ADInplaceOrView)
        else:
            exclude = exclude.add(_KEY.ADInplaceOrView)
        now = torch._C._dispatch_tls_local_include_set()
        for key in (_KEY.Python, _KEY.PythonTLSSnapshot):
            include = include.add(key) if now.has(key) else include.remove(key)
        with torch._C._ForceDispatchKeyGuard(include, exclude), mode:
            return True, func._op_dk(_IMPLICIT, *args, **kwargs)
