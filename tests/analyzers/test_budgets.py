"""Conditions: what they say, and exactly when they are met."""

from __future__ import annotations

from fractions import Fraction

import pytest

from opjoule.analyzers.comparing.budgets import _met, budget
from opjoule.analyzers.comparing.diff import Total
from opjoule.schemas import ConfigError


@pytest.mark.parametrize(
    ("text", "than", "limit", "of"),
    [
        ("flops>+0%", ">", 0, "relative"),
        ("flops > 5 %", ">", Fraction(5, 100), "relative"),
        ("synops<-12.5%", "<", Fraction(-125, 1000), "relative"),
        ("macs>1e9", ">", 10**9, "head"),
        ("macs>=1.5G", ">=", 1_500_000_000, "head"),
        ("calls>+3", ">", 3, "difference"),
        ("acs<=-2k", "<=", -2000, "difference"),
        ("bytes>+1MiB", ">", 1 << 20, "difference"),
        ("energy.compute>2.5uJ", ">", 2_500_000, "head"),
        ("energy.compute>+5%", ">", Fraction(1, 20), "relative"),
        ("energy.compute>7", ">", 7, "head"),
    ],
)
def test_a_condition_is_read(text, than, limit, of):
    found = budget(text)
    assert (found.than, found.limit, found.of) == (than, limit, of)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid condition"),
        ("flops", "invalid condition"),
        ("flops>", "invalid condition"),
        (">5%", "invalid condition"),
        ("flops=5%", "invalid condition"),
        ("flops>5%%", "invalid condition"),
        ("flops>nan", "invalid condition"),
        ("flops>1e9999", "invalid condition"),
        ("flops>--5%", "invalid condition"),
        ("flops>5 apples", "'apples' is not a unit of flops"),
        ("flops>5pJ", "'pJ' is not a unit of flops"),
        ("energy.compute>5MiB", "'MiB' is not a unit of energy.compute"),
        ("intensity>5%", "no figure 'intensity'"),
        ("energy.magic>5%", "no estimator 'magic'"),
        ("energy>5%", "no figure 'energy'"),
    ],
)
def test_nonsense_is_refused(text, says):
    with pytest.raises(ConfigError, match=says) as error:
        budget(text)
    assert "\n" not in str(error.value)


def total(base, head, figure="flops"):
    difference = None if None in (base, head) else head - base
    return Total(figure, "", base, head, difference, None, "")


@pytest.mark.parametrize(
    ("text", "base", "head", "met"),
    [
        ("flops>+0%", 100, 100, False),
        ("flops>+0%", 100, 101, True),
        ("flops>+0%", 100, 99, False),
        ("flops>=+0%", 100, 100, True),
        # a float's 53 bits do not hold these: 9007199254740993 is 2^53 + 1
        ("flops>+0%", 9007199254740992, 9007199254740993, True),
        ("flops>9007199254740992", 0, 9007199254740993, True),
        # 10 % of 1000 is 100, exactly; in floats 1.1 · 1000 > 1100
        ("flops>+10%", 1000, 1100, False),
        ("flops>+10%", 1000, 1101, True),
        ("flops<-10%", 1000, 900, False),
        ("flops<-10%", 1000, 899, True),
        ("flops>+5%", 0, 1, True),  # from nothing: more than any percentage
        ("flops>+5%", 0, 0, False),
        ("flops>+7", 10, 17, False),
        ("flops>+7", 10, 18, True),
        ("flops>1k", 5, 1000, False),
        ("flops>1k", 5, 1001, True),
        ("flops<1k", 5, 999, True),
        ("flops>+0%", 100, None, None),
        ("flops>+0%", None, 100, None),
    ],
)
def test_a_condition_is_met_exactly(text, base, head, met):
    assert _met(budget(text), total(base, head)) is met
