"""What the recorder understands of neuron libraries: kind, state, steps, resets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ..schemas import NON_SPIKING, RecordError
from .attributes import attribute
from .eager import can_be_eager
from .neuron_libraries import (
    Library,
    Shape,
    Steps,
    bare,
    by_step_mode,
    class_names,
    library_of,
    size,
)

_NAMES = {"if": "IF", "lif": "LIF", "other": "other", NON_SPIKING: NON_SPIKING}


@dataclass(frozen=True)
class NeuronRule:
    """How modules of a class behave as neurons.

    Attributes:
        cls: the class; subclasses are meant too.
        kind: "IF", "LIF", "other", or "non-spiking" for one that gives its membrane potential and
            no spikes, in whatever case.
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
            raise RecordError(
                f"{named}: kind={self.kind!r} is none of IF, LIF, other, {NON_SPIKING}."
            )
        states = (self.states,) if isinstance(self.states, str) else self.states
        if not isinstance(states, tuple | list) or not all(_is_name(name) for name in states):
            raise RecordError(f"{named}: states={self.states!r} is not a tuple of attribute names.")
        if not isinstance(self.batch_dim, int) or not isinstance(self.time_dim, int | None):
            raise RecordError(f"{named}: batch_dim and time_dim are numbers of dimensions.")
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "states", tuple(states))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()


@dataclass(frozen=True)
class Known:
    """What is known of a class of modules.

    Attributes:
        rule: the user's, if there is one.
        library: that it is of, if it is a known one.
        names: its name and those of its bases, without packages.
        kind: "IF", "LIF", "other", "non-spiking", or None: it is no neuron.
    """

    rule: NeuronRule | None
    library: Library | None
    names: list[str]
    kind: str | None


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
        self._known: dict[type, Known] = {}
        self._checked: set[type] = set()

    def _of(self, module: torch.nn.Module) -> Known:
        """Return what is known of a module's class."""
        cls = type(module)
        known = self._known.get(cls)
        if known is None:
            rule = next((rule for rule in self._rules if issubclass(cls, rule.cls)), None)
            library, names = library_of(cls), class_names(cls)
            kind = None if library is None else library.kind(names)
            kind = kind if rule is None else rule.kind
            known = self._known[cls] = Known(rule, library, bare(names), kind)
        return known

    def kind(self, module: torch.nn.Module) -> str | None:
        """Return "IF", "LIF", "other", "non-spiking", or None for a module that is no neuron."""
        known = self._of(module)
        if known.kind is not None and known.rule is None and known.library is not None:
            reads_out = known.library.reads_out
            if reads_out is not None and reads_out(module, known.names):
                return NON_SPIKING
        return known.kind

    def states(self, module: torch.nn.Module) -> list[torch.Tensor]:
        """Return the live tensor states of a neuron, in a fixed order."""
        known = self._of(module)
        named: Any = () if known.library is None else known.library.states
        if known.rule is not None:
            named = known.rule.states
        found = named(module) if callable(named) else [attribute(module, n) for n in named]
        return [state for state in found if isinstance(state, torch.Tensor) and _is_live(state)]

    def lacking(self, module: torch.nn.Module) -> list[str]:
        """Return the states that a rule names and a module that has run lacks; once a class."""
        rule = self._of(module).rule
        if rule is None or type(module) in self._checked:
            return []
        self._checked.add(type(module))
        return [name for name in rule.states if attribute(module, name, self) is self]

    def tells(self, module: torch.nn.Module) -> bool:
        """Tell whether `steps` may know something of a module, now or later."""
        known = self._of(module)
        return (
            known.rule is not None
            or known.library is not None
            or attribute(module, "step_mode", self) is not self
        )

    def steps(self, module: torch.nn.Module, shape: Shape) -> Steps | None:
        """Return (batch, time steps) of an input shape; None if the module does not tell."""
        known = self._of(module)
        if known.rule is not None:
            time = known.rule.time_dim
            return size(shape, known.rule.batch_dim), 1 if time is None else size(shape, time)
        if known.library is None or known.library.steps is None:
            return by_step_mode(module, shape)
        return known.library.steps(module, known.names, shape)

    def hides_work(self, module: torch.nn.Module) -> str | None:
        """Return why the dispatcher does not see a module's work, or None."""
        backend = attribute(module, "backend")
        if isinstance(backend, str) and backend not in ("torch", "") and self.kind(module):
            return f"backend {backend} runs outside the dispatcher"
        if type(module).__name__ == "OptimizedModule" and not can_be_eager():
            return "compiled module"
        return None


def _is_live(state: torch.Tensor) -> bool:
    try:
        return state.numel() > 0
    except Exception:  # nested tensors have no number of elements
        return True
