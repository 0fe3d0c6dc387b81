"""Counters in contexts: reading, adding up, resetting, refusing, rules of one's own."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from opjoule import op_counter
from opjoule.schemas import ConfigError, OpjouleError, RecordError

# A Linear(8, 4) without bias on 2 rows: 2 * 2*4*8 = 128 FLOPs a call.
FLOPS = 128
aten = torch.ops.aten


@pytest.fixture
def layer():
    return nn.Linear(8, 4, bias=False)


@pytest.fixture
def x():
    return torch.rand(2, 8)


def test_ops_are_pytorchs_overloads(layer, x):
    counter = op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter]):
        layer(x)
    assert counter.get_counts()["Linear"] == {aten.t.default: 0, aten.mm.default: FLOPS}


def test_counters_are_read_inside_the_context(layer, x):
    counter = op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter]):
        assert counter.get_total() == 0
        for calls in (1, 2, 3):
            layer(x)
            assert counter.get_total() == calls * FLOPS
    assert counter.get_total() == 3 * FLOPS


def test_reading_between_forward_and_backward_keeps_the_scopes():
    # y = W x: the weight's gradient is a 4 x 2 by 2 x 8 product: 2 * 4*8*2 = 128.
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    counter = op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter]):
        y = model(torch.rand(2, 8)).sum()
        before = counter.get_counts()["Sequential.0"][aten.mm.default]
        y.backward()
    assert before == FLOPS
    assert counter.get_counts()["Sequential.0"][aten.mm.default] == FLOPS + 128


def test_contexts_add_up_until_reset(layer, x):
    counter = op_counter.FlopCounter()
    for calls in (1, 2):
        with op_counter.DispatchCounterMode([counter]):
            layer(x)
        assert counter.get_total() == calls * FLOPS
    counter.reset()
    assert counter.get_total() == 0
    with op_counter.DispatchCounterMode([counter]):
        layer(x)
    assert counter.get_total() == FLOPS


def test_reset_inside_a_context_counts_from_there(layer, x):
    counter, other = op_counter.FlopCounter(), op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter, other]):
        layer(x)
        counter.reset()
        assert counter.get_total() == 0
        layer(x)
        assert counter.get_total() == FLOPS
    assert counter.get_total() == FLOPS
    assert other.get_total() == 2 * FLOPS


def test_a_mode_can_be_entered_again(layer, x):
    counter = op_counter.FlopCounter()
    mode = op_counter.DispatchCounterMode([counter])
    for _ in range(2):
        with mode:
            layer(x)
    assert counter.get_total() == 2 * FLOPS


def test_contexts_inside_each_other_both_count(layer, x):
    outer, inner = op_counter.FlopCounter(), op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([outer]):
        layer(x)
        with op_counter.DispatchCounterMode([inner]):
            layer(x)
    assert (outer.get_total(), inner.get_total()) == (2 * FLOPS, FLOPS)


def test_strict_raises_at_the_op_in_the_run(x):
    """relu has no rule in SpikingJelly 2.0: what comes after it does not run."""
    ran = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 4, bias=False)
            self.act = nn.ReLU()

        def forward(self, x):
            x = self.act(self.first(x))
            ran.append("after")
            return x

    counter, net = op_counter.FlopCounter(), Net()
    said = r"FlopCounter has no rule for aten\.relu\.default in Net\.act\. Give it one"
    with (
        pytest.raises(NotImplementedError, match=said) as found,
        op_counter.DispatchCounterMode([counter], strict=True),
    ):
        net(x)
    assert isinstance(found.value, OpjouleError)
    assert not ran
    assert counter.get_total() == FLOPS  # what was counted before


def test_strict_leaves_ignored_modules_alone(layer, x):
    counter = op_counter.FlopCounter(extra_ignore_modules=[nn.ReLU])
    with op_counter.DispatchCounterMode([counter], strict=True):
        nn.ReLU()(layer(x))
    assert counter.get_total() == FLOPS


def test_skipped_ops_are_told_with_their_calls(layer, x):
    counter = op_counter.FlopCounter()
    mode = op_counter.DispatchCounterMode([counter])
    with mode:
        torch.relu(torch.relu(layer(x)))
    assert mode.get_unsupported(counter)["aten.relu.default"] == 2
    assert mode.get_unsupported_ops(counter) == mode.get_unsupported(counter)
    with pytest.raises(ValueError, match="is not a counter of this"):
        mode.get_unsupported(op_counter.FlopCounter())


def test_extra_rules_hold_instead_of_the_built_in_ones(layer, x):
    seen = []

    def products(args, kwargs, out):
        seen.append((tuple(args[0].shape), tuple(out.shape)))
        return 7

    counter = op_counter.FlopCounter(
        extra_rules={aten.mm.default: products, aten.relu.default: lambda a, k, out: out.numel()}
    )
    with op_counter.DispatchCounterMode([counter], strict=True):
        torch.relu(layer(x))
    # mm by the rule: 7; relu on 2 x 4 elements: 8
    assert seen == [((2, 8), (2, 4))]
    counts = counter.get_counts()["Global"]
    assert {op: n for op, n in counts.items() if n} == {aten.mm.default: 7, aten.relu.default: 8}
    assert counter.get_counts()["Linear"][aten.mm.default] == 7


def test_a_counter_of_ones_own():
    class Calls(op_counter.BaseCounter):
        def __init__(self):
            super().__init__()
            self.rules = {aten.relu.default: lambda args, kwargs, out: 1}

    counter = Calls()
    with op_counter.DispatchCounterMode([counter]):
        nn.ReLU()(torch.rand(3))
        torch.relu(torch.rand(3))
        assert counter.get_total() == 2
    assert counter.get_counts() == {
        "Global": {aten.relu.default: 2},
        "ReLU": {aten.relu.default: 1},
    }


def test_modules_are_ignored_with_all_that_is_inside():
    class Block(nn.Sequential):
        pass

    model = nn.Sequential(nn.Linear(8, 8, bias=False), Block(nn.Linear(8, 4, bias=False)))
    counter = op_counter.FlopCounter(extra_ignore_modules=[Block])
    with op_counter.DispatchCounterMode([counter]):
        model(torch.rand(2, 8))
    # 2 * 2*8*8 = 256 of the first layer
    assert {s: sum(ops.values()) for s, ops in counter.get_counts().items()} == {
        "Global": 256,
        "Sequential": 256,
        "Sequential.0": 256,
    }


def test_an_error_of_the_model_comes_through(layer, x):
    counter = op_counter.FlopCounter()
    with pytest.raises(ZeroDivisionError), op_counter.DispatchCounterMode([counter]):
        layer(x)
        _ = 1 / 0
    assert counter.get_total() == FLOPS


def test_verbose_logs_every_call(layer, x, caplog):
    counter = op_counter.SynOpCounter()
    with (
        caplog.at_level(logging.INFO, "opjoule.op_counter"),
        op_counter.DispatchCounterMode([counter], verbose=True),
    ):
        layer(x)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "call 0 aten.t.default: skipped: no rule by SynOpCounter",
        "call 1 aten.mm.default: counted by SynOpCounter",
    ]


def test_a_revision_that_does_not_exist_is_refused(revision):
    revision("spikingjelly-3")
    with pytest.raises(ConfigError, match=r"op_counter\.revision = 'spikingjelly-3': choose from"):
        op_counter.DispatchCounterMode([])


def test_revisions_are_not_added_to_each_other(layer, x, revision):
    counter = op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter]):
        layer(x)
    revision("spikingjelly-2026-08")
    with pytest.raises(ConfigError, match="call reset"), op_counter.DispatchCounterMode([counter]):
        layer(x)
    counter.reset()
    with op_counter.DispatchCounterMode([counter]):
        layer(x)
    assert counter.get_total() == 120  # 2*4 outputs, each 8 products and 7 additions


def test_the_source_revision_has_rules_for_more(layer, x, revision):
    revision("source")
    counter = op_counter.FlopCounter()
    with op_counter.DispatchCounterMode([counter], strict=True):
        torch.relu(layer(x))
    assert counter.get_counts()["Global"] == {aten.mm.default: FLOPS, aten.relu.default: 8}


def test_a_counter_of_spikingjelly_is_refused(original):
    with pytest.raises(RecordError, match=r"is not a counter of opjoule\.op_counter"):
        op_counter.DispatchCounterMode([original.FlopCounter()])


def test_names_load_without_torch():
    statement = (
        "import sys; sys.modules['torch'] = None; from opjoule import op_counter; "
        "print(len(op_counter.__all__), [op_counter.FlopCounter().get_total()])"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[0]\n")
