"""What the recorder understands of neuron libraries: kind, state, steps, resets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class NeuronRule:
    """How modules of a class behave as spiking neurons.

    Attributes:
        cls: the class; subclasses are meant too.
        kind: "IF", "LIF" or "other".
        states: attribute names of its states; an attribute that is a tensor is a live state.
        time_dim: dimension of the input that is time, None if one call is one step.
        batch_dim: dimension of the input that is the batch.
    """

    cls: type
    kind: str = "other"
    states: tuple[str, ...] = ()
    time_dim: int | None = None
    batch_dim: int = 0


def _class_names(module: torch.nn.Module) -> list[str]:
    return [f"{c.__module__}.{c.__qualname__}" for c in type(module).__mro__]


def _package(module: torch.nn.Module) -> str:
    for cls in type(module).__mro__:
        package = cls.__module__.split(".")[0]
        if package in ("spikingjelly", "snntorch", "norse"):
            return package
    return ""


class Neurons:
    """Recognizes neurons, by class; users' rules come before the libraries' adapters."""

    def __init__(self, rules: Iterable[NeuronRule] = ()) -> None:
        self._rules = tuple(rules)
        self._known: dict[type, tuple[NeuronRule | None, str | None]] = {}

    def _of(self, module: torch.nn.Module) -> tuple[NeuronRule | None, str | None]:
        """Return (the rule, the kind) of a module's class."""
        cls = type(module)
        known = self._known.get(cls)
        if known is None:
            rule = next((rule for rule in self._rules if issubclass(cls, rule.cls)), None)
            adapter = _KINDS.get(_package(module))
            kind = rule.kind if rule is not None else adapter(module) if adapter else None
            known = self._known[cls] = (rule, kind)
        return known

    def kind(self, module: torch.nn.Module) -> str | None:
        """Return "IF", "LIF", "other", or None for a module that is no spiking neuron."""
        return self._of(module)[1]

    def states(self, module: torch.nn.Module) -> list[torch.Tensor]:
        """Return the live tensor states of a neuron, in a fixed order."""
        rule, _ = self._of(module)
        if rule is not None:
            found = [getattr(module, name, None) for name in rule.states]
        else:
            memories: Any = getattr(module, "_memories", None)  # SpikingJelly's
            if isinstance(memories, dict):
                found = list(memories.values())
            else:
                found = [getattr(module, name, None) for name in ("mem", "syn", "v", "i")]
        return [state for state in found if isinstance(state, torch.Tensor) and state.numel() > 0]

    def tells(self, module: torch.nn.Module) -> bool:
        """Tell whether `steps` may know something of a module, now or later."""
        rule, kind = self._of(module)
        return rule is not None or hasattr(module, "step_mode") or kind is not None

    def steps(
        self, module: torch.nn.Module, shape: tuple[int, ...]
    ) -> tuple[int | None, int | None] | None:
        """Return (batch, time steps) of an input shape; None if the module does not tell."""
        rule, kind = self._of(module)
        if rule is not None:
            steps = 1 if rule.time_dim is None else _size(shape, rule.time_dim)
            return _size(shape, rule.batch_dim), steps
        mode = getattr(module, "step_mode", None)
        if mode == "m":
            return _size(shape, 1), _size(shape, 0)
        if mode == "s":
            return _size(shape, 0), 1
        if kind and _package(module) in ("snntorch", "norse"):
            return _size(shape, 0), 1
        return None

    def hides_work(self, module: torch.nn.Module) -> str | None:
        """Return why the dispatcher does not see a module's work, or None."""
        backend = getattr(module, "backend", None)
        if isinstance(backend, str) and backend not in ("torch", "") and self.kind(module):
            return f"backend {backend} runs outside the dispatcher"
        if type(module).__name__ == "OptimizedModule":
            return "compiled module: runs eagerly while recorded"
        return None


def _size(shape: tuple[int, ...], dim: int) -> int | None:
    return int(shape[dim]) if -len(shape) <= dim < len(shape) else None


def _spikingjelly(module: torch.nn.Module) -> str | None:
    names = [name.rsplit(".", 1)[1] for name in _class_names(module)]
    own = names[0]
    is_neuron = "BaseNode" in names or any(
        ".neuron" in name and name.endswith("Node") for name in _class_names(module)
    )
    if not is_neuron:
        return None
    if own in ("IFNode", "SimpleIFNode"):
        return "IF"
    if own in ("LIFNode", "SimpleLIFNode"):
        return "LIF"
    return "IF" if "IFNode" in names else "LIF" if "LIFNode" in names else "other"


def _snntorch(module: torch.nn.Module) -> str | None:
    names = [name.rsplit(".", 1)[1] for name in _class_names(module)]
    if "SpikingNeuron" not in names and "LIF" not in names:
        return None
    return "LIF" if names[0] in ("Leaky", "RLeaky", "Lapicque") else "other"


def _norse(module: torch.nn.Module) -> str | None:
    names = _class_names(module)
    own = names[0].rsplit(".", 1)[1]
    if ".module." not in names[0] or not own.endswith(("Cell", "Recurrent")):
        return None
    if own.startswith("LIF"):
        return "LIF"
    return (
        "IF"
        if own.startswith("IAF")
        else "other"
        if own.startswith(("LI", "Izh", "LSNN"))
        else None
    )


_KINDS: dict[str, Callable[[Any], str | None]] = {
    "spikingjelly": _spikingjelly,
    "snntorch": _snntorch,
    "norse": _norse,
}
