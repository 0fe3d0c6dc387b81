"""What the data of each storage descends from: the way that samples are told by.

Root calls are numbered from 1. A storage's `data` says what wrote it last was computed from: 0
from parameters, buffers and constants alone; 1 from what came from outside every root call; 4 n
from what root call n was given; 4 n + `TIED` also from what an earlier call of the same sample
made; 4 n + `KEPT` also from what the same module made when it was called before, in an earlier
sample; or both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .operands import Op
from .values import PARAMETER, Value

if TYPE_CHECKING:
    from .session import Session

FIXED, OUTSIDE = 0, 1
TIED, KEPT = 1, 2
WIDTH = 4
"""Numbers of `data` for each root call."""
_TIES = TIED | KEPT


def descend(session: Session, root: int, op: Op, ins: list[Any], made: Any) -> None:
    """Note what the results of a forward call descend from.

    Args:
        session: the recording; its `first` is the first root call of the present sample.
        root: the root call around; 0 outside of all.
        op: what ran; not a view.
        ins: (value, tensor, layout) of its operands.
        made: the same of its results.
    """
    if op.reads is not None:
        ins = ins[: op.reads]
    if op.replaces:
        written = [value.storage for value, _, _ in made if type(value) is Value]
        ins = [slot for slot in ins if type(slot[0]) is Value and slot[0].storage not in written]
    found = _inside(session, WIDTH * root, op, ins) if root else _outside(ins)
    for value, tensor, layout in made:
        if type(value) is Value:
            storage = value.storage
            if storage.data != found and storage.kind != PARAMETER:
                if found > storage.data or not op.overwrites or _is_whole(tensor, layout):
                    storage.data = found


def _inside(session: Session, own: int, op: Op, ins: list[Any]) -> int:
    found = own if op.random else OUTSIDE if op.hollow else FIXED
    ties = 0
    for value, _, _ in ins:
        if value is not None:
            data = value.storage.data
            if data >= own:
                found = own
                ties |= data & _TIES
            elif data:
                found = own
                if data > OUTSIDE:
                    ties |= tie_of(session, own, data)
    return found + ties


def tie_of(session: Session, own: int, data: int) -> int:
    """Return how a root call is tied to an earlier one by data of it that it reads.

    Args:
        session: the recording.
        own: `WIDTH` times the number of the root call.
        data: of the storage, from `WIDTH` to `own`.

    Returns:
        `TIED`, `KEPT`, or 0: not at all.
    """
    root = data // WIDTH
    if root >= session.first and root not in session.elsewhere:
        session.tied = own // WIDTH
        return TIED
    return KEPT if root == session.before else 0


def _outside(ins: list[Any]) -> int:
    found = OUTSIDE
    for value, _, _ in ins:
        if value is not None and value.storage.data > found:
            found = value.storage.data
    return found


def _is_whole(tensor: Any, layout: Any) -> bool:
    return bool(layout.nbytes == tensor.untyped_storage().nbytes())
