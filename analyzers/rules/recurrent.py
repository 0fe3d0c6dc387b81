"""Recurrent kernels: the products of every step with its weights, and the gates' arithmetic.

Every weight matrix meets each row (a step of a sample) once. The layer's input may be spikes; the
hidden states of LSTM, GRU and RNN are none.
"""

from __future__ import annotations

from math import prod

from .amount import Amount
from .call import Call, Operand
from .elementwise import costing
from .functions import Cost, priced
from .rule import Figure, Figures, OpRule, added, aten

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")
"""Kinds of cell by the number that cuDNN, MIOpen and oneDNN give them."""

CELLS = {
    "lstm": (
        "i = sigmoid(xi + hi); f = sigmoid(xf + hf); o = sigmoid(xo + ho); u = tanh(xu + hu); "
        "p = f * c0; q = i * u; c = p + q; h = o * tanh(c)"
    ),
    "gru": (
        "r = sigmoid(xr + hr); z = sigmoid(xz + hz); p = r * hn; n = tanh(xn + p); "
        "q = (h0 - n) * z; h = q + n"
    ),
    "rnn_tanh": "h = tanh(xh + hh)",
    "rnn_relu": "h = max(xh + hh, 0)",
}
"""What a cell computes for each hidden unit and step, the products given; biases apart.

These are the operations that PyTorch runs one by one where it has no kernel for the layer, so
that both count alike: a product that is added by an op of its own is no MAC.
"""

CELLS_BACKWARD = {
    "lstm": (
        "t = tanh(c); a = gh * t * o * (1 - o); k = gh * o * (1 - t * t); gc = gc1 + k; "
        "b = gc * u * i * (1 - i); d = gc * c0 * f * (1 - f); e = gc * i * (1 - u * u); g = gc * f"
    ),
    "gru": (
        "a = g * (h0 - n) * z * (1 - z); b = g * (1 - z) * (1 - n * n); "
        "d = b * hn * r * (1 - r); e = b * r; f = g * z"
    ),
    "rnn_tanh": "a = g * (1 - h * h)",
    "rnn_relu": "a = where(h > 0, g, 0)",
}
"""The gradients of the same."""


def _weights(call: Call) -> tuple[list[Operand], list[Operand], list[Operand]]:
    """Return the matrices, the biases, and what is neither.

    cuDNN's and MIOpen's ops take a list, biases only if there are any. oneDNN's take four tensors;
    without biases the last two are zeros of the matrices' shapes, which nothing reads.
    """
    listed = call.listed("weight")
    if listed:
        matrices = [w for w in listed if len(w.shape) == 2]
        return matrices, [w for w in listed if len(w.shape) == 1], []
    names = [f"weight{i}" for i in range(5)]
    four = [o for o in call.ins.values() if o.name in names]
    return (four[:2], four[2:], []) if call.arg("has_biases", True) else (four[:2], [], four[2:])


def _kind(call: Call) -> str:
    return _MODES[int(call.arg("mode", 2))]


def _shape(call: Call) -> tuple[int, int, list[Operand], int, int]:
    """Return the sizes of a layer, or stack of them.

    Returns:
        Steps of all samples, units of all layers and directions, the weight matrices, elements of
        the biases, and the bytes that are read and written.
    """
    rows = prod(call.ins[0].shape[:-1])
    matrices, biases, unread = _weights(call)
    ways = (2 if call.arg("bidirectional", False) else 1) * int(call.arg("num_layers", 1))
    if call.base.startswith("mkldnn"):
        ways = 1  # one layer and direction a call
    units = ways * int(call.arg("hidden_size", 0))
    moved = call.moved - sum(w.bytes for w in unread)
    return rows, units, matrices, sum(b.numel for b in biases), moved


def layer(call: Call) -> Figures:
    """Return the counters of a layer, or stack of them, over all steps.

    2·rows·elements of each weight matrix, a row's biases (no ACs, as in addmm), and the cells'.
    """
    rows, units, matrices, biases, moved = _shape(call)
    cells = priced(CELLS[_kind(call)]) * (rows * units)
    terms = rows * sum(w.numel for w in matrices)
    flops = 2 * terms + rows * biases + cells.flops
    macs, driven = _driven(call, rows, matrices)
    return Figures(
        flops, moved, driven, added(macs, cells.macs), added(driven, cells.acs), dense_macs=terms
    )


def _driven(call: Call, rows: int, matrices: list[Operand]) -> tuple[int | None, Figure]:
    """Return (MACs, accumulations) of the products; those of the input may be driven by spikes.

    A layer has a matrix for its input, one for its state, and one for its projection if it has it;
    those of the first layer stand first, both directions one after the other.
    """
    x = call.ins[0]
    if x.spikes is None:
        return None, None
    each = 3 if int(call.arg("proj_size", 0)) else 2
    entering = {0, each} if call.arg("bidirectional", False) else {0}
    macs, acs = 0, Amount({})
    for place, w in enumerate(matrices):
        if x.spikes and place in entering:
            assert x.nonzero is not None
            acs = acs + x.nonzero * w.dim(0)
        else:
            macs += rows * w.numel
    return macs, acs


def layer_backward(call: Call) -> Figures:
    """Return the counters of its backward: two gradients for each product, rows of bias gradients.

    The weight's gradient of a layer whose input is spikes is driven by them.
    """
    rows, units, matrices, biases, moved = _shape(call)
    cells = priced(CELLS_BACKWARD[_kind(call)]) * (rows * units)
    summed = max(rows - 1, 0) * biases * _apart(_kind(call)) // 2
    terms = rows * sum(w.numel for w in matrices)
    macs, driven = _driven(call, rows, matrices)
    return Figures(
        4 * terms + summed + cells.flops,
        moved,
        driven,
        added(macs, terms + cells.macs),
        added(driven, summed + cells.acs),
        dense_macs=2 * terms,
    )


def cell(call: Call) -> Figures:
    """Return the counters of a fused cell: the gates of products that were taken before."""
    kind = "lstm" if "lstm" in call.base else "gru"
    state = call.ins[2]
    biases = 2 * _GATES[kind] * state.numel if call.named("input_bias") else 0
    return costing(call, priced(CELLS[kind]) * state.numel + Cost(biases))


def cell_backward(call: Call) -> Figures:
    """Return the counters of its backward; biases' gradients are sums over the batch."""
    kind = "lstm" if "lstm" in call.base else "gru"
    state = next((o for o in call.ins.values() if o.name in ("cx", "grad_hy")), call.ins[0])
    summed = 0
    if call.arg("has_bias", False):
        samples = state.numel // max(state.dim(-1), 1)
        summed = _apart(kind) * _GATES[kind] * state.dim(-1) * max(samples - 1, 0)
    return costing(call, priced(CELLS_BACKWARD[kind]) * state.numel + Cost(summed, acs=summed))


def _apart(kind: str) -> int:
    """Return how many gradients two biases have: the same one, but for a GRU's."""
    return 2 if kind == "gru" else 1


RULES: tuple[OpRule, ...] = (
    OpRule("recurrence", aten("mkldnn_rnn_layer _cudnn_rnn miopen_rnn"), layer),
    OpRule(
        "recurrence backward",
        aten("mkldnn_rnn_layer_backward _cudnn_rnn_backward miopen_rnn_backward"),
        layer_backward,
    ),
    OpRule("cell", aten("_thnn_fused_lstm_cell _thnn_fused_gru_cell"), cell),
    OpRule(
        "cell backward",
        aten(
            "_thnn_fused_lstm_cell_backward_impl _thnn_fused_lstm_cell_backward "
            "_thnn_fused_gru_cell_backward"
        ),
        cell_backward,
    ),
)
