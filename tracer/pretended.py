"""FakeTensors: tensors that have shapes and no elements.

Those of the user's own run are recorded by their shapes. The compiler's, and those of an export,
belong to no run: what is traced with them is run later, or never.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensor

_PROXY: Any = torch._C._TorchDispatchModeKey.PROXY
_plain: Any = torch._C._disabled_torch_dispatch_impl
SYMBOLIC = (
    "tensors of symbolic sizes",
    "their sizes are not known yet: what runs on them is not recorded",
)


def are_pretended(types: Any) -> bool:
    """Tell whether the subclasses that take part in a call are FakeTensors alone."""
    return all(issubclass(t, FakeTensor) or t.__torch_dispatch__ is _plain for t in types)


def is_traced() -> bool:
    """Tell whether what runs now is being compiled or exported."""
    return (
        TracingContext.try_get() is not None
        or torch.compiler.is_compiling()
        or torch._C._get_dispatch_mode(_PROXY) is not None
    )


def is_symbolic(arguments: Any) -> bool:
    """Tell whether sizes of an op's tensors are symbols; looking at them would fix them."""
    for a in arguments:
        if isinstance(a, torch.Tensor):
            if a._has_symbolic_sizes_strides:
                return True
        elif isinstance(a, torch.SymInt) or (isinstance(a, list | tuple) and is_symbolic(a)):
            return True
    return False
