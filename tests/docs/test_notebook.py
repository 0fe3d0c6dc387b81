"""The notebook of examples/: its cells run in order, and hold no outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "tour.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_it_is_a_notebook_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def shown(source: str, names: dict) -> object:
    """Run a cell as a notebook does; return the value of a last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def test_its_cells_run_and_show_tables(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    sources = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    values = [shown(source, names) for source in sources]
    tables = [value._repr_html_() for value in values if value is not None]
    assert len(tables) == 8 and all("<table" in table for table in tables)
    assert "compute estimator" in capsys.readouterr().out
