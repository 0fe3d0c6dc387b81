"""Which module, which forward call and which stage a call belongs to."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def forward_of(trace, call):
    """Return the call that `forward_seq` names."""
    return None if call["forward_seq"] is None else trace.calls[call["forward_seq"]]


def backward(trace, word):
    return trace.named(word, stage="backward")


def test_backward_calls_belong_to_their_layers(trace_of):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    trace = trace_of(lambda: model(torch.rand(2, 4)).sum().backward(), model=model)
    # Layer 2: a product for each of its two gradients; layer 0: one, its input needs none.
    products = backward(trace, "aten.mm")
    paths = ["Sequential.2", "Sequential.2", "Sequential.0"]
    assert [trace.path_of(call) for call in products] == paths
    for call, path in zip(products, paths, strict=True):
        forward = forward_of(trace, call)
        assert forward["op"] == "aten.addmm.default"
        assert trace.path_of(forward) == path
        assert call["module_call_id"] == forward["module_call_id"]
    (relu,) = backward(trace, "threshold_backward")
    assert trace.path_of(relu) == "Sequential.1"
    assert forward_of(trace, relu)["op"] == "aten.relu.default"
    # What the loss does outside of every module stays outside.
    (total,) = trace.named("aten.sum.default")
    assert total["module_id"] is None


def test_every_backward_call_of_a_deep_model_has_its_module(trace_of, cases):
    case = cases.build("train_spiking_convs")
    trace = trace_of(
        lambda: case.loss_fn(case.model(*case.inputs), case.target).backward(), model=case.model
    )
    for call in trace.calls:
        if call["stage"] == "backward" and call["forward_seq"] is not None:
            assert forward_of(trace, call)["module_id"] == call["module_id"]
    kinds = {trace.path_of(c): c["op"] for c in backward(trace, "convolution_backward")}
    assert set(kinds) == {"Sequential.0", "Sequential.3"}
    assert {trace.path_of(c) for c in backward(trace, "batch_norm_backward")} == {"Sequential.1"}


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class Custom(nn.Module):
    def forward(self, x):
        return Double.apply(x)


class NoNode(nn.Module):
    """Its first call makes no autograd node: it must not take another's."""

    def forward(self, x):
        return x + torch.zeros(3) * (x > 0).sum()


def test_custom_functions_belong_to_the_module_that_applies_them(trace_of):
    model = nn.Sequential(nn.Linear(3, 3), Custom(), NoNode(), nn.Linear(3, 3))
    trace = trace_of(lambda: model(torch.rand(2, 3)).sum().backward(), model=model)
    doubled = [c for c in backward(trace, "aten.mul.Tensor") if trace.path_of(c) == "Sequential.1"]
    assert len(doubled) == 1
    # No forward call made the node: the Function's own forward hides what it runs.
    assert doubled[0]["forward_seq"] is None
    assert doubled[0]["module_call_id"] == trace.calls_of("Sequential.1")[0]["module_call_id"]
    assert not [c for c in backward(trace, "mul") if trace.path_of(c) == "Sequential.2"]


class InsideOut(nn.Module):
    """A Function between other calls of one module, followed by one that makes no node."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        y = Double.apply(self.layer(x))
        return y * (y > 0)


def test_no_call_takes_the_node_of_a_custom_function(trace_of):
    model = InsideOut()
    trace = trace_of(lambda: model(torch.rand(2, 3)).sum().backward(), model=model)
    own = [c for c in backward(trace, "aten.mul.Tensor") if trace.path_of(c) == "InsideOut"]
    forwards = [forward_of(trace, call) for call in own]
    assert [f["op"] if f else None for f in forwards] == ["aten.mul.Tensor", None]


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.reentrant = reentrant

    def forward(self, x):
        x = checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)
        return self.last(x)

    def block(self, x):
        return torch.tanh(self.inner(x)).exp()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(trace_of, reentrant):
    model = Checkpointed(reentrant)
    trace = trace_of(lambda: model(torch.rand(2, 4)).sum().backward(), model=model)
    again = [call for call in trace.calls if call["stage"] == "recompute" and not call["is_view"]]
    # The second kind stops as soon as it has what it lacks: exp's result is not among it... but
    # exp saves its result, so it runs in both.
    names = [call["packet"] for call in again if call["packet"] != "aten.detach"]
    assert [n for n in names if n in ("aten.addmm", "aten.tanh", "aten.exp")] == [
        "aten.addmm", "aten.tanh", "aten.exp",
    ]  # fmt: skip
    (linear,) = trace.named("addmm", stage="recompute")
    assert trace.path_of(linear) == "Checkpointed.inner"
    (rerun,) = [row for row in trace.calls_of("Checkpointed.inner") if row["stage"] == "recompute"]
    assert linear["module_call_id"] == rerun["module_call_id"]
    products = backward(trace, "aten.mm")
    assert [trace.path_of(call) for call in products] == [
        "Checkpointed.last", "Checkpointed.last", "Checkpointed.inner", "Checkpointed.inner",
        "Checkpointed.first",
    ]  # fmt: skip
    assert len(trace.named("addmm", stage="forward")) == 3


class Residual(nn.Module):
    """Checkpoints code of its own, in which it calls two layers and adds to what they give."""

    def __init__(self, reentrant):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.reentrant = reentrant

    def inner(self, x):
        x = x.exp() + self.a(x)
        return x + self.b(x)

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_work_of_a_module_that_is_recomputed_is_its_own(trace_of, reentrant):
    """Whichever layer's gradient asked for it: an exp and two additions of each block.

    The kind that is not reentrant stops at what the last layer saves: it runs one addition.
    """
    model = nn.Sequential(nn.Linear(8, 8), Residual(reentrant), Residual(reentrant))
    trace = trace_of(lambda: model(torch.rand(2, 8)).sum().backward(), model=model)

    def run(packet, stage):
        return [c for c in trace.calls if (c["packet"], c["stage"]) == (packet, stage)]

    def paths(packet, stage):
        return sorted(trace.path_of(call) for call in run(packet, stage))

    blocks = ["Sequential.1", "Sequential.2"]
    assert paths("aten.exp", "recompute") == paths("aten.exp", "forward") == blocks
    assert paths("aten.add", "recompute") == sorted(blocks * (2 if reentrant else 1))
    layers = [f"Sequential.{block}.{layer}" for block in (1, 2) for layer in "ab"]
    assert paths("aten.addmm", "recompute") == (layers if reentrant else layers[::2])
    for block in blocks:
        (call,) = trace.calls_of(block)
        again = [c for c in run("aten.add", "recompute") if trace.path_of(c) == block]
        assert {each["module_call_id"] for each in again} == {call["module_call_id"]}


def test_code_that_is_checkpointed_outside_modules_belongs_to_none(trace_of):
    model = nn.Linear(8, 8)

    def run():
        given = torch.rand(2, 8)
        checkpoint(lambda x: model(x.exp()) * 2, given, use_reentrant=False).sum().backward()

    trace = trace_of(run, model=model)
    (again,) = trace.named("aten.exp", stage="recompute")
    assert again["module_id"] is None and len(trace.calls_of("Linear")) == 2


def test_checkpoints_let_go_of_what_they_hold(trace_of):
    """An input is gone after its backward pass, while the recording goes on."""
    model, gone = Residual(False), []

    def run():
        x = torch.rand(2, 8)
        gone.append(weakref.ref(x))
        out = model(x).sum()
        out.backward()
        del x, out
        gc.collect()
        gone.append(gone[0]() is None)

    trace_of(run, model=model)
    assert gone[1]


def test_the_forward_before_a_checkpointed_one_is_counted_once(trace_of):
    model = Checkpointed(False)
    with_grad = trace_of(lambda: model(torch.rand(2, 4)).sum().backward())
    without = trace_of(lambda: model(torch.rand(2, 4)).sum().detach())
    strip = lambda trace: [  # noqa: E731
        c["op"] for c in trace.calls if c["stage"] == "forward" and c["module_id"] is not None
        and not c["is_view"]
    ]  # fmt: skip
    assert strip(with_grad) == strip(without)


def test_double_backward(trace_of):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def run():
        x = torch.rand(2, 3, requires_grad=True)
        (grad,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        grad.pow(2).sum().backward()

    trace = trace_of(run, model=model)
    assert {call["stage"] for call in trace.calls} == {"forward", "backward"}
    twice = [c for c in backward(trace, "") if c["forward_seq"] is not None
             and forward_of(trace, c)["stage"] == "backward"]  # fmt: skip
    assert twice
    assert all(forward_of(trace, call)["module_id"] == call["module_id"] for call in twice)
    owners = {trace.path_of(call) for call in backward(trace, "aten.mm")}
    assert owners == {"Sequential.0", "Sequential.2"}


def test_function_transforms(trace_of):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    x = torch.rand(2, 3)

    def loss(parameters):
        return torch.func.functional_call(model, parameters, (x,)).sum()

    expected = torch.func.grad(loss)(parameters)
    kept = []
    trace = trace_of(lambda: kept.append(torch.func.grad(loss)(parameters)), model=model)
    assert all(torch.equal(kept[0][name], expected[name]) for name in expected)
    products = backward(trace, "aten.mm")
    assert products
    assert {trace.path_of(call) for call in products} == {"Sequential.0", "Sequential.2"}


def test_gradients_that_exist_are_added_to_by_their_owner(trace_of):
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    x = torch.rand(2, 3)
    model(x).sum().backward()
    trace = trace_of(lambda: model(x).sum().backward(), model=model)
    added = [call for call in backward(trace, "aten.add") if call["forward_seq"] is None]
    assert [trace.path_of(call) for call in added] == ["Sequential.1", "Sequential.0"]


def test_a_shared_module_keeps_its_calls_apart(trace_of):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    model = Twice()
    trace = trace_of(lambda: model(torch.rand(2, 3)).sum().backward(), model=model)
    first, second = (row["module_call_id"] for row in trace.calls_of("Twice.layer"))
    calls = [call["module_call_id"] for call in backward(trace, "aten.mm")]
    assert calls == [second, second, first]
    # One module, although two attributes may lead to it.
    assert [row["path"] for row in trace.modules] == ["Twice", "Twice.layer"]


def test_stages_of_a_training_step(trace_of):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)

    def run():
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.rand(4, 3)).sum().backward()
            optimizer.step()

    trace = trace_of(run, model=model)
    stages = [call["stage"] for call in trace.calls]
    runs = [stage for k, stage in enumerate(stages) if k == 0 or stages[k - 1] != stage]
    assert runs == ["forward", "backward", "optimizer"] * 2
    assert all(c["module_id"] is None for c in trace.calls if c["stage"] == "optimizer")
    first, second = trace.optimizer_steps
    assert first["class"].endswith("Adam")
    assert (first["parameters"], first["matrix_elements"], first["vector_elements"]) == (2, 6, 2)
    assert (first["state"], second["state"]) == ("[]", '["exp_avg", "exp_avg_sq", "step"]')
    for row in trace.optimizer_steps:
        inside = trace.calls[row["first_seq"] : row["last_seq"] + 1]
        assert {call["stage"] for call in inside} == {"optimizer"}
    assert [row["step"] for row in trace.optimizer_steps] == [0, 1]
    assert trace.manifest["steps"] == 2


def test_closures_run_forward_and_backward_inside_a_step(trace_of):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = torch.rand(5, 3), torch.rand(5, 1)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    trace = trace_of(lambda: optimizer.step(closure), model=model)
    assert {c["stage"] for c in trace.named("addmm")} == {"forward"}
    assert {c["stage"] for c in trace.named("mse_loss.")} == {"forward"}
    assert {c["stage"] for c in trace.named("mse_loss_backward")} == {"backward"}
    assert {c["stage"] for c in trace.named("aten.dot")} == {"optimizer"}
    (row,) = trace.optimizer_steps
    assert (row["parameters"], row["state"]) == (2, "[]")


def test_parameters_without_a_module(trace_of):
    weight = nn.Parameter(torch.rand(3, 3))
    weight.grad = torch.zeros(3, 3)
    trace = trace_of(lambda: torch.mm(weight, weight).sum().backward())
    assert all(call["module_id"] is None for call in trace.calls)
    assert {call["stage"] for call in trace.calls} == {"forward", "backward"}


def test_training_and_grad_flags(trace_of):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    model[1].eval()

    def run():
        with torch.no_grad():
            model(torch.rand(1, 2))
        model(torch.rand(1, 2)).sum().backward()

    trace = trace_of(run, model=model)
    first, second = trace.named("addmm")
    assert (first["grad_enabled"], second["grad_enabled"]) == (False, True)
    assert first["training"] is True
    assert [row["training"] for row in trace.calls_of("Sequential.1")] == [False, False]
    products = backward(trace, "aten.mm")
    assert products
    assert all(call["training"] for call in products)


def test_last_seq_and_nodes_of_module_calls_enclose_their_calls(trace_of):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))
    trace = trace_of(lambda: model(torch.rand(1, 2)), model=model)
    by_number = {row["module_call_id"]: row for row in trace.module_calls}
    for call in trace.calls:
        row = by_number.get(call["module_call_id"])
        while row is not None:
            assert row["first_seq"] <= call["seq"] <= row["last_seq"]
            row = by_number.get(row["parent_call_id"])
    assert all(row["first_node"] <= row["last_node"] for row in trace.module_calls)
