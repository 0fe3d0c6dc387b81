"""The dense products of a call: the same whatever its operands hold and whichever rules count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opjoule.analyzers import count
from opjoule.analyzers.rules import (
    PRODUCTS,
    Figures,
    OpRule,
    factors_of,
    family_of,
    rule_set,
    rule_sets,
)
from opjoule.analyzers.rules.sets import FULL

X, W, BIAS = ("self", (2, 3)), ("mat2", (3, 4)), ("bias", (4,))
IMAGE, KERNEL = ("input", (2, 4, 6, 6)), ("weight", (8, 2, 3, 3))
Q, K, V = ("query", (2, 3, 4, 6)), ("key", (2, 3, 5, 6)), ("value", (2, 3, 5, 7))
FLASH = "_scaled_dot_product_flash_attention_for_cpu"
LSTM = [(f"weight{i}", shape) for i, shape in enumerate([(16, 8), (16, 4), (16,), (16,)])]
CELL = {"mode": 2, "hidden_size": 4, "num_layers": 1, "bidirectional": False, "has_biases": True}
GATES = [("input_gates", (3, 16)), ("hidden_gates", (3, 16)), ("cx", (3, 4))]

CASES = {
    # m·n·k = 2·4·3
    "mm": ([X, W], [(2, 4)], {}, 24),
    "addmm": ([BIAS, ("mat1", (2, 3)), W], [(2, 4)], {"alpha": 2}, 24),
    "_addmm_activation": ([BIAS, ("mat1", (2, 3)), W], [(2, 4)], {"use_gelu": True}, 24),
    "bmm": ([("self", (5, 2, 3)), ("mat2", (5, 3, 4))], [(5, 2, 4)], {}, 120),
    "mv": ([X, ("vec", (3,))], [(2,)], {}, 6),
    "addmv": ([("self", (2,)), ("mat", (2, 3)), ("vec", (3,))], [(2,)], {}, 6),
    "dot": ([("self", (3,)), ("tensor", (3,))], [()], {}, 3),
    "addr": ([("self", (3, 4)), ("vec1", (3,)), ("vec2", (4,))], [(3, 4)], {}, 12),
    "linear": ([("input", (5, 2, 3)), ("weight", (4, 3)), BIAS], [(5, 2, 4)], {}, 120),
    # both gradients of 10 rows, 4 columns, 3 inputs
    "linear_backward": (
        [("self", (10, 3)), ("grad_output", (10, 4)), ("weight", (4, 3))],
        [(10, 3), (4, 3), (4,)],
        {"output_mask": [True, True, True]},
        2 * 120,
    ),
    "_int_mm": ([(*X, "int8"), (*W, "int8")], [("", (2, 4), "int32")], {}, 24),
    "_grouped_mm": ([("self", (6, 3)), ("mat2", (2, 3, 4))], [(6, 4)], {}, 6 * 3 * 4),
    "_foreach_mm": (
        [(*X, "float32", 0), (*X, "float32", 1), (*W, "float32", 0), (*W, "float32", 1)],
        [(2, 4), (2, 4)],
        {},
        48,
    ),
    # b·c_out·(c_in/g)·|kernel|·|positions| = 2·8·2·9·16
    "convolution": ([IMAGE, KERNEL], [(2, 8, 4, 4)], {"groups": 2, "transposed": False}, 4608),
    "conv_tbc": ([("self", (7, 2, 3)), ("weight", (3, 3, 5)), ("bias", (5,))], [(5, 2, 5)], {},
                 50 * 9),
    "convolution_backward": (
        [("grad_output", (2, 8, 4, 4)), IMAGE, KERNEL],
        [IMAGE[1], KERNEL[1], (8,)],
        {"groups": 2, "transposed": False, "output_mask": [True, True, True]},
        2 * 4608,
    ),
    # 120 scores; backward 3·d_q + 2·d_v, without the 24 rows' sums of 7
    FLASH: ([Q, K, V], [(2, 3, 4, 7)], {"dropout_p": 0.0}, 120 * 13),
    f"{FLASH}_backward": (
        [("grad_out", (2, 3, 4, 7)), Q, K, V], [Q[1], K[1], V[1]], {"dropout_p": 0.0}, 120 * 32,
    ),
    "_native_multi_head_attention": (
        [(name, (2, 5, 6)) for name in ("query", "key", "value")],
        [(2, 5, 6), (2, 5, 5)],
        {"embed_dim": 6, "num_head": 3},
        1080 + 600 + 360,
    ),
    # 15 rows meet 16·12 weights; the cells' MACs are no products
    "mkldnn_rnn_layer": ([("input", (5, 3, 8)), *LSTM], [(5, 3, 4)], CELL, 15 * 192),
    "mkldnn_rnn_layer_backward": (
        [("input", (5, 3, 8)), *LSTM], [(5, 3, 8)], CELL, 2 * 15 * 192,
    ),
    # no products: what they multiply was multiplied before, or is element by element
    "_thnn_fused_lstm_cell": (GATES, [(3, 4)], {}, 0),
    "_thnn_fused_lstm_cell_backward_impl": (
        [("grad_hy", (3, 4)), ("grad_cy", (3, 4)), ("cx", (3, 4))], [(3, 16)], {}, 0,
    ),
    "native_layer_norm": (
        [("input", (2, 4)), BIAS, BIAS], [(2, 4)], {"normalized_shape": [4]}, 0,
    ),
    "lerp": ([X, X, X], [(2, 3)], {}, 0),
    "linalg_vector_norm": ([X], [()], {}, 0),
    "view": ([X], [(6,)], {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("rules", rule_sets())
@pytest.mark.parametrize("held", [{}, {"unmeasured": True}, {"spikes": ("in0", "in1", "in2")}])
def test_by_hand(build, op, rules, held):
    ins, outs, arguments, expected = CASES[op]
    call = build(op, ins, outs, **held, **arguments)
    assert rule_set(rules).figures(call)[2].dense_macs == expected


@pytest.mark.parametrize("op", CASES)
def test_torch_counts_two_for_each(build, op):
    """Products, convolutions, attention, recurrent and fused layers; nothing else."""
    ins, outs, arguments, expected = CASES[op]
    how, _, found = rule_set("torch").figures(build(op, ins, outs, **arguments))
    assert (how in ("rule", "free"), found.flops) == (True, 2 * expected)


def test_no_size_no_figure(build):
    """Sequences packed one after another; an op that nothing covers."""
    packed = [("query", (8, 3, 6)), ("key", (10, 3, 6)), ("value", (10, 3, 7)),
              ("cum_seq_q", (3,), "int32"), ("cum_seq_k", (3,), "int32")]  # fmt: skip
    for op in ("_flash_attention_forward", "_flash_attention_backward"):
        operands = packed if op.endswith("forward") else [("grad_out", (8, 3, 7)), *packed]
        for rules in ("full", "torch"):
            found = rule_set(rules).figures(build(op, operands, [(8, 3, 7)]))[2]
            assert found.dense_macs is found.flops is None
    call = replace(build("unheard_of", [X], [(2, 4)]), op="mine.unheard_of.default")
    how, _, found = rule_set("full").figures(call)
    assert (how, found.dense_macs) == ("uncovered", None)


@pytest.mark.parametrize(
    ("op", "dense"),
    [
        # PyTorch's own: its products have rules, or names that say so
        ("aten.igamma.default", 0), ("aten._sparse_mm_reduce_impl.default", None),
        ("aten._cslt_sparse_mm.default", None), ("aten._spsolve.default", None),
        ("aten.linalg_inv_ex.default", None), ("aten._mps_convolution.default", None),
        ("aten._triton_multi_head_attention.default", None), ("aten.lgamma_jvp.default", 0),
        ("aten._lstm_mps.default", None), ("aten.histogramdd.default", 0),
        ("profiler._record_function_enter_new.default", 0),
        ("quantized.add.default", 0),
        # packed weights of unknown size, and other libraries
        ("quantized.conv2d.new", None), ("mine.blend.default", None),
        ("atenlike.igamma.default", None),
    ],
)  # fmt: skip
def test_an_op_without_a_rule_may_be_a_product(build, op, dense):
    call = replace(build("unheard_of", [X, X], [(2, 4)]), op=op, packet=op.rpartition(".")[0])
    for rules in rule_sets():
        how, _, found = rule_set(rules).figures(call)
        assert (how, found.dense_macs) == ("uncovered", dense)


@pytest.mark.parametrize(
    ("family", "figures", "expected"),
    [
        # its MACs are products in a family of products alone
        ("product", Figures(8, 4, macs=6), 6),
        ("product", Figures(8, 4, macs=None), None),
        ("scaling", Figures(8, 4, macs=6), 0),
        # what it states counts
        ("scaling", Figures(8, 4, macs=6, dense_macs=5), 5),
        ("product", Figures(8, 4, macs=6, dense_macs=0), 0),
    ],
)
def test_rules_of_ones_own(build, family, figures, expected):
    rules = rule_set("full", [OpRule(family, ("aten.unheard_of",), lambda call: figures)])
    assert rules.figures(build("unheard_of", [X], [(2, 4)]))[2].dense_macs == expected


def test_a_rule_that_states_no_products_leaves_those_of_the_op(build):
    call, mine = (
        build("mm", [X, W], [(2, 4)]),
        OpRule("mine", ("aten.mm",), lambda call: Figures(7)),
    )
    for name in ("full", "torch"):
        found = rule_set(name, [mine]).figures(call)[2]
        assert (found.flops, found.dense_macs) == (7, 24)  # its own FLOPs count in every set


def test_a_rule_of_spikes_is_asked_without_them(build):
    """Its MACs are 0 for spikes; its dense products are not."""

    def multiplies(call):
        return Figures(1, 1, macs=0 if call.ins[0].spikes else 9)

    rules = rule_set("full", [OpRule("product", ("aten.unheard_of",), multiplies)])
    found = rules.figures(build("unheard_of", [X], [(2, 4)], spikes=("in0",)))[2]
    assert (found.macs, found.dense_macs) == (0, 9)


def test_families():
    assert family_of("aten.mm.default") == family_of("aten.mm") == "product"
    assert family_of("aten.convolution_backward.default") == "convolution backward"
    assert family_of("aten._native_multi_head_attention.default") == "fused layer"
    assert family_of("aten.gt.Scalar") == "comparison"
    assert family_of("aten.embedding.default") == "embedding"
    assert family_of("flex_attention") == "attention"
    assert family_of("mine.blend.default") == ""
    assert set(PRODUCTS) <= {rule.family for rule in FULL}


def test_factors():
    assert factors_of("aten.addmm.default") == (1, 2)
    assert factors_of("aten.convolution") == factors_of("aten.linear.default") == (0, 1)
    assert factors_of("aten.add.Tensor") is None
    # every forward product of two operands has them, nothing else does
    for rule in FULL:
        if rule.factors is not None:
            assert rule.family in ("product", "convolution")


torch = pytest.importorskip("torch")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_spikes_none_counts_every_product_as_dense(recorded, data):
    """With statistics or without: MACs are the dense ones, and nothing is unknown."""
    draw = data.draw
    spiking, statistics = draw(st.booleans()), draw(st.sampled_from(["full", "none"]))
    b, c, d = (draw(st.integers(1, 4)) for _ in range(3))
    image = torch.rand(b, c, 5, 5)
    image = (image < 0.4).float() if spiking else image
    kernel, matrix = torch.rand(d, c, 3, 3), torch.rand(9, 2)

    def run():
        torch.nn.functional.conv2d(image, kernel).flatten(2) @ matrix

    trace = recorded(run, statistics=statistics)
    found = count(trace, spikes="none", strict=True)
    dense = b * d * 9 * c * 9 + b * d * 9 * 2
    assert found.total["macs"] == found.total["dense_macs"] == dense
    assert (found.total["synops"], found.total["acs"]) == (0, 0)
    assert found.frame["at_least"].to_list() == [None]
    assert count(trace).total["dense_macs"] == dense
