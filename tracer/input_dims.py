"""What the class of a layer says of its input: which dimension is the batch, or that there is none.

Recurrent and attention layers say it with `batch_first`; a Linear, a convolution or a recurrent
layer whose input has one dimension less than a batch of them has was given a single sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

from .attributes import attribute
from .module_rows import Described


class Dims(NamedTuple):
    """The batch of an input.

    Attributes:
        batch: samples; None: the shapes do not show them.
        length: size of the sequence in front of the batch; None: the batch is in front.
        single: there is one sample and no dimension of the batch.
    """

    batch: int | None
    length: int | None = None
    single: bool = False


Shape = tuple[int, ...]
Inputs = list[Described]
Reader = Callable[[Any, Shape, Inputs], Dims | None]
"""Reads the batch off the shape of the first tensor and all that a module was given; None: they do
not show it."""

_ONE = Dims(1, single=True)


def reader_of(module: nn.Module) -> Reader | None:
    """Return what reads the batch off the input of a module; None if its class does not say."""
    cls: Any = type(module)
    return _of_class(cls)


@lru_cache(maxsize=4096)
def _of_class(cls: type) -> Reader | None:
    return next((reader for kind, reader in _READERS.items() if issubclass(cls, kind)), None)


def in_front(module: nn.Module, shape: Shape, dims: Dims | None) -> Shape:
    """Return the sizes in front of the dimensions of a sample, in what a layer was given.

    Args:
        module: the layer, one that `reader_of` knows.
        shape: of its input.
        dims: what was read off it.
    """
    if dims is not None:
        return () if dims.single or dims.batch is None else (dims.batch,)
    kernel: Any = attribute(module, "kernel_size")
    own = len(kernel) + 1 if isinstance(kernel, tuple) else 1
    return shape[:-own]


def _linear(module: nn.Module, shape: Shape, inputs: Inputs) -> Dims | None:
    return _ONE if len(shape) == 1 else None


def _convolution(module: _ConvNd, shape: Shape, inputs: Inputs) -> Dims | None:
    kernel: Any = attribute(module, "kernel_size")
    return _ONE if isinstance(kernel, tuple) and len(shape) == len(kernel) + 1 else None


def _cell(module: nn.Module, shape: Shape, inputs: Inputs) -> Dims | None:
    return _ONE if len(shape) == 1 else Dims(shape[0])


def _recurrent(module: nn.RNNBase, shape: Shape, inputs: Inputs) -> Dims | None:
    return _sequence(shape, bool(attribute(module, "batch_first")))


def _attention(module: nn.Module, shape: Shape, inputs: Inputs) -> Dims | None:
    holder: Any = module
    layers = attribute(module, "layers")
    if isinstance(layers, nn.ModuleList) and len(layers):
        holder = layers[0]
    holder = attribute(holder, "self_attn", holder)
    first = attribute(holder, "batch_first")
    return None if first is None else _sequence(shape, first)


def _sequence(shape: Shape, batch_first: bool) -> Dims | None:
    if len(shape) == 2:
        return _ONE
    if len(shape) != 3:
        return None
    return Dims(shape[0]) if batch_first else Dims(shape[1], shape[0])


_READERS: dict[Any, Reader] = {
    nn.Linear: _linear,
    _ConvNd: _convolution,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _cell,
    (
        nn.MultiheadAttention,
        nn.TransformerEncoderLayer,
        nn.TransformerDecoderLayer,
        nn.TransformerEncoder,
        nn.TransformerDecoder,
        nn.Transformer,
    ): _attention,
}
