"""Which root calls are one sample and one step, and steps of several optimizers."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
import weakref

import pytest
import torch
from torch import nn

from opjoule.tracer import RecordingWarning
from opjoule.tracer.session import CALL_WIDTH

B = 2


def x(*shape):
    return torch.rand(*(shape or (B, 4)))


def numbered(trace):
    """Return (sample, step) of the root calls in order."""
    roots = [row for row in trace.module_calls if row["parent_call_id"] is None]
    return [(row["sample"], row["step"]) for row in roots]


def evaluated(run):
    def inner():
        with torch.no_grad():
            run()

    return inner


@pytest.fixture
def parts():
    """Return an encoder and a decoder, in evaluation."""
    return nn.Linear(4, 4).eval(), nn.Linear(4, 4).eval()


def test_a_decoder_on_an_encoder_is_one_sample(trace_of, parts):
    encoder, decoder = parts

    def run():
        for _ in range(3):
            decoder(encoder(x()))

    trace = trace_of(evaluated(run))
    assert numbered(trace) == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]
    assert trace.manifest["steps"] == 3


@pytest.mark.parametrize(
    "between",
    [
        lambda y: y.view(4, B).t(),
        lambda y: (y * 2 + torch.rand(B, 4)).relu(),
        lambda y: torch.cat([x(), y])[B:],
        lambda y: torch.stack([y, y]).sum(0),
        lambda y: y.topk(4).values,
        lambda y: y.detach().clone(),
        lambda y: torch.zeros(B, 4).copy_(y),
        lambda y: torch.zeros(B, 4).index_copy_(0, torch.tensor([1]), y[:1]),
        lambda y: torch.nn.functional.dropout(y, 0.5),
        lambda y: {"hidden": [y]},
    ],
    ids=["views", "arithmetic", "cat", "stack", "topk", "clone", "copy_", "part", "drop", "nested"],
)  # fmt: skip
def test_ops_between_hand_it_on(trace_of, parts, between):
    encoder, _ = parts

    class Decoder(nn.Module):
        def forward(self, y):
            return (y["hidden"][0] if isinstance(y, dict) else y).exp()

    decoder = Decoder().eval()
    trace = trace_of(evaluated(lambda: [decoder(between(encoder(x()))) for _ in range(2)]))
    assert numbered(trace) == [(0, 0), (0, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    "between",
    [
        torch.rand_like,
        torch.zeros_like,
        lambda y: y.new_ones(B, 4),
        lambda y: torch.rand(B, 4),
        lambda y: y.copy_(torch.rand(B, 4)),
        lambda y: torch.tensor(y.tolist()),
    ],
    ids=["rand_like", "zeros_like", "new_ones", "rand", "overwritten", "through Python"],
)
def test_fresh_tensors_begin_a_sample(trace_of, parts, between):
    encoder, decoder = parts
    trace = trace_of(evaluated(lambda: decoder(between(encoder(x())))))
    assert numbered(trace) == [(0, 0), (1, 1)]


def test_keyword_arguments_hand_it_on(trace_of, parts):
    encoder, decoder = parts
    trace = trace_of(evaluated(lambda: [decoder(input=encoder(input=x())) for _ in range(2)]))
    assert numbered(trace) == [(0, 0), (0, 0), (1, 1), (1, 1)]


def test_a_generation_loop_is_one_sample(trace_of):
    """Each call is given the tokens so far, of which the last came out of the call before."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)).eval()

    def run():
        for _ in range(2):
            tokens = torch.randint(9, (B, 3))
            for _ in range(3):
                following = model(tokens)[:, -1].argmax(-1)
                tokens = torch.cat([tokens, following[:, None]], 1)

    trace = trace_of(evaluated(run))
    assert numbered(trace) == [(0, 0)] * 3 + [(1, 1)] * 3
    assert {call["batch"] for call in trace.calls_of("Sequential")} == {B}


def test_a_cell_whose_state_is_an_argument(trace_of):
    """`spk, mem = cell(x, mem)`: a sequence is one sample, zeros begin a new one."""

    class Cell(nn.Module):
        def forward(self, x, mem):
            mem = mem * 0.9 + x
            spikes = (mem > 1).to(x)
            return spikes, mem - spikes

    cell = Cell().eval()

    def run():
        for _ in range(2):
            mem = torch.zeros(B, 4)
            for _ in range(3):
                _, mem = cell(x(), mem)

    assert numbered(trace_of(evaluated(run))) == [(0, 0)] * 3 + [(1, 1)] * 3


def test_what_is_only_passed_through_begins_no_sample_again(trace_of):
    """The same input three times over; a module that hands it back as it is, one that views it."""
    same, flat, model = nn.Identity().eval(), nn.Flatten().eval(), nn.Linear(4, 4).eval()
    given = x(B, 2, 2)

    def run():
        for _ in range(2):
            model(flat(given))
        for _ in range(2):
            same(given)

    assert [sample for sample, _ in numbered(trace_of(evaluated(run)))] == [0, 0, 1, 1, 2, 3]


def test_weights_that_a_module_hands_out_begin_no_sample(trace_of):
    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            return self.weight

    weights, model = Weights().eval(), nn.Linear(4, 4).eval()

    def run():
        weights(x())
        model(weights.weight * 2)

    assert [sample for sample, _ in numbered(trace_of(evaluated(run)))] == [0, 1]


def test_the_output_of_an_earlier_sample_goes_on_with_it(trace_of, parts):
    encoder, decoder = parts

    def run():
        kept = encoder(x())
        encoder(x())
        decoder(kept * 1)

    assert [sample for sample, _ in numbered(trace_of(evaluated(run)))] == [0, 1, 0]


def test_an_attack_by_gradients_is_a_sample_of_its_own(trace_of):
    """What follows from a gradient is a new input, as is the input that it is added to."""
    model = nn.Linear(4, 4).eval()

    def run():
        given = x().requires_grad_()
        for _ in range(2):
            model(given).sum().backward()
            given = (given + given.grad.sign()).detach().requires_grad_()

    assert [sample for sample, _ in numbered(trace_of(run))] == [0, 1]


def test_a_warm_up_passes_whole_samples(new, read, parts):
    encoder, decoder = parts
    with new(warmup=2, steps=1) as recorder, torch.no_grad():
        for _ in range(4):
            decoder(encoder(x()))
    trace = read(recorder.path)
    assert [row["path"] for row in trace.modules] == ["Linear", "Linear#2"]
    assert numbered(trace) == [(0, 0), (0, 0)]
    assert trace.module_calls[0]["outputs"] == trace.module_calls[1]["inputs"]


def test_what_was_computed_while_suspended_begins_a_sample(trace_of, parts):
    encoder, decoder = parts

    def run(recorder):
        with torch.no_grad():
            for _ in range(2):
                with recorder.suspend():
                    features = encoder(x())
                decoder(features)

    assert numbered(trace_of(run, takes_recorder=True)) == [(0, 0), (1, 1)]


def train(modules, optimizers, steps=3, micro=1):
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        for _ in range(micro):
            y = x()
            for module in modules:
                y = module(y)
            nn.MSELoss()(y, torch.zeros(B, 4)).backward()
        for optimizer in optimizers:
            optimizer.step()


def sgd(module):
    return torch.optim.SGD(module.parameters(), lr=0.1)


def steps_of(trace, stage):
    return sorted({call["step"] for call in trace.calls if call["stage"] == stage})


@pytest.mark.parametrize("micro", [1, 2])
def test_training_two_modules_and_a_loss(trace_of, micro):
    """A step for each step of the optimizer, with as many micro-batches as it accumulates."""
    modules = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = sgd(nn.ModuleList(modules))
    trace = trace_of(lambda: train(modules, [optimizer], micro=micro))
    calls = [(micro * step + k, step) for step in range(3) for k in range(micro)]
    assert numbered(trace) == [numbers for numbers in calls for _ in range(3)]
    assert trace.manifest["steps"] == 3
    for stage in ("forward", "backward", "optimizer"):
        assert steps_of(trace, stage) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, 5),
        ({"steps": 2}, 2),
        ({"warmup": 1}, 4),
        ({"warmup": 1, "steps": 1}, 1),
        ({"warmup": 2, "steps": 3}, 3),
    ],
    ids=str,
)
def test_optimizers_that_step_one_after_the_other_share_a_step(new, read, options, seen):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizers = [sgd(first), torch.optim.Adam(second.parameters())]
    with new(**options) as recorder:
        train((first, second), optimizers, steps=5)
    trace = read(recorder.path)
    assert trace.manifest["steps"] == seen
    assert [row["step"] for row in trace.optimizer_steps] == [k // 2 for k in range(2 * seen)]
    classes = [row["class"].rsplit(".", 1)[1] for row in trace.optimizer_steps]
    assert classes == ["SGD", "Adam"] * seen
    assert steps_of(trace, "optimizer") == steps_of(trace, "backward") == list(range(seen))
    assert numbered(trace) == [(k, k) for k in range(seen) for _ in range(3)]


@pytest.mark.parametrize("root_call", [True, False])
def test_optimizers_with_work_between_have_steps_of_their_own(trace_of, root_call):
    """A second forward and backward pass, of modules or of functions."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizers = [sgd(first), sgd(second)]

    def run():
        for _ in range(2):
            for module, optimizer in zip((first, second), optimizers, strict=True):
                out = module(x()) if root_call else x() @ module.weight
                out.sum().backward()
                optimizer.step()

    trace = trace_of(run)
    assert [row["step"] for row in trace.optimizer_steps] == [0, 1, 2, 3]


def test_an_optimizer_that_no_longer_follows(trace_of):
    """Its partner steps alone in the second iteration: that is a step too."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    one, two = sgd(first), sgd(second)

    def run():
        for k in range(3):
            second(first(x())).sum().backward()
            one.step()
            if k != 1:
                two.step()

    trace = trace_of(run)
    assert [row["step"] for row in trace.optimizer_steps] == [0, 0, 1, 2, 2]
    assert trace.manifest["steps"] == 3


def test_steps_that_are_on_the_disk_are_not_joined_but_named(new, read):
    """Six micro-batches, of which some are written before the optimizer is known."""
    model = nn.Linear(4, 4)
    optimizer = sgd(model)
    recorder = new()
    with pytest.warns(RecordingWarning, match="one step"), recorder:
        recorder._session.part_cells = 30 * 15
        for _ in range(6):
            model(x()).sum().backward()
        optimizer.step()
    (note,) = read(recorder.path).manifest["notes"]
    assert note.startswith("steps 0 to 5 are one step")


def net(jelly, mode):
    model = nn.Sequential(
        jelly.layer.Linear(4, 6), jelly.neuron.LIFNode(), jelly.layer.Linear(6, 6),
        jelly.neuron.IFNode(),
    )  # fmt: skip
    jelly.functional.set_step_mode(model, mode)
    return model.eval()


def test_state_that_was_not_reset_is_told(jelly, new, read):
    """Three calls of six steps count as one sample of 18; the user is told, once."""
    model = net(jelly, "m")
    recorder = new(model=model)
    with pytest.warns(RecordingWarning, match="carried their state over 3 calls") as caught:
        with recorder, torch.no_grad():
            for _ in range(3):
                model(x(6, B, 4))
    assert len(caught) == 1
    trace = read(recorder.path)
    assert {sample for sample, _ in numbered(trace)} == {0}
    assert "reset them between samples" in trace.manifest["notes"][0]


def test_a_loop_inside_the_model_that_was_not_reset_is_told(jelly, new):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net(jelly, "s")

        def forward(self, x):
            return sum(self.net(step) for step in x)

    model = Loop().eval()
    with pytest.warns(RecordingWarning, match="over 4 calls"), new(time_dim=0, batch_dim=1):
        with torch.no_grad():
            for _ in range(2):
                for _ in range(2):
                    model(x(6, B, 4))
                jelly.functional.reset_net(model)


@pytest.mark.parametrize("begins", ["with zeros", "with what is kept"])
def test_a_state_that_is_given_is_not_carried(tmp_path, begins):
    """The cell keeps its state as well; what it is given first decides if three calls are one."""
    from opjoule.tracer import NeuronRule, Recorder

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.mem = torch.zeros(B, 4)

        def forward(self, x, mem):
            mem = mem * 0.9 + x
            spikes = (mem > 1).to(x)
            self.mem = mem - spikes
            return spikes, self.mem

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = Cell()

        def forward(self, x):
            mem = torch.zeros(B, 4) if begins == "with zeros" else self.cell.mem
            for _ in range(2):
                spikes, mem = self.cell(x, mem)
            return spikes

    model = Model().eval()
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always", RecordingWarning)
        with Recorder(tmp_path / "trace", model=model, neurons=[NeuronRule(Cell, states=("mem",))]):
            for _ in range(3):
                model(x())
        told = [str(warning.message).split(" of the model")[0] for warning in caught]
    carried = ["neurons carried their state over 3 calls"]
    assert told == (carried if begins == "with what is kept" else [])


@pytest.mark.parametrize("mode", ["s", "m"])
def test_a_loop_over_steps_carries_its_state_by_right(jelly, tmp_path, mode):
    """The model is called once a step, or reset between: no warning, which would be an error."""
    from opjoule.tracer import Recorder

    model = net(jelly, mode)
    with Recorder(tmp_path / "trace", model=model), torch.no_grad():
        for _ in range(2):
            for _ in range(6 if mode == "s" else 1):
                model(x(B, 4) if mode == "s" else x(6, B, 4))
            jelly.functional.reset_net(model)


def test_two_networks_of_one_sample_carry_nothing(jelly, tmp_path):
    """The second one, on the output of the first, begins without state."""
    from opjoule.tracer import Recorder

    first, second = net(jelly, "m"), nn.Sequential(jelly.neuron.IFNode(step_mode="m")).eval()
    with Recorder(tmp_path / "trace"), torch.no_grad():
        for _ in range(2):
            second(first(x(6, B, 4)))
            jelly.functional.reset_net(first)
            jelly.functional.reset_net(second)


T = 5


class Poisson(nn.Module):
    """Turns an image into spikes of one time step."""

    def forward(self, image):
        return (torch.rand_like(image) <= image).to(image)


@pytest.fixture
def loops(jelly):
    """Return loops over time that call more than the network: a sample each, of batches of 2.

    The inputs are read anew in each step, and nothing ties the first root call of a step to the
    step before; what has state does.
    """
    neuron, encoder = jelly.neuron, Poisson()
    network = nn.Sequential(nn.Linear(4, 3), neuron.LIFNode()).eval()
    layer, norm, last = nn.Linear(4, 3).eval(), nn.BatchNorm1d(3).eval(), neuron.IFNode().eval()
    embedding, cell = nn.Embedding(7, 4).eval(), nn.GRUCell(4, 4).eval()

    def encoded(image):
        for _ in range(T):
            network(encoder(image))
        jelly.functional.reset_net(network)

    def layers(image):
        for _ in range(T):
            last(norm(layer(image)))
        jelly.functional.reset_net(last)

    def recurrent(image):
        state = torch.zeros(B, 4)
        for step in range(T):
            state = cell(embedding(torch.tensor([step, 0])), state)

    return {"encoder": (encoded, 2), "layers": (layers, 3), "cell": (recurrent, 2)}


@pytest.mark.parametrize("kind", ["encoder", "layers", "cell"])
@pytest.mark.parametrize("steps", [None, 1, 2, 3])
def test_what_leads_to_state_is_part_of_its_sample(loops, trace_of, kind, steps):
    """Three images of T steps are three samples, however many of them are recorded."""
    run, roots = loops[kind]
    trace = trace_of(evaluated(lambda: [run(x()) for _ in range(3)]), steps=steps)
    whole = [(sample, sample) for sample in range(steps or 3) for _ in range(roots * T)]
    assert numbered(trace) == whole
    assert trace.manifest["steps"] == (steps or 3)
    assert {row["step"] for row in trace.calls} == set(range(steps or 3))
    assert [row["seq"] for row in trace.calls] == list(range(len(trace.calls)))


@pytest.mark.parametrize("kind", ["encoder", "layers"])
def test_a_sample_that_was_said_is_not_put_before(loops, trace_of, kind):
    """Said in the middle of the loop: the state that is carried on begins no older sample."""
    run, _ = loops[kind]

    def twice(recorder):
        with torch.no_grad():
            run(x())
            recorder.sample()
            run(x())

    assert {sample for sample, _ in numbered(trace_of(twice, takes_recorder=True))} == {0, 1}


def test_what_leads_to_state_in_training(jelly, trace_of):
    """A step is a batch: T calls of encoder and network, and the optimizer's step."""
    encoder = Poisson()
    network = nn.Sequential(nn.Linear(4, 3), jelly.neuron.LIFNode())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)

    def run():
        for _ in range(3):
            out = sum(network(encoder(x())) for _ in range(T))
            out.pow(2).mean().backward()
            optimizer.step()
            jelly.functional.reset_net(network)

    for steps in (None, 2):
        kept = range(steps or 3)
        found = numbered(trace_of(run, steps=steps))
        assert found == [(step, step) for step in kept for _ in range(2 * T)]


def test_a_running_mean_that_a_module_hands_back_ties_nothing(trace_of):
    """It keeps what it was given before, but is no neuron: each inference is one of its own."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.zeros(())

        def forward(self, y):
            self.mean = 0.9 * self.mean + 0.1 * y.mean()
            return self.mean

    model, mean, cell = nn.Linear(4, 4).eval(), Mean().eval(), nn.GRUCell(4, 4).eval()

    def run():
        for _ in range(3):
            mean(cell(model(x())))

    found = numbered(trace_of(evaluated(run)))
    assert [sample for sample, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_two_networks_in_one_loop_are_one_inference(jelly, trace_of):
    """Each keeps its state while the other runs: T calls of both belong together."""
    one, two = (nn.Sequential(nn.Linear(4, 3), jelly.neuron.LIFNode()).eval() for _ in range(2))

    def run():
        for _ in range(2):
            for _ in range(T):
                one(x()), two(x())
            jelly.functional.reset_net(one), jelly.functional.reset_net(two)

    found = numbered(trace_of(evaluated(run)))
    assert [sample for sample, _ in found][: 2 * T] == [0] * 2 * T
    assert found[-1][0] == max(sample for sample, _ in found)


def test_a_part_is_not_written_between_what_leads_and_what_has_state(loops, new, read):
    """Parts of some forty calls: no image is cut in two by one that ends within it."""
    run, roots = loops["layers"]
    recorder = new()
    with recorder, torch.no_grad():
        recorder._session.part_cells = 40 * CALL_WIDTH
        for _ in range(6):
            run(x())
    trace = read(recorder.path)
    assert len(list(recorder.path.glob("calls-*.parquet"))) > 5
    assert [s for s, _ in numbered(trace)] == [s for s in range(6) for _ in range(roots * T)]


@pytest.fixture
def truncated(jelly):
    """Return loops of 4 time steps for a batch, with an optimizer's step after each second one.

    One network keeps its state, and one is given it; one resets itself as it is called.
    """

    class Resets(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network

        def forward(self, y):
            jelly.functional.reset_net(self.net)
            return self.net(y) + self.net(y)

    network = nn.Sequential(nn.Linear(4, 3), jelly.neuron.LIFNode())
    resets = Resets()
    cell = nn.GRUCell(4, 4)
    layer = nn.Linear(4, 3)

    def keeps(optimizer):
        for step in range(4):
            out = network(x())
            if step % 2:
                optimize(optimizer, out)
                jelly.functional.detach_net(network)
        jelly.functional.reset_net(network)

    def given(optimizer):
        state = torch.zeros(B, 4)
        for step in range(4):
            state = cell(x(), state)
            if step % 2:
                optimize(optimizer, state)
                state = state.detach()

    def alone(optimizer):
        for _ in range(2):
            optimize(optimizer, resets(x()))

    def optimize(optimizer, out):
        optimizer.zero_grad()
        out.pow(2).sum().backward()
        optimizer.step()

    optimizer = sgd(nn.ModuleList([network, cell, layer]))
    return {name: lambda run=run: [run(optimizer) for _ in range(3)]
            for name, run in (("keeps", keeps), ("given", given), ("resets", alone))}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({}, []),
        ({"warmup": 1}, ["the warm-up"]),
        ({"warmup": 2}, []),
        ({"warmup": 1, "steps": 1}, ["the warm-up"]),
        ({"warmup": 3, "steps": 2}, ["the warm-up", "the last step"]),
        ({"warmup": 2, "steps": 1}, ["the last step"]),
        ({"warmup": 2, "steps": 2}, []),
        ({"steps": 1}, ["the last step"]),
        ({"steps": 3}, ["the last step"]),
        ({"steps": 4}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["keeps", "given", "resets"])
def test_steps_of_an_optimizer_that_part_a_sample_are_told(new, truncated, name, options, within):
    """A sample is 2 steps, so that odd numbers end within one; where it resets itself, 1 step."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        with new(**options) as recorder:
            truncated[name]()
    told = [str(warning.message) for warning in caught]
    within = within if name != "resets" else []
    assert [text.split(" ended within a sample: ")[0] for text in told] == within
    assert all(text.endswith("call recorder.step() at the end of each sample") for text in told)
    assert recorder.late == [text for text in told if text.startswith("the last step")]


@pytest.mark.parametrize("after", ["a loss", "a new batch", "an error"])
def test_what_comes_after_the_last_step_and_goes_on_with_nothing(new, after):
    """A warning would be an error; the model's own error is what the script sees."""
    model, loss = nn.Linear(4, 4), nn.MSELoss()
    optimizer = sgd(model)
    with new(steps=1):
        out = model(x())
        out.sum().backward()
        optimizer.step()
        if after == "a loss":
            loss(out.detach(), x())
        elif after == "a new batch":
            model(x())
        else:
            with pytest.raises(RuntimeError, match="shapes"):
                model(torch.rand(B, 5))


def test_steps_by_hand_within_a_sample_are_told(jelly, new):
    network = nn.Sequential(nn.Linear(4, 3), jelly.neuron.LIFNode()).eval()
    with pytest.warns(RecordingWarning, match="the last step ended within a sample: LIFNode"):
        with new(steps=2) as recorder, torch.no_grad():
            for _ in range(4):
                network(x())
                recorder.step()


def test_a_warm_up_that_ends_within_a_sample_is_told(loops, new):
    run, _ = loops["layers"]
    with pytest.warns(RecordingWarning, match="warm-up ended within a sample: IFNode goes on"):
        with new(warmup=1), torch.no_grad():
            run(x())


class Kept(nn.Module):
    """Keeps what it has computed, to be looked at: it never reads it again."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, given):
        self.features = torch.relu(self.hidden(given))
        return self.out(self.features)


def rows_of_first_inputs(trace):
    """Return the first size of what each root call was given."""
    roots = [row for row in trace.module_calls if row["parent_call_id"] is None]
    return [row["inputs"][0]["shape"][0] for row in roots]


def test_what_a_module_keeps_to_be_looked_at_does_not_hold_up_the_warm_up(new, read):
    network = Kept().eval()
    with new(warmup=2, steps=2) as recorder, torch.no_grad():
        for batch in range(1, 7):
            network(x(batch, 4))
    assert rows_of_first_inputs(read(recorder.path)) == [3, 4]


def test_states_that_a_reset_has_left_behind_do_not_hold_up_the_warm_up(new, read):
    """snnTorch keeps the last step's reset beside the membrane potential."""
    snn, utils = pytest.importorskip("snntorch"), pytest.importorskip("snntorch.utils")
    network = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True)).eval()
    with new(warmup=1, steps=2) as recorder, torch.no_grad():
        for batch in range(1, 6):
            utils.reset(network)
            for _ in range(3):
                network(x(batch, 4))
    assert rows_of_first_inputs(read(recorder.path)) == [2, 2, 2, 3, 3, 3]


class Cache:
    """Keys of the tokens so far, in an object inside an object, as Transformers keeps them."""

    def __init__(self):
        self.layers = []


class Layer:
    keys = None


class Decoder(nn.Module):
    """Reads the keys of all tokens so far, and adds those of the present one."""

    def __init__(self):
        super().__init__()
        self.key = nn.Linear(4, 4)

    def forward(self, token, cache):
        if not cache.layers:
            cache.layers.append(Layer())
        (layer,), key = cache.layers, self.key(token)
        layer.keys = key if layer.keys is None else torch.cat([layer.keys, key])
        return layer.keys.sum(0), cache


def test_a_warm_up_passes_whole_generations_with_a_cache(new, read):
    decoder = Decoder().eval()
    with new(warmup=1, steps=1) as recorder, torch.no_grad():
        for batch in range(1, 4):
            cache = Cache()
            for _ in range(3):
                _, cache = decoder(x(batch, 4), cache=cache)
    assert rows_of_first_inputs(read(recorder.path)) == [2, 2, 2]


class Keeper(nn.Module):
    """Has no weights and keeps a tensor: so does a neuron of no known library."""

    def forward(self, given):
        self.last = torch.relu(given)
        return self.last * 1


def test_a_warm_up_that_does_not_end_is_told(new):
    network = nn.Sequential(nn.Linear(4, 4), Keeper()).eval()
    with pytest.warns(RecordingWarning, match=r"had not ended .* \(calls of the model: 4\): rec"):
        with new(warmup=1, steps=1), torch.no_grad():
            for _ in range(4):
                network(x())


def test_nothing_of_the_model_is_kept_once_the_last_step_has_ended(new):
    """The call after the last step is looked at, and let go."""

    def train():
        model = nn.Linear(4, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            model(x()).sum().backward()
            optimizer.step()
        return weakref.ref(model), weakref.ref(model.weight), weakref.ref(model.weight.grad)

    with new(steps=2):
        held = train()
        gc.collect()
        assert [each() for each in held] == [None] * 3


_COMPILED = """
import sys, torch
from torch import nn
from opjoule.tracer import Recorder

graphs = []

def backend(graph, _):
    graphs.append(graph)
    return graph.forward

model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
fast = torch.compile(model, backend=backend)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def iterate(called):
    called(torch.rand(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()

with Recorder(sys.argv[1], steps=2):
    for _ in range(2):
        iterate(fast if sys.argv[2] == "True" else model)
    before = len(graphs)
    for _ in range(3):
        iterate(fast)
print(before, len(graphs))
"""


@pytest.mark.parametrize("compiled_before", [True, False])
def test_what_is_compiled_after_the_last_step_is_compiled_once(tmp_path, compiled_before):
    """Hooks that look at the call after the last step would have it compiled again without them.

    In a process of its own: what others compiled in this one decides whether PyTorch compiles more.
    """
    words = [sys.executable, "-c", _COMPILED, str(tmp_path / "trace"), str(compiled_before)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
