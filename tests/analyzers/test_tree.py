"""Module paths drawn as a tree."""

from __future__ import annotations

from opjoule.analyzers.answers.tree import drawn, lead, parents


def lines(paths: list[str]) -> list[str]:
    return drawn(paths)[1]


def test_submodules_stand_under_their_module():
    paths = ["Global", "Net", "Net.features", "Net.features.0", "Net.features.1", "Net.head"]
    assert lines(paths) == [
        "Global",
        "└─ Net",
        "   ├─ features",
        "   │  ├─ 0",
        "   │  └─ 1",
        "   └─ head",
    ]


def test_the_order_given_holds_among_siblings_only():
    paths = ["B.2", "A", "B", "A.1", "B.1"]
    order, texts = drawn(paths)
    assert [paths[index] for index in order] == ["A", "A.1", "B", "B.2", "B.1"]
    assert texts == ["A", "└─ 1", "B", "├─ 2", "└─ 1"]


def test_a_missing_module_in_between_is_no_matter():
    assert parents(["Net", "Net.a.b", "Network"]) == [None, "Net", None]
    assert lines(["Net", "Net.a.b", "Network"]) == ["Net", "└─ a.b", "Network"]


def test_the_lines_that_lead_to_a_name_are_told_from_it():
    texts = lines(["Net", "Net.a", "Net.a.b", "Net.c"])
    assert [text[lead(text) :] for text in texts] == ["Net", "a", "b", "c"]
    # "Net", "├─ a", "│  └─ b", "└─ c"
    assert [lead(text) for text in texts] == [0, 3, 6, 3]
