"""The `opjoule` command and its one error boundary.

Exit codes: 0 fine; 1 a check that the user asked for failed; 2 wrong usage or a bad file; 130
interrupted; 141 the reader of our output went away. `opjoule record` hands on the code of the
script that it ran.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import shell_complete

from .cores import stay_on_one
from .terminal import say

VERBS = {
    "record": "record",
    "list": "listing",
    "info": "info",
    "count": "count",
    "coverage": "count",
    "memory": "memory",
    "rates": "rates",
    "energy": "energy",
    "sweep": "sweep",
    "compare": "compare",
    "table": "table",
    "breakeven": "breakeven",
    "conventions": "conventions",
    "check": "check",
    "roofline": "roofline",
    "report": "report",
    "config": "config",
    "machine": "machine",
    "demo": "demo",
}
"""Verb -> file of this package that holds the command of that name."""


_BARE: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What newer releases of click raise for a group without a verb; older ones print its help."""


class Verbs(click.Group):
    """A group whose commands are loaded when they are named, so that starting costs little."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which one uses them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command of a verb; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        found = getattr(importlib.import_module(f".{VERBS[cmd_name]}", __package__), cmd_name)
        return debuggable(found) if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; one that is not there is answered with the nearest."""
        if args and args[0] not in VERBS:
            from ..schemas.spelling import meant  # with all of schemas: not for a verb that is

            if near := meant(args[0], VERBS):
                ctx.fail(f"No such command {args[0]!r}: {near.strip()}")
        return super().resolve_command(ctx, args)


def debuggable(command: click.Command) -> click.Command:
    """Let a command, and those below it, take --debug, so that it may stand anywhere."""
    if all(param.name != "debug" for param in command.params):
        command.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                is_eager=True,  # known before another option is refused
                callback=_remember,
                help="Show the traceback of an error.",
            )
        )
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        debuggable(below)
    return command


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, dict):
        ctx.obj["debug"] = True


@click.group(
    cls=Verbs, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="opjoule", message="opjoule %(version)s")
def opjoule() -> None:
    """Record a PyTorch model's aten calls once; count and cost them offline.

    \b
      opjoule record train.py       run your script unchanged, write runs/train
      opjoule info runs/train       what was recorded
      opjoule count runs/train      FLOPs, bytes, SynOps, MACs and ACs by module
      opjoule energy compute runs/train

    Results go to stdout, talk to stderr. python -m opjoule.cli does the same. Shell completion:
    eval "$(_OPJOULE_COMPLETE=bash_source opjoule)" (or zsh_source, fish_source).
    """  # noqa: D301


debuggable(opjoule)


_HOSTS = ("record", "demo")
"""Verbs that run a program, which ends as it would by itself."""


def main() -> None:
    """Run the command line and leave with its exit code.

    A process that ends with its answer takes nothing apart: to look for cycles in what is loaded,
    and to let go of it piece by piece at the end, takes a sixth of the time of a small answer.
    """
    words = sys.argv[1:]
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb in _HOSTS or "--debug" in words:  # as profilers and debuggers expect it
        sys.exit(run(words))
    gc.set_threshold(_SELDOM, 20, 20)
    # To look for plugins of pydantic reads what every installed package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    stay_on_one(words)
    code = run(words)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # what could not be written was told
            stream.flush()
    os._exit(code)


_SELDOM = 400_000
"""Objects that are made between two looks for cycles."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code, with errors as one line on stderr.

    Args:
        arguments: the words after `opjoule`.
    """
    asked = {"debug": False}
    _take_any_character()
    try:
        if completion := os.environ.get("_OPJOULE_COMPLETE"):
            return shell_complete(opjoule, {}, "opjoule", "_OPJOULE_COMPLETE", completion)
        with opjoule.make_context("opjoule", list(arguments), obj=asked) as context:
            opjoule.invoke(context)
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except _BARE as error:
        click.echo(error.ctx.get_help(), err=True)
        return 2
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end: give it something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (click.Abort, KeyboardInterrupt):
        return told("interrupted", 130)
    except Exception as error:
        if asked["debug"]:
            traceback.print_exc()
        return told(_line(error), 2)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Polars, which is no Exception
            raise
        if asked["debug"]:
            traceback.print_exc()
        return told(_line(error), 2)


def told(message: str, code: int) -> int:
    """Say one line on stderr; return the code."""
    say(message)
    return code


def _take_any_character() -> None:
    """Let streams of another encoding (cp1252, ASCII) show what they have no character for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            if (stream.encoding or "").lower().replace("-", "") != "utf8":
                stream.reconfigure(errors="replace")


def _line(error: BaseException) -> str:
    """Return the one line that tells a user what an error means."""
    from ..schemas.errors import OpjouleError

    if isinstance(error, click.UsageError):
        verb = error.ctx.command_path if error.ctx else "opjoule"
        text = f"{error.format_message()} ({verb} --help tells more)"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OpjouleError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or 'input/output'}: {error.strerror or error}"
    else:
        text = (
            f"internal error, please report it: {type(error).__name__}: {error} "
            "(--debug shows where)"
        )
    return " ".join(text.split())
