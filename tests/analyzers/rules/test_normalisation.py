"""Batch, layer, group and RMS norm, by hand."""

from __future__ import annotations

import pytest

N, C = 2 * 3 * 4 * 4, 3  # 96 elements, 3 channels
X, W, B = ("input", (2, 3, 4, 4)), ("weight", (3,)), ("bias", (3,))
MEAN, VAR = ("running_mean", (3,)), ("running_var", (3,))
SAVED = [(2, 3, 4, 4), (3,), (3,)]


def test_training(of_five):
    # 5n + 4c, affine 2n, running statistics 6c; input, 4 vectors, output, 2 saved
    found = of_five("native_batch_norm", [X, W, B, MEAN, VAR], SAVED, training=True)
    assert found == (7 * N + 10 * C, 4 * (2 * N + 6 * C), 0, N + 2 * C, 3 * N + 2 * C)


def test_training_plain(of_five):
    found = of_five("native_batch_norm", [X, None, None, None, None], SAVED, training=True)
    assert found == (5 * N + 4 * C, 4 * (2 * N + 2 * C), 0, 0, 3 * N)


def test_evaluation(of_five):
    results = [(2, 3, 4, 4), (0,), (0,)]
    found = of_five("native_batch_norm", [X, W, B, MEAN, VAR], results, training=False)
    assert found == (4 * N + 2 * C, 4 * (2 * N + 4 * C), 0, N, N + C)


@pytest.mark.parametrize(
    ("op", "operands", "arguments", "training"),
    [
        ("cudnn_batch_norm", [X, W, B, MEAN, VAR], {"training": True}, True),
        ("cudnn_batch_norm", [X, W, B, MEAN, VAR], {"training": False}, False),
        ("miopen_batch_norm", [X, W, B, MEAN, VAR], {"training": True}, True),
        ("_native_batch_norm_legit", [X, W, B, MEAN, VAR], {"training": True}, True),
        ("_native_batch_norm_legit_no_training", [X, W, B, MEAN, VAR], {}, False),
        ("_batch_norm_with_update", [X, W, B, MEAN, VAR], {}, True),
        ("_batch_norm_no_update", [X, W, B, MEAN, VAR], {}, False),
    ],
)
def test_variants_are_one_family(of_five, op, operands, arguments, training):
    plain = of_five("native_batch_norm", operands, SAVED, training=training)
    found = of_five(op, operands, SAVED, **arguments)
    assert (found[0], *found[2:]) == (plain[0], *plain[2:])


def test_no_statistics_are_kept(of_five):
    # what instance norm dispatches: 5n + 4c + 2n, none of the running statistics' 6c
    found = of_five("_native_batch_norm_legit.no_stats", [X, W, B], SAVED, training=True)
    assert found[0] == 7 * N + 4 * C


GRAD = ("grad_out", (2, 3, 4, 4))
STATS = [MEAN, VAR, ("save_mean", (3,)), ("save_invstd", (3,))]


@pytest.mark.parametrize(
    ("train", "mask", "flops", "read"),
    [
        # 2n + (n - c) + (2n - c) + (5n + 2c); gradient, input, weight, both saved statistics
        (True, [True, True, True], 10 * N, 2 * N + 3 * C),
        # xhat 2n, 2n - c; gradient, input, both statistics
        (True, [False, True, False], 4 * N - C, 2 * N + 2 * C),
        (True, [False, False, True], N - C, N),
        # 2n; gradient, weight, running variance
        (False, [True, False, False], 2 * N, N + 2 * C),
        # 2n + 2n + 2n - c + n - c; gradient, input, weight, both running statistics
        (False, [True, True, True], 7 * N - 2 * C, 2 * N + 3 * C),
    ],
)
def test_backward(of_five, train, mask, flops, read):
    results = [s for asked, s in zip(mask, ((2, 3, 4, 4), (3,), (3,)), strict=True) if asked]
    written = sum(N if len(s) == 4 else C for s in results)
    found = of_five("native_batch_norm_backward", [GRAD, X, W, *STATS], results, train=train,
                    output_mask=mask)  # fmt: skip
    assert found[:2] == (flops, 4 * (read + written))


def test_backward_accumulates(of_five):
    # MACs: g·xhat summed; ACs: x - mean n, the bias' n - c, two subtractions n each
    found = of_five("native_batch_norm_backward", [GRAD, X, W, *STATS], SAVED, train=True,
                    output_mask=[True, True, True])  # fmt: skip
    assert found[3:] == (N, 4 * N - C)


def test_operand_orders_of_the_backends(of_five):
    results = [(2, 3, 4, 4), (3,), (3,)]
    plain = of_five("native_batch_norm_backward", [GRAD, X, W, *STATS], results, train=True,
                    output_mask=[True] * 3)  # fmt: skip
    saved = [("save_mean", (3,)), ("save_var", (3,))]
    turned = [X, ("grad_output", (2, 3, 4, 4)), W, MEAN, VAR, *saved]
    assert of_five("miopen_batch_norm_backward", turned, results) == plain
    reserve = ("reserveSpace", (16,), "int8")
    assert of_five("cudnn_batch_norm_backward", [*turned, reserve], results) == plain
    operands = [GRAD, X, W, MEAN, VAR, *saved, reserve]
    found = of_five("batch_norm_backward", operands, results, update=True, output_mask=[True] * 3)
    assert found == plain


def test_parts_over_ranks_add_up(of_five):
    # statistics 3n + 4c and normalisation 2n + 2n make the forward pass without running statistics
    stats = of_five("batch_norm_stats", [X], [(3,), (3,)])
    last = of_five("batch_norm_elemt", [X, W, B, ("mean", (3,)), ("invstd", (3,))], [X[1]])
    assert stats[0] + last[0] == 7 * N + 4 * C
    assert stats[3] + last[3] == N and stats[4] + last[4] == 3 * N


R = 8  # rows of 12


def test_layer_norm(of_five):
    # 5n + 4r + 2n affine, n elements in 8 rows of 12
    operands = [("input", (2, 4, 12)), ("weight", (12,)), ("bias", (12,))]
    found = of_five("native_layer_norm", operands, [(2, 4, 12), (2, 4, 1), (2, 4, 1)],
                    normalized_shape=[12])  # fmt: skip
    assert found == (7 * N + 4 * R, 4 * (2 * N + 24 + 2 * R), 0, N, 3 * N)
    plain = of_five("native_layer_norm", operands[:1], [(2, 4, 12)], normalized_shape=[12])
    assert plain[0] == 5 * N + 4 * R and plain[3] == 0


def test_layer_norm_backward(of_five):
    operands = [("grad_out", (2, 4, 12)), ("input", (2, 4, 12)), ("mean", (2, 4, 1)),
                ("rstd", (2, 4, 1)), ("weight", (12,)), ("bias", (12,))]  # fmt: skip
    results = [(2, 4, 12), (12,), (12,)]
    found = of_five("native_layer_norm_backward", operands, results, normalized_shape=[12],
                    output_mask=[True] * 3)  # fmt: skip
    # xhat 2n, g·w n, n - r, 2n - r, 4n + 2r; weight 2n - 12, bias n - 12
    assert found[0] == 10 * N + (2 * N - 12) + (N - 12)
    assert found[3] == 2 * N
    bias = of_five("native_layer_norm_backward", operands, [(12,)], normalized_shape=[12],
                   output_mask=[False, False, True])  # fmt: skip
    assert bias[0] == N - 12


def test_group_norm(of_five):
    # 2 samples of 3 groups: 6 statistics
    operands = [("input", (2, 6, 8)), ("weight", (6,)), ("bias", (6,))]
    found = of_five("native_group_norm", operands, [(2, 6, 8), (2, 3), (2, 3)],
                    N=2, C=6, HxW=8, group=3)  # fmt: skip
    assert found[0] == 7 * N + 4 * 6


def test_rms_norm(of_five):
    # squares added 2n, + eps and inverse root 2r, scaled n, weighted n
    operands = [("input", (2, 4, 12)), ("weight", (12,))]
    found = of_five("_fused_rms_norm", operands, [(2, 4, 12), (2, 4, 1)], normalized_shape=[12])
    assert found[0] == 4 * N + 2 * R and found[3:] == (0, N + R)
