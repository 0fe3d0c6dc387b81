"""Attention kernels and fused layers, by hand."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count

# b=2, h=3, q=4, k=5, d=6, d_v=7: 24 rows, 120 scores
Q, K, V = ("query", (2, 3, 4, 6)), ("key", (2, 3, 5, 6)), ("value", (2, 3, 5, 7))
OUT = [(2, 3, 4, 7), (2, 3, 4)]
FLASH = "_scaled_dot_product_flash_attention_for_cpu"
PRODUCTS = 2 * 120 * (6 + 7)
AROUND = 120 + 5 * 120 - 2 * 24  # scale, softmax


def test_forward(of_five):
    found = of_five(FLASH, [Q, K, V], OUT, dropout_p=0.0)
    # operands 144 + 180 + 210, results 168 + 24
    assert found == (PRODUCTS + AROUND, 4 * 726, 0, 120 * 13, 120 + 96)


def test_masks_and_dropout(of_five):
    masked = of_five(FLASH, [Q, K, V, ("attn_mask", (4, 5))], OUT, dropout_p=0.0)
    dropped = of_five(FLASH, [Q, K, V], OUT, dropout_p=0.1)
    causal = of_five(FLASH, [Q, K, V], OUT, dropout_p=0.0, is_causal=True)
    plain = of_five(FLASH, [Q, K, V], OUT, dropout_p=0.0)
    assert masked[0] - plain[0] == 120 and dropped[0] - plain[0] == 240
    assert causal == plain  # dense, as torch counts


def test_backward(of_five):
    operands = [
        ("grad_out", (2, 3, 4, 7)),
        Q,
        K,
        V,
        ("out", (2, 3, 4, 7)),
        ("logsumexp", (2, 3, 4)),
    ]
    found = of_five(f"{FLASH}_backward", operands, [Q[1], K[1], V[1]], dropout_p=0.0)
    # 2·120·(18 + 14); 6 a score; 24 rows' sums of 7 products
    assert found[0] == 7680 + 720 + 24 * 13
    assert found[3:] == (120 * 32 + 24 * 7, 240)


@pytest.mark.parametrize(
    ("spikes", "macs", "driven"),
    [
        # a spike of q meets 5 keys, of k 4 queries, of v 4 rows of the softmax
        (("in0",), 120 * 7, 10 * 5),
        (("in1",), 120 * 7, 11 * 4),
        (("in2",), 120 * 6, 12 * 4),
        (("in0", "in2"), 0, 50 + 48),
        # how many spikes of q and k meet was not recorded
        (("in0", "in1"), None, None),
    ],
)
def test_spikes(of_five, spikes, macs, driven):
    facts = {"in0_nonzero": 10, "in1_nonzero": 11, "in2_nonzero": 12}
    found = of_five(FLASH, [Q, K, V], OUT, dropout_p=0.0, spikes=spikes, facts=facts)
    assert found[2:4] == (driven, macs)


def test_spikes_in_the_backward_pass(of_five):
    operands = [("grad_out", (2, 3, 4, 7)), Q, K, V]
    facts = {"in1_nonzero": 10, "in3_nonzero": 12}
    found = of_five(f"{FLASH}_backward", operands, [Q[1], K[1], V[1]], dropout_p=0.0,
                    spikes=("in1", "in3"), facts=facts)  # fmt: skip
    # q drives scores and k's gradient, v the softmax's; left: v's gradient 7, q's 6, rows' sums
    assert found[2] == 2 * 10 * 5 + 12 * 4
    assert found[3] == 120 * 13 + 24 * 7


def test_spiking_values_are_seen_in_the_backward_pass(recorded):
    """The fourth operand's class is joined from its own table."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    q, k = (torch.rand(2, 3, n, 6, requires_grad=True) for n in (4, 5))
    v = (torch.rand(2, 3, 5, 6) > 0.5).float().requires_grad_()
    spikes = int(v.detach().sum())

    def run():
        torch.nn.functional.scaled_dot_product_attention(q, k, v).square().sum().backward()

    found = count(recorded(run), by=["op"]).frame
    rows = {row["op"]: row for row in found.iter_rows(named=True)}
    s = 2 * 3 * 4 * 5
    forward, back = rows[f"aten.{FLASH}.default"], rows[f"aten.{FLASH}_backward.default"]
    # a spike meets 4 rows: of the softmax forward, of the gradient backward
    assert (forward["synops"], forward["macs"]) == (spikes * 4, s * 6)
    assert (back["synops"], back["macs"]) == (spikes * 4, s * 6 * 4 + 24 * 6)


def test_shared_heads_of_keys(of_five):
    # 1 head of keys for 3 of queries: as many scores
    operands = [Q, ("key", (2, 1, 5, 6)), ("value", (2, 1, 5, 7))]
    found = of_five(FLASH, operands, OUT, dropout_p=0.0)
    assert found[0] == PRODUCTS + AROUND
    driven = of_five(
        FLASH, operands, OUT, dropout_p=0.0, spikes=("in1",), facts={"in1_nonzero": 11}
    )
    assert driven[2] == 11 * 4 * 3


def test_kernels_of_batch_sequence_heads(of_five):
    operands = [("query", (2, 4, 3, 6)), ("key", (2, 5, 3, 6)), ("value", (2, 5, 3, 7)), None, None]
    for op in ("_flash_attention_forward", "_efficient_attention_forward"):
        assert of_five(op, operands, [(2, 4, 3, 7)], dropout_p=0.0)[0] == PRODUCTS + AROUND
        torch = of_five(op, operands, [(2, 4, 3, 7)], dropout_p=0.0, rules="torch")
        assert torch[0] == PRODUCTS


def test_packed_sequences_are_unknown(of_five):
    operands = [("query", (8, 3, 6)), ("key", (10, 3, 6)), ("value", (10, 3, 7)),
                ("cum_seq_q", (3,), "int32"), ("cum_seq_k", (3,), "int32")]  # fmt: skip
    found = of_five("_flash_attention_forward", operands, [(8, 3, 7)], dropout_p=0.0)
    assert found[0] is found[3] is found[4] is None and found[1] > 0
    torch = of_five("_flash_attention_forward", operands, [(8, 3, 7)], rules="torch")
    assert torch[0] is None


D, F = 6, 8  # model, hidden
LAYER = [
    ("src", (2, 5, D)), ("qkv_weight", (18, D)), ("qkv_bias", (18,)), ("proj_weight", (D, D)),
    ("proj_bias", (D,)), ("norm_weight_1", (D,)), ("norm_bias_1", (D,)), ("norm_weight_2", (D,)),
    ("norm_bias_2", (D,)), ("ffn_weight_1", (F, D)), ("ffn_bias_1", (F,)), ("ffn_weight_2", (D, F)),
    ("ffn_bias_2", (D,)),
]  # fmt: skip


def _layer(of_five, **options):
    arguments = {"embed_dim": D, "num_heads": 3, "use_gelu": False, "norm_first": False}
    return of_five("_transformer_encoder_layer_fwd", LAYER, [(2, 5, D)], **arguments | options)


def test_encoder_layer(of_five):
    flops, _, synops, macs, _ = _layer(of_five)
    # products: qkv 10·6·18, scores and values 2·(2·5·5·6), projection 10·36, hidden 2·(10·48)
    terms = 1080 + 600 + 360 + 960
    biases = 180 + 60 + 80 + 60
    # 2·3·5·5 = 150 scores in 30 rows: 6·150 - 2·30; 2 norms of 60 elements in 10 rows: 7·60 + 40
    others = 840 + 2 * 460 + 2 * 60 + 80  # and residuals, ReLU
    assert flops == 2 * terms + biases + others
    assert (synops, macs) == (0, terms + 2 * 60)


def test_encoder_layer_of_spikes(of_five):
    dense = _layer(of_five)
    found = _layer(of_five, spikes=("in0",), facts={"in0_nonzero": 20})
    # 20 spikes meet 18 columns each; the products inside stay dense
    assert found[2] == 360 and found[3] == dense[3] - 1080
    normed = _layer(of_five, spikes=("in0",), facts={"in0_nonzero": 20}, norm_first=True)
    assert normed[2] == 0


def test_multi_head_attention(of_five):
    # as the layer's attention: qkv 1080, 600, 360; biases 240; 840, but that 60 elements of the
    # queries are scaled in place of 150 scores; mean of 3 heads: 150
    operands = [("query", (2, 5, D)), ("key", (2, 5, D)), ("value", (2, 5, D)), *LAYER[1:5]]
    found = of_five("_native_multi_head_attention", operands, [(2, 5, D), (2, 5, 5)], embed_dim=D,
                    num_head=3, need_weights=True, average_attn_weights=True)  # fmt: skip
    assert found[0] == 2 * 2040 + 240 + 840 - 90 + 150 and found[3] == 2040
    # ACs: qkv's biases 180 (an op of its own), softmax 2·150 - 30, the mean's 2·50
    assert found[4] == 180 + 270 + 100
