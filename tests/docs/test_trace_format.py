"""docs/trace-format.md names every table and column, with the schemas' own units and meanings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from opjoule.schemas import TABLES

HERE = Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("tables", HERE / "tables_of_the_format.py")
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_documented(table):
    text = (HERE.parents[1] / "docs" / "trace-format.md").read_text()
    assert f"\n## {table}\n" in text
    assert "\n".join(tables.column_rows(table)) in text
