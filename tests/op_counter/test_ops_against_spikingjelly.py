"""Every op that SpikingJelly 2.0.0 has a rule for, with odd arguments, counted by both."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from opjoule import Recorder, count, open_trace

COUNTERS = {
    "flops": "FlopCounter",
    "bytes": "MemoryAccessCounter",
    "synops": "SynOpCounter",
    "macs": "MACCounter",
    "acs": "ACCounter",
}


def spikes(*shape):
    return (torch.rand(shape) < 0.3).float()


def products():
    for x, w in ((spikes(3, 4), torch.rand(4, 5)), (torch.rand(3, 4), spikes(4, 5))):
        yield lambda x=x, w=w: x @ w
        for beta, alpha in ((1, 1), (0, 1), (0.5, 1), (1, 2), (0.5, 2)):
            bias = torch.rand(5)
            yield lambda x=x, w=w, b=beta, a=alpha, c=bias: torch.addmm(c, x, w, beta=b, alpha=a)
            matrices = (torch.rand(2, 3, 5), torch.stack([x, x]), torch.stack([w, w]))
            yield lambda m=matrices, b=beta, a=alpha: torch.baddbmm(*m, beta=b, alpha=a)
    both = (spikes(3, 4), spikes(4, 5))
    yield lambda: both[0] @ both[1]
    yield lambda: torch.addmm(torch.rand(3, 5), *both, alpha=2)
    yield lambda: torch.bmm(torch.stack([both[0]] * 2), torch.stack([both[1]] * 2))


def convolutions():
    for groups, bias in ((1, None), (2, torch.rand(6)), (4, None)):
        c_out = 8 if groups == 4 else 6
        for x in (spikes(2, 4, 9, 8), torch.rand(2, 4, 9, 8)):
            w = torch.rand(c_out, 4 // groups, 3, 2)
            yield lambda x=x, w=w, b=bias, g=groups: F.conv2d(x, w, b, (2, 1), (1, 0), 1, g)
            yield lambda x=x, w=w, b=bias, g=groups: backward(
                lambda i, v, c: F.conv2d(i, v, c, (2, 1), (1, 0), 1, g), x, w, b
            )
            t = torch.rand(4, c_out // groups, 3, 2)
            yield lambda x=x, w=t, b=bias, g=groups: F.conv_transpose2d(x, w, b, 2, 1, 0, g)
            yield lambda x=x, w=t, b=bias, g=groups: backward(
                lambda i, v, c: F.conv_transpose2d(i, v, c, 2, 1, 0, g), x, w, b
            )
    yield lambda: F.conv2d(torch.rand(2, 4, 9, 8), spikes(6, 4, 3, 3), None, 2, 1, 2)
    yield lambda: F.conv2d(spikes(2, 4, 9, 8), spikes(6, 4, 3, 3), None, 2, 1, 2)


def backward(function, *inputs):
    taken = [None if i is None else i.clone().requires_grad_() for i in inputs]
    function(*taken).backward(torch.rand_like(function(*taken)))


def norms():
    x, parameters = torch.rand(4, 3, 5, 5), (torch.rand(3), torch.rand(3))
    for affine in ((None, None), parameters):
        for running in ((None, None), (torch.zeros(3), torch.ones(3))):
            for training in (True, False):
                if not training and running[0] is None:
                    continue
                function = lambda i, w, b, r=running, t=training: F.batch_norm(i, *r, w, b, t)  # noqa: E731
                yield lambda f=function, a=affine: f(x, *a)
                if affine[0] is not None:  # SpikingJelly fails on a norm without weight
                    yield lambda f=function, a=affine: backward(f, x, *a)
                    yield lambda f=function, a=affine: backward(lambda w, b: f(x, w, b), *a)


def others():
    a, b, s, t = torch.rand(3, 4), torch.rand(3, 4), spikes(3, 4), spikes(3, 4)
    for x, y in ((a, b), (s, t), (s, a), (a, 2.0), (s, 1), (a, torch.rand(4))):
        for function in (torch.add, torch.sub):
            yield lambda f=function, x=x, y=y: f(x, y)
            yield lambda f=function, x=x, y=y: f(x, y, alpha=3)
        yield lambda x=x, y=y: x.clone().add_(y)
        yield lambda x=x, y=y: x.clone().sub_(y, alpha=2)
        yield lambda x=x, y=y: torch.rsub(x, y)
        yield lambda x=x, y=y: torch.rsub(x, y, alpha=2)
        for function in (torch.mul, torch.div, torch.eq, torch.ne, torch.lt, torch.ge):
            yield lambda f=function, x=x, y=y: f(x, y)
        yield lambda x=x, y=y: x.clone().mul_(y).div_(y)
    for function in (torch.logical_and, torch.logical_or, torch.logical_xor):
        yield lambda f=function: f(s, t)
    for function in (torch.neg, torch.sigmoid, torch.sum, torch.mean):  # they fail on logical_not
        yield lambda f=function: f(a)
    yield lambda: a.clone().neg_().sigmoid_()
    yield lambda: (a.sum(0), a.sum(1, keepdim=True), a.mean(0), a.mean((0, 1)))
    yield lambda: (torch.stack([a, b]), a.double(), a.t(), a.view(12), a[1], a.expand(2, 3, 4))
    yield lambda: (torch.full_like(a, 2.0), torch.ones_like(a), a.detach(), a.clone())
    yield lambda: backward(lambda x: x[1], a)
    yield lambda: (a.unsqueeze(0), a.unsqueeze(0).squeeze(0), a.unbind(0), torch.empty(3))


def pools():
    x = torch.rand(2, 3, 9, 8)
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), ((3, 2), 1, (1, 0))):
        yield lambda k=kernel, s=stride, p=padding: F.max_pool2d(x, k, s, p)
        yield lambda k=kernel, s=stride, p=padding: F.avg_pool2d(x, k, s, p, ceil_mode=True)
        yield lambda k=kernel, s=stride, p=padding: backward(lambda i: F.max_pool2d(i, k, s, p), x)


def attentions():
    q, k, v = torch.rand(2, 3, 5, 8), torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 8)
    yield lambda: F.scaled_dot_product_attention(q, k, v)
    yield lambda: backward(F.scaled_dot_product_attention, q, k, v)
    yield lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.rand(5, 7))
    yield lambda: backward(
        lambda *a: F.scaled_dot_product_attention(*a, attn_mask=torch.rand(5, 7)), q, k, v
    )


KINDS = (products, convolutions, norms, others, pools, attentions)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_counts_equal(kind, original, tmp_path):
    torch.manual_seed(0)
    for number, work in enumerate(kind()):
        counters = {column: getattr(original, name)() for column, name in COUNTERS.items()}
        torch.manual_seed(1)
        with original.DispatchCounterMode(list(counters.values())):
            work()
        torch.manual_seed(1)
        with Recorder(tmp_path / str(number)):
            work()
        rows = count(open_trace(tmp_path / str(number)), by="op", rules="spikingjelly-2.0").frame
        for column, counter in counters.items():
            theirs = {str(op): n for op, n in counter.get_counts().get("Global", {}).items() if n}
            mine = {op: n for op, n in rows.select("op", column).iter_rows() if n}
            assert mine == theirs, (kind.__name__, number, column)
