"""What ran against a loop over the calls, of whole traces and of narrowed ones."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from opjoule.analyzers import open_trace
from opjoule.analyzers.counting.aggregate import collapsed
from opjoule.analyzers.workload.hints import spike_hints
from opjoule.analyzers.workload.inference import forward_part
from opjoule.analyzers.workload.ran import RAN, ran_of

torch = pytest.importorskip("torch")

FILTERS = [(), ("stage=forward",), ("training=false", "op=aten.addmm"), ("module=*.0",),
           ("step=0",), ("op=aten.sum",), ("step=1:", "stage=backward"), ("label=late",),
           ("rank=0",)]  # fmt: skip


@pytest.fixture
def both_modes(recorded):
    """Return a trace of training and evaluation, each with work outside every module."""
    net, x = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU()), torch.rand(2, 3)

    def run(recorder):
        for _ in range(2):
            net.train()(x).neg().sum().backward()
            recorder.step()
            with torch.no_grad():
                net.eval()(x).neg().sum()

    return recorded(run, model=net)


def eval_part(trace):
    return forward_part(trace, eval_only=True)


def looped(trace):
    rows = trace.calls.sort("rank", "seq").collect().iter_rows(named=True)
    keys = [(tuple(row[name] for name in RAN), row["seq"]) for row in rows]
    firsts = dict(reversed(keys))
    return {(*key, calls, firsts[key]) for key, calls in Counter(key for key, _ in keys).items()}


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_how_often_it_ran_is_what_a_loop_counts(both_modes, filters):
    trace = both_modes.where(*filters)
    found = ran_of(trace)
    assert set(found.rows()) == looped(trace)
    assert found.height == len(looped(trace))


def test_work_outside_modules_goes_with_the_modules_of_its_own_rank(record, monkeypatch, tmp_path):
    """Each rank's neighbour ran in the other mode: exp and sin go with eval, cos and neg do not."""
    layer, x = torch.nn.Linear(3, 3), torch.rand(2, 3)
    ranks = [
        lambda: (layer.train()(x), x.cos()),
        lambda: (x.exp(), layer.eval()(x)),
        lambda: (layer.eval()(x), x.sin()),
        lambda: (x.neg(), layer.train()(x)),
    ]
    for rank, run in enumerate(ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(len(ranks)))
        record(torch.no_grad()(run), model=layer, path=tmp_path / "ranks")
    part = forward_part(open_trace(tmp_path / "ranks"), eval_only=True)
    found = ran_of(part).join(part.signatures.select("rank", "signature_id", "op"),
                              on=["rank", "signature_id"])  # fmt: skip
    ops = sorted(found.filter(pl.col("training").is_null())["op"])
    assert ops == ["aten.exp.default", "aten.sin.default"]


def test_work_outside_modules_is_told_apart_call_by_call(both_modes):
    part = forward_part(both_modes, eval_only=True)
    assert None in set(ran_of(part)["training"])
    assert set(ran_of(part).rows()) == looped(part)
    assert set(ran_of(part.where("op=aten.sum")).rows()) == looped(part.where("op=aten.sum"))


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("narrow", [lambda trace: trace, eval_part], ids=["all", "eval"])
def test_sums_of_a_part_are_those_of_its_calls(both_modes, narrow, filters):
    """From the sums of the whole trace, and from the calls of the part alone."""
    keys = ("module_id", "stage", "label", "training")
    collapsed(both_modes, keys)  # sums of the whole trace are kept
    part = narrow(both_modes).where(*filters)
    alone = part.with_tables(calls=part.calls)
    assert (alone.conditions, alone.untold) == (None, None)
    assert set(collapsed(part, keys).rows()) == set(collapsed(alone, keys).rows())


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_what_ran_is_told_by_whoever_summed_all_calls(both_modes, filters):
    collapsed(both_modes.where(*filters), ("module_id",))
    assert "kinds" in both_modes.facts
    part = eval_part(both_modes)
    assert set(ran_of(both_modes).rows()) == looped(both_modes)
    assert set(ran_of(part).rows()) == looped(part)


def test_calls_that_were_changed_otherwise_are_counted_anew(both_modes):
    part = both_modes.with_tables(calls=both_modes.calls.filter(pl.col("seq") > 3))
    assert part.kept(ran_of(both_modes)) is None
    assert set(ran_of(part).rows()) == looped(part)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_hints_of_a_narrowed_trace_are_those_of_its_calls(stored, filters):
    """Where nothing tells what the calls were filtered by, each is looked up."""
    known = open_trace(stored).where(*filters)
    unknown = known.with_tables(calls=known.calls)
    assert unknown.conditions is None
    assert spike_hints(known) == spike_hints(unknown)
