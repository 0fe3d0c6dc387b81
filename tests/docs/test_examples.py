"""Every example of the documents and of examples/ runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("documents", HERE / "documents.py")
documents = importlib.util.module_from_spec(_spec)
sys.modules["documents"] = documents  # dataclasses look their module up
_spec.loader.exec_module(documents)

ROOT = documents.ROOT
READ = [path for path in documents.DOCUMENTS if path.name != "recipes.md"]  # test_recipes.py
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(python):
    """Return a function that does what `python WORDS` does in a folder; it has to end well."""

    def well(*words: str, folder: Path) -> None:
        done = python(words, cwd=folder, timeout=600)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    return well


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_holds_what_it_says(path, tmp_path, run):
    if documents.examples(path.read_text()):
        run(str(HERE / "reader.py"), str(path), folder=tmp_path)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_example_runs(path, tmp_path, run):
    run(str(path), folder=tmp_path)


def test_examples_are_found_in_the_order_of_the_document():
    text = (
        "```python\nx = 1\n```\n"
        "```console\n$ opjoule count a \\\n    --by op\nTable\n$ ls\n"
        "$ opjoule count b  # exits with 2\n```\n"
        "```python\n# train.py\nx = 2\n```\n"
        "```text\n$ opjoule no\n```\n"
    )
    found = documents.examples(text)
    assert [(e.kind, e.code) for e in found] == [("run", 0), ("call", 0), ("call", 2), ("save", 0)]
    assert documents.words(found[1].text) == ["opjoule", "count", "a", "--by", "op"]
    assert documents.words(found[2].text) == ["opjoule", "count", "b"]
    assert found[3].name == "train.py"


def test_what_is_shown_is_compared_with_what_is_told():
    tells = documents.tells
    assert tells("a\nb\nc\n", "a\nb\nc\n")
    assert tells("a\nb\nc\n", "a\n...\n") and tells("a\nb\nc\n", "...\nc\n")
    assert not tells("a\nb\nc\n", "a\n") and not tells("a\nb\n", "a\n...\nc\n")
    assert not tells("a 1\n", "a 2\n...\n") and not tells("axb\n", "a.b\n")
