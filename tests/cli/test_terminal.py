"""Tables on a real terminal of a given width: figures whole, nothing beyond the edge."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from threading import Thread

import pytest

from opjoule.analyzers.answers.fitting import fitted, least
from opjoule.analyzers.answers.page import Column

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def columns(*parts):
    """Return columns of (left, optional)."""
    return [
        Column(str(i), str(i), left=left, optional=rank) for i, (left, rank) in enumerate(parts)
    ]


# Text of 30 and two figures of 10; three blanks between: 30 + 3 + 10 + 3 + 10 = 56.
PARTS = columns((True, 0), (False, 1), (False, 0))


@pytest.mark.parametrize(
    ("room", "kept", "caps"),
    [
        (80, [0, 1, 2], {}),
        (56, [0, 1, 2], {}),
        (55, [0, 1, 2], {0: 29}),
        (46, [0, 1, 2], {0: 20}),  # the least that text keeps
        (45, [0, 2], {}),  # the optional figure goes: 30 + 3 + 10 = 43
        (40, [0, 2], {0: 27}),
        (20, [0, 2], {0: 7}),
        (1, [0, 2], {0: 1}),
    ],
)
def test_what_fits(room, kept, caps):
    assert fitted(PARTS, [30, 10, 10], room) == (kept, caps)


def test_the_most_optional_column_goes_first():
    several = columns((True, 0), (False, 1), (False, 3), (False, 2))
    assert fitted(several, [5, 10, 10, 10], 34)[0] == [0, 1, 3]
    assert fitted(several, [5, 10, 10, 10], 20)[0] == [0, 1]


def test_the_longest_text_is_cut():
    assert fitted(columns((True, 0), (True, 0)), [40, 9], 40) == ([0, 1], {0: 28})


@pytest.mark.parametrize(
    ("cells", "width"),
    [
        (["module", "Net"], 6),
        (["module", "x" * 30], 20),
        (["module", "│  │  └─ conv"], 13),  # the name whole: 9 + 4
        (["module", "│  │  └─ " + "x" * 30], 25),  # 16 of it: 9 + 16
        (["module", "x" * 30, "   └─ y"], 20),
        ([], 0),
    ],
)
def test_how_narrow_text_may_become(cells, width):
    assert least(cells) == width


def test_figures_go_before_a_name_deep_in_a_tree():
    # 25 of the text and a figure of 10, three blanks between: 38.
    assert fitted(PARTS, [40, 10, 10], 37, [25, 10, 10]) == ([0, 2], {0: 24})
    assert fitted(PARTS, [40, 10, 10], 51, [25, 10, 10]) == ([0, 1, 2], {0: 25})
    assert fitted(PARTS, [40, 10, 10], 50, [25, 10, 10]) == ([0, 2], {0: 37})


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Record a network whose layer lies ten modules deep and has a long name."""
    torch = pytest.importorskip("torch")
    import opjoule

    net = torch.nn.Sequential()
    place = net
    for _ in range(9):
        place.append(torch.nn.Sequential())
        place = place[0]
    place.add_module("feed_forward_of_the_encoder", torch.nn.Linear(3, 2))
    folder = tmp_path_factory.mktemp("deep") / "trace"
    opjoule.record(net.eval(), torch.ones(1, 3), folder)
    return folder


@pytest.mark.parametrize("verb", [("count",), ("energy", "compute")], ids=" ".join)
def test_names_deep_in_a_tree_can_be_read_at_80_columns(verb, deep, on_terminal):
    lines, _ = on_terminal(80, *verb, deep)
    assert max(map(len, lines)) <= 80
    assert any("feed_forward_of" in line for line in lines)


@pytest.fixture
def on_terminal(python):
    """Return a function that runs a command on a terminal of a width.

    It returns the lines, and whether they were coloured.
    """
    return lambda width, *words: shown(python, width, words)


def shown(python, width, words):
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    content = bytearray()
    reader = Thread(target=read_all, args=(main, content))
    reader.start()
    done = python(
        ["-m", "opjoule.cli", *words],
        env=environment | {"TERM": "xterm-256color"},
        terminal=os.ttyname(other),
    )
    os.close(other)
    reader.join()
    assert done.returncode == 0
    text = content.decode()
    return ESCAPES.sub("", text).splitlines(), ESCAPES.search(text) is not None


def read_all(main, content):
    with contextlib.suppress(OSError):  # Linux ends a terminal so
        while part := os.read(main, 1 << 16):
            content += part
    os.close(main)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ("info",),
        ("count",),
        ("count", "--by", "op", "--by", "stage"),
        ("coverage",),
        ("energy", "compute"),
        ("compare",),
    ],
    ids=" ".join,
)
def test_nothing_is_wider_than_the_terminal(words, width, stored, on_terminal):
    traces = [stored, stored] if words == ("compare",) else [stored]
    lines, coloured = on_terminal(width, *words, *traces)
    assert lines and max(map(len, lines)) <= width
    assert coloured == (words != ("info",))


def test_figures_are_never_cut(stored, on_terminal):
    lines, _ = on_terminal(80, "count", stored)
    (total,) = (line for line in lines if line.startswith("Global"))
    wide, _ = on_terminal(200, "count", stored)
    (whole,) = (line for line in wide if line.startswith("Global"))
    assert set(total.split()) <= set(whole.split())
    assert any(line.startswith("(too narrow for ") for line in lines)
    assert not any(line.startswith("(too narrow for ") for line in wide)


def test_a_file_is_neither_coloured_nor_cut(stored, tmp_path, on_terminal):
    on_terminal(60, "count", stored, "-o", tmp_path / "counts.txt")
    text = (tmp_path / "counts.txt").read_text()
    assert not ESCAPES.search(text)
    assert "FLOP/B" in text and "…" not in text
