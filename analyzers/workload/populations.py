"""Which calls of a neuron module are time steps of one layer's neurons.

One object may be the neurons of several layers: `k, m1 = lif(f1(x), m1); k, m2 = lif(f2(k), m2)`.
Each layer has a *population* of its own, and calls are of one population if they

- hand a state on: a call is given what an earlier one made of it, as an argument or as what the
  module holds. Where two such chains take turns, they are two populations; one that begins after
  another has ended goes on with it (the state was reset, or changed on the way).
- take in what the same weight layers made. Calls that carry one state on, but take from different
  layers, are of one population where these layers ran for different numbers of time steps.

This is read off one inference for each number of calls that a module has in an inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ..frames import at_once
from ..trace.files import collected
from ..trace.roots import IS_ROOT
from .ancestors import layers_before
from .layers import ID, MODULE, layers_of, neuron_roots, neurons_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

_SAMPLE = ("rank", "sample")
_PATTERN = (*MODULE, "many")
"""What calls are told apart by: of one module, in inferences with so many calls of it."""


def with_populations(trace: Trace, calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return calls of neurons with `population`: the number of the layer in their module, from 0.

    Args:
        trace: the trace.
        calls: rows with `ID`, of module calls.
    """
    if "populations" not in trace.facts:
        trace.facts["populations"] = _populations(trace.whole)
    found: pl.DataFrame = trace.facts["populations"]
    if found.is_empty():
        return calls.with_columns(population=pl.lit(0, pl.Int64))
    joined = calls.join(found.lazy(), on=ID, how="left", maintain_order="left")
    return joined.with_columns(pl.col("population").fill_null(0))


class _Call(NamedTuple):
    """A call of a neuron.

    Attributes:
        call: its number.
        steps: its time steps.
        given: values of its arguments beside the input.
        held: values of the states of the module as it began.
        made: values that it handed back, and of the states as it ended.
    """

    call: int
    steps: int
    given: Sequence[int]
    held: Sequence[int]
    made: Sequence[int]


def _populations(trace: Trace) -> pl.DataFrame:
    """Return `ID` and `population` of the calls of modules that have several."""
    nothing = pl.DataFrame(schema={**dict.fromkeys(ID, pl.Int64), "population": pl.Int64})
    counts = _several(trace) if neurons_of(trace).height else None
    if counts is None or counts.is_empty():
        return nothing
    firsts = counts.sort(*_PATTERN, "sample").unique(_PATTERN, keep="first", maintain_order=True)
    rows = _rows(trace, firsts)
    feeding = layers_before(trace, _behind_several(trace, rows))
    patterns = []
    for key, group in rows.group_by(_PATTERN, maintain_order=True):
        calls = [_Call(*row) for row in group.select(_Call._fields).iter_rows()]
        fed = [feeding.get((group["rank"][0], each.call), frozenset()) for each in calls]
        for place, population in enumerate(populated(calls, fed)):
            patterns.append((*key, place, population))
    numbers = dict.fromkeys(("place", "population"), pl.Int64())
    schema = {**{name: counts.schema[name] for name in _PATTERN}, **numbers}
    told = pl.DataFrame(patterns, schema=schema, orient="row")
    told = told.filter((pl.col("population") > 0).any().over(_PATTERN))
    if told.is_empty():
        return nothing
    asked = counts.join(told, on=_PATTERN, how="semi").lazy()
    within = pl.int_range(pl.len(), dtype=pl.Int64).over(*_SAMPLE, "module_id")
    return (
        _forward(trace)
        .join(asked, on=[*_SAMPLE, "module_id"])
        .select(*ID, *_SAMPLE[1:], "module_id", "many")
        .pipe(collected, trace)
        .lazy()
        .sort(ID)
        .with_columns(place=within)
        .join(told.lazy(), on=[*_PATTERN, "place"])
        .select(*ID, "population")
        .pipe(at_once)
    )


def _forward(trace: Trace) -> pl.LazyFrame:
    calls = trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
    return calls.filter(pl.col("sample").is_not_null())


def _several(trace: Trace) -> pl.DataFrame:
    """Return `_SAMPLE`, `module_id` and `many` of neurons that one call of the model calls often.

    A neuron that is called once in each call of the model is that of one layer.
    """
    of_roots = neuron_roots(trace)
    every = pl.concat([of_roots.select(MODULE), of_roots.select("rank", module_id="root")]).unique()
    calls = (
        _forward(trace)
        .join(every.lazy(), on=MODULE, how="semi")
        .group_by(*_SAMPLE, "module_id")
        .agg(many=pl.len().cast(pl.Int64), of_model=IS_ROOT.sum().cast(pl.Int64))
        .pipe(collected, trace)
    )
    of_model = calls.select(*_SAMPLE, root="module_id", of_root="of_model")
    by_itself = pl.col("root") == pl.col("module_id")
    return (
        calls.lazy()
        .join(of_roots.lazy(), on=MODULE)
        .join(of_model.lazy(), on=[*_SAMPLE, "root"], how="left")
        .filter(pl.col("many") > pl.when(by_itself).then(1).otherwise("of_root").fill_null(1))
        .select(*_SAMPLE, "module_id", "many")
        .pipe(at_once)
    )


def _rows(trace: Trace, firsts: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of modules in some samples: fields of `_Call`, and what the walk needs."""

    def ids(name: str, first: int = 0) -> pl.Expr:
        tensors = pl.col(name).list.slice(first)
        return tensors.list.eval(pl.element().struct.field("value_id")).fill_null([])

    return (
        _forward(trace)
        .join(firsts.lazy(), on=[*_SAMPLE, "module_id"])
        .select(
            *_PATTERN,
            "sample",
            "module_call_id",
            "first_seq",
            call="module_call_id",
            steps=pl.col("time_steps").fill_null(1),
            given=ids("inputs", 1),
            held=ids("state_before"),
            made=pl.concat_list(ids("outputs"), ids("state_after")),
            in_value=pl.col("inputs").list.first().struct.field("value_id"),
        )
        .pipe(collected, trace)
        .sort(*_PATTERN, "call")
    )


def _behind_several(trace: Trace, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of modules that may take in what different layers made.

    Those are left out that ran each time behind another call of one and the same layer.
    """
    layers = (
        _forward(trace)
        .join(layers_of(trace).lazy().select(MODULE), on=MODULE, how="semi")
        .join(rows.lazy().select(_SAMPLE).unique(), on=list(_SAMPLE), how="semi")
        .select("rank", "first_seq", layer="module_id", layer_call="module_call_id")
        .pipe(collected, trace)
        .sort("first_seq")
    )
    before = rows.sort("first_seq").join_asof(
        layers, on="first_seq", by="rank", allow_exact_matches=False, check_sortedness=False
    )
    kinds, calls = pl.col("layer").n_unique(), pl.col("layer_call").n_unique()
    alike = (kinds.over(_PATTERN) == 1) & (calls.over(_PATTERN) == pl.len().over(_PATTERN))
    return before.filter(~alike).sort(*_PATTERN, "call").drop("layer", "layer_call")


def populated(calls: Sequence[_Call], fed: Sequence[frozenset[int]]) -> list[int]:
    """Return the population of each call of a module in a sample, from 0.

    Args:
        calls: the calls in their order.
        fed: the weight layers whose results each call takes in.
    """
    chains = _chains(calls)
    sources = _sources(calls, fed, chains)
    spans: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(sources, chains, strict=True)):
        spans.setdefault(key, [place, place])[1] = place
    lanes: dict[int, list[int]] = {}  # where the last chain of each population has ended
    numbers: dict[tuple[int, int], tuple[int, int]] = {}
    for key, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        ends = lanes.setdefault(key[0], [])
        lane = next((n for n, last in enumerate(ends) if last < begin), len(ends))
        ends[lane:lane + 1] = [end]  # fmt: skip
        numbers[key] = key[0], lane
    order = list(dict.fromkeys(numbers[key] for key in zip(sources, chains, strict=True)))
    return [order.index(numbers[key]) for key in zip(sources, chains, strict=True)]


def _chains(calls: Sequence[_Call]) -> list[int]:
    """Return for each call the number of its chain: it is given what the last call of it made.

    What is given as an argument counts, and what the module holds only where nothing is given:
    some modules keep the state of their latest call as well.
    """
    makers: dict[int, int] = {}
    chains: list[int] = []
    tails: dict[int, int] = {}
    for place, call in enumerate(calls):
        read = call.given or call.held
        before = max((makers[value] for value in read if value in makers), default=None)
        chain = len(tails)
        if before is not None and tails[chains[before]] == before:
            chain = chains[before]
        chains.append(chain)
        tails[chain] = place
        makers.update(dict.fromkeys(call.made, place))
    return chains


def _sources(
    calls: Sequence[_Call], fed: Sequence[frozenset[int]], chains: Sequence[int]
) -> list[int]:
    """Return for each call the number of the group of layers that it takes in the results of."""
    groups: list[set[int]] = []
    for layers in fed:
        meeting = [group for group in groups if group & layers] if layers else []
        for group in meeting:
            groups.remove(group)
        if layers:
            groups.append(layers.union(*meeting))  # type: ignore[arg-type]
    place_of: Mapping[Any, int] = {layer: n for n, group in enumerate(groups) for layer in group}
    found = [place_of[min(layers)] if layers else -1 for layers in fed]
    steps: dict[int, int] = {}
    for call, source in zip(calls, found, strict=True):
        steps[source] = steps.get(source, 0) + call.steps
    same = {source: source for source in steps}
    first: dict[int, int] = {}
    for chain, source in zip(chains, found, strict=True):
        one, other = same[first.setdefault(chain, source)], same[source]
        if steps[first[chain]] != steps[source]:  # one state, now and then from another layer
            same = {each: one if kept == other else kept for each, kept in same.items()}
    return [same[source] for source in found]
