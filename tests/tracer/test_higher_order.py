"""Operators that take functions, and the compiler that traces for them, under the recorder."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._higher_order_ops import map as over_rows
from torch._higher_order_ops.flex_attention import flex_attention as flex_operator
from torch._ops import HigherOrderOperator
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

pytestmark = pytest.mark.filterwarnings(
    "ignore:flex_attention called",
    "ignore:Using .torch.compile.module.. when there are global",
)

Q, K, V = (torch.rand(1, 2, 16, 8) for _ in range(3))


def compare(trace_of, run):
    """Run without and with a recorder; results must be equal to the bit. Return the tables."""
    torch.manual_seed(0)
    expected = run()
    found = []

    def recorded():
        torch.manual_seed(0)
        found.extend(run())

    trace = trace_of(recorded)
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)
    return trace


def shapes(call):
    return [operand["shape"] for operand in call["operands"]]


def test_flex_attention(trace_of):
    """Scores of 16 queries by 16 keys of two heads, then their sums over values of 8."""
    trace = compare(trace_of, lambda: [flex_attention(Q, K, V)])
    scores, sums = trace.named("aten.bmm")
    assert shapes(scores) == [[2, 16, 8], [2, 8, 16], [2, 16, 16]]
    assert shapes(sums) == [[2, 16, 16], [2, 16, 8], [2, 16, 8]]
    assert trace.manifest["hidden"] == []
    assert trace.modules == []  # what was traced is no module of the model


def test_flex_attention_backward(trace_of):
    """Scores again, and the gradients of values, scores, queries and keys: five products.

    The function refuses gradients on a CPU; the operator has a kernel for them.
    """
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 16, 16, device="cpu").as_tuple()

    def run():
        leaves = [x.clone().requires_grad_() for x in (Q, K, V)]
        options = {"BACKEND": "AUTO"}
        out = flex_operator(*leaves, lambda s, b, h, i, j: (s * 1.5).sin(), mask, 0.3, options)[0]
        out.square().sum().backward()
        return [out, *(leaf.grad for leaf in leaves)]

    trace = compare(trace_of, run)
    assert len(trace.named("aten.bmm", stage="forward")) == 2
    assert len(trace.named("aten.bmm", stage="backward")) == 5
    assert not trace.named("", stage="recompute")
    assert trace.modules == []


@pytest.mark.parametrize("grad", [False, True])
def test_cond(trace_of, grad):
    """The branch that is taken is recorded, in backward its gradient: two products."""

    def run():
        x = torch.rand(3, 3, requires_grad=grad)
        out = torch.cond(x.sum() > 0, lambda x: x @ x, lambda x: x.sin(), (x,))
        if not grad:
            return [out]
        out.sum().backward()
        return [out, x.grad]

    trace = compare(trace_of, run)
    assert len(trace.named("aten.mm", stage="forward")) == 1
    # What was traced for backward runs the branch again; PyTorch leaves it in.
    assert len(trace.named("aten.mm", stage="backward")) == (3 if grad else 0)
    assert not trace.named("sin")
    assert trace.modules == []


def test_cond_over_modules(trace_of):
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return torch.cond(x.sum() > 0, self.a, self.b, (x,))

    model = Gate()
    trace = compare(trace_of, lambda: [model(torch.rand(2, 4))])
    (product,) = trace.named("addmm")
    assert trace.path_of(product) == "Gate"
    assert [row["path"] for row in trace.modules] == ["Gate", "Gate.a", "Gate.b"]


def test_while_loop(trace_of):
    """Three squares, and the condition once more than the body."""

    def run():
        return while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x * x), (torch.tensor(0), torch.rand(4))
        )

    trace = compare(trace_of, run)
    assert len(trace.named("aten.mul")) == 3
    assert len(trace.named("aten.lt")) == 4


def test_scan_and_map(trace_of):
    """Over five rows; scan's kernel is one of those that refuse to run where a mode is on."""

    def run():
        x, rows = torch.rand(4), torch.rand(5, 4)
        carried, sums = scan(lambda c, y: (c + y, c.exp()), torch.zeros(4), rows, dim=0)
        logs = over_rows(lambda x, y: (x + 1).log() + y, rows, x)
        least = associative_scan(torch.minimum, rows, dim=0, combine_mode="generic")
        return [carried, sums, logs, least]

    trace = compare(trace_of, run)
    for op in ("aten.exp.", "aten.log.", "aten.scatter_", "aten.minimum"):
        assert trace.named(op), op
    assert len(trace.named("aten.log.")) == 5
    assert trace.manifest["hidden"] == []


class Twice(HigherOrderOperator):
    """Calls a function twice."""

    def __init__(self, name):
        super().__init__(name)
        self.fallthrough(torch._C.DispatchKey.AutogradCPU)

    def __call__(self, function, x):
        return super().__call__(function, x)


def double(function, x):
    return function(function(x))


def test_an_operator_without_a_kernel_runs_unseen_and_is_named(trace_of):
    twice = Twice("opjoule_test_hidden")
    twice.py_impl(torch._C.DispatchKey.CPU)(double)
    trace = compare(trace_of, lambda: [twice(torch.exp, torch.rand(2))])
    assert not trace.named("exp")
    (hidden,) = trace.manifest["hidden"]
    assert hidden["what"] == "torch.ops.higher_order.opjoule_test_hidden"
    assert hidden["calls"] == 1


def test_a_kernel_that_refuses_modes_runs_all_the_same(trace_of):
    """Asked directly, in a method, and deeper inside, where nothing helps."""
    from torch.utils import _python_dispatch

    def inside(function, x):
        from torch.utils._python_dispatch import _get_current_dispatch_mode

        assert _get_current_dispatch_mode() is None
        return double(function, x)

    def deeper(function, x):
        assert _python_dispatch._get_current_dispatch_mode() is None
        return double(function, x)

    def refuses():
        assert _python_dispatch.__dict__["_get_current_dispatch_mode"]() is None

    def deepest(function, x):
        refuses()
        return double(function, x)

    seen = {}
    for kernel in (inside, deeper, deepest):
        twice = Twice(f"opjoule_test_{kernel.__name__}")
        twice.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)(kernel)
        trace = compare(trace_of, lambda twice=twice: [twice(torch.exp, torch.rand(2))])
        seen[kernel.__name__] = (len(trace.named("exp")), len(trace.manifest["hidden"]))
    assert seen == {"inside": (2, 0), "deeper": (2, 0), "deepest": (0, 1)}


def test_what_an_operator_raises_is_raised(trace_of):
    def kernel(function, x):
        raise AssertionError(str(function(x).shape))

    twice = Twice("opjoule_test_raises")
    twice.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)(kernel)

    def run():
        with pytest.raises(AssertionError, match="2"):
            twice(torch.exp, torch.rand(2))

    assert len(trace_of(run).named("exp")) == 1


def test_compiled_functions_run_eagerly_and_are_compiled_after(trace_of):
    """Whole ones too: PyTorch itself raises for those where a mode is on."""
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph

    whole = torch.compile(lambda x: x @ x, backend=backend, fullgraph=True)
    x = torch.rand(3, 3)
    trace = trace_of(lambda: whole(x))
    assert (len(trace.named("aten.mm")), graphs) == (1, [])
    assert torch.equal(whole(x), x @ x)
    assert len(graphs) == 1


SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, opjoule
assert "torch._dynamo.eval_frame" not in sys.modules
graphs = []
def backend(graph, examples):
    graphs.append(graph)
    return graph
whole = []
x = torch.ones(2, 2)
with opjoule.Recorder(sys.argv[1]):
    for k in range(2):
        whole.append(torch.compile(lambda x: x @ x, backend=backend, fullgraph=True))
        whole[k](x)
        torch.cond(x.sum() > 0, torch.exp, torch.sin, (x,))
assert not graphs, graphs
assert all(type(finder).__name__ != "Eager" for finder in sys.meta_path)
assert torch._dynamo.eval_frame._stance.stance == "default"
whole[0](x)
assert len(graphs) == 1
"""


def test_a_compiler_that_is_loaded_while_recording(tmp_path, read):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "trace")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    trace = read(tmp_path / "trace")
    assert len(trace.named("aten.mm")) == len(trace.named("aten.exp")) == 2


def test_a_compiler_that_is_never_loaded(tmp_path):
    """Recording loads none, and leaves nothing behind that would look for it.

    Nor does it load `pyarrow.compute` or pandas, which take longer than all else that closing does;
    the convolution's statistics and the states of the layer are lists, and null for other rows.
    """
    script = (
        "import sys, torch, opjoule\n"
        "net = torch.nn.Conv2d(1, 1, 2)\n"
        "with opjoule.Recorder(sys.argv[1]): net(torch.ones(1, 1, 4, 4)).exp()\n"
        "assert not {'torch._dynamo', 'pyarrow.compute', 'pandas'} & set(sys.modules)\n"
        "assert all(type(finder).__name__ != 'Eager' for finder in sys.meta_path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "trace")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
