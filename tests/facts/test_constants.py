"""A constant operand is what its module's other calls, or the larger value, say that it is."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import opjoule  # noqa: E402
from opjoule.analyzers import count, energy, open_trace  # noqa: E402


def recorded(path, net, inputs, *, grad=False, **options):
    with opjoule.Recorder(path, model=net, **options), torch.set_grad_enabled(grad):
        for x in inputs:
            net(x)
    return open_trace(path)


def of(trace, module, **options):
    rows = count(trace, by="module", **options).frame.filter(module=module)
    return rows["macs"][0], rows["acs"][0]


def frames(*rates):
    torch.manual_seed(0)
    return [(torch.rand(2, 8) < rate).float() for rate in rates]


def test_an_empty_event_frame_triggers_nothing(tmp_path):
    """Each spike meets 4 outputs; a frame of zeros has none, and its 64 products are no MACs."""
    inputs = frames(0.4, 0.3, 0.0)
    assert inputs[2].sum() == 0
    net = nn.Linear(8, 4, bias=False).eval()
    trace = recorded(tmp_path / "t", net, inputs)
    spikes = int(sum(x.sum() for x in inputs))
    assert of(trace, "Linear") == (0, 4 * spikes)
    report = energy.estimate_compute(trace)
    assert report.total_pj == pytest.approx(4 * spikes * 0.9)


def test_a_frame_that_is_all_the_trace_has_is_dense(tmp_path):
    """Nothing says what zeros are: 2·8·4 MACs."""
    trace = recorded(tmp_path / "t", nn.Linear(8, 4, bias=False).eval(), frames(0.0))
    assert of(trace, "Linear") == (64, 0)


def test_zeros_among_dense_inputs_are_dense(tmp_path):
    torch.manual_seed(0)
    inputs = [torch.rand(2, 8), torch.zeros(2, 8)]
    trace = recorded(tmp_path / "t", nn.Linear(8, 4, bias=False).eval(), inputs)
    assert of(trace, "Linear") == (128, 0)


def test_a_filter_changes_no_fact(tmp_path):
    """The empty frame alone, asked for by its step: what the other calls say still holds."""
    net = nn.Linear(8, 4, bias=False).eval()
    with opjoule.Recorder(tmp_path / "t", model=net) as recorder, torch.no_grad():
        for x in frames(0.4, 0.0):
            net(x)
            recorder.step()
    trace = open_trace(tmp_path / "t")
    assert of(trace, "Linear", where="step=1") == (0, 0)


def test_a_part_is_what_the_whole_is(tmp_path):
    """One call on the empty step of a stream that is spikes: its module has no other call."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 4, bias=False)

        def forward(self, x):
            return self.fc(x[2]) + x.sum()

    stream = torch.stack(frames(0.4, 0.3, 0.0))
    trace = recorded(tmp_path / "t", Last().eval(), [stream], time_dim=0, batch_dim=1)
    assert of(trace, "Last.fc") == (0, 0)


class Recurrent(nn.Module):
    """A layer whose spikes are fed back through weights, from zeros in the first step."""

    def __init__(self):
        super().__init__()
        self.into, self.back = nn.Linear(8, 16, bias=False), nn.Linear(16, 16, bias=False)

    def forward(self, x):
        spikes, fed = torch.zeros(x.shape[1], 16), 0
        for frame in x:
            fed += int(spikes.sum())
            spikes = (self.into(frame) + self.back(spikes) > 0.1).float()
        self.fed = fed
        return spikes


def test_the_first_step_of_a_spiking_recurrent_layer_is_spikes(tmp_path):
    """Every fed back spike meets 16 outputs; the zeros of the first step none."""
    net = Recurrent().eval()
    torch.manual_seed(0)
    trace = recorded(tmp_path / "t", net, [torch.rand(5, 2, 8)], time_dim=0, batch_dim=1)
    assert net.fed
    assert of(trace, "Recurrent.back") == (0, 16 * net.fed)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_the_gradient_of_a_sum_is_no_train_of_spikes(reduce, tmp_path):
    """Weight gradient of 3 x 8 inputs and 4 outputs: 3·8·4 MACs, of a sum as of a mean."""
    net = nn.Linear(8, 4, bias=False)
    torch.manual_seed(0)
    with opjoule.Recorder(tmp_path / "t", model=net):
        for _ in range(2):
            getattr(net(torch.rand(3, 8)), reduce)().backward()
    total = count(tmp_path / "t", where=["stage=backward", "op=aten.mm*"]).total
    assert (total["macs"], total["synops"]) == (2 * 96, 0)


def test_no_tensor_is_spikes_if_the_user_says_so(tmp_path):
    net = nn.Linear(8, 4, bias=False).eval()
    trace = recorded(tmp_path / "t", net, frames(0.4), statistics="none")
    assert of(trace, "Linear", spikes="none") == (64, 0)
    assert count(trace).total["macs"] is None
