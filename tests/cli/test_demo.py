"""The demo, for real but short: it trains, records, and shows what the traces hold."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest


def opjoule(*words: str, folder) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opjoule.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, opjoule("demo", "--epochs", "2", folder=folder)


def test_it_leaves_two_traces(demo):
    folder, done = demo
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "demo" / "spiking" / "trace.json").is_file()
    assert (folder / "runs" / "demo" / "relu" / "trace.json").is_file()


def test_it_tells_accuracy_on_stderr(demo):
    _, done = demo
    # Two epochs are enough for far better than one in ten.
    found = re.findall(r"(spiking|relu) network for 2 epochs: ([\d.]+)%", done.stderr)
    assert [kind for kind, _ in found] == ["spiking", "relu"]
    assert all(float(share) > 50 for _, share in found)
    assert "Traceback" not in done.stderr


def test_it_shows_counts_rates_and_energies(demo):
    _, done = demo
    for part in ("DigitNet", "block1", "readout", "firing rate", "fp32", "fp16", "int8", "ReLU"):
        assert part in done.stdout
    # One picture: the first convolution has 16·1·3·3 weights at 8·8 places, in ReLU once, with
    # neurons four times; the other products have dense inputs only after ReLU:
    # 9216 + 32·16·9·64 + 32·32·9·16 + 128·10 = 452 864 MACs and normalisations (n each, 16·64 +
    # 32·64 + 32·16 = 3584): 456 448.
    (macs,) = re.findall(r"MAC an image\s+\S+ k\s+(\S+ k)", done.stdout)
    assert macs == "456 k"


def test_every_estimate_comes_with_its_warnings_once(demo):
    _, done = demo
    for text in (
        "warning: batch norm, Adam: no external evidence; the formulas are those of SpikingJelly",
        "warning: Lemaire does not cover BatchNorm2d, MaxPool2d; left out",
        "warning: the ReLU network: left out: NeuroMC has no fragment for aten.relu.default",
    ):
        assert done.stdout.count(text) == 1
    warned = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert len(warned) == len(set(warned))


def test_what_it_says_to_type_next_works(demo):
    folder, done = demo
    (line,) = re.findall("^opjoule: next: (.*)$", done.stderr, re.MULTILINE)
    following = subprocess.run(shlex.split(line), cwd=folder, capture_output=True, text=True)
    assert following.returncode == 0, following.stderr
    assert following.stdout.splitlines()[2].startswith("Global")


def test_a_taken_directory_is_refused_before_the_training(demo):
    folder, _ = demo
    done = opjoule("demo", "-o", "runs/demo", folder=folder)
    assert done.returncode == 2
    assert done.stderr == (
        "opjoule: runs/demo/spiking exists: --overwrite replaces it, -o names another\n"
    )
