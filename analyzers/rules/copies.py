"""Copies, indexing, factories and random numbers: bytes, and arithmetic only where they add.

Bytes are those of the elements that are read and written. What takes a few rows of a table reads
these rows; what overwrites a tensor does not read it. A mask touches all that it might. What adds
to a tensor counts its additions; gradients that are put back where their elements were taken from
count none (how many meet there is in the data).
"""

from __future__ import annotations

from .call import Call, Operand
from .rule import Figures, OpRule, aten


def copy(call: Call) -> Figures:
    """Return the bytes of all that is read and written."""
    return Figures(bytes=call.moved)


def fill(call: Call) -> Figures:
    """Return the bytes that are written; shape and type alone are taken from an operand."""
    value = call.named("value")
    return Figures(bytes=call.written + (value.bytes if value else 0))


def draw(call: Call) -> Figures:
    """Return the bytes of random numbers: tensors of parameters read, the result written."""
    return fill(call) if call.base == "bernoulli" and "p" in call.arguments else copy(call)


def taken(call: Call) -> Figures:
    """Return the bytes of an op that takes elements of its first operand.

    Those, not the whole; the indices; the result.
    """
    source = call.ins[0]
    return Figures(bytes=call.out.numel * _item(source) + call.read - source.bytes + call.written)


def _item(operand: Operand) -> int:
    """Return the size of an element."""
    return operand.bytes // operand.numel if operand.numel else 0


def _indices(call: Call) -> int:
    """Return the bytes of all index operands."""
    names = ("index", "indices", "mask")
    return sum(o.bytes for o in call.ins.values() if o.name in names)


def _source(call: Call) -> Operand | None:
    for name in ("src", "values", "source", "value"):
        found = call.named(name)
        if found is not None:
            return found
    return None


def _places(call: Call) -> int:
    """Return how many elements of the target are written: as many as come from the source."""
    index, source = call.named("index"), _source(call)
    if call.base.startswith("scatter") and index is not None:
        return index.numel
    if call.base.rstrip("_") == "index_fill" and index is not None:
        dim = int(call.arg("dim", 0))
        return index.numel * (call.ins[0].numel // max(call.ins[0].dim(dim), 1))
    if call.listed("indices"):
        return _indexed(call)
    if source is not None and source.shape:
        return source.numel
    return index.numel if index is not None else 0


def _indexed(call: Call) -> int:
    """Return the elements that x[i, j, ...] names; as many as the values hold if masks decide."""
    indices, target, source = call.listed("indices"), call.ins[0], _source(call)
    if any(o.dtype in ("bool", "uint8") for o in indices):
        whole = max(o.numel for o in indices)
        rest = target.numel // whole if whole else 0
        return source.numel if source is not None and source.numel > 1 else whole * rest
    named = _broadcast(*(o.shape for o in indices))
    kept = 1
    positions = {o.list_index for o in indices}
    for place, size in enumerate(target.shape):
        kept *= 1 if place in positions else size
    return named * kept


def _broadcast(*shapes: tuple[int, ...]) -> int:
    elements = 1
    for place in range(1, max((len(s) for s in shapes), default=0) + 1):
        elements *= max(s[-place] if place <= len(s) else 1 for s in shapes)
    return elements


def scatter(call: Call) -> Figures:
    """Return the counters of an op that writes to places that an index names.

    Out of place the target is copied first. Where it adds, each element is one FLOP and one AC,
    and the places are read too.
    """
    target, places, source = call.ins[0], _places(call), _source(call)
    how = _combines(call)
    read = _indices(call) + (min(places, source.numel) * _item(source) if source else 0)
    written = places * _item(target)
    if not call.in_place:
        read += target.bytes
        written = call.written
    elif how:
        read += places * _item(target)
    additions = places * target.parts
    flops = (additions if how else 0) + (0 if call.is_number("alpha", 1, 1) else additions)
    return Figures(flops, read + written, acs=additions if how == "sum" else 0)


def _combines(call: Call) -> str | None:
    """Return how elements are combined with what is there: "sum", another way, or not at all."""
    if "add" in call.base or call.arg("accumulate", False):
        return "sum"
    how = call.arg("reduce")
    return "sum" if how in ("add", "sum", "mean") else how


def folded(call: Call) -> Figures:
    """Return the counters of what sums an operand's elements to fewer: in - out additions."""
    x = call.ins[0]
    additions = max(x.numel - call.out.numel, 0) * x.parts
    return Figures(flops=additions, bytes=call.moved, acs=additions)


def bag(call: Call) -> Figures:
    """Return the counters of an embedding bag: the rows taken, added or compared bag by bag."""
    weight, indices = call.ins[0], call.ins[1]
    rows = indices.numel * weight.dim(-1)
    out = call.out.numel
    mode, weighted = int(call.arg("mode", 0)), call.named("per_sample_weights") is not None
    joined = max(rows - out, 0)
    flops = joined + (out if mode == _MEAN else 0) + (rows if weighted else 0)
    moved = call.read - weight.bytes + rows * _item(weight) + call.written
    additions = 0 if weighted or mode == _LARGEST else joined
    return Figures(flops, moved, 0, rows if weighted else 0, additions)


_MEAN, _LARGEST = 1, 2
"""How a bag is joined; 0 is its sum."""


def part_written(call: Call) -> Figures:
    """Return the bytes of a copy of which a part comes from another operand: out twice."""
    return Figures(bytes=2 * call.written)


_COPIES = (
    "clone copy copy_ _to_copy cat stack _stack _chunk_cat block_diag repeat roll flip rot90 "
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d tril tril_ triu triu_ diag_embed pixel_shuffle "
    "pixel_unshuffle channel_shuffle native_channel_shuffle im2col upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d where masked_fill masked_fill_ masked_scatter masked_scatter_ "
    "masked_scatter_backward max_unpool2d max_unpool3d lift_fresh_copy _conj_physical "
    "conj_physical_ _conj_copy complex repeat_interleave _pack_padded_sequence select_backward "
    "slice_backward diagonal_backward _reshape_copy view_copy alias_copy detach_copy t_copy "
    "transpose_copy permute_copy expand_copy unsqueeze_copy squeeze_copy view_as_real_copy "
    "view_as_complex_copy split_copy split_with_sizes_copy unbind_copy _reshape_alias_copy "
    "_neg_view_copy to_padded_tensor _to_dense to_mkldnn _mkldnn_reshape _mkldnn_transpose "
    "_copy_from _copy_from_and_resize _cudnn_rnn_flatten_weight _pin_memory _lazy_clone "
    "fill_diagonal_ _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu "
    "mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight int_repr "
    "_nested_from_padded _nested_tensor_from_mask _jagged_to_padded_dense_forward "
    "_padded_dense_to_jagged_forward"
)
_TAKEN = (
    "index _unsafe_index _unsafe_masked_index index_select gather take masked_select "
    "select_copy slice_copy narrow_copy diagonal_copy unfold_copy as_strided_copy"
)
_FILLS = (
    "zeros ones full fill zero zeros_like ones_like full_like new_zeros new_ones new_full zero_ "
    "fill_ arange range linspace logspace eye scalar_tensor tril_indices triu_indices rand randn "
    "randint rand_like randn_like randint_like randperm normal_ uniform_ random_ normal_functional "
    "exponential_ geometric_ log_normal_ cauchy_ bartlett_window blackman_window hamming_window "
    "hann_window kaiser_window fft_fftfreq fft_rfftfreq _new_zeros_with_same_feature_meta "
    "_cudnn_init_dropout_state"
)
_DRAWN = (
    "bernoulli bernoulli_ normal multinomial poisson binomial _standard_gamma _sample_dirichlet"
)
_SCATTERS = (
    "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_add index_add_ "
    "index_copy index_copy_ index_fill index_fill_ index_put index_put_ _index_put_impl_ "
    "_unsafe_index_put index_reduce index_reduce_ put put_"
)

RULES: tuple[OpRule, ...] = (
    OpRule("copy", aten(_COPIES), copy),
    OpRule(
        "copy",
        aten("slice_scatter select_scatter diagonal_scatter as_strided_scatter"),
        part_written,
    ),
    OpRule("indexing", aten(_TAKEN), taken),
    OpRule("indexing", aten(_SCATTERS), scatter),
    OpRule("embedding", aten("embedding"), taken),
    OpRule("embedding", aten("_embedding_bag _embedding_bag_forward_only"), bag),
    OpRule(
        "embedding backward",
        aten("embedding_dense_backward _embedding_bag_backward _embedding_bag_dense_backward"),
        copy,
    ),
    OpRule("indexing", aten("unfold_backward _unsafe_masked_index_put_accumulate"), copy),
    OpRule(
        "copy",
        aten(
            "col2im reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward "
            "replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward "
            "upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward "
            "_upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward "
            "_upsample_nearest_exact3d_backward"
        ),
        folded,
    ),
    OpRule("factory", aten(_FILLS), fill),
    OpRule("random", aten(_DRAWN), draw),
)
