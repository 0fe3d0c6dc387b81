"""What is compared: contexts that a workload runs in, from nothing at all to five counters."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from models import Workload
from spikingjelly.activation_based import op_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from opjoule import Recorder

PLAIN = "plain"
OURS = "opjoule"
FLOPS = "FlopCounterMode"

Context = Callable[[Workload], AbstractContextManager[Any]]


class Empty(TorchDispatchMode):
    """Does nothing to every call: what any dispatch mode costs."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def _recorder(work: Workload, **options: Any) -> Iterator[Recorder]:
    folder = Path(tempfile.mkdtemp(prefix="opjoule-bench-"))
    try:
        with Recorder(folder / "trace", model=work.model, **work.options, **options) as recorder:
            yield recorder
    finally:
        shutil.rmtree(folder)


def _five_counters(work: Workload) -> AbstractContextManager[Any]:
    five: AbstractContextManager[Any] = op_counter.DispatchCounterMode(
        [
            op_counter.FlopCounter(),
            op_counter.MemoryAccessCounter(),
            op_counter.SynOpCounter(),
            op_counter.MACCounter(),
            op_counter.ACCounter(),
        ]
    )
    return five


def _profiler(work: Workload) -> AbstractContextManager[Any]:
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if any(parameter.is_cuda for parameter in work.model.parameters()):
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=kinds, record_shapes=True)


PEERS: dict[str, Context] = {
    PLAIN: lambda work: nullcontext(),
    OURS: lambda work: _recorder(work, statistics="full"),
    "opjoule, none": lambda work: _recorder(work, statistics="none"),
    "SpikingJelly, 5 counters": _five_counters,
    FLOPS: lambda work: FlopCounterMode(display=False),
    "torch.profiler, shapes": _profiler,
    "empty dispatch mode": lambda work: Empty(),
}
"""Name -> context of a run; what the benchmarks compare."""

CONTEXTS: dict[str, Context] = {
    **PEERS,
    "opjoule, synaptic": lambda work: _recorder(work, statistics="synaptic"),
}
"""The same, and what is compared on a GPU only."""
