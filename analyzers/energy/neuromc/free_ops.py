"""Ops that NeuroMC's account passes over: what is free in SpikingJelly, losses, moves of values."""

from __future__ import annotations

_TENSOR_AND_SCALAR = ("eq", "ne", "lt", "le", "gt", "ge", "add", "add_", "sub", "sub_", "rsub",
                      "mul", "mul_", "div", "div_")  # fmt: skip

FREE = frozenset(
    [f"aten.{name}.{kind}" for name in _TENSOR_AND_SCALAR for kind in ("Tensor", "Scalar")]
    + [
        f"aten.{name}.default"
        for name in (
            "detach", "view", "t", "permute", "expand", "alias", "_unsafe_view", "as_strided",
            "squeeze", "unsqueeze", "clone", "copy_", "sqrt", "sqrt_", "rsqrt", "sigmoid",
            "sigmoid_", "sum", "all", "cat", "stack", "full_like", "ones_like", "zeros_like",
            "new_empty_strided", "lift_fresh", "_to_copy", "_local_scalar_dense", "mse_loss",
            "mse_loss_backward", "logical_and", "logical_or", "logical_xor", "logical_not",
            "select_backward", "slice_backward",
        )
    ]
    + [
        "aten.view.dtype", "aten.transpose.int", "aten.slice.Tensor", "aten.select.int",
        "aten.squeeze.dim", "aten.squeeze.dims", "aten.unbind.int", "aten.where.self",
        "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar",
        "aten.sum.dim_IntList", "aten.mean.dim", "aten.split.Tensor", "aten.index.Tensor",
        "aten.empty.memory_format",
    ]
)  # fmt: skip
"""Ops that SpikingJelly's revisions neither charge nor name; found by running 2.0.0 on each."""

RELEASE = frozenset(
    f"aten.{name}.default"
    for name in ("mm", "bmm", "addmm", "convolution", "native_batch_norm",
                 "native_batch_norm_backward")
)  # fmt: skip
"""Ops that SpikingJelly's revisions have fragments for."""

LOSSES = ("_loss", "_log_softmax", "binary_cross_entropy")
"""In the names of ops that compute a loss, which is outside the account."""

MOVES = frozenset(
    f"aten.{name}"
    for name in (
        "zeros", "ones", "full", "arange", "empty", "empty_like", "empty_strided", "new_empty",
        "new_zeros", "new_ones", "new_full", "scalar_tensor", "rand", "randn", "rand_like",
        "randn_like", "randint", "randperm", "bernoulli", "bernoulli_", "normal_", "uniform_",
        "zero_", "zero", "fill_", "fill", "repeat", "flip", "roll", "constant_pad_nd", "index",
        "index_put", "index_put_", "index_select", "gather", "scatter", "narrow_copy", "split",
        "split_with_sizes", "unbind", "lift_fresh_copy", "masked_fill", "masked_fill_", "clone",
        "slice_scatter", "select_scatter", "_reshape_alias", "native_dropout", "equal", "resize_",
        "isnan", "isinf", "any", "all", "bitwise_not", "item", "set_", "copy",
    )
)  # fmt: skip
"""Revision source: packets that make, move or test values and compute none."""
