"""The tables of docs/formulas.md are those of the code.

`python test_docs.py` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opjoule.analyzers.rules.functions import (
    COMPLEX,
    COMPOSED,
    COSTS,
    cost_in_parts,
    cost_of,
    priced,
)
from opjoule.analyzers.rules.losses import FORMULAS, GRADIENTS
from opjoule.analyzers.rules.recurrent import CELLS, CELLS_BACKWARD

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "formulas.md"
_HEAD = "| {} | formula | FLOP | MAC | AC |\n| :-- | :-- | --: | --: | --: |\n"


def _table(name, formulas, cost=None):
    rows = []
    for each, formula in formulas.items():
        found = cost(each) if cost else priced(formula)
        rows.append(f"| `{each}` | `{formula}` | {found.flops} | {found.macs} | {found.acs} |\n")
    return _HEAD.format(name) + "".join(rows)


def _cells():
    backward = {f"{name}, backward": formula for name, formula in CELLS_BACKWARD.items()}
    return _table("cell", CELLS | backward)


def _of_complex(name):
    return cost_in_parts(name) if name in COMPLEX else cost_of(name, frozenset("x"))


TABLES = {
    "cells": _cells(),
    "costs": _table("function", COSTS, cost_of),
    "complex": _table("function of complex numbers", {**COMPLEX, **COMPOSED}, _of_complex),
    "losses": _table("loss", FORMULAS | GRADIENTS),
}


def _written(name):
    return re.compile(f"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", list(TABLES))
def test_tables_are_those_of_the_code(name):
    found = _written(name).search(DOCUMENT.read_text())
    assert found is not None and found.group() == TABLES[name]


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    for name, table in TABLES.items():
        text = _written(name).sub(lambda _, table=table: table, text, count=1)
    DOCUMENT.write_text(text)
