"""Whether opjoule's own rules cover an op, told before it is recorded."""

from __future__ import annotations

from typing import Any

from ..analyzers.rules import Call, Operand, rule_set
from ..analyzers.rules.classes import class_of
from ..tracer.operands import describe_op

_TENSOR = Operand(slot=0, name="", list_index=None, shape=(), dtype="float32", numel=1, bytes=4)


def covers(op: Any) -> bool:
    """Tell whether the rule set `full` counts an op: by a rule, by its class, or as free.

    Args:
        op: PyTorch's overload.
    """
    described = describe_op(op)
    call = Call(
        op=described.name,
        packet=described.packet,
        ins={slot: _TENSOR for slot in range(len(described.slots))},
        outs={0: _TENSOR} if op._schema.returns else {},
        arguments={},
        tags=described.tags,
        is_view=described.is_view,
        mutates=tuple(described.writes),
    )
    return rule_set("full").rule_of(call.op) is not None or class_of(call) is not None
