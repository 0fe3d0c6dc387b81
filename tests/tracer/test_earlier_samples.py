"""Root calls that go on with a sample although another one has begun since, and those that do not.

In each test `numbered` gives the sample of every root call, in their order.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

B = 2


def x():
    return torch.rand(B, 4)


def numbered(trace):
    roots = [row for row in trace.module_calls if row["parent_call_id"] is None]
    return [row["sample"] for row in roots]


def alone(run):
    def inner():
        with torch.no_grad():
            run()

    return inner


class Both(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, one, two):
        return self.layer(one) * two


@pytest.fixture
def parts():
    """Return an encoder, a decoder, and a module of two inputs, in evaluation."""
    return nn.Linear(4, 4).eval(), nn.Linear(4, 4).eval(), Both().eval()


class Gan:
    """One iteration of a GAN: the discriminator's step, then the generator's."""

    def __init__(self, labels=False):
        self.g, self.d = (Both(), Both()) if labels else (nn.Linear(4, 4), nn.Linear(4, 4))
        self.of_d = torch.optim.SGD(self.d.parameters(), lr=0.1)
        self.of_g = torch.optim.SGD(self.g.parameters(), lr=0.1)
        self.labels = labels

    def iteration(self, order):
        labels = [torch.rand(B, 4)] * self.labels
        fake, outs = None, []
        for what in order:
            if what == "g":
                fake = self.g(x(), *labels)
            else:
                outs.append(self.d(fake.detach() if what == "f" else x(), *labels))
        for optimizer, outs_of_it in ((self.of_d, outs), (self.of_g, None)):
            optimizer.zero_grad()
            made = outs_of_it or [self.d(fake, *labels)]
            sum(each.square().mean() for each in made).backward()
            optimizer.step()


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(
    ("order", "samples"),
    [("gfr", [0, 0, 1, 0]), ("grf", [0, 1, 0, 0]), ("rgf", [0, 1, 1, 1])],
)
def test_a_gan_has_as_many_samples_in_each_order(trace_of, order, samples, labels):
    """A generated batch with all that the discriminator does to it, and a real one: 2 B samples."""
    gan = Gan(labels)
    trace = trace_of(lambda: [gan.iteration(order) for _ in range(2)])
    assert numbered(trace) == [*samples, *(2 + sample for sample in samples)]
    assert [row["step"] for row in trace.module_calls if row["parent_call_id"] is None] == [
        0, 0, 0, 1, 2, 2, 2, 3,
    ]  # fmt: skip


def test_calls_inside_have_the_sample_of_their_root_call(trace_of):
    gan = Gan(labels=True)
    rows = trace_of(lambda: gan.iteration("gfr")).module_calls
    of_roots = {row["module_call_id"]: row["sample"] for row in rows}
    inside = [row for row in rows if row["parent_call_id"] is not None]
    assert len(inside) == 4
    assert all(row["sample"] == of_roots[row["parent_call_id"]] for row in inside)


def test_what_goes_on_from_there_goes_on_with_that_sample(trace_of, parts):
    """A third module on the output of the second; then one on the present sample's."""
    encoder, decoder, _ = parts
    last = nn.Tanh().eval()

    def run():
        one, two = encoder(x()), encoder(x())
        last(decoder(one * 2).exp())
        last(decoder(two))

    assert numbered(trace_of(alone(run))) == [0, 1, 0, 0, 1, 1]


def test_features_first_and_heads_afterwards(trace_of, parts):
    encoder, decoder, _ = parts

    def run():
        features = [encoder(x()) for _ in range(5)]
        for each in features:
            decoder(each)

    assert numbered(trace_of(alone(run))) == [*range(5), *range(5)]


def test_what_is_more_than_eight_samples_old_is_new(trace_of, parts):
    """Of ten samples, the first two can no longer be gone on with: each begins one of its own."""
    encoder, decoder, _ = parts

    def run():
        features = [encoder(x()) for _ in range(10)]
        decoder(features[2])
        decoder(features[0])
        decoder(features[3])
        decoder(features[2])

    assert numbered(trace_of(alone(run))) == [*range(10), 2, 10, 3, 11]


def test_a_pool_of_older_outputs_begins_samples(trace_of):
    """Of the iteration before: two steps of optimizers have ended since then."""
    generator, judge = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (generator, judge)]

    def run():
        pool = []
        for _ in range(4):
            pool.append(generator(x()))
            pool[-1].sum().backward()
            optimizers[0].step()
            judge(x())
            judge(pool[max(0, len(pool) - 2)].detach()).sum().backward()
            optimizers[1].step()

    assert numbered(trace_of(run)) == [0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_an_input_beside_an_older_output_is_an_inference_of_its_own(trace_of, parts):
    """Features of a text computed once, for each of three images."""
    encoder, _, both = parts

    def run():
        text = encoder(x())
        encoder(x())
        for _ in range(3):
            both(x(), text)

    assert numbered(trace_of(alone(run))) == [0, 1, 2, 3, 4]


def test_outputs_of_two_older_samples_tie_to_none(trace_of, parts):
    encoder, _, both = parts

    def run():
        one, two = encoder(x()), encoder(x())
        encoder(x())
        both(one, two)

    assert numbered(trace_of(alone(run))) == [0, 1, 2, 3]


def test_the_present_sample_goes_first(trace_of, parts):
    """A loss of a student's output and a teacher's target goes with the one that ran last."""
    teacher, student, _ = parts
    loss = nn.MSELoss().eval()

    def run():
        for _ in range(2):
            target = teacher(x())
            loss(student(x()), target)

    assert numbered(trace_of(alone(run))) == [0, 1, 1, 2, 3, 3]


def test_what_a_module_keeps_ties_no_older_sample(trace_of):
    """A mean over calls that each second batch is normed with; it is not given to the call."""

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.zeros(4)

        def forward(self, y):
            self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
            return y - self.mean

    norm, other = Norm().eval(), nn.Linear(4, 4).eval()

    def run():
        for _ in range(3):
            norm(x())
            other(x())

    assert numbered(trace_of(alone(run))) == [*range(6)]


def test_a_sample_that_was_said_goes_on_with_none(trace_of, parts):
    encoder, decoder, _ = parts

    def run(recorder):
        with torch.no_grad():
            made = encoder(x())
            encoder(x())
            recorder.sample()
            decoder(made)

    assert numbered(trace_of(run, takes_recorder=True)) == [0, 1, 2]


def test_a_loop_over_time_keeps_what_went_to_an_older_sample(jelly, trace_of, parts):
    """Between its encoder and its network, a call goes on with the first sample of all."""
    encoder, decoder, _ = parts
    network = nn.Sequential(nn.Linear(4, 3), jelly.neuron.LIFNode()).eval()

    def run():
        made = decoder(x())
        for _ in range(3):
            spikes = encoder(x())
            decoder(made)
            network(spikes)

    assert numbered(trace_of(alone(run))) == [0, *[1, 0, 1] * 3]
