"""What long work says of itself on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from opjoule import sweep
from opjoule.analyzers.progress import told_to, tracked
from opjoule.cli.reading import working


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


def test_parts_are_told_as_they_are_done():
    said = []
    with told_to(lambda done, whole: said.append((done, whole))):
        assert [*tracked("abc")] == ["a", "b", "c"]
    assert said == [(0, 3), (1, 3), (2, 3)]
    assert [*tracked("ab")] == ["a", "b"] and len(said) == 3


def test_a_sweep_tells_its_configurations(stored):
    said = []
    with told_to(lambda done, whole: said.append((done, whole))):
        sweep(stored, "compute", {"e_mac_pj": [1, 2]})
    assert said == [(0, 2), (1, 2)]


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_line_that_is_drawn_anew(monkeypatch, stream, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    with working("sweeping"):
        for _ in tracked(range(3)):
            pass
    said = sys.stderr.getvalue()
    assert ("sweeping" in said) == shown
