"""Recurrent kernels, by hand: 5 steps of 3 samples, 8 inputs, 4 hidden units."""

from __future__ import annotations

import pytest

X = ("input", (5, 3, 8))
ROWS = 15


def _lstm(layers=1, ways=1, gates=4):
    """Return the weights of a stack, as cuDNN's ops take them."""
    shapes = []
    for layer in range(layers):
        for _ in range(ways):
            width = 8 if layer == 0 else 4 * ways
            shapes += [(gates * 4, width), (gates * 4, 4), (gates * 4,), (gates * 4,)]
    return [("weight", shape, "float32", place) for place, shape in enumerate(shapes)]


# i, f, o: sigmoid of a sum, 5 each; u: 2; c: 3; h: 2
LSTM_CELL = 3 * 5 + 2 + 3 + 2
# r, z: 5 each; n: r·hn, sum, tanh; h = (h0 - n)·z + n
GRU_CELL = 2 * 5 + 3 + 3


@pytest.mark.parametrize(
    ("mode", "gates", "cell"), [(2, 4, LSTM_CELL), (3, 3, GRU_CELL), (1, 1, 2), (0, 1, 2)]
)
def test_layer(of_five, mode, gates, cell):
    operands = [X, *_lstm(gates=gates), ("hx", (1, 3, 4))]
    found = of_five("_cudnn_rnn", operands, [(5, 3, 4)], mode=mode, hidden_size=4, num_layers=1,
                    bidirectional=False)  # fmt: skip
    terms = ROWS * gates * 4 * (8 + 4)
    assert found[0] == 2 * terms + ROWS * 2 * gates * 4 + ROWS * 4 * cell
    # ACs of a unit: x + h of each gate, 1 + exp(-x) of each sigmoid, p + q of the LSTM, h0 - n and
    # q + n of the GRU; biases are none
    acs = {2: 4 + 3 + 1, 3: 3 + 2 + 2}.get(mode, 1)
    assert found[2:] == (0, terms, ROWS * 4 * acs)


def test_stacks_and_directions(of_five):
    operands = [X, *_lstm(layers=2, ways=2), ("hx", (4, 3, 4))]
    found = of_five("_cudnn_rnn", operands, [(5, 3, 8)], mode=2, hidden_size=4, num_layers=2,
                    bidirectional=True)  # fmt: skip
    terms = ROWS * 2 * 16 * (8 + 4 + 8 + 4)
    assert found[0] == 2 * terms + ROWS * 4 * 32 + ROWS * 16 * LSTM_CELL


def test_spikes_enter_the_first_layer(of_five):
    operands = [X, *_lstm(layers=2, ways=2), ("hx", (4, 3, 4))]
    options = {"mode": 2, "hidden_size": 4, "num_layers": 2, "bidirectional": True}
    dense = of_five("_cudnn_rnn", operands, [(5, 3, 8)], **options)
    found = of_five("_cudnn_rnn", operands, [(5, 3, 8)], spikes=("in0",),
                    facts={"in0_nonzero": 20}, **options)  # fmt: skip
    # 20 spikes meet 16 columns in each direction
    assert found[2] == 20 * 32
    assert dense[3] - found[3] == ROWS * 2 * 16 * 8


def test_onednn_takes_a_layer_and_direction_a_call(of_five):
    weights = [(f"weight{i}", shape) for i, shape in enumerate([(16, 8), (16, 4), (16,), (16,)])]
    operands = [X, *weights, ("hx_", (1, 3, 4)), ("cx_", (1, 3, 4))]
    found = of_five("mkldnn_rnn_layer", operands, [(5, 3, 4)], mode=2, hidden_size=4, num_layers=1,
                    bidirectional=True)  # fmt: skip
    assert found[0] == 2 * ROWS * 16 * 12 + ROWS * 32 + ROWS * 4 * LSTM_CELL


def test_zeros_in_the_place_of_biases_are_no_work(of_five):
    """oneDNN's op gets zeros of the matrices' shapes where a layer has no biases."""
    shapes = [(16, 8), (16, 4), (16, 8), (16, 4)]
    states = [("hx_", (1, 3, 4)), ("cx_", (1, 3, 4))]
    options = {"mode": 2, "hidden_size": 4, "num_layers": 1, "bidirectional": False}
    forward = [X, *((f"weight{i}", shape) for i, shape in enumerate(shapes)), *states]
    found = of_five("mkldnn_rnn_layer", forward, [(5, 3, 4)], has_biases=False, **options)
    terms = ROWS * 16 * 12
    # bytes: x 120, weights 128 + 64, states 12 each, the result 60
    assert found == (2 * terms + ROWS * 4 * LSTM_CELL, 4 * 396, 0, terms, ROWS * 4 * 8)
    back = [X, *((f"weight{i}", shape) for i, shape in enumerate(shapes, 1)), *states]
    found = of_five("mkldnn_rnn_layer_backward", back, [X[1]], has_biases=False, **options)
    assert found[0] == 4 * terms + ROWS * 4 * 23
    # cuDNN's op takes no biases then
    lists = [w for w in _lstm() if len(w[1]) == 2]
    found = of_five("_cudnn_rnn", [X, *lists, ("hx", (1, 3, 4))], [(5, 3, 4)], **options)
    assert (found[0], found[3]) == (2 * terms + ROWS * 4 * LSTM_CELL, terms)


def test_backward_takes_two_products_for_each(of_five):
    operands = [X, *_lstm(), ("hx", (1, 3, 4))]
    found = of_five("_cudnn_rnn_backward", operands, [X[1]], mode=2, hidden_size=4, num_layers=1,
                    bidirectional=False)  # fmt: skip
    terms = ROWS * 16 * 12
    # t: 1; gradients of o, i, f: 4 each, of c: 5, u: 4, the state before: 1; both biases share
    # the sums of 15 rows
    assert found[0] == 4 * terms + ROWS * 4 * 23 + 14 * 16
    # cells' MACs: 1 - t·t, 1 - u·u; ACs: 1 - o, 1 - i, 1 - f, the sum in c's gradient, the biases'
    assert found[3:] == (2 * terms + ROWS * 4 * 2, ROWS * 4 * 4 + 14 * 16)


def test_fused_cells(of_five):
    gates = [("input_gates", (3, 16)), ("hidden_gates", (3, 16)), ("cx", (3, 4))]
    biases = [("input_bias", (16,)), ("hidden_bias", (16,))]
    assert of_five("_thnn_fused_lstm_cell", gates, [(3, 4)])[0] == 12 * LSTM_CELL
    assert of_five("_thnn_fused_lstm_cell", gates + biases, [(3, 4)])[0] == 12 * LSTM_CELL + 96
