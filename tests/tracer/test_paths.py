"""A call belongs to the path by which its module was called."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Calls what it holds as `layer`."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class Two(nn.Module):
    """Two blocks, one after the other."""

    def __init__(self, first, second):
        super().__init__()
        self.a, self.b = first, second

    def forward(self, x):
        return self.b(self.a(x))


def called(trace):
    """Return (path, first path, calls) of the modules that were called, as they began."""
    paths = [row["path"] for row in trace.modules]
    counts = {}
    for call in sorted(trace.module_calls, key=lambda call: call["module_call_id"]):
        row = trace.modules[call["module_id"]]
        first = None if row["same_as"] is None else paths[row["same_as"]]
        counts[row["path"], first] = counts.get((row["path"], first), 0) + 1
    return [(*key, calls) for key, calls in counts.items()]


@pytest.mark.parametrize("given", [True, False], ids=["given", "seen"])
def test_a_layer_that_two_blocks_share(trace_of, given):
    layer = nn.Linear(10, 10)
    net = Two(Block(layer), Block(layer))
    trace = trace_of(lambda: net(torch.rand(4, 10)), model=net if given else None)
    assert called(trace) == [
        ("Two", None, 1),
        ("Two.a", None, 1),
        ("Two.a.layer", None, 1),
        ("Two.b", None, 1),
        ("Two.b.layer", "Two.a.layer", 1),
    ]
    first, further = (
        next(row for row in trace.modules if row["path"] == path)
        for path in ("Two.a.layer", "Two.b.layer")
    )
    assert first["same_as"] is None
    assert trace.modules[further["parent_id"]]["path"] == "Two.b"
    same = ("class", "attributes", "parameters", "buffers", "neuron", "hides_work")
    assert {name: further[name] for name in same} == {name: first[name] for name in same}


def test_what_is_inside_a_shared_module_has_a_path_under_each_caller_too(trace_of):
    layer = nn.Sequential(nn.Linear(3, 3), nn.ModuleList([nn.ReLU()]))
    layer.forward = lambda x: layer[1][0](layer[0](x))
    net = Two(Block(layer), Block(layer))
    trace = trace_of(lambda: net(torch.rand(4, 3)), model=net)
    assert called(trace)[4:] == [
        ("Two.a.layer.1.0", None, 1),
        ("Two.b", None, 1),
        ("Two.b.layer", "Two.a.layer", 1),
        ("Two.b.layer.0", "Two.a.layer.0", 1),
        ("Two.b.layer.1.0", "Two.a.layer.1.0", 1),
    ]
    by_id = {row["module_id"]: row for row in trace.modules}
    for row in trace.modules:  # parents first, and the path says where it is
        if row["parent_id"] is not None:
            assert row["parent_id"] < row["module_id"]
            assert row["path"].rpartition(".")[0] == by_id[row["parent_id"]]["path"]


def test_one_module_in_two_containers(trace_of):
    act = nn.ReLU()
    net = Two(nn.Sequential(nn.Linear(3, 3), act), nn.Sequential(nn.Linear(3, 3), act))
    trace = trace_of(lambda: net(torch.rand(2, 3)), model=net)
    assert [row for row in called(trace) if "1" in row[0]] == [
        ("Two.a.1", None, 1),
        ("Two.b.1", "Two.a.1", 1),
    ]


def test_a_layer_called_again_by_one_caller_has_one_path(trace_of):
    class Albert(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.same = self.layer

        def forward(self, x):
            return self.same(self.layer(self.layer(x)))

    trace = trace_of(lambda: Albert()(torch.rand(2, 3)))
    assert called(trace) == [("Albert", None, 1), ("Albert.layer", None, 3)]


def test_tied_weights_share_no_path(trace_of):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    trace = trace_of(lambda: Tied()(torch.tensor([1, 2])))
    assert called(trace) == [("Tied", None, 1), ("Tied.embed", None, 1), ("Tied.head", None, 1)]


def test_what_a_caller_reaches_through_others_keeps_its_path(trace_of):
    class Reach(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block(nn.Linear(3, 3))
            self.many = nn.ModuleDict({"x": nn.ModuleList([nn.ReLU(), nn.Tanh()])})

        def forward(self, x):
            return self.many["x"][1](self.block.layer(x))

    net = Reach()
    for model in (net, None):
        trace = trace_of(lambda: net(torch.rand(2, 3)), model=model)
        assert called(trace)[1:] == [("Reach.block.layer", None, 1), ("Reach.many.x.1", None, 1)]


def test_an_own_child_is_called_by_its_own_name(trace_of):
    """The block holds the activation first; the network calls its own `act`, not the block's."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            act = nn.ReLU()
            self.block, self.act = Block(act), act

        def forward(self, x):
            return self.act(self.block(x))

    trace = trace_of(lambda: Own()(torch.rand(2, 3)))
    assert called(trace)[2:] == [
        ("Own.block.layer", None, 1),
        ("Own.act", "Own.block.layer", 1),
    ]


def held_in(thing):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.__dict__["held"] = thing

        def forward(self, x, call):
            return call(x)

    return Holder()


def test_what_is_held_without_being_a_child(trace_of):
    import functools

    act = nn.ReLU()
    holders = {
        "held": act,
        "held.0": [act],
        "held.1.x": (None, {"x": act}),
        "ReLU": None,
    }
    bound = {"held": [act.__call__], "partial": functools.partial(act)}

    class Top(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = act
            self.blocks = nn.ModuleList(
                held_in(thing) for thing in (*holders.values(), bound["held"], bound["partial"])
            )

        def forward(self, x):
            for block in self.blocks:
                x = block(x, act)
            return x

    found = [path for path, first, _ in called(trace_of(lambda: Top()(torch.rand(2)))) if first]
    names = [*holders, "held.0", "held"]
    assert found == [f"Top.blocks.{place}.{name}" for place, name in enumerate(names)]


def test_a_module_that_calls_itself(trace_of):
    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, depth=30):
            return x if depth == 0 else self(self.fc(x), depth - 1)

    trace = trace_of(lambda: Tree()(torch.rand(2, 4)))
    assert called(trace) == [("Tree", None, 31), ("Tree.fc", None, 30)]


def test_modules_that_call_each_other_make_finitely_many_paths(trace_of):
    class Down(nn.Module):
        def forward(self, x, depth):
            return self.up[0](x, depth)

    class Up(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.fc = Down(), nn.Linear(4, 4)
            self.down.up = [self]

        def forward(self, x, depth=30):
            return x if depth == 0 else self.down(self.fc(x), depth - 1)

    trace = trace_of(lambda: Up()(torch.rand(2, 4)))
    # Of 31 calls of Up the first comes from nobody, 30 from Down; all but the last run fc.
    assert called(trace) == [
        ("Up", None, 1),
        ("Up.fc", None, 1),
        ("Up.down", None, 30),
        ("Up.down.up.0", "Up", 30),
        ("Up.down.up.0.fc", "Up.fc", 29),
    ]
    assert len(trace.modules) == 5


def test_what_each_call_makes_anew_has_one_row(trace_of):
    class Made(nn.Module):
        def forward(self, x):
            return nn.Sequential(nn.Linear(3, 3))(x)

    net = Made()
    trace = trace_of(lambda: [net(torch.rand(2, 3)) for _ in range(7)])
    assert called(trace) == [
        ("Made", None, 7),
        ("Made.Sequential", None, 7),
        ("Made.Sequential.0", None, 7),
    ]
    assert len(trace.modules) == 3


def test_a_model_that_is_wrapped_is_called_by_its_wrapper(trace_of):
    net = nn.Sequential(nn.Linear(3, 3))
    trace = trace_of(lambda: Block(net)(torch.rand(2, 3)), model=net)
    assert called(trace) == [
        ("Block", None, 1),
        ("Block.layer", "Sequential", 1),
        ("Block.layer.0", "Sequential.0", 1),
    ]


@pytest.mark.parametrize("reentrant", [None, False, True], ids=["plain", "checkpoint", "reentrant"])
def test_backward_work_follows_its_forward_call(trace_of, reentrant):
    class Again(Block):
        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=reentrant)

    layer = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Tanh())
    kind = Block if reentrant is None else Again
    net = Two(kind(layer), kind(layer))
    x = torch.rand(4, 10, requires_grad=True)
    trace = trace_of(lambda: net(x).sum().backward(), model=net)
    for name in ("a", "b"):
        # Of each call's Linear the weight's gradient and the input's.
        products = trace.named("aten.mm", stage="backward")
        assert [trace.path_of(c) for c in products].count(f"Two.{name}.layer.0") == 2
        again = [c for c in trace.calls_of(f"Two.{name}.layer") if c["stage"] == "recompute"]
        assert len(again) == (reentrant is not None)
        repeated = [trace.path_of(c) for c in trace.named("aten.mm", stage="recompute")]
        assert repeated.count(f"Two.{name}.layer.0") == (reentrant is not None)


def test_a_gradient_is_added_up_where_the_layer_first_ran(trace_of):
    """Given as a model of its own, and called by its wrapper alone."""
    net = nn.Sequential(nn.Linear(3, 3, bias=False))
    whole, x = Block(net), torch.rand(2, 3)
    whole(x).sum().backward()
    trace = trace_of(lambda: whole(x).sum().backward(), model=net)
    (added,) = trace.named("aten.add", stage="backward")
    assert trace.path_of(added) == "Block.layer.0"


class Spike(nn.Module):
    """A surrogate function."""

    def forward(self, x):
        return (x > 0).to(x)


_DEFAULT = Spike()


class Fire(nn.Module):
    """A neuron whose surrogate is a default argument, so the same for all of them."""

    def __init__(self, surrogate_function=_DEFAULT):
        super().__init__()
        self.surrogate_function = surrogate_function

    def forward(self, x):
        return self.surrogate_function(x - 0.5)


def test_a_surrogate_that_all_neurons_hold(trace_of):
    net = nn.Sequential(*(Fire() for _ in range(5)))
    trace = trace_of(lambda: net(torch.rand(4, 10)))
    found = [row for row in called(trace) if "surrogate" in row[0]]
    first = "Sequential.0.surrogate_function"
    assert found == [
        (f"Sequential.{k}.surrogate_function", None if k == 0 else first, 1) for k in range(5)
    ]


def test_a_neuron_of_two_paths_keeps_its_state(jelly, trace_of):
    """The state is the module's, by whichever path it is called."""
    neuron = jelly.neuron.IFNode()
    net = Two(Block(neuron), Block(neuron))
    trace = trace_of(lambda: net(torch.full((2, 3), 0.4)))
    first, second = trace.calls_of("Two.a.layer") + trace.calls_of("Two.b.layer")
    (made,), (read,) = first["state_after"], second["state_before"]
    assert first["state_before"] == []
    assert made["value_id"] == read["value_id"]


def test_unshared_modules_have_the_rows_they_had(trace_of):
    """A copy of everything: nothing is shared, so no row names another."""
    layer = nn.Linear(3, 3)
    net = Two(Block(layer), Block(copy.deepcopy(layer)))
    trace = trace_of(lambda: net(torch.rand(2, 3)), model=net)
    assert [row["same_as"] for row in trace.modules] == [None] * 5
