"""Products that count as dense although another setting of `spikes` would take them for spikes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import opjoule  # noqa: E402
from opjoule.analyzers import count, energy, open_trace  # noqa: E402


class Residual(nn.Module):
    """Two layers behind the sum of two spike tensors, and one behind spikes of another size."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 4, bias=False) for _ in range(3))

    def forward(self, x, y):
        summed = (x > 0.5).float() + (y > 0.5).float()
        return self.a(summed), self.b(summed), self.c((x > 0.5).float() * 0.3)


def recorded(path, net, *inputs):
    with opjoule.Recorder(path, model=net), torch.no_grad():
        net(*inputs)
    return open_trace(path)


def test_the_answer_says_what_a_setting_would_change(tmp_path):
    torch.manual_seed(0)
    trace = recorded(tmp_path / "t", Residual().eval(), torch.rand(3, 8), torch.rand(3, 8))
    line = count(trace).coverage.line()
    assert "2 products count as dense although their input is whole numbers that came" in line
    assert "1 product counts as dense although its input is zeros and one other number" in line
    assert any("--spikes graded" in each for each in energy.estimate_compute(trace).warnings)
    # 3 x 8 inputs, 4 outputs, 3 layers; those behind sums are the first two.
    assert count(trace).total["macs"] == 3 * 96
    assert count(trace, spikes="graded").total["macs"] == 96
    assert "dense although" not in count(trace, spikes="graded").coverage.line()


def test_whole_numbers_from_outside_are_no_sums_of_spikes(tmp_path):
    """Pixels of 0 to 255 are whole numbers, and no spikes."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 8)).float()
    trace = recorded(tmp_path / "t", nn.Linear(8, 4, bias=False).eval(), pixels)
    assert "dense although" not in count(trace).coverage.line()
