"""The tables of a trace, format 1, as Arrow schemas.

A trace is a directory: `trace.json` (see `manifest`), one file for each static table and
numbered parts (`calls-00000.parquet`, ...) for the tables that grow with the run.

Operands. The tensor arguments of a call are numbered by *slot*: every argument whose type is
Tensor, optional Tensor or a list of them takes one slot (a list one for each element), in the
order of the op's schema; an absent operand (None) keeps its slot. `in0` to `in2` of `calls` are
input slots 0 to 2, `out0` is output slot 0; further ones stand in `call_operands`.
"""

from __future__ import annotations

import pyarrow as pa

FORMAT_VERSION = 1
"""The format that this opjoule writes, and the newest that it reads."""

OLDEST_FORMAT_VERSION = 1
"""The oldest format that this opjoule reads."""

STAGES = ("forward", "backward", "recompute", "optimizer")
"""What a call was part of; `recompute` is a forward run again inside a backward pass."""

VALUE_KINDS = ("parameter", "buffer", "gradient", "neuron_state", "model_input", "activation")

TILE_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Channel tile widths for which a convolution's active patches are measured."""

_TEXT = pa.dictionary(pa.int32(), pa.string())
_INT64S = pa.list_(pa.int64())


def _schema(fields: list[tuple[str, pa.DataType, str, str]]) -> pa.Schema:
    """Build a schema from (name, type, unit, meaning) rows; unit and meaning become metadata."""
    return pa.schema(
        [
            pa.field(name, kind, metadata={"unit": unit, "meaning": meaning})
            for name, kind, unit, meaning in fields
        ]
    )


OPERAND = pa.struct(
    [
        ("role", pa.string()),  # "in" or "out"
        ("slot", pa.int32()),  # ordinal among the tensor arguments (or results), None counted
        ("name", pa.string()),  # argument name of the op's schema ("" for unnamed results)
        ("list_index", pa.int32()),  # place in a Tensor[] argument, else null
        ("shape", _INT64S),
        ("stride", _INT64S),  # in elements; null for layouts without strides
        ("dtype", pa.string()),  # "float32"
        ("layout", pa.string()),  # "strided"
        ("device", pa.string()),  # "cpu", "cuda:0"
        ("numel", pa.int64()),
        ("bytes", pa.int64()),  # numel times the element size, dense
        ("requires_grad", pa.bool_()),
    ]
)

SIGNATURES = _schema(
    [
        ("signature_id", pa.int32(), "", "number of the signature, from 0"),
        ("op", pa.string(), "", "op with overload: aten.convolution.default"),
        ("packet", pa.string(), "", "op without overload: aten.convolution"),
        ("operands", pa.list_(OPERAND), "", "tensor operands, inputs then outputs, present ones"),
        (
            "arguments",
            pa.string(),
            "",
            "JSON object: non-tensor arguments by schema name, defaults filled in",
        ),
        ("tags", pa.list_(pa.string()), "", "PyTorch's tags of the op: pointwise, reduction, ..."),
        ("is_view", pa.bool_(), "", "the result aliases an operand and nothing is written"),
        ("mutates", pa.list_(pa.string()), "", "names of the arguments that the op writes"),
    ]
)

_SLOTS = ("in0", "in1", "in2", "out0")

CALLS = _schema(
    [
        ("seq", pa.int64(), "", "order of execution, from 0"),
        ("signature_id", pa.int32(), "", "row of signatures"),
        ("stage", _TEXT, "", "forward, backward, recompute or optimizer"),
        ("label", _TEXT, "", "the user's label, null without"),
        ("step", pa.int32(), "", "step number, from 0"),
        ("thread", pa.int16(), "", "0 is the thread that recorded"),
        ("module_id", pa.int32(), "", "innermost module; null outside every module"),
        ("module_call_id", pa.int64(), "", "innermost module call; null outside"),
        ("forward_seq", pa.int64(), "", "backward: the forward call of its autograd node"),
        ("grad_enabled", pa.bool_(), "", "autograd recorded at this call"),
        ("training", pa.bool_(), "", "training flag of the innermost module at its call"),
    ]
    + [
        row
        for slot in _SLOTS
        for row in (
            (f"{slot}_value", pa.int64(), "", f"value id of {slot}"),
            (f"{slot}_class", pa.int16(), "", f"SpikeClass bits of {slot}; null: not measured"),
            (f"{slot}_nonzero", pa.int64(), "elements", f"nonzero elements of {slot}"),
        )
    ]
    + [
        (
            "x_fanout",
            pa.int64(),
            "pairs",
            "convolution: (nonzero input element, output element) pairs that meet; "
            "convolution_backward: the same of its `input` in the forward geometry",
        ),
        (
            "grad_fanout",
            pa.int64(),
            "pairs",
            "convolution_backward: (nonzero grad_output element, grad_input element) pairs",
        ),
        (
            "overlap",
            pa.int64(),
            "pairs",
            "products: (nonzero of the first, nonzero of the second factor) pairs that meet",
        ),
        (
            "zero_pairs",
            pa.int64(),
            "pairs",
            "forward products and convolutions: (nonzero of the first, zero of the second factor) "
            "pairs that meet, as those of pruned weights, on CPUs; null: none, or not measured",
        ),
        (
            "active_outputs",
            pa.int64(),
            "elements",
            "output elements that meet at least one nonzero element of the first factor",
        ),
        (
            "active_sites",
            pa.int64(),
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

CALL_OPERANDS = _schema(
    [
        ("seq", pa.int64(), "", "row of calls"),
        ("role", _TEXT, "", "in or out"),
        ("slot", pa.int32(), "", "slot of the operand"),
        ("value_id", pa.int64(), "", "row of values"),
        ("class", pa.int16(), "", "SpikeClass bits; null: not measured"),
        ("nonzero", pa.int64(), "elements", "nonzero elements; null: not measured"),
    ]
)

VALUES = _schema(
    [
        ("value_id", pa.int64(), "", "number of the value, never reused"),
        ("storage_id", pa.int64(), "", "number of the storage, never reused; null: no storage"),
        ("version", pa.int64(), "", "writes to the storage so far, as the recorder counts"),
        ("base_value_id", pa.int64(), "", "value of which this one is a part"),
        ("written_seq", pa.int64(), "", "call that wrote the storage last; null: from outside"),
        ("numel", pa.int64(), "elements", ""),
        ("bytes", pa.int64(), "B", "numel times the element size, dense"),
        ("kind", _TEXT, "", "parameter, buffer, gradient, neuron_state, model_input, activation"),
        ("class", pa.int16(), "", "SpikeClass bits; null: not measured"),
        ("nonzero", pa.int64(), "elements", "null: not measured"),
        ("ones", pa.int64(), "elements", "elements equal to 1; null without a class"),
        ("minus_ones", pa.int64(), "elements", "elements equal to -1; null without a class"),
        ("min", pa.float64(), "", "smallest element; null without a class"),
        ("max", pa.float64(), "", "largest element; null without a class"),
        ("storage_bytes", pa.int64(), "B", "size of the storage; null: not followed"),
    ]
)

PARAMETER = pa.struct(
    [
        ("name", pa.string()),
        ("shape", _INT64S),
        ("dtype", pa.string()),
        ("numel", pa.int64()),
        ("bytes", pa.int64()),
        ("requires_grad", pa.bool_()),
    ]
)

MODULES = _schema(
    [
        ("module_id", pa.int32(), "", "number of the module, from 0; parents before children"),
        ("parent_id", pa.int32(), "", "null for a root"),
        ("path", pa.string(), "", "root class first: VGG.features.3"),
        ("class", pa.string(), "", "class with its package"),
        ("attributes", pa.string(), "", "JSON object: kernel_size, stride, v_threshold, ..."),
        ("parameters", pa.list_(PARAMETER), "", "own parameters, without the children's"),
        ("buffers", pa.list_(PARAMETER), "", "own buffers"),
        ("neuron", pa.string(), "", "IF, LIF or other; null: no spiking neuron"),
        ("hides_work", pa.string(), "", "why the dispatcher does not see its work; null: it does"),
        (
            "same_as",
            pa.int32(),
            "",
            "a further path of a shared module: module_id of its first path, which has the same "
            "parameters; null: a first path",
        ),
    ]
)

MODULE_VALUE = pa.struct(
    [
        ("value_id", pa.int64()),
        ("shape", _INT64S),
        ("dtype", pa.string()),
        ("requires_grad", pa.bool_()),
    ]
)

MODULE_CALLS = _schema(
    [
        ("module_call_id", pa.int64(), "", "number of the call, from 0"),
        ("module_id", pa.int32(), "", "row of modules"),
        ("parent_call_id", pa.int64(), "", "enclosing module call; null for a root call"),
        ("first_seq", pa.int64(), "", "first dispatched call inside"),
        ("last_seq", pa.int64(), "", "last dispatched call inside; first_seq - 1 if none"),
        ("first_node", pa.int64(), "", "autograd sequence number at entry"),
        ("last_node", pa.int64(), "", "autograd sequence number at exit"),
        ("thread", pa.int16(), "", "0 is the thread that recorded"),
        ("stage", _TEXT, "", "forward or recompute"),
        ("label", _TEXT, "", ""),
        ("step", pa.int32(), "", "step number, from 0"),
        ("training", pa.bool_(), "", "the module's training flag at the call"),
        ("grad_enabled", pa.bool_(), "", "autograd recorded at the call"),
        ("step_mode", _TEXT, "", "s or m for modules that have one"),
        ("batch", pa.int64(), "samples", "null: unknown"),
        ("time_steps", pa.int64(), "steps", "null: unknown"),
        ("inputs", pa.list_(MODULE_VALUE), "", "tensors passed in, in order"),
        ("outputs", pa.list_(MODULE_VALUE), "", "tensors handed back, in order"),
        ("state_before", pa.list_(MODULE_VALUE), "", "a neuron's tensor states at entry"),
        ("state_after", pa.list_(MODULE_VALUE), "", "a neuron's tensor states at exit"),
        ("sample", pa.int64(), "", "number of the inference that the call belongs to"),
        ("batch_from", _TEXT, "", "told, observed or guessed; null: the batch is unknown"),
        ("time_steps_from", _TEXT, "", "told, observed or guessed; null: they are unknown"),
    ]
)

OPTIMIZER_STEPS = _schema(
    [
        ("optimizer_step_id", pa.int64(), "", "number of the step() call, from 0"),
        ("group", pa.int32(), "", "parameter group"),
        ("first_seq", pa.int64(), "", "first dispatched call of the step"),
        ("last_seq", pa.int64(), "", "last dispatched call of the step"),
        ("step", pa.int32(), "", "step number of the recording"),
        ("label", _TEXT, "", ""),
        ("class", pa.string(), "", "optimizer class with its package"),
        ("hyper", pa.string(), "", "JSON object: lr, momentum, weight_decay, nesterov, ..."),
        (
            "state",
            pa.string(),
            "",
            "the state set that existed before the step, as sorted JSON names",
        ),
        ("parameters", pa.int64(), "", "parameters with a gradient and that state"),
        ("vector_elements", pa.int64(), "elements", "of 0-d and 1-d parameters with a gradient"),
        ("matrix_elements", pa.int64(), "elements", "of n-d parameters with a gradient"),
    ]
)

STATIC_TABLES: dict[str, pa.Schema] = {
    "signatures": SIGNATURES,
    "modules": MODULES,
    "optimizer_steps": OPTIMIZER_STEPS,
}
"""Tables written once, as one file NAME.parquet."""

PART_TABLES: dict[str, pa.Schema] = {
    "calls": CALLS,
    "call_operands": CALL_OPERANDS,
    "values": VALUES,
    "module_calls": MODULE_CALLS,
}
"""Tables written as the run goes on, in parts NAME-00000.parquet, NAME-00001.parquet, ..."""

TABLES: dict[str, pa.Schema] = {**STATIC_TABLES, **PART_TABLES}

ADDED_COLUMNS: dict[str, tuple[str, ...]] = {
    "modules": ("same_as",),
    "module_calls": ("batch_from", "time_steps_from"),
    "calls": ("zero_pairs", "let_go"),
    "values": ("storage_bytes",),
}
"""Columns that were added to format 1 later: files without them are read as if they were null."""


def described(name: str) -> pa.Schema:
    """Return the schema of table `name` with format version and table name as file metadata."""
    return TABLES[name].with_metadata(
        {"opjoule.format_version": str(FORMAT_VERSION), "opjoule.table": name}
    )
