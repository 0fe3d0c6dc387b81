"""The error boundary: one line, the right exit code, a traceback only on request."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from opjoule import __version__
from opjoule.cli.main import VERBS, Verbs, run
from opjoule.schemas import TraceError


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"opjoule {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert run([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: opjoule {verb}")


@pytest.fixture
def failing(monkeypatch):
    """Put a verb `fail` into the group that raises what a test wants."""

    def put(error: BaseException) -> None:
        @click.command()
        def fail() -> None:
            raise error

        monkeypatch.setattr(Verbs, "get_command", lambda self, ctx, name: fail)

    return put


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (TraceError("runs/a has\nno manifest"), 2, "opjoule: runs/a has\\nno manifest\n"),
        (OSError(28, "No space left on device", "runs/a"), 2, "opjoule: runs/a: No space left"),
        (KeyboardInterrupt(), 130, "opjoule: interrupted\n"),
        (click.exceptions.Exit(1), 1, ""),
        (KeyError("x"), 2, "opjoule: internal error, please report it: KeyError: 'x'"),
    ],
)
def test_an_error_is_one_line(failing, error, code, says, capsys):
    failing(error)
    assert run(["fail"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip("\n").count("\n") == 0
    assert err.lstrip("\n").startswith(says)


def test_debug_shows_where(failing, capsys):
    failing(TraceError("runs/a has no manifest"))
    assert run(["--debug", "fail"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("opjoule: runs/a has no manifest\n")


LEAVING = """
import atexit, sys
from opjoule.cli import main as entry
atexit.register(print, "left", file=sys.stderr)
sys.argv[1:] = {words}
entry()
"""


@pytest.mark.parametrize(
    ("words", "code", "taken_apart"),
    [
        (["config", "show", "lemaire"], 0, False),
        (["config", "show", "nothing"], 2, False),
        (["config", "show", "lemaire", "--debug"], 0, True),
        (["record", "script.py"], 3, True),
    ],
)
def test_a_process_that_ends_with_its_answer_takes_nothing_apart(
    words, code, taken_apart, tmp_path
):
    """All is written and the code is right; who runs a program, or debugs, ends as Python does."""
    (tmp_path / "script.py").write_text("raise SystemExit(3)")
    done = subprocess.run(
        [sys.executable, "-c", LEAVING.format(words=words)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == code
    assert ("left" in done.stderr) == taken_apart
    if words[0] == "config" and not code:
        assert done.stdout.count("\n") > 30
    else:
        assert "opjoule: " in done.stderr


@pytest.mark.parametrize("words", [["count"], ["energy", "lemaire"], ["config", "show"]])
def test_debug_may_stand_after_the_verb(words, monkeypatch, capsys):
    def fail(*_, **__):
        raise TraceError("runs/a has no manifest")

    monkeypatch.setattr("opjoule.analyzers.open_trace", fail)
    monkeypatch.setattr("opjoule.schemas.costs.load_config", fail)
    target = "lemaire" if words[0] == "config" else "runs/a"
    for line in ([*words, "--debug", target], [*words, target, "--debug"]):
        assert run(line) == 2
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert err.endswith("opjoule: runs/a has no manifest\n")
    assert run([*words, target]) == 2
    assert capsys.readouterr().err == "opjoule: runs/a has no manifest\n"


def test_debug_after_a_script_is_the_scripts(tmp_path, monkeypatch):
    """`opjoule record train.py --debug` hands the flag on."""
    pytest.importorskip("torch")
    script = tmp_path / "train.py"
    script.write_text("import sys; sys.exit(len(sys.argv) + 40 * ('--debug' in sys.argv))")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "opjoule.cli", "record", "train.py", "--debug"], capture_output=True
    )
    assert done.returncode == 42


def test_python_runs_the_package():
    """What README and help name for a shell that does not find `opjoule`."""
    command = [sys.executable, "-m", "opjoule.cli", "--version"]
    assert subprocess.check_output(command, text=True) == f"opjoule {__version__}\n"


@pytest.mark.parametrize("words", [[], ["energy"], ["config"]], ids=" ".join)
def test_without_a_verb_there_is_help(words, capsys):
    assert run([*words, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", help_text)
    assert err.count("\n") > 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cuont"], "No such command 'cuont': did you mean count?"),
        (["xyzzy"], "No such command 'xyzzy'"),
        (["energy", "lemare"], "lemare"),
        (["count"], "Missing argument 'TRACE'"),
        (["count", "--frmat", "x", "t"], "No such option '--frmat'"),
        (["--nonsense"], "No such option '--nonsense'"),
    ],
)
def test_wrong_usage_is_one_line(words, says, capsys):
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert says in err and "--help tells more" in err


def test_a_reader_that_leaves_is_no_error():
    """`opjoule ... | true`: no traceback, and the code of a program that SIGPIPE ended."""
    script = (
        f"{sys.executable} -m opjoule.cli config schema lemaire | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout in ("141\n", "0\n")  # 0: all was in the pipe before the reader left
    assert done.stderr == ""


def completed(words: str, monkeypatch, capsys) -> list[str]:
    """Return what bash is told to offer for a command line whose last word is unfinished."""
    monkeypatch.setenv("_OPJOULE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    run([])
    return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("opjoule co", ["count", "coverage", "compare", "conventions", "config"]),
        ("opjoule count --by st", ["stage", "step"]),
        ("opjoule energy le", ["lemaire"]),
        ("opjoule compare a b --energy sp", ["spikesim"]),
        ("opjoule compare a b --fai", ["--fail-on"]),
    ],
)
def test_shells_complete(words, offered, monkeypatch, capsys):
    assert completed(words, monkeypatch, capsys) == offered


def test_completion_scripts_are_printed(monkeypatch, capsys):
    for shell in ("bash", "zsh", "fish"):
        monkeypatch.setenv("_OPJOULE_COMPLETE", f"{shell}_source")
        assert run([]) == 0
        assert "_OPJOULE_COMPLETE" in capsys.readouterr().out


OFFLINE = (["info"], ["count"], ["coverage"], ["compare"], ["sweep"], ["energy", "compute"])


@pytest.mark.parametrize("verb", OFFLINE, ids=" ".join)
def test_every_offline_verb_filters_and_answers_in_every_format(verb, capsys):
    assert run([*verb, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in ("--where", "--format [table|json|csv|markdown|latex|parquet", "-o, --output"):
        assert option in text


def test_help_needs_nothing_heavy():
    """Every `--help` starts without PyTorch, Polars, Arrow and rich."""
    code = (
        "import sys; from opjoule.cli.main import VERBS, run\n"
        "for verb in VERBS: run([verb, '--help'])\n"
        "print(sorted({'torch', 'polars', 'pyarrow', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
