"""Collectives: what a rank reads and writes; what is added under way is the network's."""

from __future__ import annotations

from .copies import copy
from .rule import OpRule
from .views import nothing

_COLLECTIVES = (
    "allreduce_ allreduce_coalesced_ broadcast_ reduce_ allgather_ _allgather_base_ "
    "allgather_coalesced_ allgather_into_tensor_coalesced_ reduce_scatter_ _reduce_scatter_base_ "
    "reduce_scatter_tensor_coalesced_ gather_ scatter_ alltoall_ alltoall_base_ send recv_ "
    "recv_any_source_"
)
_FUNCTIONAL = (
    "all_reduce all_reduce_ all_reduce_coalesced all_reduce_coalesced_ all_gather_into_tensor "
    "all_gather_into_tensor_coalesced reduce_scatter_tensor reduce_scatter_tensor_coalesced "
    "all_to_all_single broadcast broadcast_"
)

RULES: tuple[OpRule, ...] = (
    OpRule(
        "communication",
        (
            *(f"c10d.{name}" for name in _COLLECTIVES.split()),
            *(f"_c10d_functional.{name}" for name in _FUNCTIONAL.split()),
        ),
        copy,
    ),
    OpRule("metadata", ("c10d.barrier", "c10d.monitored_barrier_"), nothing, free=True),
)
