"""Our counters beside SpikingJelly 2.0.0's, in the same process, on every reference case."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from opjoule import op_counter as ours  # noqa: E402

COUNTERS = ("FlopCounter", "MemoryAccessCounter", "SynOpCounter", "MACCounter", "ACCounter")
COLUMNS = ("flops", "bytes", "synops", "macs", "acs")


def run(case):
    """Run a case as the golden figures were made: forward, and where it trains a whole step."""
    output = case.model(*case.inputs)
    if case.train:
        case.loss_fn(output, case.target).backward()
        case.optimizer.step()


def counted(module, case):
    """Return the counts of the five counters of an op_counter module, by counter."""
    return counted_and_skipped(module, case)[0]


def counted_and_skipped(module, case):
    """Return the counts, and the ops without a rule with their calls, both by counter."""
    counters = [getattr(module, name)() for name in COUNTERS]
    mode = module.DispatchCounterMode(counters)
    with mode:
        run(case)
    counts = {
        name: {s: {str(op): n for op, n in ops.items()} for s, ops in counter.get_counts().items()}
        for name, counter in zip(COUNTERS, counters, strict=True)
    }
    skipped = {
        name: {  # the profiler's marks are no work: a recording has none
            op: n for op, n in mode.get_unsupported(counter).items() if "profiler" not in op
        }
        for name, counter in zip(COUNTERS, counters, strict=True)
    }
    return counts, skipped


def test_counts_equal_spikingjellys(case_name, build, original):
    theirs, skipped = counted_and_skipped(original, build(case_name))
    mine, mine_skipped = counted_and_skipped(ours, build(case_name))
    for name in COUNTERS:
        assert mine[name] == theirs[name], name
        assert mine_skipped[name] == skipped[name], name


def test_their_rules_count_the_same_in_our_recording(case_name, build, original):
    """Ops, scopes and attribution alone: SpikingJelly's own rules, called at the op."""

    class Theirs(ours.BaseCounter):
        def __init__(self, rules):
            super().__init__()
            self.rules = rules

    names = ("FlopCounter", "MemoryAccessCounter")  # the others' rules count by the values
    counters = [Theirs(getattr(original, name)().rules) for name in names]
    case = build(case_name)
    with ours.DispatchCounterMode(counters):
        run(case)
    theirs = counted(original, build(case_name))
    for name, counter in zip(names, counters, strict=True):
        mine = {s: {str(op): n for op, n in ops.items()} for s, ops in counter.get_counts().items()}
        assert mine == theirs[name], name


@pytest.mark.parametrize("name", ["spikingjelly-2.0", "spikingjelly-2026-08"])
def test_counts_equal_the_golden_figures(name, case_name, build, golden, revision):
    revision(name)
    mine = counted(ours, build(case_name))
    for counter, column in zip(COUNTERS, COLUMNS, strict=True):
        wanted = golden[name][case_name]["counts"][column]
        scopes = {s: sum(ops.values()) for s, ops in mine[counter].items()}
        assert {s: n for s, n in scopes.items() if n} == {
            s: n for s, n in wanted["by_scope"].items() if n
        }
        everywhere = {op: n for op, n in mine[counter].get("Global", {}).items() if n}
        assert everywhere == {op: n for op, n in wanted["by_op"].items() if n}


@pytest.mark.parametrize(("name", "column"), list(zip(COUNTERS, COLUMNS, strict=True)))
def test_the_same_ops_have_a_rule(name, column, original):
    from opjoule.op_counter.known_ops import KNOWN

    assert {str(op) for op in getattr(original, name)().rules} == KNOWN["spikingjelly-2.0"][column]


@pytest.mark.parametrize("container", ["list", "dict", "module"])
def test_modules_that_are_never_called_have_scopes_here_alone(original, container):
    """2 * 2*4*4 = 64 FLOPs in the one layer, and so in every scope around it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.Linear(4, 4, bias=False)
            held = {"list": nn.ModuleList([layer]), "dict": nn.ModuleDict({"0": layer})}
            self.blocks = held.get(container, nn.Sequential(layer))

        def forward(self, x):
            return next(self.blocks.children())(x)

    found = []
    for module in (ours, original):
        counter = module.FlopCounter()
        with torch.no_grad(), module.DispatchCounterMode([counter]):
            Net()(torch.rand(2, 4))
        found.append({scope: sum(ops.values()) for scope, ops in counter.get_counts().items()})
    mine, theirs = found
    assert mine == theirs | {"Net.blocks": 64}
    assert theirs == dict.fromkeys(("Global", "Net", "Net.blocks.0"), 64)


def test_roots_of_one_class_share_a_scope(original):
    # 2 * 1*3*2 = 12 and 2 * 1*3*4 = 24
    found = []
    for module in (ours, original):
        counter = module.FlopCounter()
        with module.DispatchCounterMode([counter]):
            nn.Linear(3, 2, bias=False)(torch.rand(1, 3))
            nn.Linear(3, 4, bias=False)(torch.rand(1, 3))
        found.append({s: sum(ops.values()) for s, ops in counter.get_counts().items()})
    assert found[0] == found[1] == {"Global": 36, "Linear": 36}


def test_strict_refuses_what_spikingjelly_refuses(original):
    layer, x = nn.Linear(3, 2, bias=False), torch.rand(1, 3)
    for module in (ours, original):
        counter = module.SynOpCounter()
        with (
            pytest.raises(NotImplementedError, match=r"aten\.t\.default"),
            module.DispatchCounterMode([counter], strict=True),
        ):
            layer(x)


class Shortcut(nn.Module):
    """Two convolutions, and a shortcut around them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.main = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.short = nn.Conv2d(4, 8, 1, bias=False)

    def forward(self, x):
        x = self.stem(x)
        return self.main(x) + self.short(x)


def test_branches_keep_their_own_backward_ops(original):
    """The shortcut: 2 gradients of 2 · 8·4 · 2 images · 25 positions; the other branch 9 times it.

    SpikingJelly agrees on ops and totals, and books what one branch runs to the other.
    """
    net, found = Shortcut(), []
    for module in (original, ours):
        net.zero_grad()
        counter = module.FlopCounter()
        with module.DispatchCounterMode([counter]):
            net(torch.rand(2, 2, 5, 5)).sum().backward()
        found.append(counter.get_counts())
    theirs, own = found
    assert own["Global"] == theirs["Global"]
    backward = torch.ops.aten.convolution_backward.default
    assert own["Shortcut.short"][backward] == 2 * 2 * 8 * 4 * 2 * 25
    assert own["Shortcut.main"][backward] == 9 * 2 * 2 * 8 * 4 * 2 * 25
    assert theirs["Shortcut.short"][backward] != own["Shortcut.short"][backward]
