"""Which root calls are one sample, by what they read of what earlier ones computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

B, T, BATCHES = 2, 3, 3


def samples(trace):
    """Return the sample of each root call, in order."""
    return [row["sample"] for row in trace.module_calls if row["parent_call_id"] is None]


def steps(trace):
    return [row["step"] for row in trace.module_calls if row["parent_call_id"] is None]


CHAINS = [batch for batch in range(BATCHES) for _ in range(T)]
APART = list(range(BATCHES * T))


def frame():
    return (torch.rand(B, 4) < 0.5).float()


class LIF(nn.Module):
    """A neuron as everybody writes it."""

    def __init__(self):
        super().__init__()
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else 0.9 * self.v + x
        spikes = (self.v >= 1).to(x)
        self.v = self.v - spikes
        return spikes


class InPlace(LIF):
    """The same in a buffer that stays."""

    def __init__(self):
        nn.Module.__init__(self)
        self.register_buffer("v", torch.zeros(B, 4))

    def forward(self, x):
        self.v.mul_(0.9).add_(x)
        spikes = (self.v >= 1).to(x)
        self.v.sub_(spikes)
        return spikes


def net(neuron):
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), neuron, nn.Linear(4, 4)).eval()


def loop(model, reset, times=BATCHES):
    with torch.no_grad():
        for _ in range(times):
            reset(model[2])
            for _ in range(T):
                model(frame())


def set_v(value):
    return lambda neuron: setattr(neuron, "v", value(neuron))


RESETS = {
    "None": (LIF, set_v(lambda n: None)),
    "zeros": (LIF, set_v(lambda n: torch.zeros(B, 4))),
    "zeros like": (LIF, set_v(lambda n: None if n.v is None else torch.zeros_like(n.v))),
    "new zeros": (LIF, set_v(lambda n: None if n.v is None else n.v.new_zeros(B, 4))),
    "ones": (LIF, set_v(lambda n: torch.full((B, 4), 0.5))),
    "random": (LIF, set_v(lambda n: torch.rand(B, 4))),
    "zero_": (InPlace, lambda n: n.v.zero_()),
    "fill_": (InPlace, lambda n: n.v.fill_(0.0)),
    "all set": (InPlace, lambda n: n.v.__setitem__(slice(None), 0.0)),
    "copied": (InPlace, lambda n: n.v.copy_(torch.zeros(B, 4))),
    "foreach": (InPlace, lambda n: torch._foreach_zero_([n.v])),
    "by NumPy": (LIF, set_v(lambda n: torch.from_numpy(torch.zeros(B, 4).numpy()))),
    "data": (InPlace, lambda n: n.v.data.zero_()),
}
NO_RESETS = {
    "nothing": (LIF, lambda n: None),
    "nothing, in place": (InPlace, lambda n: None),
    "detached": (LIF, set_v(lambda n: None if n.v is None else n.v.detach())),
    "cloned": (LIF, set_v(lambda n: None if n.v is None else n.v.clone())),
    "leaked": (LIF, set_v(lambda n: None if n.v is None else n.v * 0.5)),
    "partly": (InPlace, lambda n: n.v[0].zero_()),
}


@pytest.mark.parametrize("name", RESETS)
def test_a_reset_of_any_kind_begins_a_sample(trace_of, name):
    neuron, reset = RESETS[name]
    trace = trace_of(lambda: loop(net(neuron()), reset))
    assert samples(trace) == steps(trace) == CHAINS
    assert trace.manifest["steps"] == BATCHES


@pytest.mark.parametrize("name", NO_RESETS)
def test_what_is_no_reset_carries_on(trace_of, name):
    neuron, reset = NO_RESETS[name]
    trace = trace_of(lambda: loop(net(neuron()), reset))
    assert samples(trace) == steps(trace) == [0] * BATCHES * T


@pytest.mark.parametrize("statistics", ["full", "none"])
def test_rows_inside_a_call_have_its_sample_and_step(trace_of, statistics):
    """It is known as the call ends: rows that are there by then are told too."""
    trace = trace_of(lambda: loop(net(LIF()), RESETS["None"][1]), statistics=statistics)
    roots = {r["module_call_id"]: r for r in trace.module_calls if r["parent_call_id"] is None}
    for row in trace.module_calls:
        root = roots.get(row["parent_call_id"], row)
        assert (row["sample"], row["step"]) == (root["sample"], root["step"])
    for call in trace.calls:
        if call["module_call_id"] is not None:
            (row,) = (
                r for r in trace.module_calls if r["module_call_id"] == call["module_call_id"]
            )
            assert call["step"] == row["step"]


@pytest.mark.filterwarnings("ignore:.*not known as a neuron")
@pytest.mark.parametrize("name", ["None", "zeros", "zero_"])
@pytest.mark.parametrize(("warmup", "limit"), [(0, 1), (0, 2), (1, 1), (2, None), (1, None)])
def test_whole_samples_are_let_pass_and_recorded(new, read, name, warmup, limit):
    """Three batches of three steps: steps and warm-up never end within one."""
    neuron, reset = RESETS[name]
    with new(warmup=warmup, steps=limit) as recorder:
        loop(net(neuron()), reset)
    trace = read(recorder.path)
    seen = min(BATCHES - warmup, limit or BATCHES)
    assert samples(trace) == [k for k in range(seen) for _ in range(T)]
    assert trace.manifest["steps"] == seen
    calls = trace.rows("calls")
    assert [call["seq"] for call in calls] == list(range(len(calls)))
    assert {row["module_call_id"] for row in trace.module_calls} >= {
        call["module_call_id"] for call in calls if call["module_call_id"] is not None
    }
    known = set(trace.values)
    assert {call["out0_value"] for call in calls if call["out0_value"] is not None} <= known


def test_a_call_that_begins_a_sample_too_many_leaves_nothing(new, read):
    model = nn.Linear(4, 4).eval()
    with new(steps=2) as recorder, torch.no_grad():
        for _ in range(4):
            model(frame())
    trace = read(recorder.path)
    assert samples(trace) == [0, 1]
    assert len(trace.named("addmm")) == 2


@pytest.mark.parametrize("carries", [True, False])
def test_a_part_that_is_full_within_a_call_is_settled_by_what_was_read(new, read, carries):
    """Three calls a root call, of which one is enough to fill a part."""
    model = nn.Sequential(LIF(), nn.Linear(4, 4)).eval()
    recorder = new()
    with recorder, torch.no_grad():
        recorder._session.part_cells = 15
        for _ in range(3):
            if not carries:
                model[0].v = None
            model(frame())
    expected = [0, 0, 0] if carries else [0, 1, 2]
    assert samples(read(recorder.path)) == expected


class Apart(nn.Module):
    """Holds things from call to call that are no state of a sample."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.cache = None
        self.seen = torch.zeros(())

    def forward(self, x):
        if self.kind == "cached positions":
            if self.cache is None:
                self.cache = torch.arange(4.0).cos() * self.layer.bias
            return self.layer(x + self.cache)
        y = self.norm(self.layer(x))
        if self.kind == "counter":
            self.seen = self.seen + (y > 0).sum()
        if self.kind == "average weights":
            with torch.no_grad():
                for p in self.layer.parameters():
                    p.mul_(0.9).add_(p, alpha=0.1)
        return y


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["cached positions", "counter", "average weights", "norm"])
def test_what_a_model_holds_besides_state_ties_nothing(trace_of, kind, training):
    model = Apart(kind).train(training)
    total = torch.zeros(())

    def run():
        with torch.no_grad():
            for _ in range(BATCHES * T):
                total.add_((model(frame()) > 0).sum())

    assert samples(trace_of(run)) == APART


def test_training_ties_nothing_but_state(trace_of):
    model, loss = net(LIF()).train(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def run():
        for _ in range(BATCHES):
            model[2].v = None
            total = sum(loss(model(frame()), torch.zeros(B, 4)) for _ in range(T))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()

    trace = trace_of(run)
    assert samples(trace) == steps(trace) == [k for k in range(BATCHES) for _ in range(2 * T)]


def test_truncated_backpropagation_carries_its_state(trace_of):
    cell = nn.GRUCell(4, 4)
    optimizer = torch.optim.SGD(cell.parameters(), 0.1)

    def run():
        h = torch.zeros(B, 4)
        for _ in range(BATCHES):
            h = cell(frame(), h.detach())
            optimizer.zero_grad()
            h.sum().backward()
            optimizer.step()

    trace = trace_of(run)
    assert (samples(trace), steps(trace)) == ([0, 0, 0], [0, 1, 2])


def test_a_cache_of_keys_continues(trace_of):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.key = nn.Linear(4, 4)

        def forward(self, x, past):
            keys = self.key(x) if past is None else torch.cat([past, self.key(x)], 1)
            return nn.functional.scaled_dot_product_attention(x, keys, keys), keys

    model = Attention().eval()

    def run():
        with torch.no_grad():
            for _ in range(BATCHES):
                past = None
                for _ in range(T):
                    _, past = model(torch.rand(B, 1, 4), past)

    assert samples(trace_of(run)) == CHAINS


@pytest.mark.parametrize("every", [1, 2])
def test_the_user_begins_a_sample(trace_of, every):
    """State is never reset, and the user knows better."""
    model = net(LIF())

    def run(recorder):
        with torch.no_grad():
            for k in range(4):
                if k % every == 0:
                    recorder.sample()
                model(frame())

    trace = trace_of(run, takes_recorder=True)
    assert samples(trace) == steps(trace) == [k // every for k in range(4)]


def test_state_goes_on_over_suspended_work(trace_of):
    model = net(LIF())

    def run(recorder):
        with torch.no_grad():
            for _ in range(T):
                model(frame())
                with recorder.suspend():
                    torch.rand(3).sum()

    assert samples(trace_of(run, takes_recorder=True)) == [0] * T


def jelly_net(jelly, mode):
    model = nn.Sequential(
        jelly.layer.Linear(4, 4), jelly.layer.BatchNorm1d(4), jelly.neuron.LIFNode()
    )
    jelly.functional.set_step_mode(model, mode)
    return model.eval()


@pytest.mark.parametrize("first_line", [True, False])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_spikingjelly(jelly, trace_of, mode, first_line):
    """Reset in the first line of forward, or between; the loop inside or the multi-step call."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = jelly_net(jelly, mode)

        def forward(self, x):
            if first_line:
                jelly.functional.reset_net(self)
            return self.net(x) if mode == "m" else sum(self.net(step) for step in x)

    model = Net().eval()

    def run():
        with torch.no_grad():
            for _ in range(BATCHES):
                if not first_line:
                    jelly.functional.reset_net(model)
                model(torch.rand(T, B, 4))

    assert samples(trace_of(run)) == list(range(BATCHES))


@pytest.mark.parametrize("how", ["hidden", "handed", "outside", "never"])
def test_snntorch(trace_of, how):
    snn = pytest.importorskip("snntorch")
    from snntorch import utils

    layer, neuron = nn.Linear(4, 4), snn.Leaky(beta=0.9, init_hidden=how != "handed")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.neuron = layer, neuron

        def forward(self, x):
            if how == "handed":
                memory, out = self.neuron.init_leaky(), []
                for step in x:
                    spikes, memory = self.neuron(self.layer(step), memory)
                    out.append(spikes)
                return torch.stack(out)
            if how == "hidden":
                utils.reset(self)
            return torch.stack([self.neuron(self.layer(step)) for step in x])

    model = Net().eval()

    def run():
        with torch.no_grad():
            for _ in range(BATCHES):
                if how == "outside":
                    utils.reset(model)
                model(torch.rand(T, B, 4))

    assert samples(trace_of(run)) == ([0] * BATCHES if how == "never" else [0, 1, 2])


def in_backward(count):
    """Train three iterations with an optimizer for each parameter, inside the backward pass."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizers = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}

    def hook(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    for _ in range(count):
        model(frame()).sum().backward()


@pytest.mark.parametrize(("warmup", "limit", "seen"), [(0, None, 3), (0, 2, 2), (1, None, 2)])
def test_optimizers_in_a_backward_pass_make_one_step_of_it(new, read, warmup, limit, seen):
    """Each is one addition to each of 4 parameters, in stage optimizer."""
    with new(warmup=warmup, steps=limit) as recorder:
        in_backward(3)
    trace = read(recorder.path)
    assert trace.manifest["steps"] == seen
    assert [row["step"] for row in trace.optimizer_steps] == [
        k for k in range(seen) for _ in "wbwb"
    ]
    done = [call for call in trace.calls if call["stage"] == "optimizer"]
    assert [call["step"] for call in done] == [k for k in range(seen) for _ in "wbwb"]
    assert {call["step"] for call in trace.calls if call["stage"] == "backward"} == set(range(seen))


@pytest.mark.parametrize("after", [True, False])
def test_what_follows_the_last_step_belongs_to_it(trace_of, after):
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run():
        for _ in range(2):
            model(frame()).sum().backward()
            optimizer.step()
            if after:
                optimizer.zero_grad(set_to_none=False)

    trace = trace_of(run)
    assert trace.manifest["steps"] == 2
    assert {call["step"] for call in trace.calls} == {0, 1}
