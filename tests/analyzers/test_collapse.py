"""Collapsing against a loop over the calls, one by one."""

from __future__ import annotations

from collections import defaultdict

import pytest

from opjoule.analyzers import open_trace
from opjoule.analyzers.counting.aggregate import KEYS, collapsed
from opjoule.analyzers.rules.amount import STATISTICS
from opjoule.schemas import SpikeClass

SLOTS = ("in0", "in1", "in2", "in3", "out0")
"""No row of the stored trace has a fourth operand that a rule asks for."""
BITS = {"binary": SpikeClass.BINARY, "ternary": SpikeClass.TERNARY,
        "scaled": SpikeClass.SCALED, "graded": SpikeClass.WHOLE}  # fmt: skip


def facts_of(call, spikes, by_values_only):
    """Return (spike flags, decided flags) of a call, in plain Python."""
    flags, decided = [], []
    for slot in SLOTS:
        bits = call.get(f"{slot}_class")
        if bits is None:
            flags.append(False if call["stage"] == "optimizer" else None)
            decided.append(False)
            continue
        fits, constant = bool(bits & BITS[spikes]), bool(bits & SpikeClass.CONSTANT)
        events = bool(bits & SpikeClass.EVENTS)
        flags.append(fits and (by_values_only or events or not constant))
        decided.append(fits and constant and not by_values_only)
    return (*flags, *decided[:-1])


def looped(trace, keys, spikes, by_values_only):
    groups = defaultdict(list)
    for call in trace.calls.collect().iter_rows(named=True):
        key = (call["rank"], call["signature_id"], *(call[key] for key in keys))
        groups[key + facts_of(call, spikes, by_values_only)].append(call)
    return {
        key: (
            len(calls),
            min(call["seq"] for call in calls),
            *(sum(call.get(name) or 0 for call in calls) for name in STATISTICS),
            *(sum(call.get(name) is None for call in calls) for name in STATISTICS),
        )
        for key, calls in groups.items()
    }


@pytest.mark.parametrize("keys", [(), ("module_id",), ("stage", "label"), KEYS], ids=str)
@pytest.mark.parametrize("spikes", BITS)
@pytest.mark.parametrize("by_values_only", [False, True])
def test_the_sums_are_those_of_a_loop(stored, keys, spikes, by_values_only):
    trace = open_trace(stored)
    frame = collapsed(trace, keys, spikes=spikes, by_values_only=by_values_only)
    width = 2 + len(keys) + len(SLOTS) + len(SLOTS) - 1
    assert {row[:width]: row[width:] for row in frame.rows()} == looped(
        trace, keys, spikes, by_values_only
    )
    assert frame["first_seq"].is_sorted()


def test_no_call_no_row(stored):
    assert collapsed(open_trace(stored).where("step=99"), ("stage",)).is_empty()


def test_the_stored_trace_tests_something(stored):
    """Spikes, none, unknown and decided operands are all in it."""
    frame = collapsed(open_trace(stored))
    assert set(frame["in0_spikes"]) == {True, False, None}
    assert frame["in0_decided"].any() or frame["in1_decided"].any() or frame["in2_decided"].any()
    assert not collapsed(open_trace(stored), by_values_only=True)["in0_decided"].any()
