"""What ships is what is meant to ship."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("schemas", "tracer", "analyzers", "op_counter", "cli", "testing")
INITS = [
    ROOT / "__init__.py",
    *(p for top in TOPS for p in sorted((ROOT / top).rglob("__init__.py"))),
]
LAZY = ("analyzers", "analyzers/energy", "schemas/costs")
TEXTS = {".py", ".pyi", ".c", ".toml", ".md", ".txt", ".cfg", ".json", ".yml", ".sh", ""}
SKIPPED = {"build", "dist", "runs", "__pycache__"}


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_packages_are_the_folders():
    folders = {".".join(["opjoule", *init.parent.relative_to(ROOT).parts]) for init in INITS}
    assert set(settings()["tool"]["setuptools"]["packages"]) == folders


def test_every_folder_with_python_is_a_package():
    lost = [
        p
        for top in TOPS
        for p in (ROOT / top).rglob("*.py")
        if not (p.parent / "__init__.py").is_file()
    ]
    assert not lost


def test_only_the_front_and_the_command_stand_at_the_root():
    """`import opjoule` and `python -m opjoule`, and what builds both."""
    names = sorted(path.name for path in ROOT.glob("*.py"))
    assert names == ["__init__.py", "__main__.py", "setup.py"]


def test_what_is_compiled_is_built_and_typed():
    """Each C file is named in setup.py, says its types beside it, and is not in the way in git."""
    sources = [path.relative_to(ROOT) for top in TOPS for path in (ROOT / top).rglob("*.c")]
    built = (ROOT / "setup.py").read_text()
    assert sources
    assert not [path for path in sources if f'"{path.as_posix()}"' not in built]
    assert not [path for path in sources if not (ROOT / path.with_suffix(".pyi")).is_file()]
    assert {"*.so", "*.pyd"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_tests_are_no_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_package_is_typed():
    patterns = settings()["tool"]["setuptools"]["package-data"]
    assert "py.typed" in patterns["*"]
    assert not [top for top in (".", *TOPS) if not (ROOT / top / "py.typed").is_file()]


@pytest.mark.parametrize("init", INITS, ids=lambda p: str(p.parent.relative_to(ROOT)))
def test_an_init_only_hands_on_names(init):
    """Docstring, imports, __all__; the root adds the version.

    The root, the analyzers, the estimators and their configurations hand on lazily: the table
    _HOMES, and what reads it.
    VARIANTS is a table of names too: of what stands in the files beside it.
    """
    allowed = (ast.Import, ast.ImportFrom)
    tables = {"__all__", "__version__", "VARIANTS"}
    if init.parent in (ROOT, *(ROOT / name for name in LAZY)):
        allowed += (ast.If, ast.FunctionDef)
        tables |= {"_HOMES"}
    for node in ast.parse(init.read_text()).body:
        known = isinstance(node, allowed) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        target = getattr(node, "target", None) or getattr(node, "targets", [None])[0]
        named = getattr(target, "id", None) in tables
        assert known or named, f"{init}:{node.lineno}"


def files() -> list[Path]:
    """Return the text files of the repository, without what builds and tools leave behind."""
    return [
        path
        for path in ROOT.rglob("*")
        if path.suffix in TEXTS
        and path.is_file()
        and not any(
            part in SKIPPED
            or part.endswith(".egg-info")
            or (part.startswith(".") and part != ".ci")
            for part in path.relative_to(ROOT).parts
        )
    ]


def test_no_file_names_a_machine():
    """Paths of one machine have no place in a repository; the names are cut to spare this file."""
    machines = ["/" + name + "/" for name in ("home", "work", "root", "Users", "mnt")]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if any(
            f" {m}" in line or f'"{m}' in line or f"'{m}" in line or f"={m}" in line
            for m in machines
        )
    ]
    assert not found


def test_makefile_installs_what_is_pinned():
    """Every name that the Makefile installs stands in constraints.txt."""
    pins = {
        line.split("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    makefile = (ROOT / "Makefile").read_text().splitlines()
    for name in ("OFFLINE", "PICTURES", "DEMO", "CHECKS", "NETWORKS", "SITE"):
        (line,) = [row for row in makefile if row.startswith(f"{name} :=")]
        wanted = {word.split("==")[0] for word in line.partition(":=")[2].split()}
        assert wanted <= pins
