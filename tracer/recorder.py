"""The public recorder: opens, follows and closes one recording."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..schemas import INCOMPLETE, Failure, Hidden, Manifest, RecordError
from ..schemas.several import texts
from . import current, environment, forks, inference, options
from .accumulation import Accumulation
from .attributes import attribute
from .batches import BatchDim
from .calls_of_modules import ModuleCalls
from .columns import NULL
from .descent import FIXED, OUTSIDE
from .eager import Eager
from .exports import Exports
from .fingerprints import Prints
from .hidden_work import GraphReplays
from .mode import Mode, leave, leave_own, without
from .modules import Modules
from .neurons import NeuronRule, Neurons
from .notices import Notices
from .optimizers import OptimizerSteps
from .outcome import begun, noted, outcome
from .parts import Parts, Static
from .recursion import Room
from .samples import within_a_sample
from .sequel import Sequel
from .session import Session
from .signals import Termination, held
from .steps import Ending, Steps
from .threads import Threads
from .writer import Writer, static_table

_PATIENCE_S = 5.0
"""So long the trace's end waits for another thread that is at work."""

Statistics = Literal["auto", "full", "synaptic", "none"]


class Recorder:
    """Records what a model does, as a context manager.

    Args:
        path: directory of the trace; it must not exist unless `overwrite`.
        model: the model, so that its tree is known beforehand and its paths start at its class.
            Without it every module that is called is entered when it is first seen.
        batch_dim: dimension of the batch in the model's inputs, whatever its modules tell; calls
            inside are compared with it. "auto": what the modules tell, else dimension 0 is guessed
            (1, if that is time). None: nothing is guessed.
        time_dim: dimension of time in them; None: what the modules tell.
        statistics: "full" measures every value, "synaptic" what spikes may meet, "none" nothing;
            "auto" is "full" on a CPU and "synaptic" where a CUDA device is used.
        memory: note when storages are let go, for peaks of memory.
        overwrite: replace a trace at `path` once the new one is whole.
        warmup: steps to let pass before recording.
        steps: stop after this many steps; None records until the context ends.
        neurons: what is to be known of neuron classes that no built-in adapter knows.
        seed: noted in the trace.
        command: command line noted in the trace; by default this process's.

    Attributes:
        path: where the trace is.
        done: the recording has ended.
        discarded: nothing was recorded, and nothing is left of it.
        late: what turned out once the recording had ended, in words.
        on_end: called when the recording ends before its context does, after `steps`; None: nobody.
        on_close: called with why, once SIGTERM or the end of the process has closed the trace.
        on_step: called with how many steps are recorded, as one ends that is not the last of them.

    A step ends at `step()`; if that is never called, at each optimizer step, and for inference
    at each new sample (a call of a root module that computes nothing from what an earlier one has
    computed; see `sample`).

    Raises:
        RecordError: the path is taken or cannot be written, an option has no meaning, or a
            recorder is entered twice.
    """

    def __init__(self, path: str | os.PathLike[str], *, model: nn.Module | None = None,
                 batch_dim: BatchDim = "auto", time_dim: int | None = None,
                 statistics: Statistics = "auto", memory: bool = False,
                 overwrite: bool = False, warmup: int = 0,
                 steps: int | None = None, neurons: Iterable[NeuronRule] = (),
                 seed: int | None = None,
                 command: str | Iterable[str] | None = None) -> None:  # fmt: skip
        options.check(statistics, model)
        self.path = self._path = options.path(path)
        self.done = False
        self.discarded = False
        self.late: list[str] = []
        self.on_end: Callable[[], None] | None = None
        self.on_close: Callable[[Failure], None] | None = None
        self.on_step: Callable[[int], None] | None = None
        self._model = model
        self._overwrite = overwrite
        self._warmup = options.number("warmup", warmup, least=0)
        self._limit = None if steps is None else options.number("steps", steps, least=1)
        self._seed = None if seed is None else options.number("seed", seed)
        given = sys.argv if command is None else texts(command)
        self._command = [options.text("command", word) for word in given]
        self._neurons = Neurons(neurons)
        self._dims = (
            options.dimension("batch_dim", batch_dim, "auto"),
            options.dimension("time_dim", time_dim, None),
        )
        self._statistics = statistics
        self._memory = memory
        self._entered = False
        self._labels: list[str] = []
        self._notices = Notices(self._path)
        self._stopped = False
        self._sequel: Sequel | None = None
        self._accumulation = Accumulation((), self._began_within)
        self._failed: Exception | None = None
        self._busy = False
        self._ours = True
        self._fork = forks.Fork(self)
        self._termination = Termination(self._terminate)

    def __enter__(self) -> Recorder:
        if self._entered:
            raise RecordError(f"the recorder of {self.path} was entered before. Make a new one.")
        self._entered = True
        rank, world = environment.rank()
        self._rank, self._world = rank or 0, world
        self._writer = Writer(
            self.path, overwrite=self._overwrite, rank=rank, run=environment.run()
        )
        self._revision = begun(environment.revision)
        try:
            self._open()
        except BaseException:
            self._writer.discard()
            with suppress(Exception):
                self._revision()
            raise
        return self

    def _open(self) -> None:
        level = self._statistics
        if level == "auto":
            level = "synaptic" if environment.on_gpu(self._model) else "full"
        session = self._session = Session(level, memory=self._memory)
        session.look, session.broke = self._look, self._broke
        self._threads = Threads()
        self._main = main = self._threads.main
        self._modules = Modules(self._neurons, self._mark)
        session.owner_of = self._modules.owner
        self._calls = ModuleCalls(
            session, self._modules, self._neurons, dims=self._dims, find_thread=self._threads.find,
            root_entered=self._root_entered, note=self._notices.note, broke=self._broke,
        )  # fmt: skip
        self._optimizers = OptimizerSteps(
            session, self._threads.find, self._optimizer_begins, self._optimizer_stepped,
            self._label_here, self._broke,
        )  # fmt: skip
        self._parts = Parts(session, self._writer, self._calls, self._labels, self._static)
        self._steps = Steps(
            session, warmup=self._warmup, limit=self._limit, start=self._start, finish=self._end,
            ended=self._step_ended, joins=(self._calls.rows.join, self._optimizers.join),
            note=self._notices.note,
        )  # fmt: skip
        self._calls.steps = self._steps
        self._calls.waiting = self._steps.waiting
        self._replays = GraphReplays(self._calls.hidden)
        self._exports = Exports(self._calls.hidden, self._aside)
        session.higher_order.hidden = self._calls.hidden
        self._started = environment.now()
        self._prints = Prints(self._model)
        if self._model is not None:
            self._modules.adopt(self._model)
        self._mode: Any = Mode(session, main)
        self._mode_on = False
        self._eager = Eager()
        self._room = Room()
        self._calls.install()
        self._optimizers.install()
        self._replays.install()
        self._exports.install()
        self._fork.install()
        self._termination.install()
        inference.follow(self)
        current.add(self)
        self._room.make()
        if not self._steps.waiting:
            self._start()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._leave(error)
        except Exception as failed:  # whatever it is: it does not take the error's place
            self._notices.unclosed(failed)
        finally:
            self._detach()
        if self._notices.broken is not None:
            self._session.values.close()
        self._notices.give(error)

    def step(self) -> None:
        """End a step: what follows belongs to the next one. Steps are then counted by hand only."""
        if self._counts():
            self._calls.decide(belongs=True)
        if self._counts():
            self._steps.said()

    @contextmanager
    def label(self, name: str) -> Iterator[None]:
        """Label the calls of this thread inside; the innermost label holds.

        Raises:
            RecordError: the label is no text.
        """
        name = options.text("label", name)
        if name not in self._labels:
            self._labels.append(name)
        thread = self._threads.find()
        if thread is None:  # nothing that it does is recorded
            yield
            return
        before, thread.label = thread.label, self._labels.index(name)
        try:
            yield
        finally:
            thread.label = before

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Record nothing inside."""
        was = self._session.passive
        self._session.passive = True
        try:
            yield
        finally:
            self._session.passive = was or self.done or self._failed is not None
            self._session.values.trust_nothing()

    @contextmanager
    def _aside(self) -> Iterator[bool]:
        """Record nothing inside, where no mode is seen; tell whether one was at work."""
        session, calls = self._session, self._calls
        was, off = session.passive, calls.off
        session.passive = calls.off = True
        try:
            with without(self._mode):
                yield not was
        finally:
            session.passive = was or self.done or self._failed is not None
            calls.off = off or self.done
            session.values.trust_nothing()

    @contextmanager
    def join(self) -> Iterator[None]:
        """Record the calling thread too, as long as the context lasts."""
        with self._session.lock:
            thread = self._threads.join()
        if thread is None:
            yield
            return
        self._session.shared = True
        thread.label = self._main.label
        mode: Any = Mode(self._session, thread)
        mode.__enter__()
        try:
            yield
        finally:
            leave(mode)  # a forked child has left it
            if not self.done:
                self._calls.drop_ended(thread)
            self._threads.part(thread)

    def spikes(self, tensor: torch.Tensor) -> torch.Tensor:
        """Declare that a tensor holds spikes, whatever its values are; returns it.

        It holds for its views too, until the tensor is written again.
        """
        try:
            self._session.values.declare(tensor)
        except RuntimeError:  # a tensor without strided elements
            pass
        return tensor

    def sample(self) -> None:
        """Begin a new sample: the next call of the model continues none."""
        self._calls.samples.said()

    def watch(self, watcher: Callable[..., None] | None) -> None:
        """Have a function called after each call that is recorded.

        Args:
            watcher: takes the call's seq, its module's number (negative outside every module), the
                op, its arguments, keyword arguments and result. What it raises ends the run of the
                op; what it dispatches is not recorded. None: nobody watches any more.
        """
        self._session.watch = watcher

    @property
    def hidden(self) -> list[Hidden]:
        """Work that was not seen, so far."""
        return noted(self._calls.hidden)

    def module_tree(self) -> list[tuple[int | None, str, type[nn.Module]]]:
        """Return (number of the parent, path, class) of the modules seen so far, by number."""
        return self._modules.tree()

    def note_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Enter the step that an optimizer would take with its present gradients; take none."""
        self._optimizers.note(optimizer)

    def snapshot(self, path: str | os.PathLike[str]) -> Path:
        """Write what was recorded so far as an unfinished trace of its own, and go on recording.

        Args:
            path: directory of the snapshot; it must not exist.

        Returns:
            Where the snapshot is.

        Raises:
            RecordError: the path is taken or cannot be written.
        """
        session = self._session
        if not self._ours:
            raise RecordError("a process forked from the one that records: no snapshot here.")
        with session.lock:
            was, session.passive = session.passive, True
            try:
                self._calls.settle(new=False if self._steps.over else None)
                self._calls.wait_no_more()
                self._parts.flush()
                writer = Writer(options.path(path), overwrite=False)
                writer.adopt(self._writer)
                self._parts.write_static(writer=writer)
                fields = {"status": "unfinished", "rows": writer.rows, "parts": writer.parts}
                return writer.finish(self._manifest(None, **fields, run=None))
            finally:
                session.passive = was

    def forked(self) -> None:
        """Note that a process was forked: what it does is not recorded."""
        if self._counts():
            forks.note(self._calls.hidden)

    def disown(self) -> None:
        """In a forked child: record nothing more, and write nothing."""
        session = self._session
        self._ours, self.done = False, True
        self._accumulation.remove()
        if self._sequel is not None:
            self._sequel.remove()
        session.lock = threading.RLock()  # another thread of the parent may hold the old one
        self._detach()
        leave_own(session)  # a joined thread has forked

    def _label_here(self) -> str | None:
        thread = self._threads.find()
        return None if thread is None or thread.label == NULL else self._labels[thread.label]

    def _mark(self, tensor: torch.Tensor, kind: int) -> None:
        try:
            storage = self._session.values.storage_of(tensor)
        except Exception:  # a lazy or sparse parameter has no storage to mark
            return
        storage.kind = kind
        if storage.data == OUTSIDE:
            storage.data = FIXED

    def _start(self, ending: Ending | None = None) -> None:
        """Begin to record, after a warm-up that ended so."""
        if ending is not None:
            self._session.claims.begun = torch._C._autograd._get_sequence_nr()
            if ending.learns:
                self._accumulation = Accumulation(self._modules.parameters(), self._began_within)
        self._calls.waiting = False
        self._session.values.trust_nothing()
        self._eager.start()
        self._mode.__enter__()
        self._mode_on = True
        self._session.passive = False

    def _counts(self) -> bool:
        """Tell whether what happens now belongs to a step: no suspended work does."""
        passive = self._session.passive and not self._steps.waiting
        return not (self.done or self._failed or passive)

    def _root_entered(self, module: nn.Module, given: list[torch.Tensor], new: bool | None) -> None:
        self._optimizers.drop_ended(self._main)
        training = torch.is_grad_enabled() and attribute(module, "training", True)
        self._steps.root_entered(id(module), inference=not training)
        if new is not None and not self.done:
            self._steps.root_settled(new_sample=new)
        if not self._session.passive:
            self._prints.root_entered(module, given)

    def _optimizer_begins(self, optimizer: int) -> None:
        if self._counts():
            self._calls.decide(belongs=self._steps.learnt)
        if self._counts():
            self._steps.optimizer_begins(optimizer)

    def _optimizer_stepped(self, optimizer: int, in_backward: bool) -> None:
        if self._steps.passing or self._counts():
            self._steps.optimizer_stepped(optimizer, in_backward=in_backward)

    def _step_ended(self, recorded: int) -> None:
        if self.on_step is not None:
            self.on_step(recorded)

    def _end(self, ending: Ending) -> None:
        """End the recording after its last step."""
        compiles = self._modules.has_compiled  # with hooks set it would be compiled twice
        if ending.learns:
            self._accumulation.remove()
        if ending.learns and not compiles:
            self._accumulation = Accumulation(self._modules.parameters(), self._ended_within)
        if ending.within and not compiles:
            self._sequel = Sequel(self._calls.samples, self._neurons, self._goes_on)
        self._finish(None)
        self._detach()
        if self._sequel is not None and self._ours:
            self._session.roots += 1  # the call that comes
            self._sequel.install()
        if self.on_end is not None and self._notices.broken is None:
            self.on_end()

    def _began_within(self, optimizer: str) -> None:
        """An optimizer steps with gradients of the warm-up."""
        self._notices.note(
            f"the warm-up ended before {optimizer} stepped with its gradients, so that the first "
            "step is not whole: call recorder.step() after each step of it, or let more steps pass"
        )

    def _ended_within(self, optimizer: str) -> None:
        """An optimizer steps with gradients of the last step, which has ended without it."""
        self.late.append(
            f"the recording ended before {optimizer} stepped with the gradients of the last step: "
            "call recorder.step() after each step of it, or record more steps"
        )

    def _goes_on(self, module: nn.Module) -> None:
        """A call that comes after the last step goes on with its sample."""
        self.late.append(within_a_sample("the last step", module))

    def _look(self) -> None:
        """Write a part that is full, save one that is due, while the model runs.

        What the calls of the part refer to goes first: should the process be killed, all that was
        flushed can be read. What goes wrong is told at the end, not to the model.
        """
        if self.done or self._busy:
            return
        self._busy = True
        try:
            if self._parts.full and (self._parts.too_full or not self._calls.leading):
                self._calls.settle()
                self._calls.end_waiting()
                if not self.done:
                    with held():
                        self._parts.write_static("signatures", "modules")
                        self._parts.flush()
                    self._stopped = self._session.device_failed is not None
            elif self._parts.due:
                with held():
                    self._parts.save()
            self._parts.look_again()
        except RecordError as error:
            self._notices.broken = error
        finally:
            self._busy = False
        if self._stopped or self._notices.broken is not None:
            self._session.passive = True
            self.done = True

    def _broke(self, error: Exception) -> None:
        """End the recording after an exception of its own; what there is is kept for the end."""
        self._session.passive = True
        self._failed = self._failed or error

    def _leave(self, error: BaseException | None) -> None:
        """End the recording as its context ends."""
        self._accumulation.remove()
        if self._sequel is not None:
            self._sequel.remove()
            self._session.values.close()
        self._notices.warnings += self.late
        if not self.done:
            self._calls.drop_ended(self._main)
            self._calls.settle()
            self._calls.end_waiting()
        if not self.done or self._stopped:
            clean = error is None or (isinstance(error, SystemExit) and not error.code)
            self._finish(self._failed or (None if clean else error))
            if self._failed is not None:
                self._notices.ended_early(self._failed, self.path)

    def _terminate(self, failure: Failure) -> None:
        """Close the trace, for the process is to end; the script may have its own way."""
        locked = self._session.lock.acquire(timeout=_PATIENCE_S)
        try:
            open_still = not self.done or self._stopped
            if open_still:
                self._finish(failure)
        finally:
            if locked:
                self._session.lock.release()
            self._detach()
        if open_still and self.on_close is not None:
            with suppress(Exception):  # the stream that it writes to may be at work
                self.on_close(failure)

    def _finish(self, error: BaseException | Failure | None) -> None:
        """Write the rest and the manifest."""
        session = self._session
        session.passive = True
        self.done, self._stopped = True, False
        if not session.seq and (error is not None or self._empty):
            self._discard(error)
            return
        try:
            with held():
                self._steps.close()
                self._parts.write_static()
                self._parts.flush(last=True)
                missing = self._parts.missing(self._threads.all())
                incomplete = Failure(type=INCOMPLETE, message=missing) if missing else None
                manifest = self._manifest(error or session.device_failed or incomplete)
                self.path = self._writer.finish(manifest)
        except Exception as refused:
            self._notices.unclosed(refused)
            return
        finally:
            if self._sequel is None:
                session.values.close()
        if self._rank or self._world > 1:
            self.path = self.path.parent
        texts = _in_words([*manifest.hidden, *manifest.inexact])
        self._notices.warnings += [*([missing] if missing else []), *texts, *self._told()]

    @property
    def nothing(self) -> str:
        """Why nothing was recorded, in words."""
        calls = self._session.roots
        if self._steps.waiting and calls:
            return (
                f"the warm-up had not ended when the recording did (calls of the model: {calls}): "
                "record without one, or call recorder.step() at the end of each of its steps"
            )
        return "no PyTorch operation ran in this process after the warm-up"

    @property
    def _empty(self) -> bool:
        """Not even a module was called; a rank that did nothing is a part of the others' trace."""
        return not self._calls.rows.total and self._world <= 1 and not self._rank

    def _discard(self, error: BaseException | Failure | None) -> None:
        """Leave nothing of a recording in which no op ran: it would be in the next one's way."""
        self._writer.discard()
        self.discarded = True
        self._session.values.close()
        if error is None:
            nothing = f"{self.nothing}: there is no trace {self._path}"
            self._notices.warnings += [nothing, *_in_words(self.hidden), *self._told()]

    def _told(self) -> list[str]:
        if self._session.claims.cut:
            self._notices.note(
                "the warm-up ended between the forward passes of one backward pass, so that the "
                "first step is not whole: call recorder.step() at the end of each of its steps"
            )
        return self._notices.told(self._calls, self._session.device_note)

    def _static(self) -> dict[str, Static]:
        signatures = self._session.signatures
        rows = {"modules": self._modules.rows, "optimizer_steps": self._optimizers.rows}
        gathered = {name: (len(r), partial(static_table, name, r)) for name, r in rows.items()}
        return {"signatures": (len(signatures), signatures.table), **gathered}

    def _manifest(self, error: BaseException | Failure | None, **fields: Any) -> Manifest:
        facts: dict[str, Any] = {
            "rows": self._writer.rows,
            "parts": self._writer.parts,
            "rank": self._rank,
            "world_size": self._world,
            "run": self._writer.run,
            "command": self._command,
            "started": self._started,
            "seed": self._seed,
            "fingerprint": self._prints.told().to_dict(),
            "steps": self._steps.count(),
        }
        return outcome(
            self._session, self._calls.hidden, self._told(), error, self._revision,
            **(facts | fields),
        )  # fmt: skip

    def _detach(self) -> None:
        """Take mode and hooks away; in whatever state the recording ended."""
        self._session.passive = True
        self._calls.off = True
        self._calls.remove()
        self._replays.remove()
        self._exports.remove()
        self._fork.remove()
        self._termination.remove()
        inference.let_go(self)
        current.remove(self)
        self._room.give_back()
        if not self._main.optimizing:  # they cannot while a hook of theirs runs
            self._optimizers.remove()
        if self._mode_on and leave(self._mode):
            self._mode_on = False
        self._eager.stop()
        if self._ours:  # the pipe from git is not a forked child's to read
            with suppress(Exception):
                self._revision()  # whatever came in between, git has been waited for


def _in_words(calls: list[Hidden]) -> list[str]:
    return [f"{each.what}: {each.why} ({each.calls} calls)" for each in calls]
