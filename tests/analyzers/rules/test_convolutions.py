"""Convolutions and their backward passes, by hand."""

from __future__ import annotations

import pytest

X, W, OUT = ("input", (2, 4, 5, 5)), ("weight", (6, 4, 3, 3)), (2, 6, 3, 3)
PLAIN = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "transposed": False,
         "output_padding": [0, 0], "groups": 1}  # fmt: skip
TERMS = 2 * 6 * 9 * 4 * 9  # b · c_out · positions · c_in · kernel = 3888


def test_convolution(of_five):
    # input 200, weights 216, out 108 elements of 4 B
    assert of_five("convolution", [X, W, None], [OUT], **PLAIN) == (7776, 2096, 0, 3888, 0)


def test_the_bias_adds_once_an_output(of_five):
    found = of_five("convolution", [X, W, ("bias", (6,))], [OUT], **PLAIN)
    assert found == (7776 + 108, 2096 + 24, 0, 3888, 0)


def test_spikes_in_the_input_cost_their_fanout(of_five):
    found = of_five("convolution", [X, W, None], [OUT], spikes=("in0",), facts={"x_fanout": 77},
                    **PLAIN)  # fmt: skip
    assert found[2:] == (77, 0, 77)


def test_spikes_in_the_weights_meet_every_position(of_five):
    # 10 nonzero weights, 2 samples of 9 positions
    found = of_five("convolution", [X, W, None], [OUT], spikes=("in1",),
                    facts={"in1_nonzero": 10}, **PLAIN)  # fmt: skip
    assert found[2:] == (180, 0, 180)


def test_groups_divide_the_channels(of_five):
    # depthwise: 2·4·9·1·9 = 648 terms
    operands = [X, ("weight", (4, 1, 3, 3)), None]
    found = of_five("convolution", operands, [(2, 4, 3, 3)], **PLAIN | {"groups": 4})
    assert found[0] == 1296 and found[3] == 648


def test_transposed_counts_positions_of_the_input(of_five):
    # 2·25 positions, 4·6·9 weights
    operands = [X, ("weight", (4, 6, 3, 3)), None]
    found = of_five("convolution", operands, [(2, 6, 7, 7)], **PLAIN | {"transposed": True})
    assert found[0] == 2 * 50 * 216 and found[3] == 50 * 216


def test_without_a_batch(of_five):
    operands = [("self", (4, 5, 5)), W, None, ("bias", (6,))]
    found = of_five("_slow_conv2d_forward", operands, [(6, 3, 3)], stride=[1, 1], padding=[0, 0])
    assert found[0] == TERMS + 54 and found[3] == TERMS // 2


@pytest.mark.parametrize(
    ("mask", "flops", "macs", "acs", "moved"),
    [
        # each factor's gradient: 3888 terms; bias: 6·(18 - 1) additions
        ([True, True, True], 2 * 7776 + 102, 7776, 102, 108 + 216 + 200 + 200 + 216 + 6),
        ([True, False, False], 7776, 3888, 0, 108 + 216 + 200),
        ([False, True, False], 7776, 3888, 0, 108 + 200 + 216),
        ([False, False, True], 102, 0, 102, 108 + 6),
    ],
)
def test_backward(of_five, mask, flops, macs, acs, moved):
    operands = [("grad_output", OUT), X, W]
    results = [shape for asked, shape in zip(mask, (X[1], W[1], (6,)), strict=True) if asked]
    found = of_five("convolution_backward", operands, results, output_mask=mask, **PLAIN)
    assert found == (flops, 4 * moved, 0, macs, acs)


def test_backward_of_a_spike_driven_layer(of_five):
    # the weight's gradient is driven by the input's spikes, the input's is not
    operands, facts = [("grad_output", OUT), X, W], {"x_fanout": 77}
    found = of_five("convolution_backward", operands, [X[1], W[1]], spikes=("in1",), facts=facts,
                    output_mask=[True, True, False], **PLAIN)  # fmt: skip
    assert found[2:] == (77, 3888, 77)


def test_grouped_weights_gradient_is_counted_once(of_five):
    # 648 terms; SpikingJelly counts 4 times as many
    operands = [("grad_output", (2, 4, 3, 3)), X, ("weight", (4, 1, 3, 3))]
    options = {"output_mask": [False, True, False], **PLAIN, "groups": 4}
    assert of_five("convolution_backward", operands, [(4, 1, 3, 3)], **options)[0] == 1296
    theirs = of_five("convolution_backward", operands, [(4, 1, 3, 3)], rules="spikingjelly-2.0",
                     **options)  # fmt: skip
    assert theirs[0] == 4 * 1296 and theirs[3:] == (0, 0)


def test_fused_with_an_addition_and_relu(of_five):
    # + z 108, + bias 108, + ReLU 108
    operands = [X, W, ("z", OUT), ("bias", (6,))]
    found = of_five("cudnn_convolution_add_relu", operands, [OUT], alpha=1, stride=[1, 1],
                    padding=[0, 0], dilation=[1, 1], groups=1)  # fmt: skip
    assert found[0] == 7776 + 324


def test_time_batch_channel(of_five):
    # out (8, 2, 6) of x (10, 2, 4), w (3, 4, 6): 96·12 terms, 96 for the bias
    operands = [("self", (10, 2, 4)), ("weight", (3, 4, 6)), ("bias", (6,))]
    found = of_five("conv_tbc", operands, [(8, 2, 6)], pad=0)
    assert found[0] == 2 * 1152 + 96 and found[3] == 1152
