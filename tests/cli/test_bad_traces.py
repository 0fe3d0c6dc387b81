"""Whatever is wrong with a trace or a question gets one line and exit code 2."""

from __future__ import annotations

import json

import pytest

VERBS = (["info"], ["count"], ["coverage"], ["energy", "compute"])


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_such_trace(verb, refused, tmp_path):
    assert "nowhere" in refused(*verb, tmp_path / "nowhere")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_directory_that_is_no_trace(verb, refused, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert str(tmp_path) in refused(*verb, tmp_path)


def test_a_file_is_no_trace(refused, tmp_path):
    file = tmp_path / "data.bin"
    file.write_bytes(b"\x00\x01")
    assert "data.bin" in refused("info", file)


@pytest.mark.parametrize("part", ["calls-00000.parquet", "signatures.parquet", "modules.parquet"])
def test_a_truncated_part_is_named(part, refused, copied):
    whole = (copied / part).read_bytes()
    (copied / part).write_bytes(whole[: len(whole) // 2])
    assert part in refused("count", copied)


def test_a_missing_part_is_named(refused, copied):
    (copied / "values-00000.parquet").unlink()
    assert "values-00000.parquet" in refused("count", copied)


def test_a_foreign_part_is_named(refused, copied):
    (copied / "calls-00000.parquet").write_bytes((copied / "modules.parquet").read_bytes())
    assert "calls-00000.parquet" in refused("count", copied)


def test_a_newer_format_asks_for_an_upgrade(refused, edit):
    line = refused("count", edit(format_version=99))
    assert "99" in line and "pgrade" in line


def test_a_path_out_of_the_trace_is_refused(refused, edit):
    manifest = json.loads((edit() / "trace.json").read_text())
    manifest["parts"][0]["name"] = "../calls-00000.parquet"
    refused("count", edit(parts=manifest["parts"]))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": "x"}', "\x00"])
def test_a_broken_manifest_is_named(text, refused, copied):
    (copied / "trace.json").write_text(text)
    assert "trace.json" in refused("info", copied)


def test_a_killed_recording_is_refused_but_for_partial(refused, copied):
    (copied / "trace.json").unlink()
    (copied / "recording.json").write_text("{}")
    assert "partial" in refused("count", copied)


def test_an_aborted_trace_is_read_on_request(refused, answered, edit):
    trace = edit(status="aborted", failure={"type": "ValueError", "message": "[b]no[/b]\x1b[2J"})
    assert "partial" in refused("count", trace)
    shown = answered("info", "--partial", trace)
    assert "ValueError: [b]no[/b]\\x1b[2J" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rules", "magic"], "'magic' is not one of 'full', 'torch'"),
        (["--spikes", "loud"], "'loud' is not one of 'binary'"),
        (["--by", "colour"], "'colour' is not one of"),
        (["--format", "xml"], "'xml' is not one of"),
        (["--where", "stage"], "stage"),
        (["--where", "stage=sideways"], "sideways"),
        (["--where", "colour=red"], "colour"),
        (["--where", "step=one"], "one"),
        (["--where", "step=5:2"], "5:2"),
        (["--where", "training=maybe"], "maybe"),
        (["--rank", "9"], "9"),
    ],
)
def test_a_question_that_means_nothing(words, says, refused, stored):
    assert says in refused("count", *words, stored)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "e_mac_pj=-1"], "e_mac_pj = -1"),
        (["--set", "e_mac_pj=inf"], "e_mac_pj"),
        (["--set", "e_max_pj=1"], "e_mac_pj"),
        (["--preset", "fp8"], "fp16, fp32, int8"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--batch", "0"], "--batch"),
        (["--revision", "mine"], "'mine' is not one of"),
        (["--by", "colour"], "'colour' is not one of"),
    ],
)
def test_an_estimate_that_means_nothing(words, says, refused, stored):
    assert says in refused("energy", "compute", *words, stored)
