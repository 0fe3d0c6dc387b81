"""The tables of a trace, format 1: their columns, types and meanings; `arrow` has the schemas.

A trace is a directory: `trace.json` (see `manifest`), one file for each static table and
numbered parts (`calls-00000.parquet`, ...) for the tables that grow with the run.

Operands. The tensor arguments of a call are numbered by *slot*: every argument whose type is
Tensor, optional Tensor or a list of them takes one slot (a list one for each element), in the
order of the op's schema; an absent operand (None) keeps its slot. `in0` to `in2` of `calls` are
input slots 0 to 2, `out0` is output slot 0; further ones stand in `call_operands`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

FORMAT_VERSION = 1
"""The format that this opjoule writes, and the newest that it reads."""

OLDEST_FORMAT_VERSION = 1
"""The oldest format that this opjoule reads."""

STAGES = ("forward", "backward", "recompute", "optimizer")
"""What a call was part of; `recompute` is a forward run again inside a backward pass."""

VALUE_KINDS = ("parameter", "buffer", "gradient", "neuron_state", "model_input", "activation")

TILE_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Channel tile widths for which a convolution's active patches are measured."""

Kind: TypeAlias = Any
"""Its name ("category": a text that repeats), [type] of a list, {name: type} of named fields."""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind
    unit: str
    meaning: str


_TEXT = "category"
_INT64S = ["int64"]


def _columns(rows: list[tuple[str, Kind, str, str]]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


OPERAND: dict[str, Kind] = {
    "role": "string",  # "in" or "out"
    "slot": "int32",  # ordinal among the tensor arguments (or results), None counted
    "name": "string",  # argument name of the op's schema ("" for unnamed results)
    "list_index": "int32",  # place in a Tensor[] argument, else null
    "shape": _INT64S,
    "stride": _INT64S,  # in elements; null for layouts without strides
    "dtype": "string",  # "float32"
    "layout": "string",  # "strided"
    "device": "string",  # "cpu", "cuda:0"
    "numel": "int64",
    "bytes": "int64",  # numel times the element size, dense
    "requires_grad": "bool",
}

STORED: dict[str, Kind] = {
    "role": "string",  # "in" or "out"
    "slot": "int32",
    "numel": "int64",  # elements that a sparse tensor stores
    "bytes": "int64",  # of these elements and of their indices
}

SIGNATURES = _columns(
    [
        ("signature_id", "int32", "", "number of the signature, from 0"),
        ("op", "string", "", "op with overload: aten.convolution.default"),
        ("packet", "string", "", "op without overload: aten.convolution"),
        ("operands", [OPERAND], "", "tensor operands, inputs then outputs, present ones"),
        (
            "arguments",
            "string",
            "",
            "JSON object: non-tensor arguments by schema name, defaults filled in",
        ),
        ("tags", ["string"], "", "PyTorch's tags of the op: pointwise, reduction, ..."),
        ("is_view", "bool", "", "the result aliases an operand and nothing is written"),
        ("mutates", ["string"], "", "names of the arguments that the op writes"),
        ("stored", [STORED], "", "what sparse operands store; null where there are none"),
    ]
)

_SLOTS = ("in0", "in1", "in2", "out0")

CALLS = _columns(
    [
        ("seq", "int64", "", "order of execution, from 0"),
        ("signature_id", "int32", "", "row of signatures"),
        ("stage", _TEXT, "", "forward, backward, recompute or optimizer"),
        ("label", _TEXT, "", "the user's label, null without"),
        ("step", "int32", "", "step number, from 0"),
        ("thread", "int16", "", "0 is the thread that recorded"),
        ("module_id", "int32", "", "innermost module; null outside every module"),
        ("module_call_id", "int64", "", "innermost module call; null outside"),
        ("forward_seq", "int64", "", "backward: the forward call of its autograd node"),
        ("grad_enabled", "bool", "", "autograd recorded at this call"),
        ("training", "bool", "", "training flag of the innermost module at its call"),
    ]
    + [
        row
        for slot in _SLOTS
        for row in (
            (f"{slot}_value", "int64", "", f"value id of {slot}"),
            (f"{slot}_class", "int16", "", f"SpikeClass bits of {slot}; null: not measured"),
            (f"{slot}_nonzero", "int64", "elements", f"nonzero elements of {slot}"),
        )
    ]
    + [
        (
            "x_fanout",
            "int64",
            "pairs",
            "convolution: (nonzero input element, output element) pairs that meet; "
            "convolution_backward: the same of its `input` in the forward geometry",
        ),
        (
            "grad_fanout",
            "int64",
            "pairs",
            "convolution_backward: (nonzero grad_output element, grad_input element) pairs",
        ),
        (
            "overlap",
            "int64",
            "pairs",
            "products: (nonzero of the first, nonzero of the second factor) pairs that meet",
        ),
        (
            "zero_pairs",
            "int64",
            "pairs",
            "forward products and convolutions: (nonzero of the first, zero of the second factor) "
            "pairs that meet, as those of pruned weights, on CPUs; null: none, or not measured",
        ),
        (
            "active_outputs",
            "int64",
            "elements",
            "output elements that meet at least one nonzero element of the first factor",
        ),
        (
            "active_sites",
            "int64",
            "sites",
            "2-d convolution: output positions whose receptive field holds a nonzero element",
        ),
        (
            "active_patches",
            _INT64S,
            "patches",
            "by tile width: (output position, channel tile) pairs with a nonzero element",
        ),
        (
            "tile_rows",
            _INT64S,
            "pairs",
            "by tile of the smallest width, in order, the last one perhaps partial: (nonzero "
            "element, output position) pairs that meet; wider tiles' pairs are sums of these",
        ),
        (
            "let_go",
            _INT64S,
            "",
            "storages that were let go since the call before; null: none, or not followed",
        ),
    ]
)

CALL_OPERANDS = _columns(
    [
        ("seq", "int64", "", "row of calls"),
        ("role", _TEXT, "", "in or out"),
        ("slot", "int32", "", "slot of the operand"),
        ("value_id", "int64", "", "row of values"),
        ("class", "int16", "", "SpikeClass bits; null: not measured"),
        ("nonzero", "int64", "elements", "nonzero elements; null: not measured"),
    ]
)

VALUES = _columns(
    [
        ("value_id", "int64", "", "number of the value, never reused"),
        ("storage_id", "int64", "", "number of the storage, never reused; null: no storage"),
        ("version", "int64", "", "writes to the storage so far, as the recorder counts"),
        ("base_value_id", "int64", "", "value of which this one is a part"),
        ("written_seq", "int64", "", "call that wrote the storage last; null: from outside"),
        ("numel", "int64", "elements", ""),
        ("bytes", "int64", "B", "numel times the element size, dense"),
        ("kind", _TEXT, "", "parameter, buffer, gradient, neuron_state, model_input, activation"),
        ("class", "int16", "", "SpikeClass bits; null: not measured"),
        ("nonzero", "int64", "elements", "null: not measured"),
        ("ones", "int64", "elements", "elements equal to 1; null without a class"),
        ("minus_ones", "int64", "elements", "elements equal to -1; null without a class"),
        ("min", "float64", "", "smallest element; null without a class"),
        ("max", "float64", "", "largest element; null without a class"),
        ("storage_bytes", "int64", "B", "size of the storage; null: not followed"),
    ]
)

PARAMETER: dict[str, Kind] = {
    "name": "string",
    "shape": _INT64S,
    "dtype": "string",
    "numel": "int64",
    "bytes": "int64",
    "requires_grad": "bool",
}

MODULES = _columns(
    [
        ("module_id", "int32", "", "number of the module, from 0; parents before children"),
        ("parent_id", "int32", "", "null for a root"),
        ("path", "string", "", "root class first: VGG.features.3"),
        ("class", "string", "", "class with its package"),
        ("attributes", "string", "", "JSON object: kernel_size, stride, v_threshold, ..."),
        ("parameters", [PARAMETER], "", "own parameters, without the children's"),
        ("buffers", [PARAMETER], "", "own buffers"),
        (
            "neuron",
            "string",
            "",
            "IF, LIF, other, or non-spiking (it gives its membrane potential); null: no neuron",
        ),
        ("hides_work", "string", "", "why the dispatcher does not see its work; null: it does"),
        (
            "same_as",
            "int32",
            "",
            "a further path of a shared module: module_id of its first path, which has the same "
            "parameters; null: a first path",
        ),
        (
            "parameter_ids",
            _INT64S,
            "",
            "of each of `parameters` the number of its tensor, from 0: modules that share a tensor "
            "have the same number; null: not noted",
        ),
    ]
)

MODULE_VALUE: dict[str, Kind] = {
    "value_id": "int64",
    "shape": _INT64S,
    "dtype": "string",
    "requires_grad": "bool",
}

MODULE_CALLS = _columns(
    [
        ("module_call_id", "int64", "", "number of the call, from 0"),
        ("module_id", "int32", "", "row of modules"),
        (
            "parent_call_id",
            "int64",
            "",
            "enclosing module call; null for a root call, and for what a backward pass repeats",
        ),
        ("first_seq", "int64", "", "first dispatched call inside"),
        ("last_seq", "int64", "", "last dispatched call inside; first_seq - 1 if none"),
        ("first_node", "int64", "", "autograd sequence number at entry"),
        ("last_node", "int64", "", "autograd sequence number at exit"),
        ("thread", "int16", "", "0 is the thread that recorded"),
        ("stage", _TEXT, "", "forward or recompute"),
        ("label", _TEXT, "", ""),
        ("step", "int32", "", "step number, from 0"),
        ("training", "bool", "", "the module's training flag at the call"),
        ("grad_enabled", "bool", "", "autograd recorded at the call"),
        ("step_mode", _TEXT, "", "s or m for modules that have one"),
        ("batch", "int64", "samples", "null: unknown"),
        ("time_steps", "int64", "steps", "null: unknown"),
        ("inputs", [MODULE_VALUE], "", "tensors passed in, in order"),
        ("outputs", [MODULE_VALUE], "", "tensors handed back, in order"),
        ("state_before", [MODULE_VALUE], "", "a neuron's tensor states at entry"),
        ("state_after", [MODULE_VALUE], "", "a neuron's tensor states at exit"),
        ("sample", "int64", "", "number of the inference that the call belongs to"),
        ("batch_from", _TEXT, "", "told, observed or guessed; null: the batch is unknown"),
        ("time_steps_from", _TEXT, "", "told, observed or guessed; null: they are unknown"),
        ("raised", "bool", "", "an exception ended the call; null: not noted"),
    ]
)

OPTIMIZER_STEPS = _columns(
    [
        ("optimizer_step_id", "int64", "", "number of the step() call, from 0"),
        ("group", "int32", "", "parameter group"),
        ("first_seq", "int64", "", "first dispatched call of the step"),
        ("last_seq", "int64", "", "last dispatched call of the step"),
        ("step", "int32", "", "step number of the recording"),
        ("label", _TEXT, "", ""),
        ("class", "string", "", "optimizer class with its package"),
        ("hyper", "string", "", "JSON object: lr, momentum, weight_decay, nesterov, ..."),
        (
            "state",
            "string",
            "",
            "the state set that existed before the step, as sorted JSON names",
        ),
        ("parameters", "int64", "", "parameters with a gradient and that state"),
        ("vector_elements", "int64", "elements", "of 0-d and 1-d parameters with a gradient"),
        ("matrix_elements", "int64", "elements", "of n-d parameters with a gradient"),
    ]
)

STATIC_TABLES: dict[str, tuple[Column, ...]] = {
    "signatures": SIGNATURES,
    "modules": MODULES,
    "optimizer_steps": OPTIMIZER_STEPS,
}
"""Tables written once, as one file NAME.parquet."""

PART_TABLES: dict[str, tuple[Column, ...]] = {
    "calls": CALLS,
    "call_operands": CALL_OPERANDS,
    "values": VALUES,
    "module_calls": MODULE_CALLS,
}
"""Tables written as the run goes on, in parts NAME-00000.parquet, NAME-00001.parquet, ..."""

TABLES: dict[str, tuple[Column, ...]] = {**STATIC_TABLES, **PART_TABLES}

ADDED_COLUMNS: dict[str, tuple[str, ...]] = {
    "signatures": ("stored",),
    "modules": ("same_as", "parameter_ids"),
    "module_calls": ("batch_from", "time_steps_from", "raised"),
    "calls": ("zero_pairs", "let_go"),
    "values": ("storage_bytes",),
}
"""Columns that were added to format 1 later: files without them are read as if they were null."""
