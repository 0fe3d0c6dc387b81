"""Python processes that are forked from one that has loaded PyTorch, Polars and opjoule already.

A new interpreter needs seconds of CPU to load them, a fork milliseconds. What is forked is a
process of its own: its exit code, signals, streams, working directory and `__main__` are as if
`python WORDS` had been started; but more modules are loaded. What is tested of loading, of an
environment variable or of the interpreter itself needs `subprocess`.

`python warm.py` serves: a request a line on stdin, an answer a line on stdout, as JSON.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOADED = (
    "torch torch._dynamo torch.nn.utils.prune polars pyarrow.parquet pyarrow.compute numpy.ma"
    " rich.console rich.table rich.text spikingjelly.activation_based.functional"
    " spikingjelly.activation_based.layer spikingjelly.activation_based.neuron opjoule"
    " opjoule.tracer opjoule.op_counter opjoule.analyzers opjoule.analyzers.energy"
    " opjoule.analyzers.comparing opjoule.analyzers.checking opjoule.analyzers.counting.rates"
    " opjoule.cli.main opjoule.cli.record opjoule.cli.count opjoule.cli.energy opjoule.cli.info"
    " opjoule.cli.tables opjoule.cli.compare opjoule.cli.sweep"
).split()
"""What is loaded once. Nothing of it may compute before the fork: threads do not survive one."""


def load() -> None:
    """Load what there is of LOADED; what is not installed is left to who asks for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOADED:
            with contextlib.suppress(ImportError):
                __import__(name)


class Server:
    """A process that forks others. It has to be made before anything computes in this one.

    Args:
        forked: make it of this process, which has to have called `load`; else of a new one.
    """

    def __init__(self, *, forked: bool = False) -> None:
        self._process = None
        if not forked:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._to, self._from = self._process.stdin, self._process.stdout
            return
        ours, theirs = os.pipe(), os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(ours[1])
            os.close(theirs[0])
            try:
                serve(os.fdopen(ours[0]), os.fdopen(theirs[1], "w"))
            finally:
                os._exit(0)
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = os.fdopen(ours[1], "w"), os.fdopen(theirs[0])

    def run(
        self,
        words: Sequence[str],
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        terminal: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Do what `python WORDS` does; return its code and what it said.

        Args:
            words: a file and its arguments, or what follows `-c` or `-m`.
            cwd: its working directory; by default this one.
            env: its environment; by default this one.
            timeout: seconds.
            terminal: the device that is its stdin and stdout; by default no terminal is.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was killed.
        """
        with tempfile.TemporaryDirectory() as said:
            out, err = Path(said, "out"), Path(said, "err")
            request = {
                "words": [str(word) for word in words],
                "cwd": str(cwd or Path.cwd()),
                "env": dict(os.environ if env is None else env),
                "in": terminal or os.devnull,
                "out": terminal or str(out),
                "err": str(err),
                "timeout": timeout,
            }
            print(json.dumps(request), file=self._to, flush=True)
            code = json.loads(self._from.readline())
            if code is None:
                raise subprocess.TimeoutExpired(list(words), timeout)
            # As `text=True` reads: each kind of end of line is one.
            return subprocess.CompletedProcess(
                [sys.executable, *words], code, "" if terminal else out.read_text(), err.read_text()
            )

    def close(self) -> None:
        """End it."""
        self._to.close()
        self._from.close()
        if self._process:
            self._process.wait(timeout=60)
        else:
            os.waitpid(self._child, 0)


def serve(requests: Any, answers: Any) -> None:
    """Fork a process for each request, wait for it, and answer with its code (null: too late)."""
    for line in iter(requests.readline, ""):
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        late = threading.Event()
        timer = threading.Timer(request["timeout"], _kill, (child, late))
        timer.start()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        timer.cancel()
        timer.join()
        print(json.dumps(None if late.is_set() else code), file=answers, flush=True)


def _kill(child: int, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, and leave as Python leaves."""
    for number, file in enumerate((request["in"], request["out"], request["err"])):
        handle = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)
    os.closerange(3, 256)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        stream = io.TextIOWrapper(
            open(number, "wb", closefd=False),
            encoding="utf-8", errors=errors, line_buffering=number == 2,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    atexit._clear()
    os._exit(_left(request["words"]))


def _left(words: list[str]) -> int:
    """Run `python WORDS` here; return the code to leave with."""
    code = 0
    try:
        _main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        code = 1
        _tell(error)
        if isinstance(error, KeyboardInterrupt):
            code = -signal.SIGINT
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code & 0xFF


def _tell(error: BaseException) -> None:
    """Show an error that nobody caught, from the program's own frames on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _main(words: list[str]) -> None:
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], str(Path.cwd())
        runpy._run_module_as_main(words[1])
        return
    if words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        text, name = words[1], "<string>"
    else:
        sys.argv, name = list(words), words[0]
        sys.path[0] = str(Path(name).resolve().parent)
        text = Path(name).read_text()
        main.__file__ = name
    exec(compile(text, name, "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    load()
    serve(sys.stdin, sys.stdout)
