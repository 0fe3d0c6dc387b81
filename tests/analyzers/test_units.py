"""Figures for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opjoule.analyzers.units import (
    bar,
    bytes_text,
    count_text,
    deviating_text,
    energy_text,
    ratio_text,
    share_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (9_999, "9,999"),
        (10_000, "10.0 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),  # never "1000 k"
        (1_820_000_000, "1.82 G"),
        (None, "?"),
    ],
)
def test_counts(value, text):
    assert count_text(value) == text


@pytest.mark.parametrize(
    ("figure", "value", "deviation", "text"),
    [
        ("macs", 36_864, 0, "36.9 ± 0 k"),
        ("acs", 12, 5.657, "12.0 ± 5.7"),
        ("acs", 0, 0, "0 ± 0"),
        ("energy.compute", 8_740_000, 417_000, "8.74 ± 0.42 µJ"),  # pJ; never "± 417 nJ"
        ("bytes", 1_572_864, 262_144, "1.50 ± 0.25 MiB"),  # a quarter of 1024²
        ("flops", None, 0, "?"),
        ("energy.compute", 98_000, 0.0179, "98.0 ± 0 nJ"),  # 1.8e-7 of the figure
        ("flops", 289_000, 0.692, "289 ± 0 k"),
        ("flops", 289_000, 29.0, "289.000 ± 0.029 k"),  # 1.003e-4 of it: not 0 yet
        ("flops", 0, 1e-7, "0 ± 0.00000010"),  # never "1e-07"
        ("energy.compute", 111_213_400, 76_000, "111.213 ± 0.076 µJ"),
        ("macs", 123_456, 5_600, "123.5 ± 5.6 k"),
        ("flops", 1_000, 2_345_678, "1,000 ± 2,300,000"),
        ("flops", 12, 9.96, "12 ± 10"),
    ],
)
def test_deviations_have_the_unit_of_their_figure(figure, value, deviation, text):
    assert deviating_text(figure, value, deviation) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (512, "512 B"),
        (1_024, "1.00 KiB"),
        (1_572_864, "1.50 MiB"),  # 1.5 · 1024²
        (None, "?"),
    ],
)
def test_bytes(value, text):
    assert bytes_text(value) == text


@pytest.mark.parametrize(
    ("value_pj", "text"),
    [
        (0.0, "0"),
        (0.048, "0.0480 pJ"),
        (4.6, "4.60 pJ"),
        (9_999.0, "10.0 nJ"),
        (12_300_000.0, "12.3 µJ"),  # 1 µJ = 1e6 pJ
        (2.5e12, "2.50 J"),
    ],
)
def test_energies(value_pj, text):
    assert energy_text(value_pj) == text


def test_shares_and_bars():
    assert share_text(0.1234) == "12.3 %"
    assert share_text(0.117, 0.02) == "11.7 ± 2.0 %" and share_text(0.5, 1e-9) == "50.0 ± 0 %"
    assert share_text(None) == share_text(float("nan")) == "?"
    assert bar(0.5) == "█████     "
    assert bar(0.3125) == "███▏      "  # 0.3125 · 80 eighths = 25 = 3 cells and 1 eighth
    assert bar(2.0) == "█" * 10
    assert ratio_text(None) == "?"


@given(st.integers(min_value=1, max_value=10**21))
def test_a_unit_keeps_three_digits(value):
    number, _, prefix = count_text(value).partition(" ")
    scale = 1000 ** " kMGTPE".index(prefix or " ")
    assert float(number.replace(",", "")) * scale == pytest.approx(value, rel=6e-3)


@given(st.floats(0, 1), st.integers(1, 20))
def test_a_bar_has_its_width(share, width):
    assert len(bar(share, width)) == width
