"""Recording a model in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..schemas import RecordError
from .recorder import Recorder


def record(model: nn.Module, inputs: Any, path: str | os.PathLike[str], *,
           loss_fn: Callable[..., torch.Tensor] | None = None, target: Any = None,
           optimizer: torch.optim.Optimizer | None = None, grad: bool | None = None,
           **options: Any) -> Path:  # fmt: skip
    """Run a model once and record it.

    Args:
        model: the model, in the mode (train or eval) that is to be recorded.
        inputs: one tensor; a tuple or list of positional arguments; or a dict or another mapping
            of keyword ones.
        path: directory of the trace.
        loss_fn: with it a training step is recorded: `loss_fn(output, target)`, or
            `loss_fn(output)` without a target, then its backward pass.
        target: what the loss is taken against.
        optimizer: steps after the backward pass; its gradients are set to None before.
        grad: whether autograd records; by default only if there is a loss.
        **options: handed to `Recorder`.

    Returns:
        Where the trace is.

    Raises:
        RecordError: an optimizer or a target without a loss, a model that is no module, or
            whatever `Recorder` refuses.
    """
    if loss_fn is None and (optimizer is not None or target is not None):
        raise RecordError(
            "optimizer and target need loss_fn: without a loss there is no training step."
        )
    if not isinstance(model, nn.Module):
        raise RecordError(f"the model is a {type(model).__name__}, not a torch.nn.Module.")
    if loss_fn is not None and not callable(loss_fn):
        raise RecordError(f"loss_fn is a {type(loss_fn).__name__}, not a function.")
    recorder = Recorder(path, model=model, **options)
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
    training = loss_fn is not None
    with recorder:
        with torch.set_grad_enabled(training if grad is None else grad):
            output = _call(model, inputs)
            if loss_fn is not None:
                loss = loss_fn(output) if target is None else loss_fn(output, target)
                loss.backward()
        if optimizer is not None:
            optimizer.step()
    return recorder.path


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):  # a tokenizer's output is no dict
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)
