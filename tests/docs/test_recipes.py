"""The recipes run, each where the libraries that it is for are installed."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TEXT = (HERE.parents[1] / "docs" / "recipes.md").read_text()
RECIPES = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def needs(recipe: str) -> set[str]:
    """Return the packages that a recipe imports."""
    blocks = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    found = set()
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def lacking(recipe: str) -> list[str]:
    """Return the packages that a recipe imports and that are not installed."""
    return sorted(name for name in needs(recipe) if importlib.util.find_spec(name) is None)


@pytest.fixture(scope="module")
def done(tmp_path_factory, python):
    """Do all recipes that can be done, in one process: importing PyTorch takes longest."""
    folder = tmp_path_factory.mktemp("recipes")
    page = folder / "recipes.md"
    page.write_text("\n".join(recipe for recipe in RECIPES.values() if not lacking(recipe)))
    return folder, python([str(HERE / "reader.py"), str(page)], cwd=folder, timeout=600)


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_runs(name, done):
    if missing := lacking(RECIPES[name]):
        pytest.skip(f"{', '.join(missing)} is not installed")
    folder, run = done
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
    for trace in re.findall(r'(?:Recorder|record)\([^"]*?"(runs/\w+)"', RECIPES[name]):
        assert (folder / trace / "trace.json").is_file()


def test_every_recipe_that_is_promised_is_there():
    assert list(RECIPES) == [
        "Lightning",
        "Hugging Face Trainer",
        "Accelerate",
        "Several processes: torchrun",
        "A notebook",
        "A whole test set, with its spread",
        "Send a trace to somebody",
        "SEW-ResNet and Spikformer",
        "DuckDB and pandas",
        "Continuous integration",
    ]
    assert needs(RECIPES["DuckDB and pandas"]) == {"duckdb", "opjoule", "pandas", "torch"}
