"""`full` beside SpikingJelly 2.0's rules: equal, but for what docs/counters.md says."""

from __future__ import annotations

import polars as pl
import pytest

from opjoule.analyzers import count
from opjoule.op_counter.known_ops import KNOWN

COUNTERS = ("flops", "bytes", "synops", "macs", "acs")
KERNEL = "aten._scaled_dot_product_flash_attention_for_cpu"

DEVIATIONS = {
    ("aten.convolution_backward.default", "flops"): "the weight's gradient counts groups once",
    ("aten.native_batch_norm_backward.default", "bytes"): "what is written counts",
    ("aten.max_pool2d_with_indices_backward.default", "bytes"): "indices are read, not the input",
    ("aten.rsub.Scalar", "flops"): "alpha scales the first operand",
    ("aten.add.Tensor", "acs"): "constants are spikes by provenance only",
    (f"{KERNEL}.default", "flops"): "softmax and scale count",
    (f"{KERNEL}.default", "bytes"): "the logarithms of the sums are written too",
    (f"{KERNEL}_backward.default", "flops"): "softmax and scale count",
    (f"{KERNEL}_backward.default", "bytes"): "the result and the logarithms are read too",
}
ELSEWHERE = {
    f"aten._scaled_dot_product_{kind}_attention{way}.default"
    for kind in ("flash", "efficient", "cudnn")
    for way in ("", "_backward")
}
"""Ops of GPUs."""


def differing(trace):
    """Return (op, counter) of what both sets have a rule for and count differently, and all ops."""
    full = count(trace, by=["op"]).frame
    theirs = count(trace, by=["op"], rules="spikingjelly-2.0").frame
    found = set()
    for row in full.join(theirs, on="op", suffix="_theirs").iter_rows(named=True):
        for name in COUNTERS:
            known = row["op"] in KNOWN["spikingjelly-2.0"][name]
            if known and row[name] != row[f"{name}_theirs"]:
                found.add((row["op"], name))
    return found, set(full["op"])


def test_reference_cases_agree(build_case, recorded, run_case):
    case = build_case()
    found, _ = differing(recorded(lambda: run_case(case), model=case.model))
    assert found <= set(DEVIATIONS)


def everything(torch):
    """Run every op that SpikingJelly 2.0 has a rule for, in ways that the cases do not."""
    from torch.nn import functional as F

    torch.manual_seed(0)
    aten = torch.ops.aten
    x, y = torch.rand(4, 6), torch.rand(4, 6) + 0.1
    spikes = (torch.rand(4, 6) > 0.5).float()
    zeros, row = torch.zeros(4, 6), torch.rand(6)
    for op in (torch.add, torch.sub):
        for first, second in ((x, y), (spikes, spikes.clone()), (x, spikes), (x, row), (x, 2)):
            op(first, second)
            op(first, second, alpha=2)
    torch.add(spikes, zeros)
    torch.rsub(x, y, alpha=2)
    torch.rsub(x, 1)
    torch.rsub(x, 1, alpha=2)
    for name in ("add_", "sub_", "mul_", "div_"):
        getattr(x.clone(), name)(y)
        getattr(aten, name).Scalar(x.clone(), 2)
        getattr(aten, name.rstrip("_")).Scalar(x, 2)
    for op in (torch.mul, torch.div, torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge):
        op(x, y)
        op(x, 0.5)
    for op in (torch.logical_and, torch.logical_or, torch.logical_xor):
        op(x, spikes)
    torch.logical_not(x), x.neg(), x.clone().neg_(), x.sigmoid(), x.clone().sigmoid_()
    x.sum(), x.sum(1), x.mean(1), x.clone(), x.double(), torch.stack([x, y])
    torch.full_like(x, 2), torch.ones_like(x), aten.select_backward(row, [4, 6], 0, 1)
    x.view(24), torch.empty(3), x.select(0, 1), x.detach(), x.t(), row.expand(4, 6)
    x.unsqueeze(0), x.unsqueeze(0).squeeze(0), x.unbind(0)
    matrix, more = torch.rand(6, 3), torch.rand(2, 6, 3)
    for factor in (x, spikes):
        factor @ matrix
        torch.addmm(torch.rand(3), factor, matrix)
        torch.addmm(torch.rand(3), factor, matrix, beta=0.5, alpha=2)
        torch.bmm(factor.view(2, 2, 6), more)
        torch.baddbmm(torch.rand(2, 2, 3), factor.view(2, 2, 6), more, alpha=2)
        torch.baddbmm(torch.rand(2, 2, 3), factor.view(2, 2, 6), more, beta=0)
    image = torch.rand(2, 4, 6, 6, requires_grad=True)
    weight = torch.rand(4, 2, 3, 3, requires_grad=True)
    F.conv2d(image, weight, groups=2).sum().backward()
    F.max_pool2d(image, 3, 1).square().sum().backward()
    F.avg_pool2d(image.detach(), 2)
    for training in (True, False):
        mean, var = torch.rand(4), torch.rand(4) + 1
        affine = [torch.rand(4, requires_grad=True) for _ in range(2)]
        F.batch_norm(image, mean, var, *affine, training=training).square().sum().backward()
    query = torch.rand(1, 2, 4, 6, requires_grad=True)
    F.scaled_dot_product_attention(query, query, query).square().sum().backward()


def test_every_op_agrees(recorded):
    torch = pytest.importorskip("torch")
    found, ops = differing(recorded(lambda: everything(torch)))
    known = {op for name in COUNTERS for op in KNOWN["spikingjelly-2.0"][name]}
    assert known - ELSEWHERE - ops == set()
    assert found == set(DEVIATIONS)


def test_full_counts_more_of_what_spikingjelly_leaves_out(recorded):
    """MACs and ACs of backward passes; sigmoid apart as in place."""
    torch = pytest.importorskip("torch")
    trace = recorded(lambda: everything(torch))
    frame = {r["op"]: r for r in count(trace, by=["op"]).frame.iter_rows(named=True)}
    theirs = count(trace, by=["op"], rules="spikingjelly-2.0").frame
    for op in ("aten.convolution_backward.default", "aten.native_batch_norm_backward.default"):
        row = theirs.row(by_predicate=pl.col("op") == op, named=True)
        assert (row["macs"], row["acs"]) == (0, 0)
        assert frame[op]["macs"] > 0
    assert frame["aten.sigmoid.default"]["acs"] == frame["aten.sigmoid_.default"]["acs"] == 24
