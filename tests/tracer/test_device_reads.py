"""A device whose memory the host cannot read, but for what is counted: it is simulated, in C++.

What it proves: between its start and its end a recording reads no device memory, by no op that
copies or decides by elements and by no address. It counts by PyTorch's reductions; Triton's
kernels are compared with those elsewhere. It says nothing of a GPU's streams or of time.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
MODELS = ("Spiking", "Dense")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Compile the device."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C++ compiler on Linux here: the simulated device cannot be built")
    home = Path(torch.__file__).parent
    built = tmp_path_factory.mktemp("device") / "pretend.so"
    command = [
        compiler, "-O0", "-w", "-std=c++20", "-shared", "-fPIC", f"-I{home}/include",
        f"-I{home}/include/torch/csrc/api/include", str(HERE / "pretend_device.cpp"),
        "-o", str(built), f"-L{home}/lib", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{home}/lib",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "2.13" not in torch.__version__:
        pytest.skip("the simulated device does not compile with this PyTorch")
    assert not done.returncode, done.stderr[-4000:]
    return built


@pytest.fixture
def run(python, library, tmp_path):
    """Return a function that records training steps on the device, in a process of their own."""
    return lambda *fault: python([HERE / "pretend_device.py", library, tmp_path, *fault])


def test_a_training_step_reads_no_memory_of_the_device(run, tmp_path, read):
    done = run()
    assert not done.returncode, done.stderr[-4000:]
    told = json.loads(done.stdout)
    for model in MODELS:
        reads = told[f"{model}-pretend"]
        assert (reads["inside"], reads["note"]) == (0, "")
        assert reads["after"] == 2  # the counts, and the fingerprint of what was fed in
        host, device = (read(tmp_path / f"{model}-{where}") for where in ("cpu", "pretend"))
        assert device.manifest["status"] == "complete"
        assert facts_of(device) == facts_of(host)


def facts_of(trace):
    """Return what is said of the calls' operands; both ways compute it with the same kernels.

    What views and optimizers hand on may have been derived on the host, and counted on the device.
    """
    names = ("in0", "in1", "in2", "out0")
    wanted = [f"{name}_{what}" for name in names for what in ("class", "nonzero")]
    wanted += ["x_fanout", "grad_fanout", "overlap", "active_outputs", "tile_rows"]
    return [
        [call["op"], *(call[name] for name in wanted)]
        for call in trace.calls
        if call["stage"] != "optimizer"
    ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [("item", "item"), ("copy", "a copy to the host"), ("decide", "aten::nonzero")],
)
def test_a_read_that_is_added_fails(run, fault, message):
    done = run(fault)
    assert done.returncode == 1
    assert f"the host reads memory of the device: {message}" in done.stderr


def test_a_read_of_an_address_ends_the_process(run):
    assert run("address").returncode == -signal.SIGSEGV
