"""The neuron libraries that the recorder understands, each in one entry of `LIBRARIES`.

A module is recognized by the names of its classes: no library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..schemas import NON_SPIKING
from .attributes import attribute

Shape = tuple[int, ...]
Steps = tuple[int | None, int | None]
"""Batch and time steps, None where unknown."""


@dataclass(frozen=True)
class Library:
    """What the neurons of a library are like.

    Attributes:
        kind: from the names of a class and its bases, the class first, to "IF", "LIF", "other",
            `NON_SPIKING` for what gives its membrane potential, or None for what is no neuron. A
            name has its package.
        states: attributes that hold state, if they are tensors that are not empty; or what returns
            the state of a module.
        steps: from (module, names without packages, shape of its first input) to batch and time
            steps; None where they are not known.
        reads_out: from (module, names without packages) to whether a module of a class of neurons
            is set to hand out its potential, or what is computed from it, and no spikes.
    """

    kind: Callable[[list[str]], str | None]
    states: tuple[str, ...] | Callable[[Any], Iterable[Any]]
    steps: Callable[[Any, list[str], Shape], Steps | None] | None = None
    reads_out: Callable[[Any, list[str]], bool] | None = None


def library_of(cls: type) -> Library | None:
    """Return the library that a class comes from, or that a base of it does."""
    packages = (base.__module__.split(".")[0] for base in cls.__mro__)
    return next((LIBRARIES[package] for package in packages if package in LIBRARIES), None)


def class_names(cls: type) -> list[str]:
    """Return the names of a class and its bases with their packages, the class first."""
    return [f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__]


def bare(names: Iterable[str]) -> list[str]:
    """Return names without packages."""
    return [name.rsplit(".", 1)[1] for name in names]


def size(shape: Shape, dim: int) -> int | None:
    """Return the size of a dimension; None if the shape has no such."""
    return int(shape[dim]) if -len(shape) <= dim < len(shape) else None


def _one_step(shape: Shape) -> Steps:
    return size(shape, 0), 1


def _time_first(shape: Shape) -> Steps | None:
    return (size(shape, 1), size(shape, 0)) if len(shape) > 1 else None


_PARALLEL = ("PSN", "MaskedPSN", "SlidingPSN", "FlexSN")
"""SpikingJelly's neurons whose names do not end as those of the others do."""


def _spikingjelly(names: list[str]) -> str | None:
    own = bare(names)
    if "BaseNode" not in own and not any(
        ".neuron" in name and name.rsplit(".", 1)[1].endswith(("Node", *_PARALLEL))
        for name in names
    ):
        return None
    if any("NonSpiking" in name for name in own):
        return NON_SPIKING
    if own[0] in ("IFNode", "SimpleIFNode"):
        return "IF"
    if own[0] in ("LIFNode", "SimpleLIFNode"):
        return "LIF"
    return "IF" if "IFNode" in own else "LIF" if "LIFNode" in own else "other"


def _memories(module: Any) -> Iterable[Any]:
    found = attribute(module, "_memories")
    return found.values() if isinstance(found, dict) else (attribute(module, "v"),)


def by_step_mode(module: Any, shape: Shape) -> Steps | None:
    """Return batch and time steps as a module's `step_mode` tells them: SpikingJelly's, of all."""
    mode = attribute(module, "step_mode")
    if mode == "m":
        return size(shape, 1), size(shape, 0)
    return _one_step(shape) if mode == "s" else None


def _steps_of_spikingjelly(module: Any, names: list[str], shape: Shape) -> Steps | None:
    # Sequence layers of these are (time, batch, ...); recurrent ones have no neurons.
    if {"PSN", "SpikingRNNBase"}.intersection(names):
        return _time_first(shape)
    return by_step_mode(module, shape)


def _is_liaf(module: Any, names: list[str]) -> bool:
    """Tell of a LIAFNode: in single steps it hands out an activation of its potential."""
    return "LIAFNode" in names and attribute(module, "step_mode") == "s"


_SNNTORCH_SEQUENCES = {"StateLeaky", "AssociativeLeaky", "LeakyParallel"}


def _snntorch(names: list[str]) -> str | None:
    own = bare(names)
    if not {"SpikingNeuron", "LIF", *_SNNTORCH_SEQUENCES}.intersection(own):
        return None
    return "LIF" if own[0] in ("Leaky", "RLeaky", "Lapicque") else "other"


def _is_filter(module: Any, names: list[str]) -> bool:
    """Tell of a StateLeaky: with output=False it hands out its potential alone."""
    return "StateLeaky" in names and attribute(module, "output") is False


def _steps_of_snntorch(module: Any, names: list[str], shape: Shape) -> Steps | None:
    if _SNNTORCH_SEQUENCES.intersection(names):
        return _time_first(shape)
    return _one_step(shape) if "SpikingNeuron" in names or "LIF" in names else None


_NORSE_SEQUENCES = {"SNN", "SNNRecurrent", "LConv2d"}
_NORSE_BASES = {"SNN", "SNNRecurrent", "SNNCell", "SNNRecurrentCell", "LIFCorrelation"}
"""Bases of its neurons; a few cells have none."""
_NORSE_EXPONENTIAL = ("LIFEx", "LIFAdEx")
"""Its neurons whose membrane has an exponential term (EIF, AdEx): of another kind than LIF."""
_NORSE_READOUTS = {"LI", "LICell", "LIBoxCell", "LIFeedForwardCell", "LILinearCell"}


def _norse(names: list[str]) -> str | None:
    own = bare(name for name in names if ".module." in name)  # whatever the user calls his own
    cells = [name for name in own if name.endswith("Cell") and name != "RegularizationCell"]
    if not cells and not _NORSE_BASES.intersection(own):
        return None
    if _NORSE_READOUTS.intersection(own):
        return NON_SPIKING
    if own[0].startswith("LIF"):
        return "other" if any(name in own[0] for name in _NORSE_EXPONENTIAL) else "LIF"
    return "IF" if own[0].startswith("IAF") else "other"


def _steps_of_norse(module: Any, names: list[str], shape: Shape) -> Steps | None:
    if _NORSE_SEQUENCES.intersection(names):
        return _time_first(shape)
    return _one_step(shape) if any(n.endswith("Cell") for n in names) else None


def _sinabs(names: list[str]) -> str | None:
    own = bare(names)
    if "StatefulLayer" not in own:
        return None
    if "ExpLeak" in own:
        return NON_SPIKING
    return "IF" if {"IAF", "IAFRecurrent"}.intersection(own) else "LIF" if "LIF" in own else "other"


def _steps_of_sinabs(module: Any, names: list[str], shape: Shape) -> Steps | None:
    if "StatefulLayer" not in names:
        return None
    if "SqueezeMixin" not in names:  # (batch, time, ...)
        return (size(shape, 0), size(shape, 1)) if len(shape) > 1 else None
    rows = size(shape, 0) or 0
    for name in ("batch_size", "num_timesteps"):  # one of them is set, the other one is -1 or None
        given = attribute(module, name)
        if isinstance(given, int) and given > 0 and rows % given == 0:
            pair = (given, rows // given)
            return pair if name == "batch_size" else pair[::-1]
    return None


LIBRARIES = {
    "spikingjelly": Library(_spikingjelly, _memories, _steps_of_spikingjelly, _is_liaf),
    "snntorch": Library(
        _snntorch, ("mem", "syn", "syn_exc", "syn_inh"), _steps_of_snntorch, _is_filter
    ),
    "norse": Library(_norse, (), _steps_of_norse),  # their states are arguments
    "sinabs": Library(_sinabs, ("v_mem", "i_syn", "b"), _steps_of_sinabs),
}
