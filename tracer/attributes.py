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


def attribute(module: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a module, or of another object of the user's.

    Returns:
        The default if it has none, or if its own code refuses, with whatever exception.
    """
    cls: Any = type(module)
    if issubclass(cls, nn.Module) and _is_known(cls) and name not in _on_class(cls):
        own = vars(module)
        if name in own:
            return own[name]
        return next((own[k][name] for k in _HELD if name in own.get(k, ())), default)
    try:
        return getattr(module, name, default)
    except Exception:  # a property that fails; nothing may stop a recording
        return default


_set_of: Any = lru_cache(maxsize=16)(frozenset)


@lru_cache(maxsize=4096)
def _also_on_class(cls: Any, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names) & _on_class(cls)


def attributes(module: nn.Module, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of many attributes that a module has, in the order of their names."""
    cls: Any = type(module)
    if not _is_known(cls):
        each = ((name, attribute(module, name, _MISSING)) for name in names)
        return {name: value for name, value in each if value is not _MISSING}
    own = vars(module)
    wanted = _set_of(names)
    found: dict[str, Any] = {}
    for place in (*(own[k] for k in reversed(_HELD) if own.get(k)), own):
        found.update((name, place[name]) for name in wanted.intersection(place))
    for name in _also_on_class(cls, names):
        found[name] = attribute(module, name, _MISSING)
    return {n: found[n] for n in names if n in found and found[n] is not _MISSING}
