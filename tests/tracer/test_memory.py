"""A recording keeps neither the memory of tensors that are gone nor rows that are written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opjoule.tracer import values

MEGABYTE = 1 << 20

STEPS = """
import sys
import torch
from torch import nn

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) >> 10

def loop():
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(30):
        net(torch.rand(65536, 16)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

torch.set_num_threads(1)
from opjoule import Recorder
if sys.argv[1] == "plain":
    loop()
else:
    with Recorder(sys.argv[2], statistics=sys.argv[1]):
        loop()
print(resident())
"""

CALLS = """
import sys
import torch
from opjoule import Recorder

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) >> 8

torch.set_num_threads(1)
with Recorder(sys.argv[1]) as recorder:
    session = recorder._session
    session.part_cells //= 8
    ones = torch.ones(8)
    for parts in (8, int(sys.argv[2])):
        before = resident()
        while session.parts < parts:
            ones * 2
print(resident() - before)
"""


@pytest.fixture
def megabytes(python):
    """Return a function that runs a program, which says how many it took."""

    def run(program, *words):
        done = python(["-c", program, *words], timeout=300)
        assert not done.returncode, done.stderr
        return int(done.stdout)

    return run


@pytest.mark.parametrize("size", [MEGABYTE, 8 * MEGABYTE])
def test_storages_are_forgotten_by_the_bytes_seen(new, size):
    """Of 64 tensors of `size` that are gone, what 32 MiB hold may still be known, and one more."""
    with new(statistics="none") as recorder:
        for _ in range(64):
            torch.empty(size, dtype=torch.uint8).zero_()
        known = recorder._session.values.storages.values()
        assert len(known) <= (32 * MEGABYTE) // size + 1


def test_what_is_alive_is_not_forgotten(trace_of):
    """Each of the 20 tensors of 4 MiB is read again after all were made: by one storage each."""

    def run():
        kept = [torch.ones(MEGABYTE) for _ in range(20)]
        for each in kept:
            each.sum()

    trace = trace_of(run, statistics="none")
    made = [call["out0_value"] for call in trace.named("ones") + trace.named("fill")]
    read = [call["in0_value"] for call in trace.named("sum")]
    assert len(set(read)) == 20 and set(read) <= set(made)


def test_many_small_storages_are_not_looked_through_at_every_turn(new, monkeypatch):
    """1,500 that live take 16 KiB each until the next look: 94 MiB hold three tensors of 31 MiB."""
    looks = []
    forget = values.Values.forget
    with new(statistics="none") as recorder:
        known = recorder._session.values
        kept = [torch.ones(1) for _ in range(1500)]
        kept += [torch.empty(6000 * 16 << 10, dtype=torch.uint8)]
        monkeypatch.setattr(values.Values, "forget", lambda self: looks.append(forget(self)))
        known.forget()
        for _ in range(5):
            torch.empty(31 * MEGABYTE, dtype=torch.uint8)
    assert len(kept) == 1501
    assert len(looks) <= 4  # ours, one at the end, one or two of five tensors


@pytest.mark.slow
def test_steps_on_large_tensors_take_less_than_twice_the_memory(tmp_path, megabytes):
    """Eleven tensors of 4 MB a step: one of them, kept for 30 steps, would be 120 MB."""
    plain = megabytes(STEPS, "plain")
    for level in ("none", "full"):
        assert megabytes(STEPS, level, tmp_path / level) < min(2 * plain, plain + 100)


@pytest.mark.slow
def test_100_000_small_calls_take_less_than_10_megabytes(tmp_path, megabytes):
    """In parts of 8,192 calls, and after 8 that fill the buffers; a million: docs/benchmarks.md.

    Memory is looked at as a part is written: in between it rises and falls with what is gathered.
    """
    assert megabytes(CALLS, tmp_path / "trace", 21) < 10


def test_layers_are_still_told_apart_by_their_storages(trace_of):
    """What is forgotten is numbered anew: no value of one step passes for one of another."""
    net = nn.Linear(1024, 1024).eval()

    def run():
        with torch.no_grad():
            for _ in range(12):
                net(torch.zeros(1024, 1024))

    trace = trace_of(run, model=net)
    products = trace.named("addmm")
    assert len({call["out0_value"] for call in products}) == len(products) == 12
