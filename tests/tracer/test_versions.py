"""Statistics stay right whatever writes: each is compared with what the call really read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

OPTIMIZERS = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "foreach SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "plain Adam": lambda p: torch.optim.Adam(p, lr=0.1, foreach=False),
    "foreach RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1, foreach=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("as_module", [True, False])
def test_optimizers(checked_trace, name, as_module):
    layer = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = OPTIMIZERS[name](layer.parameters())
    x = torch.ones(2, 4)

    def run():
        for _ in range(2):
            optimizer.zero_grad()
            out = layer(x) if as_module else nn.functional.linear(x, layer.weight)
            (out - 1).pow(2).sum().backward()
            optimizer.step()

    trace = checked_trace(run, at_least=20)
    products = trace.named("aten.mm", stage="forward")
    # All weights are zero before the first step and none is after it.
    assert [call["in1_nonzero"] for call in products] == [0, 12]


def test_writes_through_data(checked_trace):
    parameter = nn.Parameter(torch.ones(4))

    def run():
        parameter.exp()
        parameter.data.zero_()
        parameter.exp()
        parameter.data = torch.tensor([1.0, 0, 0, 1])
        parameter.exp()

    trace = checked_trace(run)
    assert [call["in0_nonzero"] for call in trace.named("exp")] == [4, 0, 2]


def test_running_statistics_of_batch_norm(checked_trace):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(self.norm(x))

    model = Twice()
    trace = checked_trace(lambda: model(torch.rand(5, 3)))
    first, second = (call["seq"] for call in trace.named("native_batch_norm"))
    means = {
        row["seq"]: row["nonzero"]
        for row in trace.rows("call_operands")
        if row["slot"] == 3 and row["role"] == "in"
    }
    assert means == {first: 0, second: 3}  # the running mean starts at zero
    trace = checked_trace(lambda: model.eval()(torch.rand(5, 3)))
    values = {row["value_id"] for row in trace.rows("call_operands") if row["slot"] == 3}
    assert len(values) == 1  # in evaluation nothing writes it


def test_an_input_refilled_through_numpy(checked_trace):
    model, x = nn.ReLU(), torch.zeros(6)

    def run():
        for k in range(4):
            x.numpy()[:] = [1] * k + [0] * (6 - k)
            model(x)

    trace = checked_trace(run)
    assert [call["in0_nonzero"] for call in trace.named("relu")] == [0, 1, 2, 3]


def test_a_buffer_made_empty_and_filled_through_numpy(checked_trace):
    model = nn.ReLU()

    def run():
        x = torch.empty(6)
        for k in range(3):
            x.numpy()[:] = [1] * k + [0] * (6 - k)
            model(x)

    trace = checked_trace(run)
    assert [call["in0_nonzero"] for call in trace.named("relu")] == [0, 1, 2]


def test_a_parameter_refilled_through_numpy(checked_trace):
    model = nn.Linear(3, 2, bias=False)

    def run():
        for k in range(3):
            model.weight.detach().numpy()[:] = k
            model(torch.ones(1, 3))

    trace = checked_trace(run)
    assert [call["in1_nonzero"] for call in trace.named("aten.mm")] == [0, 6, 6]


@pytest.mark.parametrize("size", [3, 300])
def test_a_parameter_that_nobody_writes_is_one_value(checked_trace, size):
    """It is measured once, however often the model is called; and anew when it was refilled."""
    model = nn.Linear(size, size, bias=False)

    def run():
        for k in range(6):
            if k == 4:
                model.weight.detach().numpy()[:] = 0
            model(torch.ones(1, size))

    trace = checked_trace(run, model=model)
    products = trace.named("aten.mm")
    weights = [call["in1_value"] for call in products]
    assert len(set(weights[:4])) == len(set(weights[4:])) == 1
    assert weights[3] != weights[4]
    assert [call["in1_nonzero"] for call in products] == [size * size] * 4 + [0, 0]


def test_one_element_of_a_small_parameter_written_through_numpy(checked_trace):
    model = nn.Linear(4, 3, bias=False)

    def run():
        for k in range(3):
            model.weight.detach().numpy()[:, :k] = 0
            model(torch.ones(1, 4))

    trace = checked_trace(run, model=model)
    assert [call["in1_nonzero"] for call in trace.named("aten.mm")] == [12, 9, 6]


def test_set_and_resize(checked_trace):
    def run():
        x, other = torch.zeros(4), torch.ones(6)
        x.exp()
        x.set_(other)
        x.exp()
        x.resize_(3)
        x.exp()
        x.resize_(2, 2).fill_(0)
        other.exp()

    trace = checked_trace(run)
    # other's first four elements are zero in the end, two ones are left.
    assert [call["in0_nonzero"] for call in trace.named("exp")] == [0, 6, 3, 2]


def test_chains_in_place_views_and_slices(checked_trace):
    def run():
        x = torch.ones(4, 4)
        x.sub_(1).add_(1).mul_(0).add_(2)
        x[0].zero_()
        x[:, 1:].copy_(torch.tensor([0.0, 1, 0]))
        x.view(-1)[3:5] = 0
        x.t()[2] += 1
        x.diagonal().fill_(0)
        y = x[1]
        x.mul_(0)
        y.exp()
        x[x == 0] = 5
        x.masked_fill_(x > 4, 0)
        x.scatter_(0, torch.zeros(1, 4, dtype=torch.long), 1.0)
        x.index_add_(0, torch.tensor([1]), torch.ones(1, 4))
        return x.sum() + y.sum()

    checked_trace(run, at_least=50)


def test_results_written_to_out(checked_trace):
    def run():
        a, b, c = torch.ones(3), torch.tensor([-1.0, 0, 1]), torch.empty(3)
        torch.add(a, b, out=c)
        c.exp()
        torch.mul(b, b, out=c)
        c.exp()
        values, places = torch.empty(3), torch.empty(3, dtype=torch.long)
        torch.sort(b, out=(values, places))
        places.abs()
        torch.cat([b, b], out=torch.empty(6)).exp()
        torch.mm(a[:, None], b[None], out=torch.empty(3, 3)).exp()

    trace = checked_trace(run)
    assert [call["in0_nonzero"] for call in trace.named("aten.exp")] == [2, 2, 4, 6]
    assert [call["in0_nonzero"] for call in trace.named("aten.abs")] == [2]


def test_lists_written_together(checked_trace):
    def run():
        tensors = [torch.ones(2), torch.ones(3)]
        torch._foreach_mul_(tensors, 0.0)
        tensors[1].exp()
        torch._foreach_add_(tensors, 1.0)
        tensors[0].exp()
        return torch._foreach_add(tensors, tensors)

    trace = checked_trace(run)
    assert [call["in0_nonzero"] for call in trace.named("aten.exp")] == [0, 2]


def test_what_suspended_work_wrote_is_measured_anew(new, read):
    x = torch.ones(4)
    with new() as recorder:
        x.mul_(1)
        with recorder.suspend():
            x.zero_()
        x.exp()
    (call,) = read(recorder.path).named("exp")
    assert call["in0_nonzero"] == 0


def test_what_another_thread_wrote_is_measured_anew(new, read):
    import threading

    x = torch.ones(4)
    with new() as recorder:
        x.mul_(1)
        thread = threading.Thread(target=x.zero_)
        thread.start()
        thread.join()
        x.exp()
    (call,) = read(recorder.path).named("exp")
    assert call["in0_nonzero"] == 0


def test_a_storage_given_back_is_not_read(trace_of):
    """As sharded parameters are between their uses: shape and stride, but no memory."""
    x = torch.ones(1 << 20)

    def run():
        x.untyped_storage().resize_(0)
        return torch.empty_like(x)

    (call,) = trace_of(run).named("empty_like")
    assert call["in0_nonzero"] is None


def test_memory_that_is_used_again_is_no_old_value(checked_trace):
    """Storages come and go at the same addresses."""

    def run():
        for k in range(300):
            x = torch.zeros(64)
            x[: k % 7] = 1
            x.exp()
            del x

    trace = checked_trace(run, at_least=900)
    assert len({call["in0_value"] for call in trace.named("aten.exp")}) == 300


def test_views_of_the_same_elements_are_one_value_and_parts_name_their_whole(trace_of):
    def run():
        x = torch.eye(4)
        return x.view(16) + 1, x[1] + 1

    trace = trace_of(run)
    whole, part = (call["in0_value"] for call in trace.named("aten.add."))
    made = trace.calls[0]["out0_value"] if trace.calls[0]["op"].startswith("aten.eye") else whole
    assert trace.values[whole]["value_id"] == made
    assert trace.values[part]["base_value_id"] == whole
    assert trace.values[part]["storage_id"] == trace.values[whole]["storage_id"]


def _slice(x):
    return x[1:]


PROGRAM = {
    "zero": lambda x, y: x.zero_(),
    "fill": lambda x, y: x.fill_(1),
    "row": lambda x, y: x[0].zero_(),
    "column": lambda x, y: x[:, 1].add_(1),
    "copy": lambda x, y: x.copy_(y),
    "copy part": lambda x, y: x[1:3].copy_(y[:2]),
    "add": lambda x, y: x.add_(y),
    "out": lambda x, y: torch.sub(x, y, out=y),
    "transposed": lambda x, y: x.t().mul_(y),
    "flat": lambda x, y: x.view(-1)[5:9].neg_(),
    "diagonal": lambda x, y: x.diagonal().zero_(),
    "read": lambda x, y: x + y,
    "read part": lambda x, y: x[1:].exp(),
    "product": lambda x, y: torch.mm(x, y),
    "data": lambda x, y: x.data.sub_(1),
    "relu": lambda x, y: torch.relu_(x),
    "set": lambda x, y: x.set_(y.clone()),
    "put": lambda x, y: x.index_put_((torch.tensor([0, 2]),), torch.tensor(1.0)),
    "foreach": lambda x, y: torch._foreach_mul_([x, y], [0.0, 1.0]),
    "expanded": lambda x, y: x[0].expand(3, 4) * 1,
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(list(PROGRAM)), st.booleans()), max_size=12))
def test_random_programs(checked_trace, program):
    def run():
        x, y = torch.eye(4), torch.arange(16.0).view(4, 4) - 3
        for name, turned in program:
            PROGRAM[name](*((y, x) if turned else (x, y)))
        return x * y

    checked_trace(run)


def test_what_an_op_wrote_in_place_is_the_next_ones_operand(trace_of):
    """PyTorch counts a write only after the recorder has seen it: that is no write from outside."""
    x = torch.rand(4)

    def run():
        a, b = x.clone(), [torch.rand(2), torch.rand(3)]
        a.add_(1).mul_(2).relu_().exp()
        torch.exp(a, out=a).sin()
        torch._foreach_add_(b, 1)
        torch._foreach_mul_(b, 2)

    trace = trace_of(run)
    for first, second in (
        ("add_", "mul_"),
        ("mul_", "relu_"),
        ("relu_", "exp."),
        ("exp.out", "sin"),
    ):
        (made,), used = trace.named(f"aten.{first}"), trace.named(f"aten.{second}")[0]
        assert used["in0_value"] == made["out0_value"], (first, second)
        assert trace.values[made["out0_value"]]["written_seq"] == made["seq"]
    added, scaled = trace.named("_foreach_add_")[0], trace.named("_foreach_mul_")[0]
    assert trace.values[scaled["in0_value"]]["written_seq"] == added["seq"]
    assert trace.values[scaled["in1_value"]]["written_seq"] == added["seq"]
