"""A user's program, run as `python` would run it, and its way out as `python` would show it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

import click

_PACKAGE = Path(__file__).resolve().parents[1]
_OURS = tuple(f"{_PACKAGE / name}{os.sep}" for name in ("cli", "tracer"))
_OPERATOR = f"torch{os.sep}_ops.py"
_LEADING = (f"torch{os.sep}_compile.py", f"torch{os.sep}_dynamo{os.sep}eval_frame.py")


@dataclass(frozen=True)
class Program:
    """A script or module that is ready to run as `__main__`.

    Attributes:
        name: what to call its trace.
        file: its source file, absolute.
        argv0: what it finds in `sys.argv[0]`.
        path0: what it finds in `sys.path[0]`.
        spec: how it was found, for a module run with `-m`.
    """

    name: str
    file: str
    argv0: str
    path0: str
    spec: ModuleSpec | None = None

    def compiled(self) -> CodeType:
        """Return the program's code; its SyntaxError comes out."""
        with io.open_code(self.file) as source:
            return compile(source.read(), self.file, "exec", dont_inherit=True)

    def run(self, code: CodeType, arguments: tuple[str, ...]) -> None:
        """Run the program's code in this process; whatever it raises comes out."""
        module = ModuleType("__main__")
        names: dict[str, Any] = {"__file__": self.file, "__builtins__": __builtins__}
        if self.spec is None:
            names |= {"__loader__": SourceFileLoader("__main__", self.file), "__cached__": None}
        else:
            names |= {"__loader__": self.spec.loader, "__cached__": self.spec.cached}
            names |= {"__spec__": self.spec, "__package__": self.spec.parent}
        vars(module).update(names)
        sys.modules["__main__"] = module
        sys.argv[:] = [self.argv0, *arguments]
        if not sys.flags.safe_path:
            sys.path[0] = self.path0
        exec(code, vars(module))


def script(path: str) -> Program:
    """Return the program in a file.

    Raises:
        click.UsageError: there is no such file, or it is a directory.
    """
    file = Path(path)
    if file.is_dir():
        raise click.UsageError(f"SCRIPT {path!r} is a directory; name a file, or use -m MODULE")
    if not file.is_file():
        raise click.UsageError(f"SCRIPT {path!r} does not exist")
    return Program(
        name=file.stem,
        file=str(file.absolute()),
        argv0=path,
        path0=str(file.resolve().parent),
    )


def module(name: str) -> Program:
    """Return the program that `python -m name` would run.

    Raises:
        click.UsageError: there is no such module, or it is no Python source.
    """
    sys.path[0] = str(Path.cwd())
    spec = _spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = _spec(f"{name}.__main__")
        if spec is None:
            raise click.UsageError(f"package {name!r} has no __main__ to run")
    if spec is None:
        raise click.UsageError(f"no module named {name!r} (looked from {Path.cwd()} on)")
    if spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        raise click.UsageError(f"module {name!r} is not a Python source file")
    return Program(name=name, file=spec.origin, argv0=spec.origin, path0=str(Path.cwd()), spec=spec)


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None


def leave(error: BaseException) -> int:
    """Show how a program ended, as `python` shows it; return the exit code.

    A message of `sys.exit("...")` or a traceback goes to stderr, the traceback from the
    program's own first frame on and through `sys.excepthook`, which the program may have set.
    """
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        click.echo(str(error.code), err=True)
        return 1
    _clear(error, set())
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.excepthook(type(error), error, error.__traceback__)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _clear(error: BaseException | None, seen: set[int]) -> None:
    """Take our frames out of the tracebacks of an error and of those that led to it."""
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _without_ours(error.__traceback__)
        _clear(error.__cause__, seen)
        error = error.__context__


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without our frames, what led to them, and the operator they called."""
    kept: list[TracebackType] = []
    ours = False
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        ours = file.startswith(_OURS) or (ours and file.endswith(_OPERATOR))
        if not ours:
            kept.append(trace)
        while ours and kept and kept[-1].tb_frame.f_code.co_filename.endswith(_LEADING):
            kept.pop()
        trace = trace.tb_next
    whole: TracebackType | None = None
    for part in reversed(kept):
        whole = TracebackType(whole, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return whole
