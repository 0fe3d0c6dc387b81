"""The pages on the estimators: what their examples print, and the table that chooses among them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from opjoule.cli.choosing import HEADS, ROWS, as_help, as_markdown
from opjoule.cli.energy import ESTIMATORS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted([*DOCS.glob("energy-*.md"), DOCS / "sweeping.md"])
SAID = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


def _blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("spikingjelly")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in _blocks(page):
            exec(compile(block, page.name, "exec"), names)
    assert capsys.readouterr().out.splitlines() == SAID.findall("".join(_blocks(page)))


def test_every_estimator_has_a_row_and_a_page():
    assert [row[0] for row in ROWS] == list(ESTIMATORS)
    text = (DOCS / "choosing.md").read_text()
    for name in ESTIMATORS:
        page = "energy-compute.md" if name == "simple" else f"energy-{name}.md"
        assert (DOCS / page).exists() and f"({page})" in text


def _rows_of_help():
    """Read the table of the help text back: cells by column, wrapped lines joined."""
    head, *lines = as_help().splitlines()
    starts = [head.index(name) for name in HEADS]
    rows = []
    for line in lines:
        parts = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], len(line)], strict=True)]
        if parts[0]:
            rows.append(parts)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], parts, strict=True)]
    return [tuple(row) for row in rows]


def test_the_readme_holds_some_columns_of_the_same_table():
    readme = (DOCS.parent / "README.md").read_text()
    assert as_markdown(("estimator", "answers", "stops at")) in readme
    # "five" is the number of estimators, wherever they are counted
    assert len(ESTIMATORS) == 5 and "with five models" in readme


def test_the_page_and_the_help_hold_the_same_table():
    assert as_markdown() in (DOCS / "choosing.md").read_text()
    assert _rows_of_help() == list(ROWS)
    assert max(map(len, as_help().splitlines())) <= 90


def test_the_page_on_machines_names_every_machine_and_quantity():
    from opjoule.schemas.costs import machine_names
    from opjoule.schemas.quantities import QUANTITIES

    text = (DOCS / "machines.md").read_text()
    for each in QUANTITIES.values():
        assert f"| `{each.name}` | {each.unit} | {each.formula} | {each.needs} |" in text
    assert all(f"`{name}`" in text for name in machine_names())
