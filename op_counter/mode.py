"""The context in which counters count: a recording behind SpikingJelly's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .counters import BaseCounter
from .counting import Counted
from .known_ops import KNOWN
from .refusals import MisuseError
from .revisions import chosen
from .scopes import Counts, added, copied, counts_of, subtracted

if TYPE_CHECKING:
    from ..tracer import Recorder
    from .lineage import Lineage
    from .live import Watch


class DispatchCounterMode:
    """Counts every aten call that runs inside the context.

    The calls are recorded into a temporary directory and counted from there when the context
    ends, or when a counter is read inside it, under `opjoule.op_counter.revision` as it was when
    the context was made.

    Args:
        counters: the counters that count; figures are added to those that they hold.
        strict: raise at the first op that one of the counters has no rule for, in the run.
        verbose: log every call to the logger `opjoule.op_counter`, at level INFO.

    Raises:
        RecordError: something in `counters` is not a counter of this package.
        UncoveredOpError: inside the context, under `strict`.
    """

    def __init__(
        self, counters: Iterable[BaseCounter], strict: bool = False, verbose: bool = False
    ) -> None:
        self.counters = list(counters)
        for counter in self.counters:
            if not isinstance(counter, BaseCounter):
                raise MisuseError(
                    f"{type(counter).__name__} is not a counter of opjoule.op_counter; take "
                    "FlopCounter, ... from there, and not from SpikingJelly."
                )
        self.strict = strict
        self.verbose = verbose
        self.revision = chosen()
        self._recorder: Recorder | None = None

    def __enter__(self) -> DispatchCounterMode:
        from ..tracer import Recorder
        from .lineage import Lineage
        from .live import Watch

        if self._recorder is not None:
            raise MisuseError("this DispatchCounterMode is entered already. Make a new one.")
        self.revision = chosen()
        self._folder = TemporaryDirectory(prefix="opjoule-")
        self._snapshots = 0
        self._before: dict[BaseCounter, Counts] = {}
        recorder = Recorder(Path(self._folder.name) / "trace")
        self._lineage: Lineage = Lineage(recorder)
        self._watch: Watch = Watch(
            self._lineage, self.counters, self._covers, strict=self.strict, verbose=self.verbose
        )
        entered = []
        try:
            for counter in self.counters:
                counter.entered(self)
                entered.append(counter)
            recorder.__enter__()
        except BaseException:
            for counter in entered:
                counter.left(self)
            self._folder.cleanup()
            raise
        recorder.watch(self._watch)
        self._recorder = recorder
        return self

    def __exit__(self, *error: Any) -> None:
        recorder = self._recorder
        assert recorder is not None
        try:
            recorder.__exit__(*error)
            if recorder.path.exists():  # an error before anything ran leaves nothing
                counted = Counted(recorder.path, self.revision)
                for counter in self.counters:
                    counter.add(self._of(counted, counter))
        finally:
            self._recorder = None
            for counter in self.counters:
                counter.left(self)
            self._folder.cleanup()

    def counts_so_far(self, counter: BaseCounter) -> Counts:
        """Return what a counter has counted in this context up to now, since its last reset."""
        assert self._recorder is not None
        self._snapshots += 1
        path = Path(self._folder.name) / f"snapshot-{self._snapshots}"
        return self._of(Counted(self._recorder.snapshot(path), self.revision), counter)

    def count_from_here(self, counter: BaseCounter) -> None:
        """Leave out of a counter's figures what has run up to now."""
        so_far = copied(self._before.get(counter, {}))
        added(so_far, self.counts_so_far(counter))
        self._before[counter] = so_far

    def get_unsupported(self, counter: BaseCounter) -> dict[str, int]:
        """Return the ops that a counter has skipped in the latest context, with their calls.

        Raises:
            ValueError: the counter is none of this context's.
        """
        if counter not in self.counters:
            raise ValueError(
                f"{type(counter).__name__} is not a counter of this DispatchCounterMode."
            )
        watch = getattr(self, "_watch", None)
        return watch.skipped(counter) if watch is not None else {}

    get_unsupported_ops = get_unsupported

    def _covers(self, counter: BaseCounter, op: Any) -> bool:
        if counter.column is None:
            return False
        known = KNOWN.get(self.revision)
        if known is not None:
            return str(op) in known[counter.column]
        from .covering import covers

        return covers(op)

    def _of(self, counted: Counted, counter: BaseCounter) -> Counts:
        """Return what a counter has counted, the user's rules and the resets respected."""
        counts = self._watch.counts(counter)
        if counter.column is not None:
            rows = counted.rows(self._lineage.inside(counter.ignore_modules))
            own = {str(op) for op in counter.rules}
            known = KNOWN.get(self.revision, {}).get(counter.column)
            rest = [row for row in rows if row["op"] not in own]
            added(counts, counts_of(rest, counter.column, known))
        return subtracted(counts, self._before.get(counter, {}))
