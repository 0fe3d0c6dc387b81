"""What a spike tensor is, against the definition on the elements themselves."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opjoule.analyzers import SPIKE_MODES, spike_expr
from opjoule.analyzers.workload.spikes import constant_expr
from opjoule.schemas import ConfigError, SpikeClass

FITS = {
    "binary": lambda data: set(data) <= {0, 1},
    "ternary": lambda data: set(data) <= {-1, 0, 1},
    "scaled": lambda data: len(set(data) - {0}) <= 1,
    "graded": lambda data: all(each == int(each) for each in data),
    "none": lambda data: False,
}
"""The definitions of counters.md, on all elements of a tensor."""

elements = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=6)


def bits_of(data, events=False):
    """Return the class bits of made data, by their definitions in schemas/spikes.py."""
    facts = {
        SpikeClass.BINARY: FITS["binary"](data),
        SpikeClass.TERNARY: FITS["ternary"](data),
        SpikeClass.SCALED: FITS["scaled"](data),
        SpikeClass.WHOLE: FITS["graded"](data),
        SpikeClass.CONSTANT: len(set(data)) == 1,
        SpikeClass.EVENTS: events,
    }
    return sum(int(bit) for bit, holds in facts.items() if holds)


def asked(bits, expression):
    frame = pl.DataFrame({"in0_class": [bits]}, schema={"in0_class": pl.Int16})
    return frame.select(expression).item()


def test_the_modes_are_those_of_the_documents():
    assert SPIKE_MODES == ("binary", "ternary", "scaled", "graded", "none") == tuple(FITS)


@given(elements, st.sampled_from(SPIKE_MODES), st.booleans())
def test_a_tensor_is_spikes_if_its_elements_fit(data, mode, events):
    """By values that is all; else a constant has to come from a neuron or a comparison too."""
    bits = bits_of(data, events)
    fits = FITS[mode](data)
    assert asked(bits, spike_expr("in0", mode, by_values_only=True)) is fits
    constant = len(set(data)) == 1
    assert asked(bits, spike_expr("in0", mode)) is (fits and (events or not constant))
    assert asked(bits, constant_expr("in0", mode)) is (fits and constant)


def test_a_silent_neuron_spikes_and_a_sum_gradient_does_not():
    """All zeros from a neuron, all ones from `sum().backward()`: constants, told by provenance."""
    zeros, ones = bits_of([0, 0, 0], events=True), bits_of([1, 1, 1])
    assert asked(zeros, spike_expr("in0")) is True
    assert asked(ones, spike_expr("in0")) is False
    assert asked(ones, spike_expr("in0", by_values_only=True)) is True


def test_provenance_alone_makes_no_spikes():
    """What a neuron wrote is spikes only if its values are: a membrane potential is not."""
    assert asked(bits_of([0.5, 0.25], events=True), spike_expr("in0")) is False


@pytest.mark.parametrize("mode", SPIKE_MODES)
@pytest.mark.parametrize("by_values_only", [False, True])
def test_what_was_not_measured_is_not_known(mode, by_values_only):
    known = False if mode == "none" else None  # with none nothing is spikes, whatever it holds
    assert asked(None, spike_expr("in0", mode, by_values_only)) is known


def test_the_column_of_the_values_table():
    frame = pl.DataFrame({"class": [int(SpikeClass.BINARY), 0]})
    assert frame.select(spike_expr("")).to_series().to_list() == [True, False]


def test_no_such_mode():
    with pytest.raises(ConfigError, match="unknown spikes='loud': expected one of binary, tern"):
        spike_expr("in0", "loud")
