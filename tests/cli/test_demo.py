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


def test_it_says_a_line_an_epoch(demo):
    _, done = demo
    found = re.findall(r"(\w+) network, epoch (\d) of 2: .* ([\d.]+) % of 360", done.stderr)
    epochs = [(kind, int(epoch)) for kind, epoch, _ in found]
    assert epochs == [("spiking", 1), ("spiking", 2), ("relu", 1), ("relu", 2)]
    # Two epochs are enough for far better than one in ten.
    assert all(float(found[place][2]) > 50 for place in (1, 3))
    assert "Traceback" not in done.stderr


def test_it_shows_counts_rates_and_a_table(demo):
    _, done = demo
    for part in ("DigitNet", "block1", "readout", "mean firing rate", "Energy, lemaire"):
        assert part in done.stdout
    # One picture: the first convolution has 16·1·3·3 weights at 8·8 places, in ReLU once, with
    # neurons four times; the other products have dense inputs only after ReLU:
    # 9216 + 32·16·9·64 + 32·32·9·16 + 128·10 = 452 864 MACs and normalisations (n each, 16·64 +
    # 32·64 + 32·16 = 3584): 456 448.
    (row,) = re.findall(r"^relu +(.*)$", done.stdout, re.MULTILINE)
    assert " 456 " in row and "MAC (k)" in done.stdout


def test_the_training_step_has_all_its_stages(demo):
    _, done = demo
    text = done.stdout[done.stdout.index("$ opjoule energy neuromc") :]
    assert re.findall(r"^(backward|forward|optimizer) ", text, re.MULTILINE) == [
        "backward",
        "forward",
        "optimizer",
    ]


def test_what_it_shows_is_what_the_commands_print(demo):
    folder, done = demo
    shown = re.findall(r"^\$ opjoule (.*)\n\n", done.stdout, re.MULTILINE)
    assert [line.split()[0] for line in shown] == ["count", "rates", "table", "energy"]
    again = opjoule(*shlex.split(shown[2]), folder=folder)
    assert again.stdout and again.stdout in done.stdout


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
