"""A manifest is refused in one line that says what is wrong: version first, then content."""

from __future__ import annotations

import json
import shutil

import pytest

from opjoule.analyzers import open_trace
from opjoule.schemas import TraceError, TraceVersionError


@pytest.mark.parametrize(
    ("version", "end"),
    [
        (3, "is trace format 3; this opjoule reads 1 to 1. Upgrade opjoule."),
        (10**30, f"is trace format {10**30}; this opjoule reads 1 to 1. Upgrade opjoule."),
        (0, "is trace format 0; this opjoule reads 1 to 1. No opjoule wrote that: record anew."),
        (-1, "is trace format -1; this opjoule reads 1 to 1. No opjoule wrote that: record anew."),
    ],
)
def test_the_version_comes_first(edit, version, end, refusal):
    """Whatever else has become of the manifest in another version."""
    trace = edit(lambda m: m.clear(), format_version=version)
    assert refusal(trace, TraceVersionError) == f"{trace} {end}"
    assert refusal(trace, TraceVersionError, partial=True) == f"{trace} {end}"


@pytest.mark.parametrize("version", ["1", None, 1.0, True, [1]])
def test_a_version_is_a_whole_number(edit, version, refusal):
    line = refusal(edit(format_version=version), TraceVersionError)
    assert "trace.json is damaged: format_version is not an integer" in line


def test_a_killed_recording_has_a_version_too(copied, refusal):
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text('{"format_version": 2}')
    for partial in (False, True):
        assert "is trace format 2" in refusal(copied, TraceVersionError, partial=partial)


def test_no_such_place(tmp_path, refusal):
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: trace not found."


def test_a_file_is_no_trace(tmp_path, refusal):
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR1")
    assert "expected a directory with a trace.json" in refusal(file)


def test_a_directory_without_a_manifest_is_no_trace(tmp_path, stored, refusal):
    shutil.copy(stored / "modules.parquet", tmp_path)
    assert refusal(tmp_path) == f"{tmp_path} is not a trace: it contains no trace.json."
    assert (
        refusal(tmp_path, partial=True) == f"{tmp_path} is not a trace: it contains no trace.json."
    )


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have(name, refusal):
    line = refusal(name)
    assert "cannot be read" in line or "trace not found" in line


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": 1}', "\0", "[" * 100_000, '{"x":' * 100_000, "9" * 5000]
)
def test_what_is_no_manifest(copied, text, refusal):
    (copied / "trace.json").write_text(text)
    assert f"{copied / 'trace.json'} is not the manifest of a trace" in refusal(copied)


def test_a_manifest_of_other_bytes(copied, refusal):
    (copied / "trace.json").write_bytes(b"\xff\xfe\x00{}")
    assert "is not the manifest of a trace: it is not JSON" in refusal(copied)


def test_a_manifest_that_is_a_directory(copied, refusal):
    (copied / "trace.json").unlink()
    (copied / "trace.json").mkdir()
    assert "trace.json cannot be read" in refusal(copied)


HUGE = 10**40


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"parts": None}, "trace.json is damaged: parts"),
        ({"parts": [7]}, "trace.json is damaged: parts.0"),
        ({"rows": {"calls": -1}}, "trace.json is damaged: rows.calls"),
        ({"rows": {"calls": HUGE}}, "trace.json is damaged: rows.calls"),
        ({"rows": {"calls": "276"}}, "trace.json is damaged: rows.calls"),
        ({"rows": {"\x1b[2J\n": "x"}}, "trace.json is damaged: 'rows.\\x1b[2J\\n'"),
        ({"rank": 2**31}, "trace.json is damaged: rank"),
        ({"rank": -1}, "trace.json is damaged: rank"),
        ({"world_size": 0}, "trace.json is damaged: world_size"),
        ({"world_size": HUGE}, "trace.json is damaged: world_size"),
        ({"tile_widths": [0]}, "trace.json is damaged: tile_widths.0"),
        ({"statistics": "some"}, "trace.json is damaged: statistics"),
        ({"status": "fine"}, "trace.json is damaged: status"),
        ({"environment": "linux"}, "trace.json is damaged: environment"),
        ({"hidden": [{"what": "x", "why": "y", "calls": -3}]}, "trace.json is damaged: hidden.0"),
        ({"steps": HUGE}, "trace.json is damaged: steps"),
    ],
    ids=str,
)
def test_a_manifest_that_makes_no_sense(edit, fields, says, refusal):
    assert says in refusal(edit(**fields))


def first_part(**fields):
    def change(manifest):
        manifest["parts"][0].update(fields)

    return change


@pytest.mark.parametrize(
    "name",
    ["../calls.parquet", "/etc/hostname", "..", ".", "", "a\0b", "a\\b", "C:x", "x\ny", "\ud800",
     "\x1b[2J", "x" * 5000 + "/", "x" * 256],
    ids=ascii,
)  # fmt: skip
def test_a_part_is_a_file_of_the_directory(edit, name, refusal):
    assert "is not the name of a part of its own" in refusal(edit(first_part(name=name)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bytes": 10**12}, "is truncated: "),
        ({"bytes": 1}, "is damaged: "),
        ({"rows": 10**12}, "it lists 276 rows of calls, its files contain 1000000000000"),
        ({"rows": 275}, "it lists 276 rows of calls, its files contain 275"),
        ({"checksum": "md5:00"}, "is damaged: its content is not what was recorded"),
        ({"table": "values"}, "it lists 276 rows of calls, its files contain 0"),
        ({"name": "gone.parquet"}, "gone.parquet is missing"),
        ({"name": "x" * 255}, "is missing"),
    ],
    ids=str,
)
def test_a_part_that_is_not_what_the_manifest_says(edit, fields, says):
    trace = edit(first_part(**fields))
    with pytest.raises(TraceError) as caught:
        open_trace(trace)
    assert says in str(caught.value)


def test_a_part_named_twice(edit, refusal):
    line = refusal(edit(lambda m: m["parts"].append(m["parts"][0])))
    assert "is not the name of a part of its own" in line


def test_a_part_left_out(edit, refusal):
    """Each part that is named is sound; but the rows tell that one is not named."""
    (whole,) = [p for p in json.loads((edit() / "trace.json").read_text())["parts"]
                if p["table"] == "calls"]  # fmt: skip
    trace = edit(lambda m: m["parts"].remove(whole))
    assert f"it lists {whole['rows']} rows of calls, its files contain 0" in refusal(trace)


def test_a_static_table_left_out(edit, refusal):
    def drop(manifest):
        manifest["parts"] = [p for p in manifest["parts"] if p["table"] != "modules"]
        manifest["rows"]["modules"] = 0

    assert "it names 0 files of modules" in refusal(edit(drop))


def test_a_table_of_a_later_time_is_let_be_but_checked(edit, copied, refusal):
    part = {"table": "smells", "name": "smells.parquet", "rows": 0, "bytes": 3, "checksum": "x"}
    trace = edit(lambda m: m["parts"].append(part))
    assert "smells.parquet is missing" in refusal(trace)
    (copied / "smells.parquet").write_text("abc")
    assert "smells.parquet is damaged" in refusal(trace)
