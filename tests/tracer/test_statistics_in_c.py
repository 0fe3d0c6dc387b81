"""Statistics in C say what those with NumPy say: the same values, of the same types."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.schemas import RecordError
from opjoule.tracer import measurers
from opjoule.tracer.layouts import Layout
from opjoule.tracer.measurers import CHOICE, CompiledMeasurer, choose_measurer
from opjoule.tracer.statistics import Measurer

ROOT = Path(__file__).resolve().parents[2]
BUILT = measurers.compiled()

# CI asks for C wherever there is a compiler: then nothing is skipped, and a missing build fails.
needs_c = pytest.mark.skipif(
    BUILT is None and os.environ.get(CHOICE) != "C",
    reason="statistics in C are not built: python setup.py build_ext --inplace",
)

WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
EIGHTS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
NAMES = [*WHOLE, *FLOATS, *EIGHTS, "complex64", "complex128"]
INF, NAN = math.inf, math.nan
POOLS = [
    [0.0], [1.0], [-1.0], [0.5], [0.0, 1.0], [0.0, -0.0, 1.0], [0.0, -1.0], [-1.0, 0.0, 1.0],
    [1.0, -1.0], [0.0, -0.0], [0.0, 0.5], [0.0, -0.25], [0.0, 2.0], [-2.0, 0.0],
    [0.0, 1.0, 2.0, 3.0], [-3.0, 0.0, 7.0], [100.0, 101.0], [-0.0, 2.0, 3.0], [-0.0, -2.0, -3.0],
    [0.0, 1.0, 1.5], [NAN], [0.0, NAN], [1.0, NAN], [INF], [0.0, INF], [-INF, 0.0], [INF, -INF],
    [1.0, INF], [2.0, 3.0, -INF], [0.0, 1e-7], [1e-45, 0.0], [1.0, 0.0, 1e-45], [0.0, 448.0, 1.0],
    [2.0**23 + 1, 2.0**23, 2.0**24], [1023.0, 1024.0, 2047.0], [1023.5, 2.0], [255.0, 256.0],
    [2.0**52 + 1, 2.0**53, -(2.0**52)], [2.0**52 - 0.5, 1.0, 2.0], [2.0**22 + 0.5, 1.0, 2.0],
    [8388607.5, 2.0, 3.0], [65504.0, 2.0, 0.0],
]  # fmt: skip
# NumPy looks at 16, 128 and 4096 elements, and in chunks of 65,536. In C a row has 64 bytes, the
# first block 512 and the others 16,320: divided by the size of an element.
EDGES = sorted(
    {16, 128, 4096, 65536} | {bytes_ // size for bytes_ in (64, 512, 16320, 16832, 33152)
                              for size in (1, 2, 4, 8, 16)}
)  # fmt: skip


def bits_of(name):
    """Return the unsigned NumPy type as wide as an element, or as its halves."""
    return np.dtype(f"u{min(8, getattr(torch, name).itemsize)}")


def pool_of(name, numbers):
    """Return numbers of a dtype as bits, (count, words); integers are cut to what it can hold."""
    dtype = getattr(torch, name)
    if name == "bool":
        numbers = [x not in (0, -0.25) for x in numbers]
    elif name in WHOLE:
        range_ = torch.iinfo(dtype)
        numbers = [int(x) for x in numbers if math.isfinite(x)] or [0]
        numbers = [min(max(x, range_.min), range_.max) for x in numbers]
    if name == "uint64":  # the larger ones past 2^63
        return np.array([x if x < 3 else 2**64 - x for x in numbers], np.uint64)[:, None]
    made = torch.tensor(numbers, dtype=torch.int64 if name in WHOLE else torch.float64).to(dtype)
    words = made.contiguous().view(torch.uint8).numpy().view(bits_of(name))
    return words.reshape(len(numbers), -1)


PREPARED = {name: [pool_of(name, numbers) for numbers in POOLS] for name in NAMES}


def case(rng):
    """Return a random flat tensor: a pool of numbers or any bits, perhaps with odd elements."""
    name = NAMES[rng.integers(len(NAMES))]
    draw = rng.random()
    if draw < 0.7:
        size = int(rng.integers(0, 40))
    elif draw < 0.98:
        size = max(0, EDGES[rng.integers(len(EDGES) - 8)] + int(rng.integers(-2, 3)))
    else:
        size = EDGES[rng.integers(len(EDGES))] + int(rng.integers(-2, 3))
    pools = PREPARED[name]
    pool = pools[rng.integers(len(pools))]
    if rng.random() < 0.1:
        words = rng.integers(0, 256, (size, pool.shape[1] * pool.itemsize), np.uint8)
        words = words & 1 if name == "bool" else words
        words = words.view(pool.dtype)
    elif rng.random() < 0.2:  # few of the second and later ones
        words = pool[np.where(rng.random(size) < 0.01, rng.integers(0, len(pool), size), 0)]
    else:
        words = pool[rng.integers(0, len(pool), size)]
    if size and rng.random() < 0.5:
        other = pools[rng.integers(len(pools))]
        places = rng.integers(0, size, int(rng.integers(1, 3)))
        places[0] = [0, size - 1, size // 2, places[0]][rng.integers(4)]
        words[places] = other[rng.integers(len(other))]
    return flat_tensor(np.ascontiguousarray(words).reshape(-1), name)


def flat_tensor(words, name):
    """Return words of bits as a tensor of a dtype."""
    raw = torch.from_numpy(words.view(np.uint8))
    return raw.view(getattr(torch, name))


def both(tensor):
    """Return what C and what NumPy say of a tensor."""
    layout = Layout(tensor.shape, tensor.stride(), tensor.dtype)
    pointer = tensor.data_ptr()
    return tuple(
        measurer.measure_at(layout, pointer) for measurer in (CompiledMeasurer(BUILT), Measurer())
    )


def told(found):
    """Return facts with the type of each: repr tells -0.0 from 0.0, and 1 from 1.0 and True."""
    return type(found), repr(found)


def check(tensor):
    in_c, with_numpy = both(tensor)
    assert told(in_c) == told(with_numpy), (tensor.dtype, tensor.shape)
    return with_numpy


@needs_c
def test_twenty_thousand_random_cases():
    """No part of the cases is rare: each dtype and each kind of answer is met often."""
    rng = np.random.default_rng(7)
    answers, dtypes = {}, {}
    for _ in range(20_000):
        tensor = case(rng)
        found = check(tensor)
        bits = -1 if type(found) is int else found.bits
        answers[bits] = answers.get(bits, 0) + 1
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    assert len(dtypes) == len(NAMES)
    assert min(dtypes.values()) > 800
    # without a class, every class that numbers have, with and without constancy: binary 15, ternary
    # 10, -1 alone 14, scaled 4 and 12, whole 8; 16 more where all are equal
    assert {-1, 15, 31, 10, 14, 30, 4, 20, 12, 28, 8} <= answers.keys()
    assert min(answers.values()) > 40


MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}


def codes_of(name):
    """Return all bits of a float of 8 bits; of others those at powers of two, and some between."""
    bits = 8 * getattr(torch, name).itemsize
    if name in EIGHTS:
        return range(256)
    mantissa = MANTISSA[name]
    last = 2 ** (bits - 1 - mantissa)
    powers = range(last) if last <= 256 else [0, 1, *range(1020, 1080), 2045, 2046, 2047]
    found = {sign | (power << mantissa) + step for power in powers
             for step in (-1, 0, 1, 1 << mantissa - 1) for sign in (0, 1 << bits - 1)}  # fmt: skip
    return sorted(code for code in found if 0 <= code < 2**bits)


@pytest.mark.parametrize("name", [*EIGHTS, *FLOATS])
@needs_c
def test_every_kind_of_float(name):
    """Alone, beside a zero, and beside whole numbers: minimum and maximum tell how it is read."""
    two = int(pool_of(name, [2.0])[0, 0])
    for code in codes_of(name):
        for others in ([], [0], [two, 0, two]):
            check(flat_tensor(np.array([code, *others], bits_of(name)), name))


@pytest.mark.parametrize("name", [*WHOLE[:-1], *FLOATS, *EIGHTS])
@needs_c
def test_what_earlier_blocks_held_counts(name):
    """Three runs of one number each, longer than a block and shorter than the first one."""
    numbers = [0.0, 1.0, -1.0, 2.0, -3.0, 0.5]
    pool = pool_of(name, numbers)[:, 0]
    size = getattr(torch, name).itemsize
    for first, second, third in itertools.product(range(len(numbers)), repeat=3):
        for lengths in ((3, 4, 5), (512 // size, 16320 // size + 1, 7)):
            check(flat_tensor(np.repeat(pool[[first, second, third]], lengths), name))


@pytest.mark.parametrize("name", NAMES)
@needs_c
def test_one_odd_element_at_every_limit(name):
    """Among zeros and ones, at the first and the last place of rows and blocks."""
    size = 33152 // getattr(torch, name).itemsize + 5
    ones = pool_of(name, [0.0, 1.0])
    for place in (0, 1, *(edge + step for edge in EDGES for step in (-1, 0)), size - 1):
        if place >= size:
            continue
        for odd in ([-1.0], [2.0], [0.5], [NAN], [INF], [-0.0]):
            words = ones[(np.arange(size) % 3 == 0).astype(int)]
            words[place] = pool_of(name, odd)[0]
            check(flat_tensor(words.reshape(-1), name))


@st.composite
def any_bits(draw):
    name = draw(st.sampled_from(NAMES))
    pool = PREPARED[name][draw(st.integers(0, len(POOLS) - 1))]
    one = st.sampled_from(pool.tolist())
    if name != "bool":
        top = 256**pool.itemsize - 1
        one |= st.lists(st.integers(0, top), min_size=pool.shape[1], max_size=pool.shape[1])
    words = draw(st.lists(one, max_size=100))
    repeats = draw(st.sampled_from([1, 1, 40, 400]))
    array = np.array(words, pool.dtype).reshape(-1)
    return flat_tensor(np.tile(array, repeats), name)


VIEWS = [
    lambda t: t,
    lambda t: t[1:],
    lambda t: t[::2],
    lambda t: t[: len(t) // 6 * 6].reshape(2, -1, 3).transpose(0, 2),
    lambda t: t.unsqueeze(0).expand(3, -1),
]


@settings(max_examples=500, deadline=None)
@given(any_bits(), st.sampled_from(VIEWS))
@needs_c
def test_any_bits_and_any_layout(tensor, view):
    check(view(tensor))


@pytest.mark.parametrize("name", NAMES)
@needs_c
def test_elements_that_are_not_aligned(name):
    """A buffer may begin anywhere: here one byte past a boundary."""
    words = PREPARED[name][14][np.arange(5000) % len(PREPARED[name][14])].reshape(-1)
    moved = np.empty(words.nbytes + 1, np.uint8)
    moved[1:] = words.view(np.uint8)
    dtype = getattr(torch, name)
    tensor = torch.frombuffer(memoryview(moved)[1:], dtype=dtype)
    assert dtype.itemsize == 1 or tensor.data_ptr() % 2
    check(tensor)


@needs_c
def test_the_types_are_those_that_numpy_reads():
    assert set(BUILT.KINDS) == set(NAMES)


@pytest.mark.parametrize("given", [(0, 1, 0), (64, 0, 0), (64, -1, 0), (64, 1, -1), (64, 1, 99)])
@needs_c
def test_nothing_is_read_where_nothing_can_be(given):
    with pytest.raises(ValueError, match="no elements of this kind"):
        BUILT.measure(*given)


@needs_c
def test_other_threads_run_while_a_large_buffer_is_read():
    """Nobody is made to give the lock up here, so another thread runs only if C lets it."""
    tensor = torch.zeros(1 << 25)
    layout = Layout(tensor.shape, tensor.stride(), tensor.dtype)
    measurer, turns, over = CompiledMeasurer(BUILT), [0], threading.Event()

    def turn():
        while not over.is_set():
            turns[0] += 1
            time.sleep(0)

    thread, before = threading.Thread(target=turn), sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        thread.start()
        start = turns[0]
        measurer.measure_at(layout, tensor.data_ptr())
        during = turns[0] - start
    finally:
        over.set()
        sys.setswitchinterval(before)
        thread.join()
    assert during > 0


@pytest.mark.parametrize(("wanted", "kind"), [("NumPy", Measurer), ("C", CompiledMeasurer)])
def test_the_choice_is_made_by_a_variable(monkeypatch, wanted, kind):
    monkeypatch.setenv(CHOICE, wanted)
    monkeypatch.setattr(measurers, "compiled", lambda: BUILT or type("Fake", (), FAKE))
    assert type(choose_measurer()) is kind


FAKE = {"measure": None, "KINDS": (), "VERSION": 1}


def test_numpy_counts_where_nothing_is_built(monkeypatch):
    monkeypatch.setattr(measurers, "compiled", lambda: None)
    monkeypatch.delenv(CHOICE, raising=False)
    assert choose_measurer().counts_in == "NumPy"
    monkeypatch.setenv(CHOICE, "C")
    with pytest.raises(RecordError, match="statistics in C are not built"):
        choose_measurer()


def test_a_build_of_another_version_is_passed_over(monkeypatch):
    monkeypatch.setattr(measurers, "_VERSION", 99)
    assert measurers.compiled() is None


def test_what_is_neither_is_refused(monkeypatch):
    monkeypatch.setenv(CHOICE, "Fortran")
    with pytest.raises(RecordError, match="'Fortran': it may be C, NumPy or empty"):
        choose_measurer()


@pytest.mark.parametrize("wanted", ["NumPy", pytest.param("C", marks=needs_c)])
def test_the_trace_tells_what_counted(trace_of, monkeypatch, wanted):
    monkeypatch.setenv(CHOICE, wanted)
    for level, said in (("full", wanted), ("none", None)):
        trace = trace_of(lambda: torch.ones(2).exp(), statistics=level)
        assert trace.manifest["environment"]["statistics"] == said


@needs_c
def test_both_record_the_same_values(trace_of, monkeypatch):
    def run():
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(4, 3, 8, 8, generator=generator)
        spikes = (x > 0.7).float()
        weight = torch.rand(2, 3, 3, 3, generator=generator)
        (torch.conv2d(spikes, weight) + torch.conv2d(x.half().float(), weight)).floor().int().bool()

    traces = []
    for wanted in ("C", "NumPy"):
        monkeypatch.setenv(CHOICE, wanted)
        traces.append(trace_of(run))
    one, other = traces
    for table in ("values", "calls", "call_operands"):
        assert json.dumps(one.rows(table)) == json.dumps(other.rows(table))


def build(tmp_path, compiler):
    """Build the extension as an install does; return what was said and what was built."""
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", f"--build-lib={tmp_path / 'lib'}",
         f"--build-temp={tmp_path / 'temp'}"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "CC": compiler},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, list(tmp_path.rglob("_statistics*.so"))


def test_an_install_without_a_compiler_goes_on_with_numpy(tmp_path):
    pytest.importorskip("setuptools")
    said, built = build(tmp_path, "/bin/false")
    assert "opjoule: statistics are counted with NumPy: no C compiler built it" in said
    assert not built


@pytest.mark.slow
@needs_c
def test_a_compiler_builds_one_file_for_every_python(tmp_path):
    pytest.importorskip("setuptools")
    said, built = build(tmp_path, os.environ.get("CC", "cc"))
    assert "opjoule: statistics are counted in C" in said
    assert [file.name for file in built] == ["_statistics.abi3.so"]
