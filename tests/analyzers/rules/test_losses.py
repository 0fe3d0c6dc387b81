"""Losses and their gradients, by hand: 10 predictions."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count

X, T = ("self", (2, 5)), ("target", (2, 5))


@pytest.mark.parametrize(
    ("op", "each"),
    [
        ("mse_loss", 2),  # x - t, z·z
        ("soft_margin_loss", 4),  # -x, ·t, exp, log1p
        ("huber_loss", 7),  # x - t, abs, <, k·z·z, d·(z - h): 2 + 1 + 2 + 2
        # t - 1, -x, log1p, max, ·; log, max, t·; -
        ("binary_cross_entropy", 9),
        # 1 - t, ·x; min, abs, -, exp, log1p, -; -
        ("binary_cross_entropy_with_logits", 9),
    ],
)
def test_losses(of_five, op, each):
    none = of_five(op, [X, T], [(2, 5)], reduction=0)
    mean = of_five(op, [X, T], [()], reduction=1)
    total = of_five(op, [X, T], [()], reduction=2)
    assert none[:2] == (10 * each, 120)
    # 9 additions, a division for the mean
    assert (mean[0], total[0]) == (10 * each + 10, 10 * each + 9)
    assert mean[1] == 84


@pytest.mark.parametrize(
    ("op", "each"),
    [
        ("mse_loss_backward", 3),  # x - t, c·, g·
        ("binary_cross_entropy_backward", 7),  # x - t, g·; 1 - x, ·x, max; /; of a mean /n
    ],
)
def test_gradients(of_five, op, each):
    operands = [("grad_output", ()), X, T]
    assert of_five(op, operands, [(2, 5)], reduction=1)[:2] == (10 * each, 124)


def test_negative_log_likelihood_reads_what_it_takes(of_five):
    # 4 samples of 100 classes: 4 negations, 3 additions, a division; 4 elements, 4 classes read
    operands = [("self", (4, 100)), ("target", (4,), "int64"), None]
    found = of_five("nll_loss_forward", operands, [(), ()], reduction=1)
    assert found == (8, 16 + 32 + 8, 0, 0, 3)
    weighted = of_five(
        "nll_loss_forward", [*operands[:2], ("weight", (100,))], [(), ()], reduction=1
    )
    # 4 products more, and 3 additions of weights; 4 weights read
    assert weighted[:2] == (15, 72)


def test_its_gradient_writes_all(of_five):
    operands = [("grad_output", ()), ("self", (4, 100)), ("target", (4,), "int64"), None,
                ("total_weight", ())]  # fmt: skip
    found = of_five("nll_loss_backward", operands, [(4, 100)], reduction=1)
    assert found[:2] == (8, 4 + 32 + 4 + 1600)


def test_connectionist_temporal_classification(recorded):
    """Three sequences of 5, 4 and 4 steps and 2, 2 and 1 labels: 2·labels + 1 states a step.

    5·5 + 4·5 + 4·3 = 57 states of 13 FLOPs (2 maxima, 3 times - and exp, 2 additions, log, + m,
    + p), 7 of them additions. Backward each takes 8 more where both directions meet, and each of
    5·3·6 classes 6.
    """
    torch = pytest.importorskip("torch")
    x = torch.randn(5, 3, 6).log_softmax(-1).requires_grad_()
    labels = torch.randint(1, 6, (3, 2))

    def run():
        torch.nn.functional.ctc_loss(x, labels, (5, 4, 4), (2, 2, 1), reduction="sum").backward()

    trace = recorded(run)
    forward = count(trace, where="op=aten._ctc_loss.default").total
    backward = count(trace, where="op=aten._ctc_loss_backward.default").total
    assert (forward["flops"], forward["acs"], forward["macs"]) == (57 * 13, 57 * 7, 0)
    assert backward["flops"] == 57 * (13 + 8) + 90 * 6
