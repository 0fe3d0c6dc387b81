"""From what a user hands over, a model with inputs or a recorded trace, to a trace to be read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..analyzers import Trace, open_trace
from ..schemas import TraceError
from .refusals import MisuseError
from .without import modules_inside, without_modules

if TYPE_CHECKING:
    from torch import nn

MISSING: Any = object()
"""Stands for inputs that were not given; None could be meant."""


@contextmanager
def forward_of(subject: Any, inputs: Any, *, grad: bool | None = None,
               ignored: Iterable[type[nn.Module]] = ()) -> Iterator[Trace]:  # fmt: skip
    """Yield the trace of one forward pass.

    Args:
        subject: a model, which is run once and recorded; or a trace: its path, or opened.
        inputs: of the model: one tensor, a tuple or list of positional arguments, or a dict of
            keyword arguments. `MISSING` with a trace.
        grad: whether autograd records; None: as it is outside.
        ignored: module classes; what runs inside them is left out.

    Raises:
        RecordError: a model without inputs, or a trace with inputs.
        TraceError: the trace cannot be read.
    """
    if is_trace(subject):
        _refuse_inputs(inputs)
        trace = subject if isinstance(subject, Trace) else open_trace(Path(subject))
        yield without_modules(trace, modules_inside(trace, ignored))
        return
    if inputs is MISSING:
        raise MisuseError(
            f"{type(subject).__name__} is not a trace, so inputs are needed to run it."
        )
    import torch

    from ..tracer import record

    with TemporaryDirectory(prefix="opjoule-") as folder:
        wanted = torch.is_grad_enabled() if grad is None else grad
        path = record(subject, inputs, Path(folder) / "trace", grad=wanted)
        with of_the_model(path, subject):
            trace = open_trace(own_part(path))
            yield without_modules(trace, modules_inside(trace, ignored))


@contextmanager
def of_the_model(path: Path, model: nn.Module) -> Iterator[None]:
    """Name the model in errors that speak of a temporary recording of it."""
    try:
        yield
    except TraceError as error:
        told = re.sub(re.escape(str(path)) + r"[^\s:]*", type(model).__name__, str(error))
        raise type(error)(told) from None


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with one argument, with positional ones (tuple, list) or keyword ones (dict)."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def is_trace(subject: object) -> bool:
    """Tell whether a trace was handed over: opened, or where it is."""
    return isinstance(subject, Trace | str | os.PathLike)


def own_part(path: Path) -> Path:
    """Return where this process's part of a recording is: under ranks, in a directory below."""
    if not (path / "trace.json").exists():
        for rank in path.glob("rank=*"):
            return rank
    return path


def _refuse_inputs(inputs: Any) -> None:
    if inputs is not MISSING:
        raise MisuseError("a trace was recorded with its inputs: leave inputs out.")
