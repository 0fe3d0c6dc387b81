"""Strangers' traces: whatever bytes, manifest fields or cells, no internal error and no hang."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opjoule.cli.main import run
from opjoule.schemas import MANIFEST_NAME, checksum_of
from opjoule.schemas.arrow import SCHEMAS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

VERBS = (
    ("info",), ("info", "--format", "json"), ("count",), ("count", "--by", "op", "--by", "stage"),
    ("count", "--by", "step", "--by", "label", "--format", "csv"), ("coverage",),
    ("energy", "compute"), ("energy", "simple"), ("energy", "lemaire"), ("energy", "neuromc"),
    ("energy", "spikesim"), ("count", "--where", "module=*1", "--rules", "torch"),
)  # fmt: skip
NUMBERS = (
    None,
    0,
    1,
    -1,
    2,
    127,
    1 << 15,
    1 << 31,
    (1 << 31) - 1,
    1 << 40,
    (1 << 63) - 1,
    -(1 << 63),
)
TEXTS = (None, "", "x", "\x1b[2J", "[" * 100_000, "{", "{}", "[]", "null", '{"stride": "x"}',
         '{"kernel_size": [[]], "stride": -1}', '{"dim": 1e999}', "aten.convolution", "a" * 70_000,
         "forward", "float99", "é\u202e", '{"groups": 0}', "1" * 5000)  # fmt: skip
SECONDS = 60
"""So long the dice are thrown in all."""


def sign(path, name=None):
    """Give a manifest a checksum that fits, and a part too."""
    file = path / MANIFEST_NAME
    content = json.loads(file.read_text())
    for part in content["parts"]:
        if part["name"] == name:
            whole = (path / name).read_bytes()
            digest = hashlib.blake2b(whole, digest_size=16).hexdigest()
            part.update(bytes=len(whole), checksum=f"blake2b:{digest}")
    file.write_text(json.dumps(content | {"checksum": checksum_of(content)}))


@pytest.fixture
def asked(capsys):
    """Return a function that asks a verb of a trace and returns the exit code, checked."""

    def late(*_):
        raise AssertionError("hangs")

    def ask(path, verb, why):
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(20)
        try:
            code = run([*verb, str(path)])
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        out, err = capsys.readouterr()
        assert code in (0, 2), (why, verb, err)
        assert "internal error" not in err and "Traceback" not in err, (why, verb, err)
        assert all(c.isprintable() or c == "\n" for c in err), (why, verb, err)
        if code:
            assert out == "" and err.count("\n") == 1 and len(err) < 5000, (why, verb, err)
        return code

    return ask


def throws(seed, share):
    """Yield dice until a share of the time is over."""
    end = time.monotonic() + SECONDS * share
    throw = 0
    while time.monotonic() < end or throw < 5:
        throw += 1
        yield random.Random(f"{seed} {throw}"), throw


def restored(stored, path):
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(stored, path)
    sign(path)
    return path


def test_raw_bytes_that_do_not_fit_their_checksum_are_never_answered(stored, tmp_path, asked):
    path = restored(stored, tmp_path / "trace")
    names = sorted(file.name for file in path.iterdir())
    refused = 0
    for dice, throw in throws("bytes", 0.2):
        name = dice.choice(names)
        whole = (path / name).read_bytes()
        content = bytearray(whole)
        for _ in range(dice.choice((1, 1, 8))):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        (path / name).write_bytes(content)
        code = asked(path, dice.choice(VERBS), (throw, name))
        same = name == MANIFEST_NAME and _parsed(content) == _parsed(whole)
        assert code == 2 or same, (throw, name)
        (path / name).write_bytes(whole)
        refused += code == 2
    assert refused > 4


def _parsed(content):
    try:
        return json.loads(bytes(content))
    except ValueError:
        return None


def test_raw_bytes_under_a_checksum_that_fits_them(stored, tmp_path, asked):
    path = restored(stored, tmp_path / "trace")
    names = sorted(file.name for file in path.glob("*.parquet"))
    for dice, throw in throws("signed", 0.25):
        name = dice.choice(names)
        whole = (path / name).read_bytes()
        content = bytearray(whole)
        for _ in range(dice.choice((1, 3, 20))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (path / name).write_bytes(content)
        sign(path, name)
        asked(path, dice.choice(VERBS), (throw, name))
        (path / name).write_bytes(whole)
        sign(path, name)


def places_in(value, place=()):
    """Yield the places of everything in plain data."""
    yield place
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from places_in(each, (*place, key))


def put(value, place, new):
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


def test_fields_of_the_manifest(stored, tmp_path, asked):
    path = restored(stored, tmp_path / "trace")
    whole = (path / MANIFEST_NAME).read_text()
    for dice, throw in throws("fields", 0.25):
        content = json.loads(whole)
        place = dice.choice([place for place in places_in(content) if place])
        new = dice.choice(
            (*NUMBERS, *TEXTS, [], {}, True, 0.5, "../../etc/passwd", [[[]]], {"": {}})
        )
        put(content, place, new)
        content["checksum"] = checksum_of(content)
        (path / MANIFEST_NAME).write_text(json.dumps(content))
        asked(path, dice.choice(VERBS), (throw, place, str(new)[:40]))


def test_cells_of_the_tables(stored, tmp_path, asked):
    path = restored(stored, tmp_path / "trace")
    files = sorted(path.glob("*.parquet"))
    rows = {file.name: pq.read_table(file).to_pylist() for file in files}
    tried = 0
    for dice, throw in throws("cells", 0.3):
        name = dice.choice(sorted(rows))
        table = SCHEMAS[name.split("-")[0].split(".")[0]]
        changed = json.loads(json.dumps(rows[name]))
        for _ in range(dice.choice((1, 1, 4))):
            row = dice.randrange(len(changed))
            place = dice.choice([p for p in places_in(changed[row]) if p])
            new = dice.choice((*NUMBERS, *TEXTS, [], [None], [-1, 1 << 40], True, 0.5))
            put(changed[row], place, new) if _reaches(changed[row], place) else None
        try:
            pq.write_table(pa.Table.from_pylist(changed, schema=table), path / name)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            continue  # of another type than the column
        tried += 1
        sign(path, name)
        asked(path, dice.choice(VERBS), (throw, name, place, str(new)[:40]))
        pq.write_table(pa.Table.from_pylist(rows[name], schema=table), path / name)
        sign(path, name)
    assert tried > 4


def _reaches(value, place):
    for key in place[:-1]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(value, dict | list)
