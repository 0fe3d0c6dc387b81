"""Products that count as dense although another setting of `spikes` would take them for spikes."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import opjoule  # noqa: E402
from opjoule.analyzers import count, energy, open_trace  # noqa: E402
from opjoule.analyzers.workload.hints import spike_hints  # noqa: E402


class Residual(nn.Module):
    """Two layers behind the sum of two spike tensors, and one behind spikes of another size."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 4, bias=False) for _ in range(3))

    def forward(self, x, y):
        summed = (x > 0.5).float() + (y > 0.5).float()
        return self.a(summed), self.b(summed), self.c((x > 0.5).float() * 0.3)


def recorded(path, net, *inputs, calls=1, grad=False):
    with opjoule.Recorder(path, model=net), torch.set_grad_enabled(grad):
        for _ in range(calls):
            out = net(*inputs)
        if grad:
            (out * torch.rand_like(out)).sum().backward()
    return open_trace(path)


def changed_by(trace, setting):
    """Return how many calls have other MACs with a setting, where all of a row are alike."""
    keys = ["module", "stage", "op"]
    one, two = (count(trace, by=keys, spikes=each, exclusive=True) for each in ("binary", setting))
    rows = zip(one.frame.iter_rows(named=True), two.frame.iter_rows(named=True), strict=True)
    return sum(a["calls"] for a, b in rows if a["macs"] != b["macs"])


def said(trace, setting):
    """Return how many products the hint names: those with such an input, and others."""
    told = [each for each in spike_hints(trace) if f"--spikes {setting} " in each]
    if not told:
        return None
    first, more = re.match(r"(\d+) product", told[0]), re.search(r"and (\d+) more", told[0])
    return int(first[1]), int(more[1]) if more else 0


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


COUNTS = {
    "frames of events": (lambda x: x, 1),
    "bursts": (lambda x: torch.floor(x * 1.5).clamp(0, 4), 1),
    "half of them at most are zero": (lambda x: x + 1, 0),
    "as large as pixels": (lambda x: x * 100, 0),
    "negative too": (lambda x: -x, 0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_small_whole_numbers_that_are_mostly_zero_are_taken_for_counts(name, tmp_path):
    """Of 24 elements 8 are not zero: 1, 2 and 3 events."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4, bias=False)

        def forward(self, x):
            return self.layer(COUNTS[name][0](x))

    frame = torch.zeros(24)
    frame[::3] = torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0, 2.0, 1.0, 3.0])
    trace = recorded(tmp_path / "t", Net().eval(), frame.reshape(3, 8))
    assert said(trace, "graded") == ((1, 0) if COUNTS[name][1] else None)
    assert changed_by(trace, "graded") == 1


def spikes(x):
    return (x > 0.5).float()


WAYS = {
    "max pool": lambda s: torch.nn.functional.max_pool2d(s, 2),
    "view": lambda s: s.reshape(2, 4, 2, 8)[..., :4],
    "copy": lambda s: s.transpose(2, 3).contiguous().clone(),
    "cat": lambda s: torch.cat([s, spikes(s), torch.zeros_like(s), s, spikes(s)], 2),
    "stack": lambda s: torch.stack([s, spikes(s), spikes(s), s]).flatten(0, 1),
    "upsampling": lambda s: torch.nn.functional.interpolate(s, scale_factor=2),
    "padding": lambda s: torch.nn.functional.pad(s, (1, 1, 2, 0)),
    "relu": torch.relu,
    "half precision": lambda s: s.half().float(),
    "another sum": lambda s: torch.nn.functional.max_pool2d(s, 2) + spikes(s[..., ::2, ::2]),
    "selected": lambda s: s[:, torch.tensor([3, 1, 0, 2])],
    "sum over time": lambda s: torch.stack([s, spikes(s)]).sum(0),
    "pooled twice": lambda s: torch.nn.functional.max_pool2d(
        torch.nn.functional.max_pool2d(s, (1, 2)).flip(3).clone(), (1, 2)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_sums_of_spikes_are_sums_however_they_come_on(way, tmp_path):
    """A convolution behind the sum itself, and one behind what was made of it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Conv2d(4, 3, 1, bias=False) for _ in range(2))

        def forward(self, x, y):
            summed = spikes(x) + spikes(y)
            return self.a(summed), self.b(WAYS[way](summed))

    torch.manual_seed(0)
    trace = recorded(tmp_path / "t", Net().eval(), *torch.rand(2, 2, 4, 4, 4), calls=3)
    assert said(trace, "graded") == (6, 0)
    assert changed_by(trace, "graded") == 6


def test_other_whole_numbers_are_named_apart(tmp_path):
    """Of 4 products that the setting changes two have pixels, or sums with pixels, as input."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d, self.e = (nn.Linear(8, 4) for _ in range(5))

        def forward(self, x, y, pixels):
            summed = spikes(x) + spikes(y)
            made = self.a(pixels), self.b(summed + pixels), self.e(x)
            return *made, self.c(summed), self.d(summed.flip(0).clone())

    torch.manual_seed(0)
    pixels = torch.randint(2, 256, (3, 8)).float()
    trace = recorded(tmp_path / "t", Net().eval(), *torch.rand(2, 3, 8), pixels)
    assert said(trace, "graded") == (2, 2)
    assert changed_by(trace, "graded") == 4


def test_a_product_that_spikes_drive_already_is_not_named(tmp_path):
    """Whole numbers by spikes, as those of an attention of spikes: the spikes drive it."""

    class Net(nn.Module):
        def forward(self, x, y):
            counts = spikes(x) @ spikes(y).transpose(1, 2)
            return counts @ spikes(y), counts @ y

    torch.manual_seed(0)
    trace = recorded(tmp_path / "t", Net().eval(), *torch.rand(2, 2, 5, 8))
    assert said(trace, "graded") == (1, 0)
    macs = [count(trace, spikes=each).total["macs"] for each in ("binary", "graded")]
    assert macs[0] - macs[1] == 2 * 5 * 5 * 8


@pytest.mark.parametrize("setting", ["ternary", "scaled"])
def test_signed_and_scaled_spikes_have_their_hint(setting, tmp_path):
    """Two layers get them, one gets them through a copy; the weights of a fourth are such too."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Linear(8, 4, bias=False) for _ in range(4))
            two = [-1.0, 1.0] if setting == "ternary" else [0.0, 0.25]
            self.c.weight = nn.Parameter(torch.tensor(two).repeat(4, 4))

        def forward(self, x, y):
            events = spikes(x) - spikes(y) if setting == "ternary" else spikes(x) * 0.5
            return self.a(events), self.b(events.clone()), self.c(y), self.d(y)

    torch.manual_seed(0)
    trace = recorded(tmp_path / "t", Net().eval(), *torch.rand(2, 3, 8))
    assert said(trace, setting) == (2, 1)
    assert changed_by(trace, setting) == 3


def test_an_empty_frame_among_sums_is_named_with_them(tmp_path):
    """Zeros are what the layer's other inputs are: sums of spikes, under the other setting."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(8, 4, bias=False)

        def forward(self, x, y):
            return self.a((spikes(x) + spikes(y)).neg().neg()) if x.sum() else self.a(x)

    torch.manual_seed(0)
    path, net = tmp_path / "t", Net().eval()
    with opjoule.Recorder(path, model=net), torch.no_grad():
        for x in (torch.rand(3, 8), torch.zeros(3, 8), torch.rand(3, 8)):
            net(x, torch.rand(3, 8))
    trace = open_trace(path)
    assert said(trace, "graded") == (3, 0)
    macs = [count(trace, spikes=each).total["macs"] for each in ("binary", "graded")]
    assert macs == [3 * 96, 0]


def test_products_of_the_backward_pass_are_named_too(tmp_path):
    """The gradient of the weights is a product with the layer's input: 2 products of one layer."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(8, 4, bias=False)

        def forward(self, x, y):
            return self.a(spikes(x) + spikes(y))

    trace = recorded(tmp_path / "t", Net(), *torch.rand(2, 3, 8), grad=True)
    assert said(trace, "graded") == (2, 0)
    assert changed_by(trace, "graded") == 2
