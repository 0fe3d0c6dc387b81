"""Launchers: programs that run a script in other processes, where this one sees nothing of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from .invocation import NAME

_MODULES = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch")
_SCRIPTS = ("torchrun", "accelerate", "accelerate-launch")
_AS_MODULE = ("-m", "--module")


def refuse(ctx: click.Context, script: str, args: tuple[str, ...], *, as_module: bool) -> None:
    """Refuse to run a launcher, and say what to type.

    Args:
        ctx: that of the command, with the options that were given.
        script: what is to be run.
        args: its arguments.
        as_module: it is named as for `python -m`.

    Raises:
        RecordError: it is a launcher.
    """
    name = script if as_module else Path(script).name
    if name not in (_MODULES if as_module else _SCRIPTS):
        return
    from ..schemas import RecordError

    started = ["python", "-m", script] if as_module else [script]
    started += ["launch"] if name == "accelerate" else []
    before, after = _parted(args) if "torch" in name else ([], [])
    recorder = ["-m", f"{NAME}.cli", "record", *_options(ctx)]
    words = [*started, *before, *recorder, *after]
    shown = " ".join(map(shlex.quote, words)) + ("" if after else " SCRIPT ...")
    raise RecordError(
        f"{name} runs the script in other processes, which are not recorded. Let it start the "
        f"recorder in each of them: {shown}"
    )


def _parted(args: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return torchrun's own options, and the script with its arguments; none if unclear."""
    from torch.distributed.run import get_args_parser

    try:
        found = get_args_parser().parse_args(list(args))
    except SystemExit:
        return [], []
    own = list(args[: len(args) - len(found.training_script_args) - 1])
    script = list(args[len(own) :])
    flag = _AS_MODULE[:1] if found.module else ()
    return [word for word in own if word not in _AS_MODULE], [*flag, *script]


def _options(ctx: click.Context) -> list[str]:
    """Return the options of `record` that were given, as words."""
    words: list[str] = []
    for param in ctx.command.params:
        name = param.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not isinstance(param, click.Option) or not given or name == "as_module":
            continue
        words.append(param.opts[0])
        if not param.is_flag:
            words.append(str(ctx.params[name]))
    return words
