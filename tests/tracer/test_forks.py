"""A recorder belongs to one process: forked ones run unrecorded and leave the trace alone."""

from __future__ import annotations

import json
import os
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")

HEAD = """
    import multiprocessing, os, sys, threading, time, warnings
    import torch
    from torch import nn
    from opjoule.tracer import Recorder, RecordingWarning, session
    warnings.simplefilter("ignore", RecordingWarning)
    torch.set_num_threads(1)
    session._PART_CELLS = 10 * session.CALL_WIDTH  # parts are written again and again
    path, net = sys.argv[1], nn.Linear(3, 2)

    def work(times):
        for _ in range(times):
            net(torch.ones(1, 3))

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, k):
            work(5)
            return torch.full((3,), k) @ torch.ones(3, dtype=torch.int64)
"""

CASES = {
    "a child that goes on": """
        with Recorder(path, model=net):
            work(30)
            child = os.fork()
            if not child:
                work(100)
                os._exit(0)
            os.waitpid(child, 0)
            work(30)
    """,
    "a child that leaves the context": """
        with Recorder(path, model=net):
            work(30)
            child = os.fork()
            if not child:
                work(100)
        if not child:
            work(10)
            os._exit(0)
        os.waitpid(child, 0)
    """,
    "a child that outlives the trace": """
        read, write = os.pipe()
        with Recorder(path, model=net):
            work(30)
            child = os.fork()
            if not child:
                os.read(read, 1)
                work(100)
                os._exit(0)
            work(5)
        os.write(write, b"x")
        os.waitpid(child, 0)
    """,
    "a child that raises": """
        with Recorder(path, model=net):
            work(30)
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                work(20)
                raise ZeroDivisionError
    """,
    "a pool": """
        with Recorder(path, model=net):
            work(30)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                pool.map(work, [50, 50])
            work(5)
    """,
    "workers of a data loader": """
        with Recorder(path, model=net):
            for batch in torch.utils.data.DataLoader(Data(), num_workers=1):
                work(4)
    """,
    "a fork inside a module": """
        class Forks(nn.Module):
            def forward(self, x):
                child = os.fork()
                if not child:
                    work(50)
                    os._exit(0)
                os.waitpid(child, 0)
                return net(x)
        forks = Forks()
        with Recorder(path, model=forks):
            work(20)
            forks(torch.ones(1, 3))
    """,
    "a fork in a thread that joined": """
        with Recorder(path, model=net) as recorder:
            def threaded():
                with recorder.join():
                    work(20)
                    child = os.fork()
                    if not child:
                        work(50)
                        os._exit(0)
                    os.waitpid(child, 0)
            thread = threading.Thread(target=threaded)
            thread.start()
            thread.join()
            work(5)
    """,
    "a fork while suspended": """
        with Recorder(path, model=net) as recorder:
            work(30)
            with recorder.suspend():
                child = os.fork()
            if not child:
                work(50)
                os._exit(0)
            os.waitpid(child, 0)
    """,
}

TAIL = """
    import json
    from opjoule import count
    found, folder = {}, path
    for name, case in json.loads(sys.argv[2]).items():
        path = f"{folder}/{name}/trace"
        os.makedirs(os.path.dirname(path))
        try:
            exec(case)
        except ZeroDivisionError:
            os._exit(0)
        linear = count(path, by="op").frame.filter(op="aten.addmm.default")["calls"].item()
        found[name] = [linear, json.load(open(path + "/trace.json"))["hidden"]]
    print(json.dumps(found))
"""

LINEAR = {
    "a child that goes on": 60, "a child that leaves the context": 30,
    "a child that outlives the trace": 35, "a child that raises": 30, "a pool": 35,
    "workers of a data loader": 32, "a fork inside a module": 21,
    "a fork in a thread that joined": 25, "a fork while suspended": 30,
}  # fmt: skip
"""Linear layers that the process ran which began the recording: 4 for each of 8 batches, ..."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, python):
    """Run all cases, one after the other in one process; return its folder and what it found."""
    folder = tmp_path_factory.mktemp("forks")
    script = textwrap.dedent(HEAD) + textwrap.dedent(TAIL)
    cases = json.dumps({name: textwrap.dedent(case) for name, case in CASES.items()})
    done = python(["-c", script, folder, cases])
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_a_forked_process_is_not_recorded_and_writes_nothing(ran, case):
    folder, found = ran
    linear, hidden = found[case]
    assert linear == LINEAR[case]
    forks = [each["calls"] for each in hidden if each["what"] == "forked processes"]
    assert forks == ([] if "suspended" in case else [1])
    assert [each.name for each in (folder / case).iterdir()] == ["trace"]
