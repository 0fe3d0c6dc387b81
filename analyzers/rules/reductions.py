"""Reductions, scans, soft maxima and orders: n elements read, out left, r = n / size rows.

Each figure is the arithmetic of the definition, an addition, a comparison or a function 1 FLOP
each; of complex numbers, each part is a number. What sorts compares n·ceil(log2 size) times; what
selects (topk, median) n times.
"""

from __future__ import annotations

from functools import partial

from .call import Call
from .elementwise import costing
from .functions import COSTS, Cost, cost_of, priced, product_cost
from .rule import Figures, OpRule, aten


def _left(call: Call) -> tuple[int, int]:
    """Return (n, out)."""
    return call.ins[0].numel, call.out.numel


def total(call: Call) -> Figures:
    """Return the counters of a sum: n - out additions."""
    x = call.ins[0]
    additions = max(x.numel - call.out.numel, 0) * x.parts
    return Figures(flops=additions, bytes=call.moved, acs=additions)


def mean(call: Call) -> Figures:
    """Return the counters of a mean: n - out additions and out divisions."""
    x = call.ins[0]
    additions = max(x.numel - call.out.numel, 0) * x.parts
    return Figures(flops=x.numbers, bytes=call.moved, acs=additions)


def diagonal(call: Call) -> Figures:
    """Return the counters of a trace: the sum of a diagonal, which alone is read."""
    x = call.ins[0]
    size = min(x.dim(0), x.dim(1))
    read = size * (x.bytes // x.numel if x.numel else 0)
    additions = max(size - 1, 0) * x.parts
    return Figures(additions, read + call.written, acs=additions)


def compared(call: Call, *, times: int = 1) -> Figures:
    """Return the counters of what compares n elements to out: n - out."""
    if call.op.endswith(".other"):  # max and min of two tensors
        return Figures(flops=call.out.numel, bytes=call.moved)
    n, out = _left(call)
    return Figures(flops=times * max(n - out, 0), bytes=call.moved)


def multiplied(call: Call) -> Figures:
    """Return the counters of a product of n elements to out: n - out multiplications."""
    n, out = _left(call)
    times = call.ins[0].is_complex
    found = product_cost(times, times) * max(n - out, 0)
    return Figures(found.flops, call.moved, macs=found.macs)


def counted(call: Call) -> Figures:
    """Return the counters of a sum of what a comparison tells of each element: n + (n - out)."""
    n, out = _left(call)
    told = _compared(call).flops * n
    return Figures(flops=told + max(n - out, 0), bytes=call.moved, acs=max(n - out, 0))


def tested(call: Call) -> Figures:
    """Return the counters of a comparison of every element."""
    return Figures(flops=_compared(call).flops * call.ins[0].numel, bytes=call.moved)


def _compared(call: Call) -> Cost:
    """Return the cost of comparing an element of the first operand."""
    return cost_of("ne", frozenset("x") if call.ins[0].is_complex else frozenset())


def looked_up(call: Call) -> Figures:
    """Return the counters of isin: every element compared with every one of the set."""
    sets = call.named("test_elements") or call.named("test_element")
    return Figures(flops=call.out.numel * (sets.numel if sets else 1), bytes=call.moved)


def variance(call: Call) -> Figures:
    """Return the counters of a variance, or its root.

    The mean n, deviations n, their squares added n + (n - out), out divisions (and roots).
    """
    n, out = _left(call)
    parts = call.ins[0].parts
    roots = out if call.base.startswith("std") else 0
    acs = (max(n - out, 0) + n) * parts
    return Figures(4 * n * parts + roots, call.moved, macs=n * parts, acs=acs)


def norm(call: Call) -> Figures:
    """Return the counters of a norm of n elements: |x| added, x·x added and its root, or more."""
    n, out = _left(call)
    order = call.arguments.get("ord", call.arguments.get("p", 2))
    found = norm_of(n, out, order, is_complex=call.ins[0].is_complex)
    return costing(call, found)


def norm_of(n: int, out: int, order: object, *, is_complex: bool = False) -> Cost:
    """Return the cost of norms of n elements in all, out results, and an order.

    The norm of order 2 of complex numbers is that of their parts, any other that of their sizes.
    """
    added = max(n - out, 0)
    each = frozenset("x") if is_complex else frozenset()
    power = 2.0 if order is None else float(order) if isinstance(order, int | float | str) else 3.0
    if power == 0.0:
        return cost_of("ne", each) * n + Cost(added, acs=added)
    if power == 2.0:
        numbers = n * (2 if is_complex else 1)
        return Cost(numbers + max(numbers - out, 0) + out, macs=numbers)
    sizes = cost_of("abs", each) * n
    if power in (float("inf"), float("-inf")):
        return sizes + Cost(added)
    if power == 1.0:
        return sizes + Cost(added, acs=added)
    # |x| to a power is exp(p·log|x|)
    return sizes + Cost(3 * n + added + 3 * out, acs=added)


def soft_maximum(call: Call) -> Figures:
    """Softmax: the maximum n - r, deviations n, exponentials n, their sum n - r, divisions n."""
    n, r = _rows(call)
    return Figures(5 * n - 2 * r, call.moved, acs=n + (n - r))


def log_soft_maximum(call: Call) -> Figures:
    """Log-softmax: the maximum n - r, deviations n, exponentials n, sum n - r, log r, less it n."""
    n, r = _rows(call)
    return Figures(5 * n - r, call.moved, acs=n + (n - r) + n)


def soft_maximum_backward(call: Call) -> Figures:
    """y·(g - sum(g·y)): n products added, n - r, a subtraction and a multiplication each."""
    n, r = _rows(call)
    return Figures(4 * n - r, call.moved, macs=n, acs=n)


def log_soft_maximum_backward(call: Call) -> Figures:
    """G - exp(y)·sum(g): n - r additions, n exponentials, n products, n subtractions."""
    n, r = _rows(call)
    return Figures(4 * n - r, call.moved, macs=n, acs=n - r)


def log_sum(call: Call) -> Figures:
    """Logsumexp: maximum n - out, deviations n, exponentials n, sum n - out, log and add out."""
    n, out = _left(call)
    x = frozenset("x") if call.ins[0].is_complex else frozenset()
    sums = priced("x + y", frozenset("xy") if x else x) * (n - out)
    found = Cost(n - out) + priced("exp(x - m)", x) * n + sums + priced("m + log(x)", x) * out
    return costing(call, found)


def _rows(call: Call) -> tuple[int, int]:
    """Return (n, r): elements, and rows along the op's `dim`."""
    x = call.ins[0]
    size = x.dim(int(call.arg("dim", -1)))
    return x.numel, x.numel // size if size else 0


def scan(call: Call, *, each: str = "") -> Figures:
    """Return the counters of a running sum, product or maximum: n - r steps.

    Args:
        call: the call.
        each: the formula of a step, of x and y; "": a comparison.
    """
    n, r = _rows(call)
    names = frozenset("xy") if call.ins[0].is_complex else frozenset()
    return costing(call, (priced(each, names) if each else Cost(1)) * (n - r))


def order(call: Call) -> Figures:
    """Return the counters of a sort: n·ceil(log2 size) comparisons."""
    x = call.ins[0]
    whole = call.base.startswith(("_unique", "unique"))
    size = x.numel if whole else x.dim(int(call.arg("dim", -1)))
    return Figures(flops=x.numel * _ceil_log2(size), bytes=call.moved)


def selection(call: Call) -> Figures:
    """Return the counters of what picks by rank: n comparisons; picked ones sorted if asked."""
    k, out = int(call.arg("k", 1)), call.out.numel
    sorting = out * _ceil_log2(k) if call.arg("sorted", False) else 0
    return Figures(flops=call.ins[0].numel + sorting, bytes=call.moved)


def search(call: Call) -> Figures:
    """Return the counters of a search in sorted bounds: ceil(log2(bounds + 1)) for each element."""
    bounds = call.named("sorted_sequence") or call.named("boundaries")
    steps = _ceil_log2((bounds.dim(-1) if bounds else 1) + 1)
    return Figures(flops=call.out.numel * steps, bytes=call.moved)


def tally(call: Call) -> Figures:
    """Return the counters of a count by value: one addition for each element."""
    n = call.ins[0].numel
    return Figures(flops=n, bytes=call.moved, acs=n)


def _ceil_log2(size: int) -> int:
    return max(size - 1, 0).bit_length()


RULES: tuple[OpRule, ...] = (
    OpRule("comparison", aten("isin"), looked_up),
    OpRule("sum", aten("sum"), total),
    OpRule("sum", aten("trace"), diagonal),
    OpRule("mean", aten("mean"), mean),
    OpRule(
        "reduction",
        aten("amax amin max min argmax argmin all any _is_all_true _is_any_true"),
        compared,
    ),
    OpRule("reduction", aten("prod"), multiplied),
    OpRule("reduction", aten("aminmax _aminmax"), partial(compared, times=2)),
    OpRule("reduction", aten("count_nonzero nansum"), counted),
    OpRule(
        "reduction",
        aten(
            "equal nonzero nonzero_static unique_consecutive _nested_tensor_from_mask_left_aligned"
        ),
        tested,
    ),
    OpRule("reduction", aten("var std var_mean std_mean"), variance),
    OpRule("reduction", aten("norm linalg_vector_norm native_norm"), norm),
    OpRule("reduction", aten("bincount"), tally),
    OpRule("softmax", aten("_softmax _safe_softmax _masked_softmax"), soft_maximum),
    OpRule("softmax", aten("_log_softmax"), log_soft_maximum),
    OpRule(
        "softmax", aten("_softmax_backward_data _masked_softmax_backward"), soft_maximum_backward
    ),
    OpRule("softmax", aten("_log_softmax_backward_data"), log_soft_maximum_backward),
    OpRule("softmax", aten("logsumexp"), log_sum),
    OpRule("scan", aten("cumsum cumsum_"), partial(scan, each="x + y")),
    OpRule("scan", aten("logcumsumexp _logcumsumexp"), partial(scan, each=COSTS["logaddexp"])),
    OpRule("scan", aten("cumprod cumprod_"), partial(scan, each="x * y")),
    OpRule("scan", aten("cummax cummin _cummax_helper _cummin_helper"), scan),
    OpRule("order", aten("sort argsort mode _unique _unique2 unique_dim"), order),
    OpRule("order", aten("topk kthvalue median nanmedian"), selection),
    OpRule("order", aten("searchsorted bucketize"), search),
)
