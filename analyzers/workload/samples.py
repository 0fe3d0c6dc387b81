"""How many inferences a part of a trace holds, told alike by every estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from ...schemas import ConfigError
from ..frames import at_once
from ..text import agreeing
from ..text import number as count_of
from ..trace.files import collected
from ..trace.filters import Filter, parse_filters
from ..trace.roots import IS_ROOT
from .inference import evaluated_calls, evaluated_samples
from .layers import MODULE, layers_of, neuron_roots, neurons_of
from .populations import with_populations
from .sample_shares import seen_by_layers

if TYPE_CHECKING:
    from ..trace.trace import Trace

SAMPLE = ("rank", "sample")
"""What names a sample of the trace: a root call, or several that neurons carry state through."""


OWN = ("step", "label", "rank", "sample")
"""Keys whose rows have samples of their own: a row is divided by these, others by all."""

PER_CALL = "per-call"
"""Setting of `samples`: every root call is a sample of its own, whatever state it carries on."""

ORIGINS = ("told", "observed", "guessed")
"""How batch and time steps are known, best first: by the user or a module, by the data, or not."""
_MOST = 10**12
"""The largest batch, and the most time steps and samples, that anybody may tell."""
_EXPECTED = f"expected a number of at least 1, at most {_MOST:,}"


_PLACES = {
    "rank": pl.Int32,
    "sample": pl.Int64,
    "number": pl.Int32,
    "step": pl.Int32,
    "label": pl.String,
    "batch": pl.Int64,
}


@dataclass(frozen=True)
class Samples:
    """The samples of a part of a trace.

    Attributes:
        frame: `SAMPLE`, `batch`, `time_steps` (null: unknown), `batch_from`, `time_steps_from` (of
            `ORIGINS`; null: unknown), `given` (the user said one of them), `failed` (an exception
            ended it) and `evaluated` (it ran in eval mode as a whole), a row for each.
        warnings: where the user's words stand against what the trace was told.
        told: how many samples the user says there are.
        places: where each ran: `SAMPLE`, `number` (of the sample, from 0 over all ranks), `step`,
            `label` and `batch`, a row for each step and label that it ran in.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()
    told: int | None = None
    places: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_PLACES), repr=False)

    @property
    def completed(self) -> pl.DataFrame:
        """The rows of `frame` without those that an exception ended: what is called samples."""
        whole = "failed" in self.frame.columns and self.frame["failed"].any()
        return self.frame.filter(~pl.col("failed")) if whole else self.frame

    @property
    def samples(self) -> int | None:
        """Inferences in all: the batches of all samples added up; None if one is unknown."""
        if self.told is not None:
            return self.told
        batches = self.completed["batch"]
        return int(batches.sum()) if len(batches) and not batches.null_count() else None

    @property
    def energy_modes(self) -> list[str]:
        """One sentence if energies of one sample are of evaluation and training together."""
        return self.both_modes("energies of one sample are")

    @property
    def evaluated(self) -> int | None:
        """How many of the samples ran in eval mode as a whole; None if that is not known."""
        if self.samples is None or self.told is not None:
            return None
        return int(self.completed.filter("evaluated")["batch"].sum())

    def both_modes(self, what: str, keys: Sequence[str] = ()) -> list[str]:
        """Return one sentence if figures are of samples of evaluation and of training together.

        Args:
            what: the figures, and "are".
            keys: of `OWN`: what the figures are told apart by; each has samples of its own.
        """
        rows = self.completed
        if "evaluated" not in rows.columns or rows["evaluated"].n_unique() < 2:
            return []
        if keys:
            named = ["number" if key == "sample" else key for key in keys]
            placed = self.places.join(rows.select(*SAMPLE, "evaluated"), on=list(SAMPLE))
            modes = placed.group_by(named).agg(pl.col("evaluated").n_unique())["evaluated"]
            if (modes < 2).all():
                return []
        many = self.evaluated
        if many is None:  # of chains of calls it is known, of samples not
            many, of = int(rows["evaluated"].sum()), count_of(rows.height, "inference")
        else:
            of = f"{self.samples} samples"
        return [
            f"{many} of {of} ran in eval mode: {what} of evaluation and training together; ask "
            "for them apart, with --where label=..., step=... or training=..."
        ]

    @property
    def batch(self) -> int | None:
        """The batch of every sample, None if they differ or one is unknown."""
        return _one(self.completed["batch"])

    @property
    def time_steps(self) -> int | None:
        """The time steps of every sample, None if they differ or one is unknown."""
        return _one(self.completed["time_steps"])

    @property
    def batch_from(self) -> str | None:
        """How the batch is known, the weakest of all samples; None if it is not."""
        return _weakest(self.completed["batch_from"])

    @property
    def time_steps_from(self) -> str | None:
        """How the time steps are known, the weakest of all samples; None if they are not."""
        return _weakest(self.completed["time_steps_from"])


def unknown_samples() -> Samples:
    """Return the samples of nothing: their number, batch and time steps are not known."""
    columns = {"rank": pl.Int32, "sample": pl.Int64, "batch": pl.Int64, "time_steps": pl.Int64}
    origins = dict.fromkeys(("batch_from", "time_steps_from"), pl.String)
    return Samples(pl.DataFrame(schema={**columns, **origins, "given": pl.Boolean}))


def _one(values: pl.Series) -> int | None:
    found = values.unique()
    return int(found[0]) if len(found) == 1 and found[0] is not None else None


def _weakest(origins: pl.Series) -> str | None:
    found = set(origins)
    return None if None in found else max(found, key=ORIGINS.index, default=None)


def check_samples(samples: int | str | None) -> None:
    """Refuse a setting of `samples` that has no meaning.

    Raises:
        ConfigError: it is neither a number from 1 to `_MOST` nor `PER_CALL`.
    """
    if samples is not None and samples != PER_CALL and not _is_count(samples):
        raise ConfigError(f"samples={samples!r}: {_EXPECTED}, or {PER_CALL!r}")


def _is_count(number: object) -> bool:
    """Tell whether something is a whole number from 1 to `_MOST`."""
    whole = isinstance(number, Integral) and not isinstance(number, bool)
    return whole and 1 <= int(number) <= _MOST  # type: ignore[call-overload]


def regrouped(trace: Trace, samples: int | str | None) -> Trace:
    """Return the trace with a sample for each root call if `samples` is `PER_CALL`, else as it is.

    Raises:
        ConfigError: see `check_samples`.
    """
    check_samples(samples)
    if samples != PER_CALL:
        return trace
    root = pl.when(IS_ROOT).then("module_call_id")
    roots = (
        trace.whole.module_calls.sort("rank", "thread", "module_call_id")
        .select("rank", "module_call_id", sample=root.forward_fill().over("rank", "thread"))
        .pipe(collected, trace)
    )

    def by_call(calls: pl.LazyFrame) -> pl.LazyFrame:
        joined = calls.drop("sample").join(roots.lazy(), on=["rank", "module_call_id"], how="left")
        return joined.select(calls.collect_schema().names())

    return trace.with_tables(
        module_calls=by_call(trace.module_calls),
        sample_calls=by_call(trace.sample_calls),
        wide=trace.wide and regrouped(trace.wide, samples),
    )


def samples_of(
    trace: Trace,
    batch: int | None = None,
    time_steps: int | None = None,
    *,
    samples: int | str | None = None,
    eval_only: bool = False,
) -> Samples:
    """Return the samples of a trace with their batch and time steps.

    Filters on modules, ops and stages leave the samples what they are. Where one on modules leaves
    nothing of a whole model, the samples of that model are none of the question: those are left
    whose root calls are of a module with some call left, whether or not it ran in each of them.

    A sample is a chain of root calls tied by data, as the recorder saw it. What the user says comes
    first. A sample's batch is the one that a root call and one of its neurons agree on, else what
    a root call was told, else the smallest of its neurons' (some fold windows or tokens into it),
    else that of the root calls, else what another module was told: one sample that a layer took
    alone is no evidence. A module that runs several times in a sample speaks by its first call, as
    samples may leave the batch. Its time steps are the most that one of its neurons ran, over all
    its calls: a loop over single steps and one call of many steps agree. A sample without neurons
    has those of its root calls, else the largest that a call of it knows. A batch that stays open
    is looked for in what went into the first weight layer.

    Args:
        trace: the trace.
        batch: samples in a batch, as the user says.
        time_steps: time steps of a sample, as the user says.
        samples: how many samples there are in all, as the user says; `PER_CALL` is for `regrouped`.
        eval_only: of passes in eval mode alone, see `inference.evaluated_calls`.

    Raises:
        ConfigError: a given number is not from 1 to `_MOST`.
    """
    check_samples(samples)
    given = {"batch": batch, "time_steps": time_steps}
    for name, number in given.items():
        if number is not None and not _is_count(number):
            raise ConfigError(f"{name}={number!r}: {_EXPECTED}")
    key = ("samples of", batch, time_steps, samples, eval_only)
    return _latest(
        trace, key, lambda: _samples_of(trace, given, samples, eval_only), _module_filters(trace)
    )


def _samples_of(
    trace: Trace,
    given: Mapping[str, int | None],
    samples: int | str | None,
    eval_only: bool,
) -> Samples:
    known = _known(trace, eval_only).filter(pl.col("sample").is_not_null())
    if (of_models := _of_chosen_models(trace)) is not None:
        known = known.join(of_models.lazy(), on=SAMPLE, how="semi")
    failing = failed_samples(trace).lazy().with_columns(failed=pl.lit(True))
    frame = (
        known.pipe(collected, trace)
        .lazy()
        .sort(SAMPLE)
        .join(failing, on=SAMPLE, how="left", maintain_order="left")
        .join(_evaluated(trace, eval_only), on=SAMPLE, how="left", maintain_order="left")
        .with_columns(pl.col("failed", "evaluated").fill_null(False))
        .pipe(at_once)
    )
    failed = int(frame["failed"].sum())
    warnings = [
        text for name, number in given.items() if (text := _overridden(name, number, frame))
    ]
    if failed:
        warnings.append(
            f"{count_of(failed, 'inference')} ended with an exception: what ran of "
            f"{agreeing(failed, 'it', 'them')} is counted, {agreeing(failed, 'its', 'their')} "
            "samples are not"
        )
    for name, number in given.items():
        if number is not None:
            frame = frame.with_columns(
                pl.lit(number, pl.Int64).alias(name), pl.lit("told").alias(f"{name}_from")
            )
    frame = frame.with_columns(given=pl.lit(any(each is not None for each in given.values())))
    if frame["batch"].null_count() and frame["time_steps"].count():
        frame = _by_shape(trace, frame)
    found = Samples(frame, places=_placed(trace, frame))
    told = int(samples) if isinstance(samples, Integral) else None
    if told is not None and found.samples not in (None, told):
        guess = " (a guess)" if found.batch_from == "guessed" else ""
        warnings.append(f"samples={told} replaces what was recorded: {found.samples}{guess}")
    return replace(found, warnings=tuple(warnings), told=told)


def _evaluated(trace: Trace, eval_only: bool) -> pl.LazyFrame:
    """Return `SAMPLE` of those in eval mode, with `evaluated`."""
    found = _known(trace, True).select(SAMPLE) if eval_only else evaluated_samples(trace).lazy()
    return found.with_columns(evaluated=pl.lit(True))


def _module_filters(trace: Trace) -> tuple[Filter, ...]:
    return tuple(each for each in parse_filters(trace.filters) if each.field == "module")


def _of_chosen_models(trace: Trace) -> pl.DataFrame | None:
    """Return `SAMPLE` of those that a filter on modules leaves; None: there is none, so all."""
    filters = _module_filters(trace)
    if not filters:
        return None
    calls = trace.sample_calls.filter(pl.col("stage").cast(pl.String) == "forward")
    roots = calls.filter(IS_ROOT & pl.col("sample").is_not_null())
    paths = trace.modules.select(*MODULE, "path")
    ran = paths.join(collected(calls.select(MODULE).unique(), trace), on=list(MODULE), how="semi")
    places = {
        (rank, ".".join(names[:size]))
        for rank, path in ran.select("rank", "path").iter_rows()
        if all(each.has_module(path) for each in filters)
        for names in [path.split(".")]
        for size in range(1, len(names) + 1)
    }
    around = [pair in places for pair in paths.select("rank", "path").iter_rows()]
    kept = roots.join(paths.filter(around).lazy().select(MODULE), on=MODULE, how="semi")
    found = collected(kept.select(SAMPLE).unique(), trace).sort(SAMPLE)
    return None if found.is_empty() else found  # of nothing at all, there is no other answer


def numbers_of(trace: Trace) -> pl.DataFrame:
    """Return the samples of a trace, numbered from 0 over all ranks, and where each ran.

    Returns:
        `SAMPLE`, `step`, `label` and `number`, a row for each step and label of a sample.
    """
    return _latest(trace, ("numbers of samples",), lambda: _numbered(trace))


def failed_samples(trace: Trace) -> pl.DataFrame:
    """Return `SAMPLE` of those whose last root call was ended by an exception.

    What they ran is work that was done; but nobody got an answer, so that they are no samples: a
    batch that did not fit the memory, and ran again in halves, counts once.
    """
    return _latest(trace, ("failed samples",), lambda: _failed(trace))


def _failed(trace: Trace) -> pl.DataFrame:
    names = [*SAMPLE, "module_call_id", "raised"]
    roots = trace.sample_calls.filter(IS_ROOT).select(names)
    failed = roots.filter("raised").group_by(SAMPLE).agg(pl.col("module_call_id").max())
    found = collected(failed, trace)
    if found.is_empty():
        return found.select(SAMPLE)
    last = roots.join(found.lazy().select(SAMPLE), on=SAMPLE, how="semi")
    last = last.group_by(SAMPLE).agg(pl.col("module_call_id").max())
    failed = found.lazy().join(collected(last, trace).lazy(), on=names[:3], how="semi")
    return at_once(failed.select(SAMPLE).sort(SAMPLE))


def _numbered(trace: Trace) -> pl.DataFrame:
    failed = failed_samples(trace).lazy()
    found = (
        trace.sample_calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .filter(pl.col("sample").is_not_null())
        .join(failed, on=list(SAMPLE), how="anti")
        .select(*SAMPLE, "step", pl.col("label").cast(pl.String))
        .unique()
        .pipe(collected, trace)
        .sort(*SAMPLE, "step", "label", nulls_last=True)
    )
    rows = found.lazy()
    order = rows.select(SAMPLE).unique(maintain_order=True).with_row_index("number")
    numbered = rows.join(order, on=list(SAMPLE), maintain_order="left")
    return at_once(numbered.cast({"number": pl.Int32}))


def _placed(trace: Trace, frame: pl.DataFrame) -> pl.DataFrame:
    """Return in which steps and under which labels each sample ran."""
    of_frame, numbers = frame.lazy().select(*SAMPLE, "batch"), numbers_of(trace).lazy()
    places = numbers.join(of_frame, on=list(SAMPLE), how="inner", maintain_order="left")
    return at_once(places.select(pl.col(name).cast(kind) for name, kind in _PLACES.items()))


def _forward(trace: Trace, eval_only: bool) -> pl.LazyFrame:
    calls = trace.sample_calls
    if eval_only:
        calls = evaluated_calls(trace, calls)
    calls = calls.filter(pl.col("stage").cast(pl.String) == "forward")
    # What an older recorder knew, it had from modules or the data; the number says it itself.
    return calls.with_columns(
        pl.when(pl.col(name).is_not_null())
        .then(pl.coalesce(pl.col(f"{name}_from").cast(pl.String), pl.lit("observed")))
        .alias(f"{name}_from")
        for name in ("batch", "time_steps")
    )


def _known(trace: Trace, eval_only: bool) -> pl.LazyFrame:
    """Return what the forward calls know of each sample, and how."""
    told = _latest(
        trace,
        ("known of samples", eval_only),
        lambda: collected(_told(trace, _forward(trace, eval_only)), trace),
    )
    return told.lazy()


T = TypeVar("T")


def _latest(
    trace: Trace, key: tuple[Any, ...], make: Callable[[], T], chosen: tuple[Filter, ...] = ()
) -> T:
    """Return what is told of the samples of a trace, made once.

    Of the whole trace, and of the latest part that somebody asked about: the parts of a trace that
    its estimators speak of have the same calls.
    """
    calls = trace.sample_calls
    key = (*key, calls is trace.whole.sample_calls)
    known = trace.facts.get(key)
    if known is None or known[0] is not calls or known[1] != chosen:
        known = trace.facts[key] = calls, chosen, make()
    found: T = known[2]
    return found


def _told(trace: Trace, calls: pl.LazyFrame) -> pl.LazyFrame:
    is_neuron = neurons_of(trace).lazy().select(MODULE).with_columns(neuron=pl.lit(True))
    calls = calls.join(is_neuron, on=MODULE, how="left").with_columns(
        pl.col("neuron").fill_null(False)
    )
    batch, neuron, root = pl.col("batch"), pl.col("neuron"), pl.col("root")
    told, surely = pl.col("batch_from") == "told", root & (pl.col("batch_from") != "guessed")
    # One sample that a layer took is no evidence: its caller may take many, or give it parameters.
    speaks = IS_ROOT | neuron | ~told | (batch > 1)
    every = calls.group_by(SAMPLE).agg(
        told=batch.filter(told & speaks).max(),
        largest=batch.filter(speaks).max(),
        longest=pl.col("time_steps").max(),
        time_steps_from=_best("time_steps_from"),
    )
    modules = _of_modules(calls.filter(IS_ROOT | neuron))
    numbers = modules.group_by(SAMPLE).agg(
        said=batch.filter(root & told).max(),
        of_roots=batch.filter(root).max(),
        of_neurons=batch.filter(neuron).min(),
        sure=batch.filter(surely),
        neurons=batch.filter(neuron),
        steps_of_roots=pl.col("steps").filter(root).max(),
    )
    both = pl.col("sure").list.set_intersection("neurons").list.max()
    said = pl.when((pl.col("said") > 1) | (pl.col("of_roots") == 1)).then("said")
    for found in (
        _steps_of(_said_steps(trace, calls), "steps_said"),
        _steps_of(with_populations(trace, calls.filter(neuron)), "steps", "population"),
    ):
        numbers = numbers.join(found, on=SAMPLE, how="left")
    chosen = every.join(numbers, on=SAMPLE, how="left").select(
        *SAMPLE,
        batch=pl.coalesce(both, said, "of_neurons", "of_roots", "told", "largest"),
        time_steps=pl.coalesce("steps_said", "steps", "steps_of_roots", "longest"),
        time_steps_from="time_steps_from",
    )
    for found, name in ((modules, "from_modules"), (calls.filter(speaks), "from_layers")):
        origins = found.group_by(*SAMPLE, "batch").agg(_best("batch_from").alias(name))
        chosen = chosen.join(origins, on=[*SAMPLE, "batch"], how="left")
    return chosen.select(
        *SAMPLE,
        "batch",
        "time_steps",
        batch_from=pl.coalesce("from_modules", "from_layers"),
        time_steps_from=pl.when(pl.col("time_steps").is_not_null()).then("time_steps_from"),
    )


def _of_modules(calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return what root calls and neurons know, a row for each module in a sample.

    Returns:
        `SAMPLE`, `neuron`, `root` (calls of the model, not of a neuron), `batch` and `batch_from`
        of the first call that knows it, as samples may leave the batch later, and `steps` of all.
    """
    steps, known = pl.col("time_steps"), pl.col("batch").is_not_null()
    first = pl.col("batch", "batch_from").filter(known)
    return calls.group_by(*SAMPLE, "module_id", "neuron", root=IS_ROOT & ~pl.col("neuron")).agg(
        first.sort_by(pl.col("module_call_id").filter(known)).first(),
        steps=pl.when(steps.null_count() == 0).then(steps.sum()),
    )


def _said_steps(trace: Trace, calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return root calls of networks with neurons, of whose inputs the user said the time steps.

    What a module with a step mode tells is of its input alone: it may loop over time inside.
    """
    networks = neuron_roots(trace).filter(pl.col("root") != pl.col("module_id"))
    networks = networks.select("rank", module_id="root").unique()
    said = IS_ROOT & (pl.col("time_steps_from") == "told") & pl.col("step_mode").is_null()
    return calls.filter(said).join(networks.lazy(), on=MODULE, how="semi")


def _best(name: str) -> pl.Expr:
    """Return the best of the origins in a column of a group."""
    order = pl.Enum(ORIGINS)
    return pl.col(name).cast(order).min().cast(pl.String)


def _steps_of(calls: pl.LazyFrame, name: str, *apart: str) -> pl.LazyFrame:
    """Return the most time steps that one of the modules ran in each sample, over its calls.

    Args:
        calls: the calls.
        name: of the column of steps.
        apart: columns that tell calls of a module apart.
    """
    steps = pl.col("time_steps")
    of_modules = calls.group_by(*SAMPLE, "module_id", *apart).agg(
        pl.when(steps.null_count() == 0).then(steps.sum()).alias(name)
    )
    return of_modules.group_by(SAMPLE).agg(pl.col(name).max())


def _overridden(name: str, given: int | None, frame: pl.DataFrame) -> str | None:
    """Return a warning if the user's number replaces one that is no guess, or several guesses."""
    if given is None:
        return None
    sure = frame.filter(pl.col(f"{name}_from") != "guessed")[name]
    guessed = frame.filter(pl.col(f"{name}_from") == "guessed")[name].drop_nulls()
    found = (sure if guessed.n_unique() < 2 else frame[name]).drop_nulls().unique().sort().to_list()
    if not found or found == [given]:
        return None
    said = ", ".join(str(each) for each in found[:4]) + (", ..." if len(found) > 4 else "")
    what = "what was recorded" if guessed.n_unique() < 2 else "what differs"
    return f"{name}={given} replaces {what}: {said}"


def _by_shape(trace: Trace, frame: pl.DataFrame) -> pl.DataFrame:
    """Fill in batches by what went into the first weight layer of a sample of known time steps."""
    open_ones = frame.filter(pl.col("batch").is_null() & pl.col("time_steps").is_not_null())
    first, steps, more = pl.col("in_first"), pl.col("time_steps"), pl.col("more")
    folded = pl.when(first % steps == 0).then(first // steps)
    batched = pl.when((more > 1) & (first == steps)).then("in_second").otherwise(folded)
    found = (
        seen_by_layers(trace, layers_of(trace), open_ones)
        .join(open_ones.drop("batch"), on=SAMPLE)
        .select(*SAMPLE, found=pl.when(more == 0).then(1).otherwise(batched))
    )
    return (
        frame.join(found, on=SAMPLE, how="left", maintain_order="left")
        .with_columns(
            batch=pl.coalesce("batch", "found"),
            batch_from=pl.when(pl.col("batch").is_null() & pl.col("found").is_not_null())
            .then(pl.lit("observed"))
            .otherwise("batch_from"),
        )
        .drop("found")
    )
