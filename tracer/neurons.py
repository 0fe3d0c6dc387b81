"""What the recorder understands of neuron libraries: kind, state, steps, resets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ..schemas import RecordError

_NAMES = {"if": "IF", "lif": "LIF", "other": "other"}


@dataclass(frozen=True)
class NeuronRule:
    """How modules of a class behave as spiking neurons.

    Attributes:
        cls: the class; subclasses are meant too.
        kind: "IF", "LIF" or "other", in whatever case.
        states: attribute names of its states (or one name); an attribute that is a tensor is a
            live state.
        time_dim: dimension of the input that is time, None if one call is one step.
        batch_dim: dimension of the input that is the batch.

    Raises:
        RecordError: one of them is something else.
    """

    cls: type
    kind: str = "other"
    states: tuple[str, ...] = ()
    time_dim: int | None = None
    batch_dim: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.cls, type):
            raise RecordError(f"NeuronRule: cls={self.cls!r} is not a class.")
        named = f"NeuronRule({self.cls.__name__})"
        kind = _NAMES.get(self.kind.lower()) if isinstance(self.kind, str) else None
        if kind is None:
            raise RecordError(f"{named}: kind={self.kind!r} is none of IF, LIF, other.")
        states = (self.states,) if isinstance(self.states, str) else self.states
        if not isinstance(states, tuple | list) or not all(_is_name(name) for name in states):
            raise RecordError(f"{named}: states={self.states!r} is not a tuple of attribute names.")
        if not isinstance(self.batch_dim, int) or not isinstance(self.time_dim, int | None):
            raise RecordError(f"{named}: batch_dim and time_dim are numbers of dimensions.")
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "states", tuple(states))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()


def _class_names(module: torch.nn.Module) -> list[str]:
    return [f"{c.__module__}.{c.__qualname__}" for c in type(module).__mro__]


def _package(module: torch.nn.Module) -> str:
    for cls in type(module).__mro__:
        package = cls.__module__.split(".")[0]
        if package in ("spikingjelly", "snntorch", "norse"):
            return package
    return ""


class Neurons:
    """Recognizes neurons, by class; users' rules come before the libraries' adapters.

    Raises:
        RecordError: the rules are no NeuronRules.
    """

    def __init__(self, rules: Iterable[NeuronRule] = ()) -> None:
        if not isinstance(rules, Iterable):
            raise RecordError(f"neurons={rules!r} is not a list of NeuronRules.")
        self._rules = tuple(rules)
        for rule in self._rules:
            if not isinstance(rule, NeuronRule):
                raise RecordError(
                    f"neurons={rule!r} is not a NeuronRule: NeuronRule(cls, kind=...)."
                )
        self._known: dict[type, tuple[NeuronRule | None, str | None]] = {}
        self._checked: set[type] = set()

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

    def lacking(self, module: torch.nn.Module) -> list[str]:
        """Return the states that a rule names and a module that has run lacks; once a class."""
        rule, _ = self._of(module)
        if rule is None or type(module) in self._checked:
            return []
        self._checked.add(type(module))
        return [name for name in rule.states if not hasattr(module, name)]

    def tells(self, module: torch.nn.Module) -> bool:
        """Tell whether `steps` may know something of a module, now or later."""
        rule, kind = self._of(module)
        known = rule is not None or kind is not None or _is_sequence(module)
        return known or hasattr(module, "step_mode")

    def steps(
        self, module: torch.nn.Module, shape: tuple[int, ...]
    ) -> tuple[int | None, int | None] | None:
        """Return (batch, time steps) of an input shape; None if the module does not tell."""
        rule, kind = self._of(module)
        if rule is not None:
            steps = 1 if rule.time_dim is None else size(shape, rule.time_dim)
            return size(shape, rule.batch_dim), steps
        mode = getattr(module, "step_mode", None)
        if mode == "m":
            return size(shape, 1), size(shape, 0)
        if mode == "s":
            return size(shape, 0), 1
        if _is_sequence(module):
            return (size(shape, 1), size(shape, 0)) if len(shape) > 1 else None
        if kind and _package(module) in ("snntorch", "norse"):
            return size(shape, 0), 1
        return None

    def hides_work(self, module: torch.nn.Module) -> str | None:
        """Return why the dispatcher does not see a module's work, or None."""
        backend = getattr(module, "backend", None)
        if isinstance(backend, str) and backend not in ("torch", "") and self.kind(module):
            return f"backend {backend} runs outside the dispatcher"
        if type(module).__name__ == "OptimizedModule":
            return "compiled module: runs eagerly while recorded"
        return None


def size(shape: tuple[int, ...], dim: int) -> int | None:
    """Return the size of a dimension; None if the shape has no such."""
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


def _is_sequence(module: torch.nn.Module) -> bool:
    """Tell whether a layer of Norse or snnTorch takes all time steps at once: (T, B, ...)."""
    names = [name.rsplit(".", 1)[1] for name in _class_names(module)]
    of = _SEQUENCES.get(_package(module), ())
    return any(name in of for name in names)


_SEQUENCES = {
    "norse": ("SNN", "SNNRecurrent", "LConv2d"),
    "snntorch": ("StateLeaky", "AssociativeLeaky", "LeakyParallel"),
}
"""Classes whose instances and subclasses' see (T, B, ...), by package."""


def _norse(module: torch.nn.Module) -> str | None:
    names = _class_names(module)
    own = names[0].rsplit(".", 1)[1]
    if ".module." not in names[0] or not (own.endswith("Cell") or _is_sequence(module)):
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
