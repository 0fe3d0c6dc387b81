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


class Scaled(nn.Module):
    """Spikes times 0.37 into a layer, by a number or by a tensor."""

    def __init__(self, scale):
        super().__init__()
        self.layer, self.scale = nn.Linear(8, 4, bias=False), scale

    def forward(self, x):
        return self.layer((x > 0.5).float() * self.scale)


@pytest.mark.parametrize("scale", [0.37, torch.tensor(0.37)], ids=["number", "tensor"])
def test_empty_frames_times_a_number_are_what_the_others_are(scale, tmp_path):
    """0.37 times spikes is none, so the empty first frame is dense too: 3·2·8·4 MACs.

    Under `scaled` all frames are spikes, and the empty one triggers nothing.
    """
    inputs = frames(0.0, 0.4, 0.3)
    trace = recorded(tmp_path / "t", Scaled(scale).eval(), inputs)
    assert of(trace, "Scaled.layer") == (192, 0)
    spikes = int(sum(x.sum() for x in inputs))
    assert of(trace, "Scaled.layer", spikes="scaled") == (0, 4 * spikes)


class Beside(nn.Module):
    """Spikes beside a state that is zero at first and then is not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 8)

    def forward(self, xs):
        state = torch.zeros(2, 8)
        for x in xs:
            state = self.layer(torch.cat([(x > 0.5).float(), state], 1))
        return state


def test_silent_spikes_beside_a_state_that_is_still_zero_are_what_the_next_step_is(tmp_path):
    """All zeros at the first step, half of them no spikes; dense values later: 3·2·16·8 MACs."""
    steps = torch.stack(frames(0.0, 0.4, 0.3))
    trace = recorded(tmp_path / "t", Beside().eval(), [steps], batch_dim=1, time_dim=0)
    assert of(trace, "Beside.layer")[0] == 768


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


class Cell(nn.Module):
    """Multiplies its input and its state by two weights of its own, one op after the other."""

    def __init__(self, inputs, weights):
        super().__init__()
        self.into = nn.Parameter(torch.randn(20, inputs))
        self.back = nn.Parameter(torch.randn(20, 20))
        self.both = nn.Parameter(torch.randn(40, 20))
        self.mask = torch.ones(20, 20)
        self.weights = weights

    def forward(self, x, z):
        into, back = self.into, self.back
        if self.weights == "parts":
            into, back = self.both[:20], self.both[20:]
        elif self.weights == "computed":
            into, back = into * self.mask, back * self.mask
        fed = nn.functional.linear(x, into) + nn.functional.linear(z, back)
        return (fed > 0.5).float()


@pytest.mark.parametrize("inner", [False, True], ids=["called each step", "called once"])
@pytest.mark.parametrize(
    ("inputs", "weights"),
    [(20, "parameters"), (24, "parameters"), (20, "parts"), (20, "computed")],
)
def test_two_products_of_one_module_are_told_apart(inputs, weights, inner, tmp_path):
    """Dense inputs into 20 outputs are MACs; the state that is fed back is spikes from step 1 on.

    Its zeros in the first step are spikes too, of whatever sizes the other product is.
    """
    torch.manual_seed(0)
    cell, steps = Cell(inputs, weights), torch.rand(5, 10, inputs)
    fed = []

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x):
            z = torch.zeros(10, 20)
            for step in x:
                fed.append(int(z.sum()))
                z = (self.cell.forward if inner else self.cell)(step, z)
            return z.mean(0)

    trace = recorded(tmp_path / "t", Loop().eval(), [steps], time_dim=0, batch_dim=1)
    assert sum(fed) and not fed[0]
    products = {"where": "op=aten.mm*"}
    total = count(trace, **products).total
    assert (total["macs"], total["acs"]) == (5 * 10 * inputs * 20, 20 * sum(fed))
    by_step = count(trace, by="step", **products).total
    assert (by_step["macs"], by_step["acs"]) == (total["macs"], total["acs"])


def test_one_product_does_not_speak_for_another(tmp_path):
    """Spikes come in, and the state is zeros: one step does not tell what a state is."""
    x = (torch.rand(10, 20) < 0.3).float()
    cell = Cell(20, "parameters").eval()
    path = tmp_path / "t"
    with opjoule.Recorder(path, model=cell), torch.no_grad():
        cell(x, torch.zeros(10, 20))
    total = count(path, where="op=aten.mm*").total
    assert (total["macs"], total["acs"]) == (10 * 20 * 20, 20 * int(x.sum()))


def test_products_of_one_module_while_it_learns(tmp_path):
    """The weights are written after each step, and stay the same weights."""
    torch.manual_seed(0)
    cell = Cell(20, "parameters")
    optimizer = torch.optim.SGD(cell.parameters(), 0.01)
    with opjoule.Recorder(tmp_path / "t", model=cell) as recorder:
        for step in range(3):
            z = torch.zeros(10, 20) if step < 2 else (torch.rand(10, 20) < 0.5).float()
            out = nn.functional.linear(torch.rand(10, 20), cell.into).sum()
            cell(torch.rand(10, 20), z)
            out.backward()
            optimizer.step()
            recorder.step()
    total = count(tmp_path / "t", where=["op=aten.mm*", "stage=forward", "module=Cell"]).total
    assert (total["macs"], total["acs"]) == (3 * 10 * 20 * 20, 20 * int(z.sum()))


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
