"""Ops that reach the dispatcher whole although their parts should be seen, and autocast.

A handler runs with the keys of autocast excluded, whether autocast is on or not; what runs inside
an op then computes in other dtypes than it would without a recorder. The state as it was when the
op was called is still known to PyTorch: it is given back.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .operands import Op

_KEY = torch._C.DispatchKey
_AUTOCAST = {
    device: getattr(_KEY, f"Autocast{device.upper()}")
    for device in ("cpu", "cuda", "xpu", "mps", "xla", "hpu")
    if hasattr(_KEY, f"Autocast{device.upper()}")
}
_ForceKeys = torch._C._ForceDispatchKeyGuard
_AsCalled: Any = getattr(torch._C, "_RestorePythonTLSSnapshot")  # noqa: B009 - stubs lack it
_included = torch._C._dispatch_tls_local_include_set
_excluded = torch._C._dispatch_tls_local_exclude_set


class Composites:
    """Runs composite kernels and kernels under autocast; remembers what may differ.

    Attributes:
        inexact: calls by (op, why) whose kernel recording may have changed.
    """

    def __init__(self) -> None:
        self.inexact: dict[tuple[str, str], int] = {}
        self._behind: dict[int, tuple[Any, ...]] = {}
        self._watched: dict[int, Any] = {}

    def run(self, mode: Any, func: Any, op: Op, args: Any, kwargs: Any) -> Any:
        """Run the kernel of `func` that `op.composite` names with `mode` on; return its result."""
        with _AsCalled():
            excluded = _excluded()
            for key in self._left_behind(func):
                excluded = excluded.add(key)
            with _ForceKeys(_included(), excluded), mode:
                return func._op_dk(op.composite, *args, **kwargs)

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run `func` inside an autocast context, as autocast was when it was called."""
        behind = self._left_behind(func)
        with _AsCalled():
            before = _excluded()
            on = [key for key in _AUTOCAST.values() if key not in behind and not before.has(key)]
        if not on:
            return func(*args, **kwargs)
        excluded = _excluded()
        for key in on:
            excluded = excluded.remove(key)
        with _ForceKeys(_included(), excluded):
            return func(*args, **kwargs)

    def doubt(self, op: Op, result: Any, now: Callable[[], int]) -> None:
        """Note a call whose kernel recording may have changed: it made vectors that nobody wants.

        A function of the values alone (`svdvals`) lets the vectors go before any other op runs;
        whoever asked for them (`svd`) holds them.

        Args:
            op: what ran.
            result: the values, and the vectors.
            now: returns the number of calls so far.
        """
        assert op.inexact is not None
        why, place = op.inexact
        values, at = weakref.ref(result[place]), now()
        vectors = [each for number, each in enumerate(result) if number != place]
        left = len(vectors)

        def gone(_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                del self._watched[at]
                if values() is not None and now() == at:
                    key = (op.name, why)
                    self.inexact[key] = self.inexact.get(key, 0) + 1

        self._watched[at] = [weakref.ref(each, gone) for each in vectors]

    def _left_behind(self, func: Any) -> tuple[Any, ...]:
        """Return the keys for which `func` has a kernel before its own: it excludes them inside."""
        keys = self._behind.get(id(func))
        if keys is None:
            has = func.has_kernel_for_dispatch_key
            known = (*_AUTOCAST.values(), _KEY.ADInplaceOrView)
            keys = self._behind[id(func)] = tuple(key for key in known if has(key))
        return keys
