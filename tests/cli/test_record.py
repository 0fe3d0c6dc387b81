"""`opjoule record` runs a script as `python` does: same output, traceback and exit code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opjoule.cli.main import run
from opjoule.cli.record import progress

torch = pytest.importorskip("torch")

MODEL = """\
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.ones(5, 4)).sum().backward()
        optimizer.step()

train(3)
"""
# name -> how the script ends
ENDINGS = {
    "well": "import sys; print(__name__, __file__, __spec__, sys.argv, sys.path[0])",
    "exit_0": "import sys; print('fine'); sys.exit(0)",
    "exit_7": "import sys; sys.exit(7)",
    "exit_text": "import sys; sys.exit('no data')",
    "raises": "def inner():\n    raise ValueError('[red]wrong[/red]')\n\ninner()",
    "chained": "try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise KeyError(1) from e",
    "bad_shapes": "torch.ones(2, 3) @ torch.ones(2, 3)",
    "interrupted": "raise KeyboardInterrupt",
    "hooked": "import sys\nsys.excepthook = lambda *a: print(a[:2])\nraise OSError('x')",
    "not_python": "def (:",
}
FRESH = {"well", "interrupted"}
"""Endings that are also recorded in a new interpreter, which none of our tests began."""
ABORTED = {"exit_7", "exit_text", "raises", "chained", "bad_shapes", "interrupted", "hooked"}


def command(*words: str, at: Path, env: dict | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=at, capture_output=True, text=True, timeout=120, env=env
    )


def without_torch(ending: str, folder: Path) -> dict[str, str]:
    """Return an environment in which `torch` is soon loaded, where it matters not what it does."""
    if ending == "bad_shapes":
        return dict(os.environ)
    blank = "import sys\nfrom unittest.mock import MagicMock\nsys.modules[__name__] = MagicMock()\n"
    (folder / "blank").mkdir()
    (folder / "blank/torch.py").write_text(blank)
    return os.environ | {"PYTHONPATH": str(folder / "blank")}


@pytest.fixture
def record(python):
    """Return a function that runs `opjoule record WORDS` in a process of its own."""
    return lambda *words, at: python(["-m", "opjoule.cli", "record", *words], cwd=at)


def talk(stderr: str) -> tuple[str, list[str]]:
    """Part stderr into what the script said and what opjoule said."""
    lines = stderr.splitlines(keepends=True)
    ours = [line for line in lines if line.startswith("opjoule: ")]
    return "".join(line for line in lines if line not in ours), ours


def manifest(path: Path) -> dict:
    return json.loads((path / "trace.json").read_text())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_ends_as_under_python(ending, tmp_path, record):
    (tmp_path / "train.py").write_text(MODEL + ENDINGS[ending])
    plain = command("train.py", "one", "--two", at=tmp_path, env=without_torch(ending, tmp_path))
    words = ["--steps", "all", "train.py", "one", "--two"]
    if ending in FRESH:
        recorded = command("-m", "opjoule.cli", "record", *words, at=tmp_path)
    else:
        recorded = record(*words, at=tmp_path)
    theirs, ours = talk(recorded.stderr)
    # python dies of SIGINT itself (-2 here, 130 in a shell); we leave with the shell's number
    assert recorded.returncode == (130 if ending == "interrupted" else plain.returncode)
    assert recorded.stdout == plain.stdout
    assert theirs == plain.stderr
    if ending == "not_python":
        assert not (tmp_path / "runs").exists()
        return
    made = manifest(tmp_path / "runs/train")
    assert made["status"] == ("aborted" if ending in ABORTED else "complete")
    assert made["steps"] == 3
    assert made["command"] == ["python", "train.py", "one", "--two"]
    _, _, following = ours[-1].partition("opjoule: next: ")
    assert shlex.split(following)[1:] in (
        ["count", "runs/train"],
        ["count", "--partial", "runs/train"],
    )
    assert (len([line for line in ours if "aborted" in line]) == 1) == (ending in ABORTED)


def test_it_says_how_far_it_is(tmp_path, capsys):
    """On a terminal; steps 1 and 2 of 3 end before the last, which `recorded ... calls` tells."""

    from opjoule import Recorder

    net = torch.nn.Linear(2, 2)
    with Recorder(tmp_path / "trace", model=net, steps=3) as recorder:
        recorder.on_step = progress(3, every_s=0)
        for _ in range(5):
            net(torch.ones(1, 2))
    assert capsys.readouterr().err == "".join(
        f"opjoule: recorded {done} of 3 steps\n" for done in (1, 2)
    )


def test_what_it_says_to_type_next_works(tmp_path, record):
    """Also where the script goes to another directory on the way."""
    (tmp_path / "train.py").write_text(f"{MODEL}import os\nos.makedirs('x')\nos.chdir('x')\n")
    last = record("train.py", at=tmp_path).stderr.splitlines()[-1]
    following = shlex.split(last.removeprefix("opjoule: next: "))
    done = subprocess.run(following, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("module ")


def test_a_module_runs_as_under_python_m(tmp_path, record):
    (tmp_path / "project").mkdir()
    (tmp_path / "project/__init__.py").write_text("")
    (tmp_path / "project/data.py").write_text("SIZE = 3\n")
    (tmp_path / "project/train.py").write_text(
        f"import sys\nfrom .data import SIZE\n{MODEL}"
        "print(SIZE, sys.argv, sys.path[0], __name__, __package__, __spec__.name)\nassert 0, SIZE\n"
    )
    env = without_torch("raises", tmp_path)
    plain = command("-m", "project.train", "--lr", "1", at=tmp_path, env=env)
    recorded = record("-o", "out", "-m", "project.train", "--lr", "1", at=tmp_path)
    assert recorded.stdout == plain.stdout
    assert recorded.returncode == plain.returncode == 1
    # python -m shows runpy's two frames first; ours begins with the program's own
    own = plain.stderr.index(f'  File "{tmp_path}')
    theirs, _ = talk(recorded.stderr)
    assert theirs == "Traceback (most recent call last):\n" + plain.stderr[own:]
    assert manifest(tmp_path / "out")["command"] == "python -m project.train --lr 1".split()


def test_only_the_steps_asked_for_are_recorded(tmp_path, record):
    (tmp_path / "train.py").write_text(MODEL.replace("train(3)", "train(9)\nprint('all done')"))
    done = record("--steps", "2", "--warmup", "4", "train.py", at=tmp_path)
    assert (done.returncode, done.stdout) == (0, "all done\n")
    assert manifest(tmp_path / "runs/train")["steps"] == 2
    assert "first 20" not in done.stderr


def test_steps_that_end_within_a_sample_are_told_at_the_end(tmp_path, record):
    """One step of four: the cell is then given the state that the step left."""
    (tmp_path / "train.py").write_text(
        "import torch\n"
        "cell, state = torch.nn.GRUCell(2, 2), torch.zeros(1, 2)\n"
        "optimizer = torch.optim.SGD(cell.parameters(), 0.1)\n"
        "for _ in range(4):\n"
        "    state = cell(torch.rand(1, 2), state.detach())\n"
        "    state.sum().backward()\n"
        "    optimizer.step()\n"
    )
    done = record("--steps", "1", "train.py", at=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 0
    assert last.startswith("opjoule: the last step ended within a sample: GRUCell goes on")


LATER = {
    "Ctrl-C": ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", 130),
    "an error": ("raise ValueError('later')", 1),
    "an exit code": ("import sys; sys.exit(5)", 5),
    "the end": ("", 0),
}


@pytest.mark.parametrize("how", LATER)
def test_after_the_last_step_the_trace_is_there_whatever_comes(how, tmp_path, record):
    """It is said at once, before the script goes on, and once; later ends do not abort it."""
    ends, code = LATER[how]
    goes_on = "import sys; print('goes on', file=sys.stderr, flush=True)\n"
    (tmp_path / "train.py").write_text(MODEL + goes_on + "train(1)\n" + ends)
    done = record("--steps", "2", "train.py", at=tmp_path)
    assert done.returncode == code, done.stderr
    _, ours = talk(done.stderr)
    assert [line.split(" ")[1] for line in ours] == ["recorded", "next:"]
    assert done.stderr.index("opjoule: next: ") < done.stderr.index("goes on")
    assert (manifest(tmp_path / "runs" / "train")["status"], "aborted" in done.stderr) == (
        "complete",
        False,
    )


def test_twenty_steps_are_recorded_with_a_notice(tmp_path, record):
    (tmp_path / "train.py").write_text(MODEL.replace("train(3)", "train(25)"))
    done = record("train.py", at=tmp_path)
    assert manifest(tmp_path / "runs/train")["steps"] == 20
    assert "opjoule: recording the first 20 steps (--steps all records every one)" in done.stderr


def test_an_existing_trace_is_refused_and_replaced_on_request(tmp_path, record):
    (tmp_path / "train.py").write_text(MODEL)
    (tmp_path / "runs/train").mkdir(parents=True)
    (tmp_path / "runs/train/mine.txt").write_text("precious")
    refused = record("train.py", at=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1  # nothing was said to be recorded before
    assert "runs/train" in refused.stderr and "--overwrite" in refused.stderr
    assert "is the script's" not in refused.stderr
    refused = record("train.py", "--epochs", "2", "--overwrite", at=tmp_path)
    told = "--overwrite after train.py is the script's: options of record go before train.py."
    assert (refused.returncode, refused.stdout) == (2, "") and told in refused.stderr
    assert (tmp_path / "runs/train/mine.txt").read_text() == "precious"


def test_a_script_that_fails_before_it_computes_leaves_nothing(tmp_path, record):
    """So that the corrected one is not refused."""
    (tmp_path / "train.py").write_text("import no_such_module\n")
    failed = record("train.py", at=tmp_path)
    assert failed.returncode == 1
    assert "ModuleNotFoundError before any PyTorch operation" in failed.stderr
    assert not (tmp_path / "runs/train").exists()
    (tmp_path / "train.py").write_text(MODEL)
    assert record("train.py", at=tmp_path).returncode == 0


def test_a_trace_is_replaced_on_request(tmp_path, record):
    (tmp_path / "train.py").write_text(MODEL)
    assert record("train.py", at=tmp_path).returncode == 0
    made = tmp_path / "runs/train/trace.json"
    first = made.stat().st_mtime_ns
    assert record("train.py", at=tmp_path).returncode == 2
    assert made.stat().st_mtime_ns == first
    assert record("--overwrite", "train.py", at=tmp_path).returncode == 0
    assert made.stat().st_mtime_ns > first
    first = made.stat().st_mtime_ns
    (tmp_path / "train.py").write_text(MODEL + "\nraise ValueError('later')\n")
    failed = record("--overwrite", "train.py", at=tmp_path)
    (left,) = (tmp_path / "runs").glob("train.recording-*")  # it did not take the place
    assert made.stat().st_mtime_ns == first
    assert f"the trace runs/{left.name} is aborted" in failed.stderr
    assert "opjoule: runs/train is still what it was before\n" in failed.stderr
    assert f"count --partial runs/{left.name}\n" in failed.stderr


def test_it_says_what_the_trace_notes(tmp_path, record):
    script = "import torch\nwith torch.no_grad(): torch.nn.Linear(2, 2).eval()(torch.ones(3, 2))\n"
    (tmp_path / "run.py").write_text(script)
    done = record("--time-dim", "4", "run.py", at=tmp_path)
    said = "opjoule: note: Linear: time_dim=4 is beyond the 2 dimensions of the model's input"
    assert said in done.stderr
    assert manifest(tmp_path / "runs/run")["notes"]


def test_where_torch_is_missing_it_says_what_to_install(tmp_path):
    (tmp_path / "run.py").write_text("print('ran')\n")
    code = (
        "import sys; sys.modules['torch'] = None; from opjoule.cli.main import run; "
        "sys.exit(run(['record', 'run.py']))"
    )
    done = command("-c", code, at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "opjoule: recording needs PyTorch, which is not installed: pip install 'opjoule[torch]'\n"
    )


BARE_ENDINGS = {
    "normal": ("", 0),
    "exit": ("sys.exit()", 0),
    "exit with a code": ("sys.exit(3)", 3),
    "error": ("1 / 0", 1),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", 130),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
}


@pytest.mark.parametrize(("ends", "code"), BARE_ENDINGS.values(), ids=BARE_ENDINGS)
def test_a_script_without_torch_leaves_nothing(tmp_path, record, ends, code):
    """However it ends; what the script itself has put there stays, and so does what was there."""
    script = tmp_path / "hello.py"
    script.write_text(f"import os, signal, sys, time\nprint('hello', flush=True)\n{ends}\n")
    done = record("hello.py", at=tmp_path)
    assert (done.returncode, done.stdout) == (code, "hello\n"), done.stderr
    assert "there is no trace" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hello.py"]
    (tmp_path / "runs" / "hello").mkdir(parents=True)
    assert record("--overwrite", "hello.py", at=tmp_path).returncode == code
    assert [*(tmp_path / "runs").iterdir()] == [tmp_path / "runs" / "hello"]


def test_sigterm_says_where_the_aborted_trace_is(tmp_path, record):
    """As Ctrl-C does: what there is, and how to read it."""
    script = "import os, signal, time, torch\ntorch.ones(1)\n"
    end = "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    (tmp_path / "long.py").write_text(script + end)
    done = record("long.py", at=tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stderr
    said = "the script ended with SIGTERM: the trace runs/long is aborted (1 call in 1 step"
    assert done.stderr.count(said) == 1
    assert done.stderr.count("count --partial runs/long") == 1
    manifest = json.loads((tmp_path / "runs" / "long" / "trace.json").read_text())
    assert manifest["failure"]["type"] == "SIGTERM"


def test_what_a_script_writes_beside_its_trace_stays(tmp_path, record):
    script = tmp_path / "hello.py"
    script.write_text("open('runs/hello/log.txt', 'w').write('mine')\n")
    assert record("hello.py", at=tmp_path).returncode == 0
    assert [each.name for each in (tmp_path / "runs" / "hello").iterdir()] == ["log.txt"]


LAUNCHED = {
    "module": (
        [
            "-o",
            "runs/x",
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "t.py",
            "-m",
            "a b",
        ],
        "python -m torch.distributed.run --nproc-per-node 2 -m opjoule.cli record -o runs/x t.py "
        "-m 'a b'",
    ),
    "script": (
        ["--overwrite", "bin/torchrun", "--standalone", "-m", "project.train", "--lr", "1"],
        "bin/torchrun --standalone -m opjoule.cli record --overwrite -m project.train --lr 1",
    ),
    "another": (
        ["accelerate", "launch", "t.py"],
        "accelerate launch -m opjoule.cli record SCRIPT ...",
    ),
}


@pytest.mark.parametrize("how", LAUNCHED)
def test_a_launcher_is_refused_with_what_to_type(how, refused):
    words, typed = LAUNCHED[how]
    assert refused("record", *words).strip().endswith(f"in each of them: {typed}")


@pytest.mark.slow
def test_what_it_says_to_type_for_a_launcher_records_every_rank(tmp_path, record):
    (tmp_path / "train.py").write_text("import sys\n" + MODEL + "assert sys.argv[1:] == ['a']\n")
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "train.py", "a"]
    refusal = record("-o", "x", *launcher, at=tmp_path)
    assert refusal.returncode == 2
    typed = shlex.split(refusal.stderr.split("of them: ")[1])
    done = command(*typed[1:], at=tmp_path)
    assert done.returncode == 0, done.stderr
    for rank in ("rank=00000", "rank=00001"):
        assert manifest(tmp_path / "x" / rank)["steps"] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no.py"], "SCRIPT 'no.py' does not exist"),
        (["."], "SCRIPT '.' is a directory"),
        (["-m", "no.such.module"], "no module named 'no.such.module'"),
        (["--steps", "0", "x.py"], "'0' is neither a positive number nor 'all'"),
        (["--statistics", "some", "x.py"], "'some' is not one of"),
        ([], "Missing argument 'SCRIPT'"),
    ],
)
def test_wrong_usage_is_one_line(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "x.py").write_text("")
    assert run(["record", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("opjoule: ") and says in err
