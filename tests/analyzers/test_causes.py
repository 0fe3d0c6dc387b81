"""Causes that repeat in modules alike are one row with their sum."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from torch import nn

import opjoule as oj
from opjoule.analyzers.comparing.causes import causes_of


def changes(*rows):
    names = ("module", "op", "stage", "mark", "base", "head", "difference", "share", "reason")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_what_repeats_is_added_up():
    """10 + 20 = 30 and 0.1 + 0.2 = 0.3; the other op, and the other reason, stay alone."""
    found = causes_of(changes(
        ("Net.blocks.0.fc1", "mm", "forward", "changed", 1, 11, 10, 0.1, "wider"),
        ("Net.blocks.1.fc1", "mm", "forward", "changed", 2, 22, 20, 0.2, "wider"),
        ("Net.blocks.2.fc1", "mm", "forward", "changed", 0, 40, 40, 0.4, "longer"),
        ("Net.blocks.0.fc1", "add", "forward", "changed", 0, -25, -25, 0.1, "wider"),
        (None, "mm", "forward", "changed", 0, 7, 7, 0.2, "wider"),
    ))  # fmt: skip
    assert found.select("module", "op", "base", "head", "difference", "modules").rows() == [
        ("Net.blocks.2.fc1", "mm", 0, 40, 40, 1),
        ("Net.blocks.*.fc1", "mm", 3, 33, 30, 2),
        ("Net.blocks.0.fc1", "add", 0, -25, -25, 1),
        (None, "mm", 0, 7, 7, 1),
    ]
    assert found["share"][1] == pytest.approx(0.3)


def test_numbers_that_are_the_same_stay():
    found = causes_of(changes(
        ("Net.1.blocks.3", "mm", "forward", "changed", 0, 1, 1, None, "wider"),
        ("Net.1.blocks.4", "mm", "forward", "changed", 0, 1, 1, None, "wider"),
    ))  # fmt: skip
    assert found["module"].to_list() == ["Net.1.blocks.*"]
    assert found["share"].to_list() == [None]


def test_what_is_not_known_is_not_added_to_what_is():
    found = causes_of(changes(
        ("Net.0", "mm", "forward", "changed", 0, 1, 1, None, "wider"),
        ("Net.1", "mm", "forward", "changed", None, 1, None, None, "wider"),
    ))  # fmt: skip
    assert found.select("module", "difference").rows() == [("Net.1", None), ("Net.0", 1)]


def test_blocks_that_grow_alike(tmp_path):
    """Three blocks Linear(8, 8) of 4 rows become Linear of twice the rows: 3 x 2 x 4 x 8 x 8."""
    net = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(3))).eval()
    for name, rows in (("base", 4), ("head", 8)):
        oj.record(net, torch.rand(rows, 8), tmp_path / name)
    compared = oj.compare(tmp_path / "base", tmp_path / "head", per="total")
    (cause,) = compared.causes("flops").iter_rows(named=True)
    assert (cause["module"], cause["modules"]) == ("Sequential.*", 3)
    assert cause["difference"] == 3 * 2 * 4 * 8 * 8
    assert "Sequential.*, 3 modules, " in compared.to_markdown().replace("\\", "")
    assert len(compared.to_dict()["changes"]["flops"]) == 3
