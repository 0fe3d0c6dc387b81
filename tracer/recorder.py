"""The public recorder: opens, follows and closes one recording."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from ..schemas import Fingerprint, Manifest, RecordError
from . import current, environment, inference
from .attributes import attribute
from .batches import BatchDim
from .calls_of_modules import ModuleCalls
from .columns import NULL
from .descent import FIXED, OUTSIDE
from .eager import Eager
from .fingerprints import copies, fingerprint, state_of
from .flush import flush
from .hidden_work import GraphReplays
from .mode import Mode
from .modules import Modules
from .neurons import NeuronRule, Neurons
from .optimizers import OptimizerSteps
from .outcome import outcome
from .recursion import Room
from .session import Session
from .steps import Steps
from .threads import Thread
from .writer import Writer, static_table

Statistics = Literal["auto", "full", "synaptic", "none"]


class RecordingWarning(UserWarning):
    """Something about a recording that its reader has to know."""


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
        overwrite: replace a trace at `path` once the new one is whole.
        warmup: steps to let pass before recording.
        steps: stop after this many steps; None records until the context ends.
        neurons: what is to be known of neuron classes that no built-in adapter knows.
        seed: noted in the trace.
        command: command line noted in the trace; by default this process's.

    Attributes:
        path: where the trace is.
        done: the recording has ended.
        discarded: it failed before any call, and left nothing.
        on_end: called when the recording ends before its context does, after `steps`; None: nobody.

    A step ends at `step()`; if that is never called, at each optimizer step, and for inference
    at each new sample (a call of a root module that computes nothing from what an earlier one has
    computed; see `sample`).

    Raises:
        RecordError: the path is taken or cannot be written, an option has no meaning, or a
            recorder is entered twice.
    """

    def __init__(self, path: str | os.PathLike[str], *, model: nn.Module | None = None,
                 batch_dim: BatchDim = "auto", time_dim: int | None = None,
                 statistics: Statistics = "auto", overwrite: bool = False, warmup: int = 0,
                 steps: int | None = None, neurons: Iterable[NeuronRule] = (),
                 seed: int | None = None, command: list[str] | None = None) -> None:  # fmt: skip
        if statistics not in ("auto", "full", "synaptic", "none"):
            raise RecordError(f"statistics={statistics!r} is none of auto, full, synaptic, none.")
        if warmup < 0 or (steps is not None and steps < 1):
            raise RecordError("warmup must be at least 0 and steps at least 1.")
        if model is not None and not isinstance(model, nn.Module):
            raise RecordError(f"the model is a {type(model).__name__}, not a torch.nn.Module.")
        for name, dim in (("batch_dim", batch_dim), ("time_dim", time_dim)):
            if not isinstance(dim, int | None) and (name, dim) != ("batch_dim", "auto"):
                raise RecordError(f"{name}={dim!r} is not the number of a dimension.")
        self.path = Path(path)
        self.done = False
        self.discarded = False
        self.on_end: Callable[[], None] | None = None
        self._model = model
        self._overwrite = overwrite
        self._warmup = warmup
        self._limit = steps
        self._seed = seed
        self._command = list(sys.argv) if command is None else command
        self._neurons = Neurons(neurons)
        self._dims = (batch_dim, time_dim)
        self._statistics = statistics
        self._entered = False
        self._labels: list[str] = []
        self._notes: list[str] = []
        self._prints = Fingerprint()
        self._seen = False
        self._given: list[torch.Tensor] | None = None
        self._stopped = False
        self._broken: RecordError | None = None

    def __enter__(self) -> Recorder:
        if self._entered:
            raise RecordError(f"the recorder of {self.path} was entered before. Make a new one.")
        self._entered = True
        rank, world = environment.rank()
        self._rank, self._world = rank or 0, world
        self._writer = Writer(self.path, overwrite=self._overwrite, rank=rank)
        self._revision = environment.revision()
        try:
            self._open()
        except BaseException:
            self._writer.discard()
            self._revision()
            raise
        return self

    def _open(self) -> None:
        level = self._statistics
        if level == "auto":
            level = "synaptic" if environment.on_gpu(self._model) else "full"
        session = self._session = Session(level)
        session.on_full = self._flush_or_stop
        main = Thread(0)
        self._threads = {threading.get_ident(): main}
        self._main = main
        self._next_thread = 1
        self._modules = Modules(self._neurons, self._mark)
        session.owner_of = self._modules.owner
        self._calls = ModuleCalls(
            session, self._modules, self._neurons, dims=self._dims, find_thread=self._find_thread,
            root_entered=self._root_entered, note=self._note,
        )  # fmt: skip
        self._optimizers = OptimizerSteps(
            session,
            self._find_thread,
            self._optimizer_begins,
            self._optimizer_stepped,
            self._label_here,
        )
        self._steps = Steps(
            session, warmup=self._warmup, limit=self._limit, start=self._start, finish=self._end,
            joins=(self._calls.rows.join, self._optimizers.join), note=self._note,
        )  # fmt: skip
        self._calls.steps = self._steps
        self._calls.waiting = self._steps.waiting
        self._replays = GraphReplays(self._calls.hidden)
        session.higher_order.hidden = self._calls.hidden
        self._started = environment.now()
        if self._model is not None:
            self._modules.adopt(self._model)
            self._prints = Fingerprint(parameters=fingerprint(state_of(self._model)))
        self._mode: Any = Mode(session, main)
        self._mode_on = False
        self._eager = Eager()
        self._room = Room()
        self._calls.install()
        self._optimizers.install()
        self._replays.install()
        inference.follow(self)
        current.add(self)
        self._room.make()
        if not self._steps.waiting:
            self._start()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if not self.done:
                self._calls.settle()
            if not self.done:
                clean = error is None or (isinstance(error, SystemExit) and not error.code)
                self._finish(None if clean else error)
            elif self._stopped:
                self._finish(error)
        finally:
            self._detach()
        if self._broken is not None:
            self._session.values.close()
            if error is None:
                raise self._broken
            warnings.warn(str(self._broken), RecordingWarning, stacklevel=2)

    def step(self) -> None:
        """End a step: what follows belongs to the next one. Steps are then counted by hand only."""
        if self._counts():
            self._steps.said()

    @contextmanager
    def label(self, name: str) -> Iterator[None]:
        """Label the calls of this thread inside; the innermost label holds."""
        if name not in self._labels:
            self._labels.append(name)
        thread = self._find_thread()
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
            self._session.passive = was
            self._session.values.trust_nothing()

    @contextmanager
    def join(self) -> Iterator[None]:
        """Record the calling thread too, as long as the context lasts."""
        identity = threading.get_ident()
        if identity in self._threads:
            yield
            return
        self._session.shared = True
        with self._session.lock:
            thread = self._threads[identity] = Thread(self._next_thread)
            thread.label = self._main.label
            self._next_thread += 1
        try:
            with Mode(self._session, thread):
                yield
        finally:
            del self._threads[identity]

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
        with session.lock:
            was, session.passive = session.passive, True
            try:
                self._calls.settle(new=False if self._steps.over else None)
                self._flush()
                writer = Writer(Path(path), overwrite=False)
                writer.adopt(self._writer)
                self._write_static(writer)
                manifest = self._manifest(None)
                update = {"status": "unfinished", "rows": writer.rows, "parts": writer.parts}
                return writer.finish(manifest.model_copy(update=update))
            finally:
                session.passive = was

    def _find_thread(self) -> Thread | None:
        found = self._threads.get(threading.get_ident())
        if found is None and torch._C._current_graph_task_id() != -1:
            return self._main  # a device thread of the autograd engine
        return found

    def _label_here(self) -> str | None:
        thread = self._find_thread()
        return None if thread is None or thread.label == NULL else self._labels[thread.label]

    def _mark(self, tensor: torch.Tensor, kind: int) -> None:
        try:
            storage = self._session.values.storage_of(tensor)
        except Exception:  # a lazy or sparse parameter has no storage to mark
            return
        storage.kind = kind
        if storage.data == OUTSIDE:
            storage.data = FIXED

    def _start(self) -> None:
        self._calls.waiting = False
        self._session.values.trust_nothing()
        self._eager.start()
        self._mode.__enter__()
        self._mode_on = True
        self._session.passive = False

    def _counts(self) -> bool:
        """Tell whether what happens now belongs to a step: no suspended work does."""
        return not self.done and (self._steps.waiting or not self._session.passive)

    def _root_entered(self, module: nn.Module, given: list[torch.Tensor], new: bool | None) -> None:
        self._optimizers.interrupted(self._main)
        training = torch.is_grad_enabled() and attribute(module, "training", True)
        self._steps.root_entered(inference=not training)
        if new is not None and not self.done:
            self._steps.root_settled(new_sample=new)
        if not self._session.passive and not self._seen:
            self._seen = True
            parameters = self._prints.parameters or fingerprint(state_of(module))
            if all(tensor.is_cpu for tensor in given):
                self._prints = Fingerprint(inputs=fingerprint(given), parameters=parameters)
            else:  # a device is not waited for while the model runs
                self._prints = Fingerprint(parameters=parameters)
                self._given = copies(given)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _told(self) -> list[str]:
        """Return what the user is told in words."""
        notes = [*self._notes, *self._calls.unknown.told()]
        calls = self._calls.samples.carried
        if self._session.device_note:
            notes.append(self._session.device_note)
        if calls:
            notes.append(
                f"neurons carried their state over {calls} calls of the model: calls without a "
                "reset between count as one sample of all their time steps; reset them between "
                "samples"
            )
        return notes

    def _optimizer_begins(self, optimizer: int) -> None:
        if self._counts():
            self._steps.optimizer_begins(optimizer)

    def _optimizer_stepped(self, optimizer: int, in_backward: bool) -> None:
        if self._steps.passing or self._counts():
            self._steps.optimizer_stepped(optimizer, in_backward=in_backward)

    def _end(self) -> None:
        self._finish(None)
        self._detach()
        if self.on_end is not None and self._broken is None:
            self.on_end()

    def _flush(self, *, last: bool = False) -> None:
        flush(self._session, self._writer.write, self._labels, self._calls.rows, last=last)

    def _flush_or_stop(self) -> None:
        """Write a part while the model runs; what goes wrong is told at the end, not to the model.

        What the calls of the part refer to goes first: should the process be killed, all that was
        flushed can be read.
        """
        try:
            self._calls.settle()
            if self.done:
                return
            self._write_static(self._writer, "signatures", "modules")
            self._flush()
            self._stopped = self._session.device_failed is not None
        except RecordError as error:
            self._broken = error
        if self._stopped or self._broken is not None:
            self._session.passive = True
            self.done = True

    def _finish(self, error: BaseException | None) -> None:
        """Write the rest and the manifest."""
        session = self._session
        session.passive = True
        self.done = True
        if error is not None and not session.seq:  # nothing is lost, and nothing is in the way
            self._writer.discard()
            self.discarded = True
            session.values.close()
            return
        try:
            self._steps.close()
            self._flush(last=True)
            self._write_static(self._writer)
            manifest = self._manifest(session.device_failed if error is None else error)
            self.path = self._writer.finish(manifest)
        except RecordError as refused:
            self._broken = refused
            return
        finally:
            session.values.close()
        if self._rank or self._world > 1:
            self.path = self.path.parent
        named = (*manifest.hidden, *manifest.inexact)
        texts = [f"{each.what}: {each.why} ({each.calls} calls)" for each in named]
        for text in (*texts, *self._told()):
            warnings.warn(text, RecordingWarning, stacklevel=3)

    def _write_static(self, writer: Writer, *names: str) -> None:
        """Write the static tables: all of them, or those named that have grown since."""
        rows = {
            "signatures": self._session.signatures.rows,
            "modules": self._modules.rows,
            "optimizer_steps": self._optimizers.rows,
        }
        for name in names or rows:
            if writer.rows[name] != len(rows[name]) or name not in names:
                writer.write(name, static_table(name, rows[name]))

    def _manifest(self, error: BaseException | None) -> Manifest:
        session = self._session
        if self._given is not None:
            prints = self._prints
            self._prints = Fingerprint(
                inputs=fingerprint(self._given), parameters=prints.parameters
            )
            self._given = None
        return Manifest(
            **outcome(session, self._calls.hidden, self._told(), error),
            rows=self._writer.rows,
            parts=self._writer.parts,
            rank=self._rank,
            world_size=self._world,
            command=self._command,
            started=self._started,
            ended=environment.now(),
            revision=self._revision(),
            seed=self._seed,
            fingerprint=self._prints,
            steps=self._steps.count(),
        )

    def _detach(self) -> None:
        """Take mode and hooks away; in whatever state the recording ended."""
        self._session.passive = True
        self._calls.off = True
        self._calls.remove()
        self._replays.remove()
        inference.let_go(self)
        current.remove(self)
        self._room.give_back()
        if not self._in_optimizer_hook():
            self._optimizers.remove()
        if self._mode_on and _get_current_dispatch_mode() == self._mode:
            self._mode.__exit__(None, None, None)
            self._mode_on = False
        self._eager.stop()
        self._revision()  # whatever came in between, git has been waited for

    def _in_optimizer_hook(self) -> bool:
        return self._main.optimizing > 0
