"""Reasons in words, from kinds of calls."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opjoule.analyzers.comparing.call_groups import Kind, Operands, kinds_of
from opjoule.analyzers.comparing.reasons import reasons


def operand(name, *shapes, dtype="float32"):
    return {name: Operands(name, tuple(shapes), (dtype,))}


def conv(*, weight=(64, 3, 3, 3), x=(8, 3, 9, 9), dtype="float32", calls=4, stride=1, **facts):
    """Return the calls of a convolution; `spikes` and `nonzero` of its input."""
    return Kind(
        operand("input", x, dtype=dtype) | operand("weight", weight, dtype=dtype),
        operand("out", (8, weight[0], 7, 7), dtype=dtype),
        f'{{"stride": [{stride}, {stride}], "groups": 1}}',
        calls=calls,
        spikes={"input": facts["spikes"]} if "spikes" in facts else {},
        nonzero={"input": facts["nonzero"]} if "nonzero" in facts else {},
    )


@pytest.mark.parametrize(
    ("base", "head", "words"),
    [
        (conv(), conv(), []),
        (conv(calls=4), conv(calls=8), ["calls 4 -> 8"]),
        (conv(), conv(weight=(128, 3, 3, 3)), ["weight shape 64x3x3x3 -> 128x3x3x3"]),
        (conv(), conv(dtype="float16"), ["float32 -> float16"]),
        (conv(), conv(stride=2), ["stride 1x1 -> 2x2"]),
        (conv(spikes=(4, 0)), conv(spikes=(0, 4)), ["input is no longer spikes"]),
        (conv(spikes=(0, 4)), conv(spikes=(4, 0)), ["input is now spikes"]),
        (conv(spikes=(3, 1)), conv(spikes=(2, 2)), ["input is spikes in 3 of 4 -> 2 of 4 calls"]),
        (
            conv(spikes=(4, 0), nonzero=(12, 100)),
            conv(spikes=(4, 0), nonzero=(20, 100)),
            ["spike rate of input 12.0 % -> 20.0 %"],
        ),
        (
            conv(spikes=(4, 0), nonzero=(120_000, 1_000_000)),
            conv(spikes=(4, 0), nonzero=(120_020, 1_000_000)),
            ["spike rate of input 12.000 % -> 12.002 %"],
        ),
        (
            conv(spikes=(0, 4), nonzero=(100, 100)),
            conv(spikes=(0, 4), nonzero=(50, 100)),
            ["nonzero share of input 100.0 % -> 50.0 %"],
        ),
    ],
)
def test_one_difference_is_one_reason(base, head, words):
    assert reasons([base], [head], data=True) == words


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        (0.2041241452319315, 0.25, "scale 0.204124 -> 0.25"),
        (0.2041241452319315, 0.2041241452319316, "scale 0.2041241452319315 -> 0.2041241452319316"),
        (1, 0.5, "scale 1 -> 0.5"),
        (None, 1e-12, "scale null -> 1e-12"),
    ],
)
def test_numbers_are_as_long_as_it_takes_to_tell_them_apart(one, two, words):
    base, head = (replace(conv(), arguments=json.dumps({"scale": each})) for each in (one, two))
    assert reasons([base], [head], data=True) == [words]


def test_what_operands_held_is_no_reason_for_what_does_not_depend_on_it():
    base, head = conv(spikes=(4, 0), nonzero=(1, 9)), conv(spikes=(4, 0), nonzero=(2, 9))
    assert reasons([base], [head], data=False) == []


def test_a_rate_that_hardly_moved_is_no_reason_beside_a_shape_that_did():
    base = conv(spikes=(4, 0), nonzero=(12_000, 100_000))
    head = conv(spikes=(4, 0), nonzero=(12_010, 100_000), weight=(128, 3, 3, 3))
    assert reasons([base], [head], data=True) == ["weight shape 64x3x3x3 -> 128x3x3x3"]


def test_the_weightiest_kinds_are_compared_and_the_others_counted():
    small, large = conv(x=(1, 3, 9, 9)), conv(x=(99, 3, 9, 9))
    assert reasons([conv(), small], [large, small, conv(x=(5, 3, 9, 9))], data=True) == [
        "calls 8 -> 12",
        "input shape 8x3x9x9 -> 99x3x9x9",
        "and 1 more kind of calls",
    ]


def test_kinds_that_come_to_others():
    found = reasons([conv()], [conv(), conv(x=(5, 3, 9, 9))], data=True)
    assert found == ["calls 4 -> 8", "also with input 5x3x9x9, weight 64x3x3x3"]
    found = reasons([conv(), conv(x=(5, 3, 9, 9))], [conv()], data=True)
    assert found == ["calls 8 -> 4", "no longer with input 5x3x9x9, weight 64x3x3x3"]


def test_lists_and_optional_operands():
    base = Kind(operand("self", (3,), (4,)) | operand("bias", (4,)), {}, "{}", calls=1)
    head = Kind(operand("self", (3,), (4,), (5, 2)), {}, "{}", calls=1)
    assert reasons([base], [head], data=True) == [
        "self shape 2 tensors of 7 elements -> 3 tensors of 17 elements",
        "without bias",
    ]


def test_kinds_are_made_from_counted_calls():
    """Two rows that differ in strides only are one kind; facts are added up."""
    x = {"role": "in", "slot": 0, "name": "self", "list_index": None, "numel": 6}
    out = {"role": "out", "slot": 0, "name": "", "list_index": None, "numel": 6}
    layout = {"shape": [2, 3], "dtype": "float32"}
    signatures = {
        (0, n): {"operands": [x | layout, out | layout], "arguments": "{}"} for n in (1, 2)
    }
    row = {"rank": 0, "signature_id": 1, "calls": 2, "flops": 12, "bytes": 48}
    for slot in ("in0", "in1", "in2", "out0"):
        row |= {f"{slot}_spikes": None, f"{slot}_nonzero": 0, f"{slot}_nonzero_unknown": 2}
    row |= {"in0_spikes": True, "in0_nonzero": 5, "in0_nonzero_unknown": 0}
    other = row | {"signature_id": 2, "calls": 3, "in0_spikes": False, "in0_nonzero_unknown": 1}
    (kind,) = kinds_of([row, other], signatures)
    assert (kind.calls, kind.weight) == (5, 24)
    assert kind.spikes == {"self": (2, 3)}
    # 5 + 5 nonzero of 2·6 and, one call of three not being measured, 2·6 elements
    assert kind.nonzero["self"] == (10, 24)
    assert list(kind.writes) == ["out"]
