"""Recording a model in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..schemas import RecordError
from .placement import Placed, moved
from .recorder import Recorder

Optimizer = torch.optim.Optimizer


def record(model: nn.Module | Callable[[], nn.Module], inputs: Any,
           path: str | os.PathLike[str], *,
           loss_fn: Callable[..., torch.Tensor] | None = None, target: Any = None,
           optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
           grad: bool | None = None, device: str | torch.device | None = None,
           **options: Any) -> Path:  # fmt: skip
    """Run a model once and record it.

    Args:
        model: the model, in the mode (train or eval) that is to be recorded; with a device also a
            function that builds it there.
        inputs: one tensor; a tuple or list of positional arguments; or a dict or another mapping
            of keyword ones.
        path: directory of the trace.
        loss_fn: with it a training step is recorded: `loss_fn(output, target)`, or
            `loss_fn(output)` without a target, then its backward pass.
        target: what the loss is taken against.
        optimizer: steps after the backward pass; its gradients are set to None before. Or what
            makes it of the model's parameters, as its class does.
        grad: whether autograd records; by default only if there is a loss.
        device: where all runs: inputs and target are moved there, and whatever is made inside is
            made there. On "meta" nothing is computed and nothing allocated: what follows from
            shapes is known, what depends on the data is not.
        **options: handed to `Recorder`.

    Returns:
        Where the trace is.

    Raises:
        RecordError: an optimizer or a target without a loss, a model that is no module or is not
            on the device, or whatever `Recorder` refuses.
        TypeError: an option is unknown.
    """
    for name in options:
        if name not in _OPTIONS:
            close = get_close_matches(name, [*_OWN, *_OPTIONS], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise TypeError(f"record() takes no option {name!r}{hint}")
    if loss_fn is None and (optimizer is not None or target is not None):
        raise RecordError(
            "optimizer and target need loss_fn: without a loss there is no training step."
        )
    if loss_fn is not None and not callable(loss_fn):
        raise RecordError(f"loss_fn is a {type(loss_fn).__name__}, not a function.")
    placed = None if device is None else Placed(device)
    with nullcontext() if placed is None else placed:
        built = _built(model, placed)
        if placed is not None:
            inputs, target = moved(inputs, placed.device), moved(target, placed.device)
        recorder = Recorder(path, model=built, **options)
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            optimizer = optimizer(built.parameters())
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
        with recorder:
            _run(built, inputs, loss_fn, target, grad)
            if optimizer is not None:
                optimizer.step()
    return recorder.path


_OPTIONS = [name for name in signature(Recorder).parameters if name not in ("path", "model")]
_OWN = [name for name in signature(record).parameters if name != "options"]


def _built(model: Any, placed: Placed | None) -> nn.Module:
    """Return the model, built if it is a function that does it.

    Raises:
        RecordError: it is no module, or not where it is to run.
    """
    if placed is not None and not isinstance(model, nn.Module) and callable(model):
        model = model()
    if not isinstance(model, nn.Module):
        raise RecordError(f"the model is a {type(model).__name__}, not a torch.nn.Module.")
    for name, parameter in () if placed is None else model.named_parameters():
        if placed is not None and parameter.device.type != placed.device.type:
            raise RecordError(
                f"the model's {name} is on {parameter.device}, not on {placed.device}: move the "
                "model there, or give a function that builds it."
            )
    return model


def _run(model: nn.Module, inputs: Any, loss_fn: Callable[..., torch.Tensor] | None, target: Any,
         grad: bool | None) -> None:  # fmt: skip
    training = loss_fn is not None
    with torch.set_grad_enabled(training if grad is None else grad):
        output = _call(model, inputs)
        if loss_fn is not None:
            loss = loss_fn(output) if target is None else loss_fn(output, target)
            loss.backward()


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):  # a tokenizer's output is no dict
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)
