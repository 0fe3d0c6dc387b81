"""`opjoule record`: a user's script, unchanged, under the recorder."""

from __future__ import annotations

import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import bytes_text, count_text, number_text
from . import invocation, launchers, program
from .terminal import is_terminal, say

if TYPE_CHECKING:
    from ..schemas import Failure, Hidden
    from ..tracer import Recorder


@dataclass(frozen=True)
class Words:
    """What is said around a recording, as the shell that started it understands it.

    Attributes:
        place: the trace's directory, quoted.
        command: what stands for `opjoule`.
        notice: what to say once the recording has begun, if anything.
    """

    place: str
    command: str
    notice: str | None


DEFAULT_STEPS = 20
"""Steps that are recorded when the user names no number."""


def step_count(text: str | None) -> int | None:
    """Return the number of steps that a text names; None for "all".

    Raises:
        click.UsageError: it is neither a positive number nor "all".
    """
    if text is None:
        return DEFAULT_STEPS
    if text == "all":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise click.UsageError(f"--steps {text!r} is neither a positive number nor 'all'")


@click.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Run a script unchanged and record what its model does.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory of the trace.  [default: runs/NAME-OF-THE-SCRIPT]",
)
@click.option("-m", "as_module", is_flag=True, help="SCRIPT is a module, as for python -m.")
@click.option(
    "--steps",
    metavar="N|all",
    help=f"Optimizer steps (or root calls) to record.  [default: {DEFAULT_STEPS}]",
)
@click.option(
    "--warmup",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Steps to let pass before recording.",
)
@click.option(
    "--batch-dim",
    type=int,
    metavar="DIM",
    help="Dimension of the model's inputs that is the batch.  [default: by its modules, else 0]",
)
@click.option(
    "--time-dim",
    type=int,
    metavar="DIM",
    help="Dimension of the model's inputs that is time, if one is.",
)
@click.option(
    "--statistics",
    type=click.Choice(["auto", "full", "synaptic", "none"]),
    default="auto",
    show_default=True,
    help="Which values to measure.",
)
@click.option("--memory", is_flag=True, help="Note when tensors are let go: opjoule memory.")
@click.option(
    "--device",
    metavar="DEVICE",
    help="Run the script there, whatever it asks for; meta: without data, nothing is allocated.",
)
@click.option("--overwrite", is_flag=True, help="Replace a trace that stands there already.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def record(ctx: click.Context, /, script: str, args: tuple[str, ...], **options: Any) -> None:
    """Run SCRIPT with ARGS as python would, and record what its model does.

    The script needs no change. After the recorded steps it goes on at full speed. Its exit code
    and traceback are its own.

    \b
      opjoule record train.py --epochs 1
      opjoule record -o runs/base --steps 5 -m project.train
    """  # noqa: D301
    as_module = options.pop("as_module")
    launchers.refuse(ctx, script, args, as_module=as_module)
    found = program.module(script) if as_module else program.script(script)
    output = options.pop("output") or Path("runs") / found.name
    steps = options.pop("steps")
    device = options.pop("device")
    if options["batch_dim"] is None:
        del options["batch_dim"]
    limit = step_count(steps)
    command = ["python", *(["-m"] if found.spec else []), script, *args]
    notice = f"recording the first {limit} steps (--steps all records every one)"
    words = Words(
        place=shlex.quote(str(output)),
        command=invocation.command(),
        notice=notice if steps is None else None,
    )
    # Absolute, and the words made now: the script may go to another directory.
    recorder = _recorder(output.absolute(), command=command, steps=limit, **options)
    if limit is not None and is_terminal(sys.stderr):
        recorder.on_step = progress(limit)
    from ..schemas import RecordError

    try:
        status = _run(found, args, recorder, words, _placed(device))
    except RecordError as error:
        raise RecordError(f"{error}{_misplaced(ctx, script, args)}") from error
    ctx.exit(status)


def progress(limit: int, every_s: float = 5.0) -> Callable[[int], None]:
    """Return what says how many steps are recorded: a line now and then, between the script's own.

    Args:
        limit: how many are to be recorded.
        every_s: seconds from one line to the next.
    """
    said = time.monotonic()

    def tell(recorded: int) -> None:
        nonlocal said
        if time.monotonic() - said >= every_s:
            said = time.monotonic()
            with suppress(OSError, ValueError):  # the script may have closed the stream
                say(f"recorded {recorded} of {limit} steps")

    return tell


def _misplaced(ctx: click.Context, script: str, args: tuple[str, ...]) -> str:
    """Return where options of ours belong that the script gets; "" if it gets none."""
    ours = {name for param in ctx.command.params for name in param.opts if name[0] == "-"}
    for word in args:
        if (name := word.partition("=")[0]) in ours:
            return f" {name} after {script} is the script's: options of record go before {script}."
    return ""


def _placed(device: str | None) -> AbstractContextManager[object]:
    """Return the context in which everything is on a device.

    Raises:
        RecordError: there is no such device.
    """
    if device is None:
        return nullcontext()
    from ..tracer.placement import Placed

    placed: AbstractContextManager[object] = Placed(device)
    return placed


def _recorder(path: Path, **options: Any) -> Recorder:
    from ..tracer import Recorder, RecordingWarning

    # What was not seen or not exact is told at the end, in our own words.
    warnings.filterwarnings("ignore", category=RecordingWarning)
    return Recorder(path, model=None, **options)


def _run(found: program.Program, args: tuple[str, ...], recorder: Recorder, words: Words,
         placed: AbstractContextManager[object]) -> int:  # fmt: skip
    """Run the program under the recorder; return the exit code to leave with.

    Args:
        found: the program.
        args: its arguments.
        recorder: not entered yet.
        words: what is said around it.
        placed: the context that says where it runs.
    """
    try:
        code = found.compiled()
    except SyntaxError as error:
        return program.leave(error)
    ended: BaseException | None = None
    lost: BaseException | None = None
    told = False

    def tell_at_once() -> None:
        nonlocal told
        told = True
        _tell(recorder, words, None)

    def tell_of_the_end(failure: Failure) -> None:
        nonlocal told
        told = True
        _tell(recorder, words, failure.type)

    recorder.on_end, recorder.on_close = tell_at_once, tell_of_the_end
    try:
        with recorder:
            if words.notice is not None:
                say(words.notice)
            try:
                with placed:
                    found.run(code, args)
            except BaseException as error:
                ended = error
                if not isinstance(error, SystemExit) or error.code:
                    raise
    except BaseException as error:
        if ended is None:
            raise
        lost = error if error is not ended else None
    status = program.leave(ended) if ended is not None else 0
    if ended is not None and "meta tensor" in str(ended):
        say("on the meta device tensors have no elements: leave out what reads them, as .item()")
    if lost is not None:
        say(f"the trace could not be written: {lost}")
    elif not told:
        _tell(recorder, words, _end_of(ended) if ended is not None and status else None)
    for text in recorder.late:
        say(text)
    return status


def _end_of(error: BaseException) -> str:
    """Return what a script ended with, in words."""
    return type(error).__name__ + (f" {error}" if isinstance(error, SystemExit) else "")


def _tell(recorder: Recorder, words: Words, ended: str | None) -> None:
    """Say what was recorded and what to type next.

    Args:
        recorder: it has ended.
        words: what is said around it.
        ended: what ended the script too early; None: nothing.
    """
    if recorder.discarded:
        nothing = (
            recorder.nothing
            if ended is None
            else f"the script ended with {ended} before any PyTorch operation was recorded"
        )
        if ended is None:
            _tell_unseen(recorder.hidden)
        return say(f"{nothing}: there is no trace")
    manifest = _manifest(Path(recorder.path))
    path, typed = words.place, words.command
    if manifest is None:
        return say(f"{path} holds no finished trace")
    rows = manifest.rows.get("calls", 0)
    size = bytes_text(sum(part.bytes for part in manifest.parts))
    calls = f"{count_text(rows)} {'call' if rows == 1 else 'calls'}"
    what = f"{calls} in {number_text(manifest.steps, 'step')}, {size}"
    if ended is not None:
        kept = Path(recorder.path).resolve() != Path(path).resolve()  # what was to be overwritten
        left = Path(path).parent / Path(recorder.path).name if kept else path
        say(f"the script ended with {ended}: the trace {left} is aborted ({what})")
        if kept:
            say(f"{path} is still what it was before")
        return say(f"next: {typed} count --partial {left}")
    if not manifest.rows.get("calls"):
        return say(f"{path} is empty: no PyTorch operation ran in this process after the warm-up")
    _tell_unseen(manifest.hidden)
    for inexact in manifest.inexact:
        say(f"may not be bitwise identical: {inexact.what}: {inexact.why}")
    for note in manifest.notes:
        say(f"note: {note}")
    say(f"recorded {what}, to {path}")
    say(f"next: {typed} count {path}")


def _tell_unseen(hidden: Iterable[Hidden]) -> None:
    """Say what was not seen."""
    for each in hidden:
        say(f"not seen: {each.what}: {each.why} ({number_text(each.calls, 'call')})")


def _manifest(path: Path) -> Any:
    """Return the manifest that this process wrote; None if there is none."""
    from ..schemas import MANIFEST_NAME, Manifest

    ranks = sorted(path.glob(f"rank=*/{MANIFEST_NAME}"))
    file = next(iter(ranks), path / MANIFEST_NAME)
    return Manifest.read(json.loads(file.read_bytes())) if file.is_file() else None
