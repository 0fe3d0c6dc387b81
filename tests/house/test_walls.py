"""Who may import whom, read from the syntax trees: imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "tracer", "analyzers", "op_counter", "cli", "testing")

# package (or part of one) -> first names that it never imports
FORBIDDEN = {
    "schemas": {"opjoule.tracer", "opjoule.analyzers", "opjoule.op_counter", "opjoule.cli"}
    | {"torch", "polars", "click"},
    "tracer": {"opjoule.analyzers", "opjoule.op_counter", "opjoule.cli", "polars", "click"},
    "analyzers": {"opjoule.tracer", "opjoule.op_counter", "opjoule.cli", "torch", "click"},
    "analyzers/rules": {"opjoule.analyzers.energy"},
    "op_counter": {"opjoule.cli"},
    "cli": {"opjoule.op_counter", "opjoule.testing"},
    "testing": {"opjoule.cli", "opjoule.op_counter", "torch", "polars", "click"},
}
LIGHT = (
    "opjoule.analyzers.units",
    "opjoule.analyzers.text",
    "opjoule.analyzers.answers.page",
)
"""How figures and tables are written: what both the command line and the results need."""

HEAVY = {"torch", "polars", "pyarrow", "numpy", "pydantic", "spikingjelly", "sklearn", "rich"}


def sources(folder: str) -> list[Path]:
    """Return the Python files of a package, subpackages included."""
    return sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the absolute names that the imports under `tree` load, seen from `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    """Return the dotted package that a file lives in."""
    return ".".join(["opjoule", *path.relative_to(ROOT).parent.parts])


def within(name: str, ban: str) -> bool:
    """Tell whether `name` is the banned name or stands below it."""
    return name == ban or name.startswith(ban + ".")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_package_imports_nothing_beyond_its_walls(folder):
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imported(ast.parse(path.read_text()), package_of(path))
        if any(within(name, ban) for ban in FORBIDDEN[folder])
    ]
    assert not broken, "\n".join(broken)


def test_nobody_imports_the_command_line():
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder in PACKAGES
        if folder != "cli"
        for path in sources(folder)
        for name in imported(ast.parse(path.read_text()), package_of(path))
        if within(name, "opjoule.cli")
    ]
    assert not broken, "\n".join(broken)


def test_the_command_line_loads_nothing_heavy_at_the_top_of_a_file():
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("cli")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node, package_of(path))
        if name.split(".")[0] in HEAVY
        or (
            any(within(name, f"opjoule.{p}") for p in PACKAGES if p not in ("cli", "schemas"))
            and not any(within(name, light) for light in LIGHT)
        )
    ]
    assert not broken, "\n".join(broken)


def test_packages_import_each_other_relatively():
    broken = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in PACKAGES
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and not node.level and node.module)
        and within(node.module, "opjoule")
    ]
    assert not broken, "\n".join(broken)


def test_the_walls_would_notice():
    """The checker resolves relative imports and looks into functions."""
    tree = ast.parse("def f():\n    from ...tracer import recorder\n    import torch.nn\n")
    assert set(imported(tree, "opjoule.analyzers.rules")) == {
        "opjoule.tracer",
        "opjoule.tracer.recorder",
        "torch.nn",
    }


def test_one_room_knows_matplotlib_and_loads_it_inside_functions():
    """Types may name it everywhere. Never pyplot: its figures and its state are everybody's."""
    broken = []
    for path in (path for folder in PACKAGES for path in sources(folder)):
        tree, package = ast.parse(path.read_text()), package_of(path)
        names = [name for name in imported(tree, package) if within(name, "matplotlib.pyplot")]
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                node.body = []
        if path.is_relative_to(ROOT / "analyzers" / "plotting"):
            tree.body = [
                node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
        names += [name for name in imported(tree, package) if within(name, "matplotlib")]
        broken += [f"{path.relative_to(ROOT)} imports {name}" for name in names]
    assert not broken, "\n".join(broken)


def test_energy_opens_no_file():
    banned = {"open", "read_text", "read_bytes", "write_text", "scan_parquet", "read_parquet"}
    broken = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("analyzers/energy")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) in banned
    ]
    assert not broken, "\n".join(broken)
