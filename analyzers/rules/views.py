"""Views, metadata, and memory that is only set apart: nothing is computed, nothing moved."""

from __future__ import annotations

from .call import Call
from .rule import Figures, OpRule, aten


def nothing(call: Call) -> Figures:
    """Return zeros: known, not missing."""
    return Figures()


_VIEWS = (
    "view view_as_real view_as_complex _unsafe_view _reshape_alias alias detach detach_ expand "
    "permute t t_ transpose transpose_ unsqueeze unsqueeze_ squeeze squeeze_ select slice "
    "slice_inverse diagonal unfold unbind split split_with_sizes unsafe_split "
    "unsafe_split_with_sizes as_strided as_strided_ lift lift_fresh _conj _neg_view _fw_primal "
    "_make_dual values indices _values _indices crow_indices col_indices ccol_indices row_indices "
    "_nested_view_from_buffer _nested_view_from_jagged _nested_get_values"
)

_METADATA = (
    "set_ set_data resize_ resize_as_ _resize_output_ _local_scalar_dense is_same_size is_set_to "
    "is_pinned is_coalesced dense_dim sparse_dim _nnz _dimI _dimV _has_same_storage_numel "
    "_fused_sdp_choice sym_size sym_numel sym_stride sym_storage_offset sym_is_contiguous size "
    "stride numel storage_offset dim _assert_async _functional_assert_async _assert_scalar "
    "_assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size _print "
    "_use_cudnn_ctc_loss _use_miopen_ctc_loss _nested_get_offsets _nested_get_lengths "
    "_nested_get_ragged_idx _nested_get_min_seqlen _nested_get_max_seqlen "
    "_nested_get_jagged_dummy _linalg_check_errors"
)

_ALLOCATIONS = (
    "empty empty_like empty_strided empty_permuted empty_quantized new_empty new_empty_strided "
    "_empty_affine_quantized _empty_per_channel_affine_quantized _efficientzerotensor"
)

RULES: tuple[OpRule, ...] = (
    OpRule("view", aten(_VIEWS), nothing, free=True),
    OpRule("metadata", aten(_METADATA), nothing, free=True),
    OpRule("allocation", aten(_ALLOCATIONS), nothing, free=True),
    OpRule(
        "view",
        ("_c10d_functional.wait_tensor", "_c10d_functional_autograd.wait_tensor"),
        nothing,
        free=True,
    ),
)
