"""Running a model on a device of the recorder's choice; on the meta device without elements.

`torch.device("meta")` as a context places only what names no device. Scripts name one, mostly the
best that they find; and parts of PyTorch read numbers that they have just made, which a tensor
without elements cannot hand out. Both are taken care of here.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _device

from ..schemas import RecordError

_KEPT = ("torch.optim", "torch.utils.data.dataloader", "torch.utils.data.sampler")
"""Modules that read numbers which they make: counters of steps, seeds, orders of samples."""

_MOVES: dict[Any, Any] = {torch.Tensor.cpu: (), torch.Tensor.cuda: (), torch.Tensor.to: None}


class Placed(TorchFunctionMode):
    """Puts every tensor that is made or moved inside on one device, whatever its maker asks for.

    Args:
        device: name of the device.

    Raises:
        RecordError: there is no such device.
    """

    def __init__(self, device: str | torch.device) -> None:
        super().__init__()
        try:
            self.device = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise RecordError(f"device={device!r} is no device: {error}") from None
        self._makers: Any = _device._device_constructors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        asks = kwargs.get("device") is not None
        if (asks or func in self._makers) and not _reads_what_it_makes(sys._getframe(1)):
            kwargs = {**kwargs, "device": self.device}
        return func(*args, **kwargs)

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Move a tensor here where it was to go elsewhere."""
        tensor, *rest = args
        if func is not torch.Tensor.to:
            return tensor.to(self.device)
        device, dtype, waits, layout = torch._C._nn._parse_to(
            *rest, **{name: value for name, value in kwargs.items() if name != "copy"}
        )
        words = {"non_blocking": waits, "copy": kwargs.get("copy", False)}
        if layout is not None:
            words["memory_format"] = layout
        where = tensor.device if device is None else self.device
        return tensor.to(where, dtype or tensor.dtype, **words)


def _reads_what_it_makes(caller: Any) -> bool:
    name = caller.f_globals.get("__name__", "")
    return isinstance(name, str) and name.startswith(_KEPT)


def moved(given: Any, device: torch.device) -> Any:
    """Return inputs, nested in tuples, lists and dicts, with all their tensors on a device."""
    if isinstance(given, torch.Tensor):
        return given.to(device)
    if isinstance(given, dict):
        return {name: moved(value, device) for name, value in given.items()}
    if type(given) in (tuple, list):
        return type(given)(moved(value, device) for value in given)
    return given
