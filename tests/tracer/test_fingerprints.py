"""Fingerprints: every element counts, however it is read."""

from __future__ import annotations

import ctypes
import zlib

import pytest
import torch
from torch import nn

from opjoule.tracer.fingerprints import fingerprint, state_of
from opjoule.tracer.measurers import CHOICE, column_sums

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
          torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn]  # fmt: skip


def test_a_small_tensor_is_checked_as_a_whole():
    x = torch.tensor([1.0, -2.0, 0.5])
    header = b"torch.float32(3,)"
    told = zlib.crc32(x.numpy().tobytes(), zlib.crc32(header))
    assert fingerprint([x]) == f"sum64-crc32:{told:08x}"


@pytest.mark.parametrize("counted_in", ["", "NumPy"])
@pytest.mark.parametrize("rows", [2, 4, 7])
@pytest.mark.parametrize("start", [0, 3])
def test_sums_of_columns_are_modulo_2_to_the_64(monkeypatch, counted_in, rows, start):
    """In C four rows are added at a time; a table may lie at any address."""
    monkeypatch.setenv(CHOICE, counted_in)
    numbers = [[pow(3, 1021 * k + c, 1 << 64) for c in range(1021)] for k in range(rows)]
    table = b"".join(n.to_bytes(8, "little") for row in numbers for n in row)
    memory = ctypes.create_string_buffer(bytes(start) + table)
    told = column_sums(ctypes.addressof(memory) + start, rows, 1021)
    right = [sum(column) % (1 << 64) for column in zip(*numbers, strict=True)]
    assert bytes(told) == b"".join(n.to_bytes(8, "little") for n in right)


def test_of_a_large_one_the_sums_of_columns_are():
    """2042 words are two rows of 1021; one word is left over."""
    x = torch.arange(2043)
    sums = [k + (k + 1021) for k in range(1021)]
    told = zlib.crc32(b"torch.int64(2043,)")
    told = zlib.crc32(b"".join(n.to_bytes(8, "little") for n in sums), told)
    told = zlib.crc32((2042).to_bytes(8, "little"), told)
    assert fingerprint([x]) == f"sum64-crc32:{told:08x}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 7, 20_000, 40_003])
def test_every_type_can_be_read_and_how_it_lies_does_not_matter(dtype, size):
    x = (torch.rand(size, generator=torch.Generator().manual_seed(0)) * 4).to(dtype)
    strided = torch.stack([x, x], 1)[:, 0]
    assert strided.is_contiguous() == (size == 1)
    assert fingerprint([x]) == fingerprint([strided]) is not None
    other = x.clone()
    other[size // 2] = (x[size // 2].to(torch.complex64) + 1).real.to(dtype) if size > 1 else 0
    if not torch.equal(other.view(torch.uint8), x.view(torch.uint8)):
        assert fingerprint([other]) != fingerprint([x])


def test_the_state_of_a_model_is_what_pytorch_lists():
    """Shared parameters and modules once, those without gradients and buffers too."""
    inner = nn.Linear(3, 3)
    model = nn.Sequential(inner, nn.BatchNorm1d(3), nn.ModuleList([inner, nn.Linear(3, 3)]))
    model[2][1].weight = inner.weight
    model[1].register_buffer("beside", torch.ones(2), persistent=False)
    found, listed = state_of(model), [*model.parameters(), *model.buffers()]
    assert [id(tensor) for tensor in found] == [id(tensor) for tensor in listed]


def test_what_lies_otherwise_than_it_reads_is_not_read_as_it_lies():
    x = torch.rand(5)
    assert fingerprint([torch._neg_view(x)]) in (None, fingerprint([-x]))
    gone = torch.rand(20_000)
    gone.untyped_storage().resize_(0)
    assert fingerprint([gone]) is None
