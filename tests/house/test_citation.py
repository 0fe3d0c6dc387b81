"""CITATION.cff: what the Citation File Format 1.2.0 asks for, and the version of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

import opjoule

yaml = pytest.importorskip("yaml")
CITATION = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "CITATION.cff").read_text(encoding="utf-8")
)

# Keys of the root object in the schema of CFF 1.2.0; no others are allowed.
KEYS = (
    "abstract authors cff-version commit contact date-released doi identifiers keywords license "
    "license-url message preferred-citation references repository repository-artifact "
    "repository-code title type url version"
).split()


def test_it_has_what_the_format_requires():
    assert {"authors", "cff-version", "message", "title"} <= CITATION.keys() <= set(KEYS)
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] in ("software", "dataset")
    # An author is a person or, as here, an entity, which has a name.
    assert CITATION["authors"] and all(set(each) == {"name"} for each in CITATION["authors"])
    texts = [CITATION[key] for key in ("message", "title", "abstract", "license", "version")]
    assert all(isinstance(text, str) and text.strip() for text in texts)
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"]) > 0


def test_it_cites_this_version():
    assert CITATION["version"] == opjoule.__version__
