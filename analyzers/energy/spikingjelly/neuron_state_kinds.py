"""What ops do to the state of neurons, by SpikingJelly's revision of August 2026."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from ...trace.trace import Trace

_CLASSES = {
    "add": ("add", "sub", "rsub"),
    "mul": ("mul", "div"),
    "compare": ("eq", "ne", "lt", "le", "gt", "ge"),
    "non_linear": ("sigmoid", "sqrt", "rsqrt", "exp", "tanh"),
    "select": ("where",),
    "copy": ("clone", "copy", "_to_copy"),
}
_CLASS_OF = {name: kind for kind, names in _CLASSES.items() for name in names}
ADDITIONS = ("add", "compare", "non_linear", "select")
"""Kinds whose results count as additions."""

_WRITES = ("add", "mul", "select", "copy")
_VIEWS = (
    "detach view alias _unsafe_view as_strided expand slice select unsqueeze squeeze transpose "
    "permute lift_fresh"
).split()
_STARTS = ("full_like", "zeros_like")


def state_kinds(trace: Trace) -> pl.DataFrame:
    """Return what the ops of each signature do to state.

    Returns:
        `rank`, `signature_id`, `op`, `kind`, `view`, `starts` (makes state from nothing), `copies`
        and `writes`.
    """
    rows = []
    for rank, number, op, mutates in trace.signatures.select(
        "rank", "signature_id", "op", "mutates"
    ).iter_rows():
        word = op.split(".")[1]
        name = word if word == "_to_copy" else word.rstrip("_")
        kind = _CLASS_OF.get(name, "other")
        writes = kind in _WRITES or (kind == "non_linear" and bool(mutates))
        flags = (name in _VIEWS, name in _STARTS, name == "copy", writes)
        rows.append((rank, number, op, kind, *flags))
    flagged = dict.fromkeys(("view", "starts", "copies", "writes"), pl.Boolean)
    text = {"op": pl.String, "kind": pl.String}
    return pl.DataFrame(
        rows,
        schema={"rank": pl.Int32, "signature_id": pl.Int32, **text, **flagged},
        orient="row",
    )
