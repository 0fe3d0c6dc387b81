"""Filters against a plain look at the calls."""

from __future__ import annotations

import polars as pl
import pytest

from opjoule.analyzers import count, open_trace
from opjoule.analyzers.trace.filters import parse_filters, written
from opjoule.schemas import ConfigError


@pytest.fixture(scope="module")
def trace():
    from pathlib import Path

    return open_trace(Path(__file__).resolve().parents[1] / "data" / "spiking-1")


@pytest.fixture(scope="module")
def calls(trace):
    """Return the calls with their op and module's path, as plain rows."""
    return (
        trace.calls.collect()
        .join(trace.signatures.select("signature_id", "op", "packet"), on="signature_id")
        .join(trace.modules.select("module_id", "path"), on="module_id", how="left")
        .sort("seq")
        .to_dicts()
    )


def kept(trace, *filters):
    return sorted(trace.where(*filters).calls.collect()["seq"].to_list())


def below(path):
    return lambda call: (
        call["path"] is not None and (call["path"] == path or call["path"].startswith(path + "."))
    )


CASES = {
    "stage=forward": lambda c: c["stage"] == "forward",
    "stage=forward,optimizer": lambda c: c["stage"] in ("forward", "optimizer"),
    "stage=backward , recompute": lambda c: c["stage"] == "backward",
    "step=1": lambda c: c["step"] == 1,
    "step=0,1": lambda c: True,
    "step=0:1": lambda c: c["step"] == 0,
    "step=1:": lambda c: c["step"] >= 1,
    "step=:1": lambda c: c["step"] < 1,
    "step=5:": lambda c: False,
    "label=training": lambda c: c["label"] == "training",
    "label=training,inference": lambda c: c["label"] in ("training", "inference"),
    "label=": lambda c: c["label"] is None,
    "label=,training": lambda c: c["label"] in (None, "training"),
    "label=nobody": lambda c: False,
    "op=aten.convolution.default": lambda c: c["op"] == "aten.convolution.default",
    "op=aten.convolution": lambda c: c["op"] == "aten.convolution.default",
    "op=aten.add*": lambda c: c["op"].startswith("aten.add"),
    "op=aten.mm,aten.addmm": lambda c: c["packet"] in ("aten.mm", "aten.addmm"),
    "op=*.?m.*": lambda c: c["op"].split(".")[1] in ("mm", "bm"),
    "op=aten.nothing": lambda c: False,
    "training=true": lambda c: c["training"] is True or c["stage"] == "optimizer",
    "training=false": lambda c: c["training"] is False,
    "training=true,false": lambda c: c["training"] is not None or c["stage"] == "optimizer",
    "rank=0": lambda c: True,
    "rank=1": lambda c: False,
    "module=Sequential": lambda c: c["path"] is not None,
    "module=Sequential.0": below("Sequential.0"),
    "module=0": below("Sequential.0"),
    "module=0,Sequential.5": lambda c: below("Sequential.0")(c) or below("Sequential.5")(c),
    "module=[025]": lambda c: any(below(f"Sequential.{n}")(c) for n in "025"),
    "module=Seq*": lambda c: c["path"] is not None,
    "module=*.5": below("Sequential.5"),
    " module = 5 ": below("Sequential.5"),
}


@pytest.mark.parametrize("text", CASES, ids=repr)
def test_a_filter_keeps_what_fits(trace, calls, text):
    assert kept(trace, text) == [call["seq"] for call in calls if CASES[text](call)]


@pytest.mark.parametrize("label", ["a,b", "a, b ", " a", ",", "a=b", "a\\b", " ", "x\ty\t"])
def test_labels_with_commas_and_spaces(label, record):
    """What the refusal of a wrong filter names is what the right one says."""
    torch = pytest.importorskip("torch")

    def run(recorder):
        for name, times in ((label, 1), ("a", 2), ("b", 3)):
            with recorder.label(name):
                [torch.rand(2).sum() for _ in range(times)]

    trace = record(run)
    with pytest.raises(ConfigError) as caught:
        count(trace, where="label=nobody")
    names = str(caught.value).partition("labels ")[2].removesuffix(".")
    alone = written(label)
    assert label.endswith("\t") or alone in names  # errors show a tab by its name
    asked = (alone, "a,b", f"{alone},b")
    once, both, last = (count(trace, where=f"label={each}").total["bytes"] for each in asked)
    assert (both, last) == (5 * once, 4 * once)


def test_most_filters_keep_some_and_drop_some(trace, calls):
    """So that the cases above can fail."""
    partly = [text for text in CASES if 0 < len(kept(trace, text)) < len(calls)]
    assert len(partly) >= 20


def test_filters_narrow_together_and_one_after_the_other(trace, calls):
    texts = ("stage=forward", "module=0", "label=training")
    expected = [
        c["seq"] for c in calls if all(CASES.get(t, below("Sequential.0"))(c) for t in texts)
    ]
    assert expected
    assert kept(trace, *texts) == expected
    narrowed = trace.where(texts[0]).where(*texts[1:])
    assert sorted(narrowed.calls.collect()["seq"].to_list()) == expected
    assert narrowed.filters == texts
    assert trace.filters == ()


def test_what_a_module_counts_with_all_below_it(trace):
    frame = count(trace, by="module").frame
    whole = frame.row(by_predicate=pl.col("module") == "Sequential", named=True)
    found = count(trace, where="module=Sequential").total
    assert found == {name: whole[name] for name in found}


def test_module_calls_are_narrowed_alike(trace):
    modules = trace.modules.select("module_id", "path")
    every = trace.module_calls.collect().join(modules, on="module_id")
    for text, fits in {
        "module=0": pl.col("path") == "Sequential.0",
        "stage=forward": pl.col("stage") == "forward",
        "label=training": pl.col("label") == "training",
        "step=1": pl.col("step") == 1,
        "training=false": ~pl.col("training"),
        "op=aten.mm": pl.lit(True),
    }.items():
        found = trace.where(text).module_calls.collect()["module_call_id"].sort().to_list()
        expected = every.filter(fits)["module_call_id"].sort().to_list()
        assert found == expected and expected


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("stage=optimizer", 1),
        ("stage=forward", 0),
        ("module=0", 0),
        ("op=aten.mm", 0),
        ("step=1", 1),
        ("step=0", 0),
        ("label=training", 1),
        ("label=inference", 0),
        ("training=true", 1),
        ("training=false", 0),
        ("training=true,false", 1),
        ("rank=1", 0),
    ],
)
def test_optimizer_steps_are_of_no_module_and_no_op(trace, text, steps):
    found = trace.where(text).optimizer_steps
    assert found["optimizer_step_id"].n_unique() == steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "stage",
            "invalid filter 'stage': expected FIELD=VALUE; fields are stage, step, ",
        ),
        ("", "invalid filter '': expected FIELD=VALUE"),
        ("=forward", "invalid filter '=forward'"),
        ("colour=red", "invalid filter 'colour=red'"),
        (
            "stage=sideways",
            "'sideways' is not a valid stage; stages are forward, backward, recompute, opt",
        ),
        ("stage=", "'' is not a valid stage"),
        ("stage=forward,", "'' is not a valid stage"),
        ("step=one", "'one' is not a valid step; write 3, or 3:10 for steps 3 to 9"),
        ("step=-1", "'-1' is not a valid step"),
        ("step=:", "':' is not a valid step"),
        ("step=1:2:3", "'1:2:3' is not a valid step"),
        ("step=5:5", "'5:5' is not a valid step; the range is empty"),
        ("step=5:2", "'5:2' is not a valid step; the range is empty"),
        ("step=\u0663", "is not a valid step"),
        ("step=99999999999", "is not a valid step"),
        ("module=", "'' is not a valid module; it is empty"),
        ("op=", "'' is not a valid op; it is empty"),
        ("training=maybe", "'maybe' is not a valid training; write true or false"),
        ("rank=x", "'x' is not a valid rank; write a number"),
        ("rank=99999999999", "is not a valid rank"),
        ("module=encoder.*", "no module of "),
    ],
)
def test_a_filter_that_means_nothing(trace, text, says):
    with pytest.raises(ConfigError) as caught:
        trace.where(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_answered_with_those_that_are(trace):
    with pytest.raises(ConfigError, match=r"there are Sequential, Sequential\.0, .*\.3, \.\.\.\."):
        trace.where("module=encoder")


def test_a_value_may_hold_an_equals_sign():
    (parsed,) = parse_filters(["label=a=b"])
    assert (parsed.field, parsed.values) == ("label", ("a=b",))


def test_a_trace_without_modules(recorded):
    torch = pytest.importorskip("torch")
    bare = recorded(lambda: torch.ones(2).exp())
    with pytest.raises(ConfigError, match="it names no modules"):
        bare.where("module=Linear")


def test_a_misspelt_field_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"invalid filter 'stag=forward': did you mean stage\?"):
        parse_filters(["stag=forward"])
