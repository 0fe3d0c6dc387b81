"""Products of matrices, by hand."""

from __future__ import annotations

import pytest

X, W = ("self", (2, 3)), ("mat2", (3, 4))
BIAS = ("self", (4,))


def test_mm(of_five):
    # 2·2·4·3 = 48 FLOPs, 24 MACs; (6 + 12 + 8)·4 B
    assert of_five("mm", [X, W], [(2, 4)]) == (48, 104, 0, 24, 0)


def test_mm_driven_by_the_first_factor(of_five):
    # 5 spikes, each meets a row of 4
    found = of_five("mm", [X, W], [(2, 4)], spikes=("in0",), facts={"in0_nonzero": 5})
    assert found == (48, 104, 20, 0, 20)


def test_mm_driven_by_the_second_factor(of_five):
    # 7 spikes, each meets a column of 2
    found = of_five("mm", [X, W], [(2, 4)], spikes=("in1",), facts={"in1_nonzero": 7})
    assert found == (48, 104, 14, 0, 14)


def test_mm_of_spikes_with_spikes(of_five):
    found = of_five("mm", [X, W], [(2, 4)], spikes=("in0", "in1"), facts={"overlap": 9})
    assert found == (48, 104, 9, 0, 9)


def test_what_was_not_measured_is_unknown(of_five):
    assert of_five("mm", [X, W], [(2, 4)], unmeasured=True) == (48, 104, None, None, None)


@pytest.mark.parametrize(
    ("arguments", "flops", "moved"),
    [
        # 48 + out 8; bias 16 B read
        ({"alpha": 1, "beta": 1}, 56, 120),
        # + out 8 for alpha
        ({"alpha": 2, "beta": 1}, 64, 120),
        # bias scaled 4, added 8
        ({"alpha": 1, "beta": 0.5}, 60, 120),
        # the bias is not read
        ({"alpha": 1, "beta": 0}, 48, 104),
    ],
)
def test_addmm(of_five, arguments, flops, moved):
    operands = [BIAS, ("mat1", (2, 3)), W]
    assert of_five("addmm", operands, [(2, 4)], **arguments) == (flops, moved, 0, 24, 0)


def test_addmm_scaled_by_alpha_needs_multiplications(of_five):
    operands = [BIAS, ("mat1", (2, 3)), W]
    found = of_five("addmm", operands, [(2, 4)], spikes=("in1",), alpha=2, beta=1,
                    facts={"in1_nonzero": 5})  # fmt: skip
    assert found[2:] == (0, 0, 0)


def test_bmm(of_five):
    # b=5: 5·2·2·4·3 = 240; (30 + 60 + 40)·4 B; a spike of the second meets a column of 2
    operands = [("self", (5, 2, 3)), ("mat2", (5, 3, 4))]
    assert of_five("bmm", operands, [(5, 2, 4)]) == (240, 520, 0, 120, 0)
    found = of_five("bmm", operands, [(5, 2, 4)], spikes=("in1",), facts={"in1_nonzero": 7})
    assert found[2:] == (14, 0, 14)


def test_addbmm_adds_over_the_batch(of_five):
    # 5 products of 2·4·3, one 2·4 matrix added: 240 + 8 FLOPs; (8 + 30 + 60 + 8)·4 B
    operands = [("self", (2, 4)), ("batch1", (5, 2, 3)), ("batch2", (5, 3, 4))]
    assert of_five("addbmm", operands, [(2, 4)], alpha=1, beta=1) == (248, 424, 0, 120, 0)


def test_vectors(of_five):
    # mv: 2·2·3; dot: 2·3; addr: 6 products and 6 additions
    assert of_five("mv", [X, ("vec", (3,))], [(2,)])[:4] == (12, 44, 0, 6)
    assert of_five("dot", [("self", (3,)), ("tensor", (3,))], [()])[:4] == (6, 28, 0, 3)
    outer = [("self", (2, 3)), ("vec1", (2,)), ("vec2", (3,))]
    assert of_five("addr", outer, [(2, 3)], alpha=1, beta=1)[:4] == (12, 68, 0, 6)


def test_linear_kernel_and_its_backward(of_five):
    # x (5, 2, 3), w (4, 3): 2·10·12 = 240, + 40 for the bias
    operands = [("self", (5, 2, 3)), ("weight", (4, 3)), ("bias", (4,))]
    assert of_five("mkldnn_linear", operands, [(5, 2, 4)])[0] == 280
    # two products of 120 terms, 4·(10 - 1) additions of the bias
    operands = [("self", (5, 2, 3)), ("grad_output", (5, 2, 4)), ("weight", (4, 3))]
    results = [(5, 2, 3), (4, 3), (4,)]
    found = of_five("mkldnn_linear_backward", operands, results, output_mask=[True, True, True])
    assert found == (480 + 36, 4 * (30 + 40 + 12 + 30 + 12 + 4), 0, 240, 36)


@pytest.mark.parametrize(
    ("op", "operands", "out", "flops", "moved"),
    [
        # int8 by int8 to int32: 2·2·4·3; 6 + 12 + 32 B
        ("_int_mm", [("self", (2, 3), "int8"), ("mat2", (3, 4), "int8")], ("", (2, 4), "int32"),
         48, 50),
        # weights of 8 bits, a scale a column: + 8 FLOPs; 24 + 12 + 16 + 32 B
        ("_weight_int8pack_mm",
         [("self", (2, 3)), ("mat2", (4, 3), "int8"), ("scales", (4,))], ("", (2, 4)), 56, 84),
        # weights of 4 bits are scaled and shifted first: + 2·4·3
        ("_weight_int4pack_mm_for_cpu",
         [("self", (2, 3)), ("mat2", (4, 1), "int8"), ("qScaleAndZeros", (1, 4, 2))],
         ("", (2, 4)), 72, 24 + 4 + 32 + 32),
    ],
)  # fmt: skip
def test_small_types(of_five, op, operands, out, flops, moved):
    assert of_five(op, operands, [out]) == (flops, moved, 0, 24, 0)


def test_grouped_products(of_five):
    # 6 rows of 3, each by its group's 3·4: 2·6·12
    operands = [("self", (6, 3)), ("mat2", (2, 3, 4)), ("offs", (2,), "int32")]
    assert of_five("_grouped_mm", operands, [(6, 4)])[0] == 144


def test_three_tensors_at_once(of_five):
    # nn.Bilinear: out (5, 4) of x (5, 2), w (4, 2, 3), y (5, 3): 5·4·2·3 terms, 3 FLOPs each
    operands = [("i1", (5, 2)), ("i2", (4, 2, 3)), ("i3", (5, 3))]
    found = of_five("_trilinear", operands, [(5, 4)], expand1=[1, 3], expand2=[0],
                    expand3=[1, 2], sumdim=[2, 3])  # fmt: skip
    assert found[0] == 360 and found[3] == 120
