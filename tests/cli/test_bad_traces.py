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
    shown = answered("info", trace)
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


FITS_NOTHING = [
    (["step=99"], "no calls fit --where step=99: the trace has steps 0 to 1."),
    (["step=1", "step=2:"], "--where step=2:: the trace has steps 0 to 1."),
    (["label=xx"], "--where label=xx: the trace has labels inference, training."),
    (["label="], "--where label=: every call has a label."),
    (["op=aten.conv"], "--where op=aten.conv: near to that are aten.convolution, "),
    (["op=aten.addm"], "near to that are aten.addmm"),
    (["op=convolution"], "near to that are aten.convolution, aten.convolution_backward."),
    (["op=xyz"], "opjoule coverage names the ops that there are."),
    (["stage=recompute"], "the trace has stages backward, forward, optimizer."),
    (["rank=3"], "the trace has rank 0."),
    (["module=Sequential.4.none"], "no module of"),
    (["label=inference", "stage=backward"],
     "no calls fit --where label=inference --where stage=backward together"),
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize(("filters", "says"), FITS_NOTHING, ids=lambda each: str(each)[:30])
def test_filters_that_nothing_fits(verb, filters, says, refused, stored):
    words = [word for text in filters for word in ("--where", text)]
    assert says in refused(*verb, stored, *words)


def test_filters_that_nothing_fits_on_either_side(refused, stored, copied):
    words = ("--where", "label=xx", "--energy", "compute")
    assert "the trace has labels inference, training" in refused("compare", stored, copied, *words)


def test_filters_that_one_side_fits(answered, refused, stored, tmp_path):
    """A comparison with nothing says so: HEAD here has no label."""
    torch = pytest.importorskip("torch")
    import opjoule

    net = torch.nn.Sequential(torch.nn.Linear(3, 2)).eval()
    opjoule.record(net, torch.ones(1, 3), tmp_path / "head")
    text = answered("compare", stored, tmp_path / "head", "--where", "label=inference")
    assert "warning: HEAD has no calls that fit label=inference\n" in text
    mode = refused("count", tmp_path / "head", "--where", "training=true")
    assert "all calls of modules are in eval mode" in mode


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
