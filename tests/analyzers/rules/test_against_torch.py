"""FLOPs under `torch` beside FlopCounterMode's, in one process; where it is wrong, arithmetic."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402


def flops_of_torch(run):
    """Return what FlopCounterMode counts of a run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_reference_cases(build_case, recorded, run_case):
    case = build_case()
    theirs = flops_of_torch(lambda: run_case(case))
    case = build_case()
    mine = count(recorded(lambda: run_case(case), model=case.model), rules="torch").total["flops"]
    grouped = [m for m in case.model.modules() if getattr(m, "groups", 1) != 1]
    if case.train and grouped:  # it takes a grouped weight's gradient for less than it is
        assert mine > theirs
    else:
        assert mine == theirs > 0


def test_a_grouped_weights_gradient_is_right_here(recorded):
    x = torch.rand(2, 8, 6, 6, requires_grad=True)
    w = torch.rand(8, 2, 3, 3, requires_grad=True)

    def run():
        F.conv2d(x, w, groups=4).sum().backward()

    # 2·2·8·2·9·16 FLOPs: forward, and each gradient
    one = 2 * 2 * 8 * 2 * 9 * 16
    mine = count(recorded(run), rules="torch").total["flops"]
    assert mine == 3 * one
    assert flops_of_torch(run) != mine


def test_fused_attention_on_the_cpu_is_counted_here(recorded):
    q, k, v = (torch.rand(2, 3, n, 8, requires_grad=True) for n in (4, 5, 5))

    def run():
        F.scaled_dot_product_attention(q, k, v).square().sum().backward()

    # 2·b·h·q·k·(d + d), backward 2·b·h·q·k·5·d
    pairs = 2 * 3 * 4 * 5
    assert count(recorded(run), rules="torch").total["flops"] == 2 * pairs * 8 * 7
    assert flops_of_torch(run) == 0


def test_fused_attention_counts_what_its_products_count(recorded):
    """In eager form the same products, forward and backward, but for the scores taken again."""
    q, k, v = (torch.rand(2, 3, n, 8, requires_grad=True) for n in (4, 5, 5))

    def eager():
        (torch.softmax(q @ k.transpose(-1, -2), -1) @ v).square().sum().backward()

    pairs = 2 * 3 * 4 * 5
    mine = count(recorded(eager), rules="torch").total["flops"]
    assert mine == flops_of_torch(eager) == 2 * pairs * 8 * 6


@pytest.mark.parametrize(
    "run",
    [
        lambda: torch.addmm(torch.rand(4), torch.rand(3, 5), torch.rand(5, 4), beta=2, alpha=3),
        lambda: torch.baddbmm(torch.rand(2, 3, 4), torch.rand(2, 3, 5), torch.rand(2, 5, 4)),
        lambda: F.conv_transpose2d(torch.rand(2, 4, 5, 5), torch.rand(4, 3, 3, 3), stride=2),
        lambda: F.conv1d(torch.rand(2, 4, 9), torch.rand(6, 2, 3), torch.rand(6), groups=2),
        lambda: F.conv3d(torch.rand(4, 5, 5, 5), torch.rand(6, 4, 3, 3, 3)),
        lambda: torch.einsum("bij,bjk->bik", torch.rand(2, 3, 4), torch.rand(2, 4, 5)),
        lambda: F.multi_head_attention_forward(
            *(torch.rand(4, 2, 8) for _ in range(3)), 8, 2, torch.rand(24, 8), torch.rand(24),
            None, None, False, 0.0, torch.rand(8, 8), torch.rand(8),
        ),
    ],
)  # fmt: skip
def test_functions(recorded, run):
    assert count(recorded(run), rules="torch").total["flops"] == flops_of_torch(run) > 0
