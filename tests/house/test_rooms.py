"""The rooms of the analyzers: each fact has one home, and each estimator has the same shape."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opjoule.analyzers import count, open_trace
from opjoule.analyzers.energy import ESTIMATORS, estimate
from opjoule.analyzers.energy.revisions import revisions_of

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "data" / "spiking-1"
ENERGY = ROOT / "analyzers" / "energy"


def named(path: Path) -> str:
    """Return a path as seen from the repository."""
    return path.relative_to(ROOT).as_posix()


def sources(*folders: str) -> list[Path]:
    """Return the Python files of packages."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the texts in the code, those in f-strings too, without docstrings."""
    said = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # docstrings, and texts under constants
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def tree_of(path: Path) -> ast.AST:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


def names_ops() -> set[str]:
    """Return the files outside the rules in which an op is named."""
    return {
        named(path)
        for path in sources("analyzers", "cli")
        if not named(path).startswith("analyzers/rules/")
        and any(re.match(r"\^?aten\b", text) for text in literals(tree_of(path)))
    }


REVISIONS = {"source", "spikingjelly-2.0", "spikingjelly-2026-08"}


def looks_at_revisions() -> set[str]:
    """Return the files that compare the name of a revision, or choose by it from a table."""
    found = set()
    for path in sources("analyzers", "cli"):
        for node in ast.walk(tree_of(path)):
            parts: list[ast.expr | None] = []
            if isinstance(node, ast.Compare):
                parts = [node.left, *node.comparators]
                parts += [each for part in parts for each in getattr(part, "elts", ())]
            elif isinstance(node, ast.Dict):
                parts = [*node.keys]
                parts += [each for part in parts for each in getattr(part, "elts", ())]
            asked = {part.value for part in parts if isinstance(part, ast.Constant)}
            # "source" is also what a report calls its citation
            if asked & (REVISIONS - ({"source"} if isinstance(node, ast.Dict) else set())):
                found.add(named(path))
    return found


def test_ops_are_named_by_the_rules_alone():
    """Others ask for the family of an op (`family_of`) or its geometry (`product_of`)."""
    assert not names_ops()


def test_one_file_looks_at_the_name_of_a_revision():
    """The tables of SpikingJelly's variants and of its rule sets name them, and nobody else."""
    tables = {"analyzers/energy/spikingjelly/__init__.py", "analyzers/rules/spikingjelly.py"}
    assert looks_at_revisions() == tables


def test_the_checks_above_would_notice(tmp_path, monkeypatch):
    """An op in an f-string, a revision in a comparison, a tuple and a table are all found."""
    text = '"""aten.doc"""\n'
    lines = [
        "x = f'aten.{n}'",
        "x == 'source'",
        "x in ('source', 'y')",
        "x = {'spikingjelly-2.0': 1}",
    ]
    for place, line in enumerate(lines):
        file = tmp_path / "analyzers" / f"file{place}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + line)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert names_ops() == {"analyzers/file0.py"}
    assert looks_at_revisions() == {f"analyzers/file{place}.py" for place in (1, 2, 3)}


def test_estimators_have_the_same_files_for_the_same_things():
    shape = {"__init__.py", "report.py", "variant.py", "energies.py", "scope.py"}
    packages = {path.parent.name for path in ENERGY.glob("*/__init__.py")} - {"spikingjelly"}
    assert packages == {*ESTIMATORS, "machine"}  # any machine that a file describes
    for name in packages:
        files = {path.name for path in (ENERGY / name).glob("*.py")}
        assert shape <= files, name
        # the actions of compute are MACs and ACs, which it has in common with simple
        assert ("actions.py" in files) == (name != "compute")


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of the analyzers that a file imports, functions included, types not."""
    tree = tree_of(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for target in (folder, *(folder / alias.name for alias in node.names)):
            if target.with_suffix(".py").is_file():
                yield target.with_suffix(".py")
            elif (target / "__init__.py").is_file() and (node.module or target != folder):
                yield target / "__init__.py"


def test_no_estimator_imports_another():
    """They meet in what ran, in the rules, and in the report."""
    broken = {}
    for path in sources("analyzers/energy"):
        package = path.parent.name
        if package in ("energy", "spikingjelly"):
            continue
        seen = {target.relative_to(ENERGY).parts[0] for target in imported_files(path)
                if target.is_relative_to(ENERGY)}  # fmt: skip
        if others := seen & ({*ESTIMATORS, "machine"} - {package} | {"spikingjelly"}):
            broken[named(path)] = others
    assert not broken


def test_files_import_each_other_in_no_circle():
    """Also not inside functions; what only types ask for is left out."""
    edges = {path: set(imported_files(path)) - {path} for path in sources("analyzers")}
    while free := [path for path, targets in edges.items() if not targets & edges.keys()]:
        for path in free:
            del edges[path]
    rest = {named(path): sorted(map(named, edges[path] & edges.keys())) for path in edges}
    assert not rest, rest


def test_modules_are_rolled_up_in_one_place():
    """`Global` is what a roll-up makes; the tree draws it, op_counter has it by name."""
    homes = {
        named(path)
        for path in sources("analyzers", "cli", "op_counter")
        if "Global" in set(literals(tree_of(path)))
    }
    drawn = "analyzers/answers/tree.py"
    assert homes == {"analyzers/workload/modules.py", drawn, "op_counter/scopes.py"}


SCRIPT = """
import json, sys
from opjoule import count, open_trace
from opjoule.analyzers.energy import ESTIMATORS, estimate
trace = open_trace(sys.argv[1])
totals = {name: estimate(trace, name).total_pj for name in ESTIMATORS}
print(json.dumps({"totals": totals, **{r: count(trace, rules=r).total for r in ("full", "torch")}}))
"""


@pytest.fixture
def without_spikingjelly(tmp_path):
    """Return the folder of a copy of opjoule without what only SpikingJelly's revisions need."""
    for package in ("schemas", "analyzers", "cli"):
        shutil.copytree(ROOT / package, tmp_path / "opjoule" / package)
    shutil.copy(ROOT / "__init__.py", tmp_path / "opjoule")
    analyzers = tmp_path / "opjoule" / "analyzers"
    shutil.rmtree(analyzers / "energy" / "spikingjelly")
    (analyzers / "rules" / "spikingjelly.py").unlink()
    return tmp_path


def test_the_sources_need_nothing_of_spikingjelly(without_spikingjelly):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(STORED)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(without_spikingjelly)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, trace = json.loads(done.stdout), open_trace(STORED)
    for name in ESTIMATORS:
        assert found["totals"][name] == estimate(trace, name).total_pj
    for rules in ("full", "torch"):
        assert found[rules] == count(trace, rules=rules).total


ANSWERS = """
import json, sys
from opjoule import compare, count, open_trace
from opjoule.analyzers.energy import estimate
trace = open_trace(sys.argv[1])
for name, revision in json.loads(sys.argv[2]):
    report = estimate(trace, name, revision=revision)
    print(json.dumps(report.to_dict(), default=str))
    print(json.dumps(report.by("module", "component").to_dicts()))
for by in ("module", "op", "stage"):
    print(json.dumps(count(trace, by=by).frame.to_dicts()))
print(json.dumps(compare(trace, trace.where("stage=forward")).to_dict(), default=str))
"""


def test_the_same_question_has_the_same_answer_to_the_byte():
    """Each estimate of each revision, counts and a comparison, whatever hashes and threads do."""
    asked = [(name, revision) for name in ESTIMATORS for revision in revisions_of(name)]
    answers = set()
    for seed, threads in (("1", "1"), ("2", "4"), ("random", "4")):
        settings = {"PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", ANSWERS, str(STORED), json.dumps(asked)],
            capture_output=True, text=True, check=True, env={**os.environ, **settings},
        )  # fmt: skip
        answers.add(done.stdout)
    assert len(answers) == 1
