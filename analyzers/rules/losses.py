"""Losses: a formula for each element, then their sum or mean."""

from __future__ import annotations

from functools import partial

from .call import Call, Operand
from .elementwise import costing
from .functions import Cost, priced
from .rule import Figures, OpRule, aten

# x: prediction, t: target, g: gradient, c: what is constant in a call.
FORMULAS = {
    "mse_loss": "z = x - t; z * z",
    "smooth_l1_loss": "z = abs(x - t); where(z < beta, k * z * z / beta, z - h)",
    "huber_loss": "z = abs(x - t); where(z < delta, k * z * z, delta * (z - h))",
    "binary_cross_entropy": "(t - 1) * max(log1p(-x), low) - t * max(log(x), low)",
    "binary_cross_entropy_with_logits": "(1 - t) * x - (min(x, 0) - log1p(exp(-abs(x))))",
    "soft_margin_loss": "log1p(exp(-x * t))",
}
"""Loss -> its formula for each element."""

GRADIENTS = {
    "mse_loss_backward": "g * c * (x - t)",
    "smooth_l1_loss_backward": "z = x - t; g * c * where(abs(z) < beta, z / beta, sign(z))",
    "huber_loss_backward": "z = x - t; g * c * where(abs(z) < delta, z, delta * sign(z))",
    "binary_cross_entropy_backward": "g * (x - t) / max((1 - x) * x, low)",
    "soft_margin_loss_backward": "z = exp(-t * x); -t * c * g * z / (z + 1)",
}
"""Gradient of a loss -> its formula for each element."""

_NONE, _MEAN = 0, 1


def _reduced(call: Call, n: int) -> Cost:
    """Return what adding n elements costs, with a division for a mean."""
    how = int(call.arg("reduction", _MEAN))
    if how == _NONE:
        return Cost()
    return Cost(max(n - 1, 0) + (how == _MEAN), acs=max(n - 1, 0))


def loss(call: Call) -> Figures:
    """Return the counters of a loss of `FORMULAS`, weights considered."""
    n = call.ins[0].numel
    weights = sum(call.named(name) is not None for name in ("weight", "pos_weight"))
    return costing(call, (priced(FORMULAS[call.base]) + Cost(weights)) * n + _reduced(call, n))


def gradient(call: Call) -> Figures:
    """Return the counters of a loss' gradient."""
    # Binary cross entropy divides by the number of elements after all; the others' c has it.
    divided = call.base.startswith("binary") and int(call.arg("reduction", _MEAN)) == _MEAN
    weighted = call.named("weight") is not None
    cost = priced(GRADIENTS[call.base]) + Cost(divided + weighted)
    return costing(call, cost * call.ins[1].numel)


def likelihood(call: Call) -> Figures:
    """Negative log-likelihood: b elements are taken by their classes, negated, weighted, added.

    Reads these elements alone (and their weights), the classes, and writes the results.
    """
    x, target = call.ins[0], call.ins[1]
    b = target.numel
    weight = call.named("weight")
    how = _reduced(call, b)
    weighted = b + (max(b - 1, 0) if call.arg("reduction", _MEAN) == _MEAN else 0) if weight else 0
    taken = b * (x.bytes // x.numel if x.numel else 0)
    rows = b * (weight.bytes // weight.numel if weight.numel else 0) if weight else 0
    moved = taken + target.bytes + rows + call.written
    return Figures(b + how.flops + weighted, moved, acs=how.acs + (weighted - b if weight else 0))


def likelihood_backward(call: Call) -> Figures:
    """Its gradient: zeros but for an element a sample, minus the gradient, weighted and divided."""
    target, weight = call.named("target"), call.named("weight")
    b = target.numel if target else 0
    scaled = int(call.arg("reduction", _MEAN)) == _MEAN
    x = call.named("self")
    rows = b * (weight.bytes // weight.numel if weight.numel else 0) - weight.bytes if weight else 0
    moved = call.moved - (x.bytes if x else 0) + rows
    return Figures(b * (1 + scaled + (weight is not None)), moved)


_STATE = "m = max(max(x, y), z); m + log(exp(x - m) + exp(y - m) + exp(z - m)) + p"
_MET = "x + y; max(x, y) + log1p(exp(-abs(x - y)))"
_CLASS = "(exp(x) - exp(y + z - x)) * g"


def alignment(call: Call) -> Figures:
    """CTC: at each step each state is the log of a sum of three, with its label's probability."""
    return costing(call, priced(_STATE) * _states(call, call.outs[1]))


def alignment_backward(call: Call) -> Figures:
    """Its gradient: the states backward, added where both meet, and a formula for each class."""
    states, x = _states(call, call.named("log_alpha")), call.named("log_probs")
    cost = (priced(_STATE) + priced(_MET)) * states
    return costing(call, cost + priced(_CLASS) * (x.numel if x else 0))


def _states(call: Call, table: Operand | None) -> int:
    """Return the states of all steps: 2·labels + 1 at each; unknown lengths count as the longest.

    Args:
        call: the call.
        table: of states, (batch, steps, states).
    """
    steps, labels = call.arg("input_lengths"), call.arg("target_lengths")
    if isinstance(steps, list) and isinstance(labels, list) and None not in (*steps, *labels):
        return sum(t * (2 * n + 1) for t, n in zip(steps, labels, strict=False))
    return table.numel if table else 0


def margin(call: Call, *, grad: bool = False) -> Figures:
    """Margin losses over classes: for each, margin - x[target] + x, a maximum, added.

    A power of 2 multiplies; a weight too. The gradient compares and subtracts alike.
    """
    x = call.ins[1 if grad else 0]
    n = x.numel
    extra = (not call.is_number("p", 1, 1)) + (call.named("weight") is not None)
    cost = Cost(4 + extra, acs=3) * n
    return costing(call, cost if grad else cost + _reduced(call, x.dim(0)))


RULES: tuple[OpRule, ...] = (
    OpRule("loss", aten(" ".join(FORMULAS)), loss),
    OpRule("loss", aten(" ".join(GRADIENTS)), gradient),
    OpRule("loss", aten("nll_loss_forward nll_loss2d_forward"), likelihood),
    OpRule("loss", aten("nll_loss_backward nll_loss2d_backward"), likelihood_backward),
    OpRule("loss", aten("_ctc_loss"), alignment),
    OpRule("loss", aten("_ctc_loss_backward"), alignment_backward),
    OpRule("loss", aten("multi_margin_loss multilabel_margin_loss_forward"), margin),
    OpRule(
        "loss",
        aten("multi_margin_loss_backward multilabel_margin_loss_backward"),
        partial(margin, grad=True),
    ),
)
