"""The recipes run, each where the libraries that it is for are installed."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from opjoule.analyzers import count

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


@pytest.mark.slow
def test_ranks_that_torchrun_starts_write_one_trace(tmp_path, python):
    """The script and the commands of the recipe, as they stand there."""
    pytest.importorskip("torch")
    recipe = RECIPES["Several processes: torchrun"]
    (script,) = re.findall(r"```py\n(.*?)```", recipe, re.DOTALL)
    (lines,) = re.findall(r"```text\n(.*?)```", recipe, re.DOTALL)
    (tmp_path / "train.py").write_text(script)
    tables = []
    for line in lines.splitlines():
        name, *words = shlex.split(line)
        module = {"torchrun": "torch.distributed.run", "opjoule": "opjoule.cli"}[name]
        run = python(["-m", module, *words], cwd=tmp_path, timeout=300)
        assert run.returncode == 0, f"{line}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
        tables.append(run.stdout)
    layers = 2 * 4 * (8 * 16 + 16 * 2)  # both layers forward, of a batch of 4
    figures = count(tmp_path / "runs" / "ddp", by="rank", where="op=aten.addmm")
    assert figures.frame["rank"].to_list() == [0, 1]
    assert figures.frame["flops"].to_list() == [3 * (layers + 4 * (16 + 2))] * 2
    assert re.search(r"^0 +[0-9]+ .*\n1 +[0-9]+ ", tables[1], re.MULTILINE)


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
