"""The part of a trace that estimators of inference speak of: forward passes in eval mode.

The mode of a forward pass is decided once, for the whole pass, by the call of the model that it is:
a Linear does the same in both modes, so a layer that `model.eval()` did not reach (one in a plain
list, a loss that is made as it is called) is part of the inference that it ran in; and a part that
a training step keeps in eval mode (frozen batch norms) is part of the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import STAGES, TraceError
from ..frames import at_once
from ..text import agreeing, listed, number
from ..trace.files import collected
from ..trace.filters import of_numbers, of_pairs
from ..trace.roots import IS_ROOT
from .layers import MODULE
from .products import products_of, uncharged

if TYPE_CHECKING:
    from ..trace.trace import Trace

_CALL = ("rank", "module_call_id")


def forward_part(trace: Trace, *, eval_only: bool) -> Trace:
    """Return a trace with its forward calls alone.

    Args:
        trace: the trace.
        eval_only: leave out passes in training mode, see `evaluated_calls`. What ran outside every
            module has no mode of its own and goes with the module call of its rank before it, or
            with the first one, whichever of these calls are left in the trace.

    Raises:
        TraceError: nothing is left; says what is missing.
    """
    key = ("forward part", eval_only)
    if key not in trace.own:
        trace.own[key] = _forward_part(trace, eval_only)
    found: Trace = trace.own[key]
    return found


def forward_alone(trace: Trace, *, eval_only: bool) -> Trace:
    """Return the forward part of a trace as if nothing else had been recorded.

    Samples are those of such passes, and no optimizer made a step. It is its own forward part, so
    that what one estimator derives of it the others find there.
    """
    part = forward_part(trace, eval_only=eval_only)
    steps = part.optimizer_steps.clear()
    calls = trace.sample_calls
    calls = evaluated_calls(trace, calls) if eval_only else calls.filter(_stage() == "forward")
    alone = part.with_tables(sample_calls=calls, optimizer_steps=steps)
    for known in {eval_only, False}:
        alone.own["forward part", known] = alone
    return alone


def evaluated_calls(trace: Trace, calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return the forward calls of modules that ran in passes in eval mode.

    The mode of a pass is that of its root call. A root call whose own flag says training is still
    in eval mode if all modules with parameters or neurons inside it are (a plain wrapper around
    `model.eval()`); one that has none of these (a loss) is in the mode of the root call of its
    sample before it, or after it.

    Args:
        trace: the trace.
        calls: rows of `module_calls`.
    """
    forward = calls.filter(_stage() == "forward")
    unlike = _unlike(trace)
    if unlike.is_empty():
        return forward.filter(~pl.col("training"))
    names = forward.collect_schema().names()
    told = forward.join(unlike.lazy().select(*_CALL, "evaluated"), on=list(_CALL), how="left")
    return told.filter(pl.coalesce("evaluated", ~pl.col("training"))).select(names)


def evaluated_samples(trace: Trace) -> pl.DataFrame:
    """Return `rank` and `sample` of those all of whose root calls ran in eval mode."""
    roots = trace.sample_calls.filter(IS_ROOT)
    sample = ["rank", "sample"]
    known = [
        collected(each.group_by(sample).agg(many=pl.len()), trace)
        for each in (roots, evaluated_calls(trace, roots))
    ]
    return known[0].join(known[1], on=[*sample, "many"], how="semi").select(sample).sort(sample)


def passes_left_out(trace: Trace, part: Trace) -> pl.DataFrame:
    """Return the products that ran besides the inference, which no estimator of it charges.

    These are the forward passes in training mode, and what ran in other stages: backward passes
    (of a force that is a gradient too), what checkpoints recomputed, steps of optimizers.

    Args:
        trace: the trace.
        part: the inference in it, see `forward_part`; of other stages nothing is charged.

    Returns:
        `stage`, `what`, `calls` and `macs` (dense; null: the size of one is not known), one row or
        none for each stage.
    """
    known: dict[int, tuple[Trace, pl.DataFrame]] = trace.own.setdefault("passes left out", {})
    if id(part) not in known:
        known[id(part)] = part, _passes_left_out(trace, part)
    return known[id(part)][1]


_LEFT_OUT = {"stage": pl.String, "what": pl.String, "calls": pl.Int64, "macs": pl.Int64}

_PASSES = {
    "forward": "passes in training mode",
    "backward": "backward passes",
    "recompute": "recomputed passes",
    "optimizer": "optimizer steps",
}
"""Stage -> what of it is left out."""


def _passes_left_out(trace: Trace, part: Trace) -> pl.DataFrame:
    keys = [*MODULE, "signature_id"]
    ran = products_of(trace, (), stages=STAGES)
    inference = products_of(part, ()).select(*keys, "stage", "calls")
    rest = uncharged(ran, inference)
    paths = trace.modules.select(*MODULE, "path")
    named = rest.join(paths, on=list(MODULE), how="left", maintain_order="left")
    macs = pl.when(pl.col("macs").null_count() == 0).then(pl.col("macs").sum())
    rows = []
    for stage, passes in _PASSES.items():
        of_stage = named.filter(stage=stage)
        if of_stage.height:
            modules = of_stage["path"].fill_null("no module").unique(maintain_order=True).to_list()
            sums = of_stage.select(pl.col("calls").sum(), macs=macs).row(0)
            rows.append((stage, f"{passes} ({listed(modules)})", *sums))
    return pl.DataFrame(rows, schema=_LEFT_OUT, orient="row")


def passes_warnings(trace: Trace, rest: pl.DataFrame) -> list[str]:
    """Return a sentence on each kind of passes of which products are left out.

    Args:
        trace: the trace.
        rest: what `passes_left_out` returned.
    """
    told = "" if _unlike(trace).height else ", or leave them out with --where training=false"
    ways = {"forward": f": call model.eval() before recording{told}"}
    other = ": leave them out with --where stage=forward"
    told_by_stage = zip(rest["stage"], told_of(rest), strict=True)
    return [text + ways.get(stage, other) for stage, text in told_by_stage]


def told_of(rest: pl.DataFrame) -> list[str]:
    """Return what is said of what `passes_left_out` returned, without what to do."""
    return [
        f"{what} are no inference and left out"
        if stage == "forward"
        else f"{what} are left out, since forward passes alone are charged"
        for stage, what in rest.select("stage", "what").iter_rows()
    ]


def mode_warnings(part: Trace) -> list[str]:
    """Return one sentence on modules that ran in training mode in an inference, if any did.

    Losses and other modules without parameters, neurons and modes of their own are not named.

    Args:
        part: the inference, see `forward_part`.
    """
    unlike = _unlike(part).filter("evaluated")
    if unlike.is_empty():
        return []
    ran = part.module_calls.join(unlike.lazy(), on=list(_CALL), how="semi")
    ids = collected(ran.select(MODULE).unique(), part)
    modules = part.modules.join(ids, on=list(MODULE), how="semi", maintain_order="left")
    changing = pl.col("class").str.contains(_MODAL)
    named = modules.filter(_has_mode() | changing)
    paths = named["path"].unique(maintain_order=True).to_list()
    if not paths:
        return []
    other = named.filter(changing)["path"].unique(maintain_order=True).to_list()
    more = f"; in eval mode {listed(other)} would do other work" if other else ""
    return [
        f"{number(len(paths), 'module')} ran in training mode inside a model in eval mode and "
        f"{agreeing(len(paths), 'is', 'are')} charged (model.eval() does not reach a module in a "
        f"plain list): {listed(paths)}{more}"
    ]


_MODAL = r"(?i)dropout|batch_?norm|instance_?norm"
"""Classes that do other work in training mode, with or without parameters."""


def _has_mode() -> pl.Expr:
    """Return whether somebody sets the mode of a module: nobody sets that of a loss."""
    return pl.col("neuron").is_not_null() | (pl.col("parameters").list.len() > 0)


def _forward_part(trace: Trace, eval_only: bool) -> Trace:
    forward = _stage() == "forward"
    calls, told, untold = trace.calls.filter(forward), forward, None
    module_calls = trace.module_calls.filter(forward)
    if eval_only:
        unlike, mode = _unlike(trace), ~pl.col("training")
        if unlike.height:  # of these modules the flag does not tell: each call is looked up
            asked = of_pairs(unlike.select(MODULE).unique(), "module_id")
            mode = pl.when(asked & mode.is_not_null()).then(None).otherwise(mode)
        told = forward & mode
        open_ones = calls.filter(mode.is_null())
        outside = open_ones.filter(pl.col("training").is_null())
        untold = of_numbers(outside, _outside_in_eval_mode(trace))
        if unlike.height:
            known = unlike.lazy().select(*_CALL, "evaluated")
            inside = open_ones.filter(pl.col("training").is_not_null())
            inside = inside.join(known, on=list(_CALL), how="left")
            inside = inside.filter(pl.coalesce("evaluated", ~pl.col("training")))
            untold = pl.concat([untold, inside.select(calls.collect_schema().names())])
        calls = pl.concat([calls.filter(mode), untold])
        module_calls = evaluated_calls(trace, module_calls)
    part = trace.with_tables(
        calls=calls,
        conditions=None if trace.conditions is None else (*trace.conditions, told),
        untold=untold,
        module_calls=module_calls,
    )
    if not _any(trace, calls):
        raise TraceError(f"{trace.path}: {_what_is_missing(trace)}")
    return part


def _unlike(trace: Trace) -> pl.DataFrame:
    """Return the calls of modules whose own flag is not the mode of the pass that they ran in.

    Returns:
        `rank`, `module_call_id`, `module_id` and `evaluated`: whether the pass is in eval mode.
    """
    if "unlike their pass" not in trace.facts:
        trace.facts["unlike their pass"] = _found_unlike(trace.whole)
    found: pl.DataFrame = trace.facts["unlike their pass"]
    return found


def _found_unlike(trace: Trace) -> pl.DataFrame:
    forward, training = _stage() == "forward", pl.col("training")
    flags = collected(trace.module_calls.filter(forward).select(training.unique()), trace)
    if flags.height < 2:  # all modules in one mode
        return pl.DataFrame(schema=_UNLIKE)
    root = pl.when("root").then("module_call_id")
    columns = trace.module_calls.select(
        *(*_CALL, "module_id", "thread", "sample", "training"), forward=forward, root=IS_ROOT
    )
    calls = (
        collected(columns, trace)
        .lazy()
        .sort("rank", "thread", "module_call_id")
        .with_columns(root=root.forward_fill().over("rank", "thread"))
        .filter("forward")
        .pipe(at_once)
        .lazy()
    )
    asked = trace.modules.lazy().filter(_has_mode()).select(MODULE)
    inside = (
        calls.join(asked, on=list(MODULE), how="semi")
        .group_by("rank", "root")
        .agg(inside=~training.any())
    )
    sample = ["rank", "sample"]
    own = pl.when(~training).then(pl.lit(True)).otherwise("inside")
    known = pl.when(pl.col("sample").is_not_null()).then("own")
    roots = (
        calls.filter(pl.col("module_call_id") == pl.col("root"))
        .sort("rank", "module_call_id")
        .join(inside, on=["rank", "root"], how="left", maintain_order="left")
        .with_columns(own=own)
        .with_columns(
            evaluated=pl.coalesce(
                "own",
                known.forward_fill().over(sample),
                known.backward_fill().over(sample),
                pl.lit(False),
            )
        )
        .select("rank", "root", "evaluated")
    )
    modes = calls.join(roots, on=["rank", "root"], maintain_order="left")
    return at_once(modes.filter(pl.col("evaluated") == training).select(list(_UNLIKE)))


_UNLIKE = {
    "rank": pl.Int32,
    "module_call_id": pl.Int64,
    "module_id": pl.Int32,
    "evaluated": pl.Boolean,
}


def _outside_in_eval_mode(trace: Trace) -> pl.DataFrame:
    """Return `rank` and `seq` of forward calls outside every module, next to a pass in eval mode.

    It is decided on the whole trace: a filter that leaves the module call before them out does not
    change their mode.
    """
    if "outside in eval mode" not in trace.facts:
        trace.facts["outside in eval mode"] = _found_outside(trace.whole)
    found: pl.DataFrame = trace.facts["outside in eval mode"]
    return found


def _found_outside(trace: Trace) -> pl.DataFrame:
    mode, rank = pl.col("training"), pl.col("rank")
    calls = trace.calls.filter(_stage() == "forward")
    near = mode.is_null() | mode.shift(1).is_null() | mode.shift(-1).is_null()
    modes = collected(calls.select("rank", "seq", "module_call_id", "training").filter(near), trace)
    known = _unlike(trace).lazy().select(*_CALL, "evaluated")
    ordered = (
        modes.lazy()
        .sort("rank", "seq")
        .join(known, on=list(_CALL), how="left", maintain_order="left")
        .with_columns(training=pl.coalesce(~pl.col("evaluated"), "training"))
    )
    told = pl.when(mode.is_not_null()).then(rank)  # the rank that a mode is filled in from
    before = pl.when(told.forward_fill() == rank).then(mode.forward_fill())
    after = pl.when(told.backward_fill() == rank).then(mode.backward_fill())
    filled = ordered.with_columns(filled=pl.coalesce(before, after, pl.lit(False)))
    return at_once(filled.filter(mode.is_null() & ~pl.col("filled")).select("rank", "seq"))


def _stage() -> pl.Expr:
    return pl.col("stage").cast(pl.String)


def _any(trace: Trace, calls: pl.LazyFrame) -> bool:
    return collected(calls.select("seq").head(1), trace).height > 0


def _what_is_missing(trace: Trace) -> str:
    narrow = f" under {', '.join(trace.filters)}" if trace.filters else ""
    if not _any(trace, trace.calls):
        return f"no calls were recorded{narrow}."
    if not _any(trace, trace.calls.filter(_stage() == "forward")):
        return f"it has no forward pass{narrow}: record one, or widen --where."
    return (
        f"its forward passes ran in training mode{narrow}: call model.eval() before you record "
        "the inference."
    )
