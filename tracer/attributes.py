"""Reading attributes of modules without asking `__getattr__` where its answer is known.

PyTorch's looks in three dicts, and says what a module lacks with an exception that lists them: for
forty names and a hundred modules that takes as long as a forward pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import nn

_HELD = ("_parameters", "_buffers", "_modules", "_memories")  # the last one is SpikingJelly's
_MISSING = object()
_KNOWN = ("torch.nn.modules.module", "spikingjelly.activation_based.base")


@lru_cache(maxsize=4096)
def _is_known(cls: type[nn.Module]) -> bool:
    """Tell whether a class finds attributes in no other places than those of `_HELD`."""
    ways = [vars(c)["__getattr__"] for c in cls.__mro__ if "__getattr__" in vars(c)]
    known = all(getattr(way, "__module__", None) in _KNOWN for way in ways)
    return known and cls.__getattribute__ is object.__getattribute__


@lru_cache(maxsize=4096)
def _on_class(cls: type[nn.Module]) -> frozenset[str]:
    return frozenset(name for c in cls.__mro__ for name in vars(c))


@lru_cache(maxsize=1 << 14)
def _asks_class(cls: Any, name: str) -> bool:
    """Tell whether an attribute is found otherwise than in the dicts of a module."""
    return not (issubclass(cls, nn.Module) and _is_known(cls) and name not in _on_class(cls))


def attribute(module: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a module, or of another object of the user's.

    Returns:
        The default if it has none, or if its own code refuses, with whatever exception.
    """
    cls: Any = type(module)
    if _asks_class(cls, name):
        try:
            return getattr(module, name, default)
        except Exception:  # a property that fails; nothing may stop a recording
            return default
    own = vars(module)
    if name in own:
        return own[name]
    for held in _HELD:
        if (place := own.get(held)) and name in place:
            return place[name]
    return default


@lru_cache(maxsize=4096)
def _also_on_class(cls: Any, names: frozenset[str]) -> frozenset[str]:
    return names & _on_class(cls)


def attributes(module: nn.Module, names: frozenset[str]) -> dict[str, Any]:
    """Return those of many attributes that a module has, in no order."""
    cls: Any = type(module)
    if not _is_known(cls):
        each = ((name, attribute(module, name, _MISSING)) for name in names)
        return {name: value for name, value in each if value is not _MISSING}
    own = vars(module)
    found: dict[str, Any] = {}
    for held in reversed(_HELD):
        if (place := own.get(held)) and not names.isdisjoint(place):
            found.update({name: value for name, value in place.items() if name in names})
    found.update({name: value for name, value in own.items() if name in names})
    for name in _also_on_class(cls, names):
        if (value := attribute(module, name, _MISSING)) is not _MISSING:
            found[name] = value
        else:
            found.pop(name, None)
    return found
