"""`opjoule roofline`: what it shows, in every format, and what it refuses."""

from __future__ import annotations

import json

import pytest

from opjoule.cli.main import run


def test_modules_as_a_tree_and_the_device(stored, answered):
    out = answered("roofline", stored, "--device", "h100")
    assert "time at the roof" in out and "└─ Sequential" in out and "100.0 %" in out
    assert "NVIDIA H100 SXM5: 3.35 TB/s; fp32 66.9 TFLOP/s (compute bound from 20 FLOP/B)" in out
    assert "whitepaper V1.04" in out and "coverage: of 276 calls" in out


def test_the_first_line_says_of_how_many_samples(stored, answered):
    """The recording is two batches of three, forward and backward."""
    whole = answered("roofline", stored, "--device", "h100")
    assert whole.startswith("times of the whole recording (6 samples)\n")
    part = answered("roofline", stored, "--device", "h100", "--where", "stage=backward")
    assert part.startswith("times of the whole recording (6 samples), narrowed by stage=backward\n")


@pytest.mark.parametrize("kind", ["csv", "markdown"])
def test_every_format_has_the_device_and_the_coverage(kind, stored, capsys):
    words = ["--peak", "2.5T", "--bandwidth", "80G", "--by", "op", "--format", kind]
    assert run(["roofline", str(stored), *words]) == 0
    out, err = capsys.readouterr()
    said = out if kind == "markdown" else err
    assert "80.0 GB/s" in said and "coverage: of 276 calls" in said
    assert "aten.convolution.default" in out.replace("\\", "")


def test_json_has_everything(stored, answered):
    data = json.loads(answered("roofline", stored, "--device", "orin", "--format", "json"))
    assert data["roof"]["peaks_per_s"]["fp32"] == 5.3e12 and data["samples"] == 6
    (whole,) = [row for row in data["rows"] if row["module"] == "Global"]
    assert whole["time_s"] == pytest.approx(data["total"]["time_s"]) and whole[
        "share"
    ] == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "or peak and bandwidth: --device, or --peak and --bandwidth"),
        (("--device", "h10"), "did you mean h100?"),
        (("--peak", "2.5X", "--bandwidth", "1T"), "'X' is not one of"),
        (("--device", "h100", "--bandwidth", "1T"), "tell the device, or these two"),
    ],
)
def test_a_wrong_question_is_refused(words, says, stored, refused):
    assert says in refused("roofline", stored, *words)
