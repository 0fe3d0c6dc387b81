"""Complex numbers count in real arithmetic: what the same network costs written in real numbers."""

from __future__ import annotations

import ast
import cmath
import math

import pytest

from opjoule import energy
from opjoule.analyzers import count
from opjoule.analyzers.rules.functions import COMPLEX, COMPOSED, Cost, cost_of, priced

torch = pytest.importorskip("torch")

COUNTERS = ("flops", "macs", "acs", "dense_macs")
X, Y = complex(0.6, -1.1), complex(-0.7, 0.4)
NAMES = {name: getattr(math, name) for name in
         ("sqrt", "exp", "log", "sin", "cos", "sinh", "cosh", "atan2", "copysign")} | {
    "land": lambda a, b: a and b, "lor": lambda a, b: a or b}  # fmt: skip
PYTHON = {
    "add": X + Y, "add, one real": X + 3, "sub, x real": 2 - Y, "mul": X * Y,
    "mul, one real": X * 3, "div": X / Y, "div, y real": X / 3, "div, x real": 2 / Y, "neg": -X,
    "eq": X == Y, "ne": X != Y, "abs": abs(X), "sign": X / abs(X), "reciprocal": 1 / X,
}  # fmt: skip
"""What the rows of `COMPLEX` that are no functions of the C math library must come to."""


def worked_out(formula, known):
    """Return the results of a formula's statements that are no assignments."""
    found = []
    for statement in ast.parse(formula.replace("; ", "\n")).body:
        if isinstance(statement, ast.Assign):
            exec(ast.unparse(statement), known)
        else:
            found.append(eval(ast.unparse(statement), known))
    return found


@pytest.mark.parametrize("name", list(COMPLEX))
def test_formulas_in_real_arithmetic_give_the_complex_result(name):
    real = {"x": 2.0} if name.endswith("x real") else {"y": 3.0}
    known = NAMES | {"a": X.real, "b": X.imag, "c": Y.real, "d": Y.imag} | real
    parts = worked_out(COMPLEX[name], dict(known))
    expected = PYTHON[name] if name in PYTHON else getattr(cmath, name)(X)
    if name == "add, one real":  # the other part stays
        parts.append(X.imag)
    if isinstance(expected, complex):
        assert complex(*parts) == pytest.approx(expected)
    else:
        assert parts == [pytest.approx(expected)]


@pytest.mark.parametrize("name", list(COMPOSED))
def test_composed_formulas_give_the_complex_result(name):
    scale = {"exp2": math.log(2), "log2": 1 / math.log(2), "log10": 1 / math.log(10)}
    known = {key: getattr(cmath, key) for key in ("sqrt", "exp", "log")} | {
        "reciprocal": lambda z: 1 / z, "x": X, "ix": 1j * X, "k": scale.get(name)}  # fmt: skip
    (found,) = worked_out(COMPOSED[name], known)
    expected = getattr(torch, name)(torch.tensor(X, dtype=torch.complex128)).item()
    if name in ("asin", "acos", "atan"):  # but for a factor of i, a sign and a place
        assert abs(found) == pytest.approx(abs(expected))
    else:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("formula", "cost"),
    [
        # 4 multiplications and 2 additions of products
        ("x * y", Cost(6, macs=2)),
        ("r * x", Cost(2)),
        ("x + y", Cost(2, acs=2)),
        # a complex multiply-accumulate is four real ones
        ("x + x * y", Cost(8, macs=4)),
        # a real number meets the real part alone; taken from, the other changes its sign
        ("x + 1", Cost(1, acs=1)),
        ("1 - x", Cost(2, acs=1)),
        # -x 2, exp 5, + 1, divided by it 7
        ("1 / (1 + exp(-x))", Cost(15, macs=1, acs=1)),
        # what is real again costs as ever
        ("abs(x) * r", Cost(5, macs=1)),
        ("where(x == y, x, r)", Cost(3)),
    ],
)
def test_formulas_of_complex_numbers(formula, cost):
    assert priced(formula, frozenset("xy")) == cost


def test_functions_know_which_operand_is_complex():
    assert cost_of("mul", frozenset("y")) == Cost(2)
    assert cost_of("sigmoid", frozenset("x")) == Cost(15, macs=1, acs=1)
    assert cost_of("square", frozenset("x")) == Cost(6, macs=2)


def of(trace, rules="full"):
    total = count(trace, rules=rules).total
    return {name: total[name] for name in COUNTERS}


def written_out(weight):
    """Return the real matrix that does to (re, im) what a complex one does."""
    re, im = weight.real, weight.imag
    return torch.cat([torch.cat([re, -im], 1), torch.cat([im, re], 1)])


def test_a_layer_costs_what_it_costs_written_in_real_arithmetic(recorded):
    """4 rows, 6 -> 6: 4·6·6 complex products, 4 MACs each; the bias 2·24 additions."""
    layer = torch.nn.Linear(6, 6, dtype=torch.complex64).eval()
    real = torch.nn.Linear(12, 12).eval()
    with torch.no_grad():
        real.weight.copy_(written_out(layer.weight))
        real.bias.copy_(torch.cat([layer.bias.real, layer.bias.imag]))
        x = torch.randn(4, 6, dtype=torch.complex64)
        parts = torch.cat([x.real, x.imag], 1)
        same = real(parts)
        assert torch.allclose(torch.complex(same[:, :6], same[:, 6:]), layer(x), atol=1e-5)
        complex_one = recorded(lambda: layer(x), model=layer)
        real_one = recorded(lambda: real(parts), model=real)
    assert of(complex_one) == of(real_one)
    assert of(complex_one) == {"flops": 1200, "macs": 576, "acs": 0, "dense_macs": 576}
    charged = [energy(trace, "compute").total_pj for trace in (complex_one, real_one)]
    assert charged[0] == charged[1] == pytest.approx(576 * 4.6)


@pytest.mark.parametrize(
    "run",
    [
        lambda x, y, r: x[0] @ y[0].mT,
        lambda x, y, r: x @ y.mT,
        lambda x, y, r: torch.baddbmm(x @ y.mT, x, y.mT, beta=2, alpha=3),
        lambda x, y, r: x[0] @ y[0, 0],
        lambda x, y, r: torch.dot(x[0, 0], y[0, 0]),
    ],
)
def test_products_take_four_times_the_multiply_accumulates(recorded, run):
    """The same with real numbers, times 4; of each scaled and added element both parts."""
    shape = (2, 3, 5)
    x, y = (torch.randn(shape, dtype=torch.complex64) for _ in range(2))
    one = of(recorded(lambda: run(x, y, None)))
    plain = of(recorded(lambda: run(x.real.contiguous(), y.real.contiguous(), None)))
    assert one["macs"] == one["dense_macs"] == 4 * plain["macs"] > 0
    rest = plain["flops"] - 2 * plain["macs"]
    assert one["flops"] == 2 * one["macs"] + 2 * rest


@pytest.mark.parametrize(
    "run",
    [
        lambda z, r: z + z,
        lambda z, r: z - z,
        lambda z, r: torch.add(z, z, alpha=2),
        lambda z, r: -z,
        lambda z, r: z * r,
        lambda z, r: z / r,
        lambda z, r: z * 3.0,
        lambda z, r: z.sum(0),
        lambda z, r: z.mean(0),
        lambda z, r: z.cumsum(0),
        lambda z, r: torch.index_add(z, 0, torch.tensor([0, 2]), z[:2]),
        lambda z, r: torch._foreach_neg([z, z]),
    ],
)  # fmt: skip
def test_element_by_element_both_parts_count(recorded, run):
    """What works on each part alone costs as much on the parts as a tensor of real numbers."""
    z, r = torch.randn(3, 4, dtype=torch.complex64), torch.rand(3, 4)
    one = of(recorded(lambda: run(z, r)))
    parts, twice = torch.view_as_real(z), torch.stack([r, r], -1)
    assert one == of(recorded(lambda: run(parts, twice)))
    assert one["flops"] > 0


@pytest.mark.parametrize(
    ("run", "flops", "macs", "acs"),
    [
        (lambda z, r: z * z, 6 * 12, 2 * 12, 0),
        (lambda z, r: z * 2j, 6 * 12, 2 * 12, 0),
        (lambda z, r: z / z, 11 * 12, 3 * 12, 0),
        (lambda z, r: z + r, 12, 0, 12),
        (lambda z, r: z + 1, 12, 0, 12),
        (lambda z, r: r - z, 24, 0, 12),
        (lambda z, r: torch.add(z, z, alpha=2j), (2 + 6) * 12, 0, 24),
        (lambda z, r: z.abs(), 4 * 12, 12, 0),
        (lambda z, r: z**2, 6 * 12, 2 * 12, 0),
        (lambda z, r: torch.addcmul(z, z, z), 8 * 12, 4 * 12, 0),
        (lambda z, r: z == z, 3 * 12, 0, 0),
        # 9 products
        (lambda z, r: z.prod(0), 6 * 8, 2 * 8, 0),
        # 24 squares added to 4 sums, 4 roots
        (lambda z, r: torch.linalg.vector_norm(z, dim=0), 24 + 20 + 4, 24, 0),
        # 12 sizes of 4 FLOPs and a MAC each, added to 4
        (lambda z, r: torch.linalg.vector_norm(z, 1, dim=0), 48 + 8, 12, 8),
        (lambda z, r: torch.polar(r, r), 4 * 12, 0, 0),
        # conjugates are signs
        (lambda z, r: z.conj().resolve_conj(), 0, 0, 0),
    ],
)
def test_arithmetic_of_complex_numbers(recorded, run, flops, macs, acs):
    z, r = torch.randn(3, 4, dtype=torch.complex64), torch.rand(3, 4)
    found = of(recorded(lambda: run(z, r)))
    assert (found["flops"], found["macs"], found["acs"]) == (flops, macs, acs)


def test_the_parts_of_a_variance(recorded):
    """The variance of complex numbers is that of both parts, added: 3 FLOPs for 3 columns less."""
    z = torch.randn(5, 3, dtype=torch.complex64)
    one = of(recorded(lambda: z.var(0)))
    both = of(recorded(lambda: torch.view_as_real(z).var(0).sum(-1)))
    # the parts are divided by n each: 3 divisions more, and 3 additions of an AC each
    assert both["macs"] == one["macs"] == 30
    assert both["flops"] - one["flops"] == 3
    assert both["acs"] - one["acs"] == 3


def test_complex_spikes_are_numbers(recorded):
    """0 and 1 as complex numbers meet complex weights in multiplications: 2·3·4·4 MACs."""
    spikes = torch.tensor([[0.0, 1, 1], [1, 0, 0]])
    w = torch.randn(3, 4, dtype=torch.complex64)
    total = count(recorded(lambda: (spikes > 0.5).to(torch.complex64) @ w)).total
    assert (total["macs"], total["synops"]) == (96, 0)


def test_other_sets_take_a_complex_number_for_one(recorded):
    """FlopCounterMode counts 2·4·6·6 for the layer; SpikingJelly's rules add 24 biases, 1 each."""
    from torch.utils.flop_counter import FlopCounterMode

    layer = torch.nn.Linear(6, 6, dtype=torch.complex64).eval()
    x = torch.randn(4, 6, dtype=torch.complex64)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        layer(x)
    with torch.no_grad():
        trace = recorded(lambda: layer(x), model=layer)
    assert of(trace, "torch")["flops"] == theirs.get_total_flops() == 288
    assert of(trace, "spikingjelly-2.0") == {
        "flops": 312, "macs": 144, "acs": 0, "dense_macs": 576
    }  # fmt: skip


def test_a_complex_weight_is_one_that_is_read(recorded):
    """144 pairs of an input element and a weight of 8 B, 24 biases of 8 B."""
    layer = torch.nn.Linear(6, 6, dtype=torch.complex64).eval()
    with torch.no_grad():
        trace = recorded(lambda: layer(torch.randn(4, 6, dtype=torch.complex64)), model=layer)
    counts = energy(trace, "simple").counts
    assert (counts["weight_read_bytes"], counts["bias_read_bytes"]) == (144 * 8, 24 * 8)


def test_a_model_of_real_numbers_leaves_out_three_quarters(recorded):
    """Lemaire's model charges 144 of 576 MACs, one for each pair of elements."""
    layer = torch.nn.Linear(6, 6, dtype=torch.complex64).eval()
    with torch.no_grad():
        trace = recorded(lambda: layer(torch.randn(4, 6, dtype=torch.complex64)), model=layer)
    for name in ("lemaire", "neuromc"):
        report = energy(trace, name)
        assert report.counts["mac"] == report.account.charged_macs == 144
        assert report.left_out["macs"].to_list() == [432]
