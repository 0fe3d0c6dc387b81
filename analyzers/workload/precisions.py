"""In which precision a call computes: the type of its operands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ..trace.signatures import of_each_signature
from ..trace.trace import Trace

_FLOATS = {
    "float64": "fp64",
    "complex128": "fp64",
    "float32": "fp32",
    "complex64": "fp32",
    "float16": "fp16",
    "complex32": "fp16",
    "bfloat16": "bf16",
}
_BYTES = {"int8", "uint8", "qint8", "quint8"}

OTHER = "fp32"
"""The precision of what has neither floating-point nor 8-bit operands."""


def precisions_of(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id` and `precision` of each signature.

    It is that of the first floating-point operand; without one that of 8-bit integers, else
    `OTHER`. Results count as operands after all inputs.
    """
    return of_each_signature(trace, _told, {"precision": pl.String})


def _told(signature: Mapping[str, Any]) -> Mapping[str, Any]:
    operands = sorted(signature["operands"] or (), key=lambda each: each["role"] != "in")
    types = [each["dtype"] or "" for each in operands]
    for name in types:
        if name in _FLOATS:
            return {"precision": _FLOATS[name]}
        if name.startswith("float8"):
            return {"precision": "fp8"}
    return {"precision": "int8" if any(name in _BYTES for name in types) else OTHER}
