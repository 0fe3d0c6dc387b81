"""Reductions, soft maxima, scans and orders, by hand: n = 20 elements, 4 rows of 5."""

from __future__ import annotations

import pytest

X = ("self", (4, 5))
ROWS = {"dim": [1], "keepdim": False}


@pytest.mark.parametrize(
    ("op", "out", "arguments", "counts"),
    [
        # (FLOPs, MACs, ACs)
        ("sum.dim_IntList", (4,), ROWS, (16, 0, 16)),
        ("sum", (), {}, (19, 0, 19)),
        # 16 additions, 4 divisions
        ("mean.dim", (4,), ROWS, (20, 0, 16)),
        ("mean", (), {}, (20, 0, 19)),
        ("amax", (4,), ROWS, (16, 0, 0)),
        ("argmax", (4,), {"dim": 1}, (16, 0, 0)),
        ("any.dim", (4,), {"dim": 1}, (16, 0, 0)),
        ("max.other", (4, 5), {}, (20, 0, 0)),
        ("prod.dim_int", (4,), {"dim": 1}, (16, 0, 0)),
        ("aminmax", (4,), {"dim": 1}, (32, 0, 0)),
        # compared 20, added 16
        ("count_nonzero.dim_IntList", (4,), ROWS, (36, 0, 16)),
        # mean 20, deviations 20, squares 20, their sum 16, divisions 4
        ("var.correction", (4,), ROWS, (80, 20, 36)),
        # and 4 roots
        ("std.correction", (4,), ROWS, (84, 20, 36)),
        # 20 products added: 20 + 16, 4 roots
        ("linalg_vector_norm", (4,), {"ord": 2, "dim": [1]}, (40, 20, 0)),
        # |x|: 20, added: 16
        ("linalg_vector_norm", (4,), {"ord": 1, "dim": [1]}, (36, 0, 16)),
        ("linalg_vector_norm", (4,), {"ord": "inf", "dim": [1]}, (36, 0, 0)),
        # |x|, and exp(3·log): 4·20; added 16; its root, 3 each
        ("linalg_vector_norm", (4,), {"ord": 3, "dim": [1]}, (108, 0, 16)),
        # maximum 16, deviations 20, exponentials 20, sum 16, divisions 20
        ("_softmax", (4, 5), {"dim": -1}, (92, 0, 36)),
        # maximum 16, deviations 20, exponentials 20, sum 16, logarithms 4, subtractions 20
        ("_log_softmax", (4, 5), {"dim": 1}, (96, 0, 56)),
        # over the columns: 5 rows of 4: 100 - 2·5
        ("_softmax", (4, 5), {"dim": 0}, (90, 0, 35)),
        ("logsumexp", (4,), ROWS, (80, 0, 40)),
        ("cumsum", (4, 5), {"dim": 1}, (16, 0, 16)),
        # 4 rows of 4 steps: max, -, abs, -, exp, log1p, +
        ("logcumsumexp", (4, 5), {"dim": 1}, (112, 0, 32)),
        ("cumprod", (4, 5), {"dim": 1}, (16, 0, 0)),
        # 20 elements, ceil(log2 5) = 3 comparisons each
        ("sort", (4, 5), {"dim": -1}, (60, 0, 0)),
        # 20 comparisons pick 2 of each row, 8·1 more sort them
        ("topk", (4, 2), {"k": 2, "dim": -1, "sorted": True}, (28, 0, 0)),
        ("topk", (4, 2), {"k": 2, "dim": -1, "sorted": False}, (20, 0, 0)),
        ("median.dim", (4,), {"dim": 1}, (20, 0, 0)),
        ("trace", (), {}, (3, 0, 3)),
    ],
)  # fmt: skip
def test_reduction(of_five, op, out, arguments, counts):
    flops, _, _, macs, acs = of_five(op, [X], [out], **arguments)
    assert (flops, macs, acs) == counts


def test_gradients_of_soft_maxima(of_five):
    operands = [("grad_output", (4, 5)), ("output", (4, 5))]
    # g·y 20, summed 16, less 20, times y 20
    assert of_five("_softmax_backward_data", operands, [(4, 5)], dim=1) == (76, 240, 0, 20, 20)
    # g summed 16, exp 20, their product 20, less 20
    assert of_five("_log_softmax_backward_data", operands, [(4, 5)], dim=1) == (76, 240, 0, 20, 16)


def test_bytes_are_what_is_read_and_written(of_five):
    assert of_five("sum", [X], [()])[1] == 84
    assert of_five("max.dim", [X], [(4,), ("indices", (4,), "int64")], dim=1)[1] == 80 + 16 + 32
    assert of_five("trace", [X], [()])[1] == 16 + 4


def test_search(of_five):
    # 20 elements in 7 bounds: ceil(log2 8) = 3
    operands = [("sorted_sequence", (7,)), ("self", (4, 5))]
    assert of_five("searchsorted.Tensor", operands, [("", (4, 5), "int64")])[0] == 60


def test_membership(of_five):
    # each of 20 elements is compared with each of 3; 80 + 12 bytes read, 20 bools written
    operands = [("elements", (4, 5)), ("test_elements", (3,))]
    found = of_five("isin.Tensor_Tensor", operands, [("", (4, 5), "bool")])
    assert found == (60, 80 + 12 + 20, 0, 0, 0)
