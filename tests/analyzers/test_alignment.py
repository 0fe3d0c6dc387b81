"""Which module is which: by path, and where paths changed, by kinship."""

from __future__ import annotations

import polars as pl
import pytest

from opjoule.analyzers.comparing.alignment import align, parent_of

CONV = [("weight", [4, 3, 3, 3])]
LINEAR = [("weight", [10, 4])]


def modules(*rows) -> pl.DataFrame:
    """Return a `modules` table of (path, class) or (path, class, parameters)."""
    data = []
    for path, kind, *own in rows:
        parameters = [{"name": name, "shape": shape} for name, shape in (own[0] if own else [])]
        data.append({"path": path, "class": f"somewhere.{kind}", "parameters": parameters})
    shape = pl.List(pl.Struct({"name": pl.String, "shape": pl.List(pl.Int64)}))
    return pl.DataFrame(data, schema={"path": pl.String, "class": pl.String, "parameters": shape})


VGG = (
    ("VGG", "VGG"),
    ("VGG.features", "Sequential"),
    ("VGG.features.0", "Conv2d", CONV),
    ("VGG.features.1", "ReLU"),
    ("VGG.head", "Linear", LINEAR),
)


def renamed(rows, old, new):
    return tuple((path.replace(old, new), *rest) for path, *rest in rows)


def test_the_same_paths_are_the_same_modules():
    assert align(modules(*VGG), modules(*VGG)) == {row[0]: row[0] for row in VGG}


def test_a_layer_of_another_class_at_the_same_path_is_its_counterpart():
    other = (*VGG[:3], ("VGG.features.1", "LIFNode"), VGG[4])
    assert align(modules(*VGG), modules(*other))["VGG.features.1"] == "VGG.features.1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VGG", "SpikingVGG"),  # the root's class
        ("VGG", "Trainer.model"),  # wrapped in another module
        ("VGG.features", "VGG.backbone"),  # a container renamed
        ("VGG.head", "VGG.classifier.head"),  # a layer moved down
    ],
)
def test_what_is_below_tells_who_is_who(old, new):
    head = renamed(VGG, old, new)
    if "." in new.replace(old, ""):
        head = ((new.rpartition(".")[0], "Holder"), *head)
    expected = {row[0]: other[0] for row, other in zip(VGG, head[-len(VGG) :], strict=True)}
    found = align(modules(*VGG), modules(*head))
    assert {path: found.get(path) for path in expected} == expected


def test_several_roots_find_the_ones_that_share_their_paths():
    a = (("Encoder", "Encoder"), ("Encoder.conv", "Conv2d", CONV))
    b = (("Decoder", "Decoder"), ("Decoder.up", "Linear", LINEAR))
    base = (*a, *b)
    head = (*renamed(b, "Decoder", "NewDecoder"), *renamed(a, "Encoder", "NewEncoder"))
    assert align(modules(*base), modules(*head)) == {
        "Encoder": "NewEncoder",
        "Encoder.conv": "NewEncoder.conv",
        "Decoder": "NewDecoder",
        "Decoder.up": "NewDecoder.up",
    }


def test_instances_of_one_class_keep_their_order():
    base = (("Linear", "Linear"), ("Linear#2", "Linear"))
    assert align(modules(*base), modules(*base)) == {"Linear": "Linear", "Linear#2": "Linear#2"}


def test_networks_that_share_nothing_have_no_counterparts():
    other = (("MLP", "MLP"), ("MLP.a", "Linear", [("weight", [7, 7])]), ("MLP.b", "Tanh"))
    assert align(modules(*VGG), modules(*other)) == {}


def test_a_new_layer_has_no_counterpart():
    head = (*VGG, ("VGG.norm", "BatchNorm2d", [("weight", [4])]))
    assert "VGG.norm" not in align(modules(*VGG), modules(*head)).values()


def test_numbers_alone_tell_nothing():
    """`0` of one container is not `0` of another, unless its parameters are."""
    base = (("Net", "Net"), ("Net.a", "A"), ("Net.a.0", "ReLU"))
    head = (("Net", "Net"), ("Net.b", "B"), ("Net.b.0", "ReLU"))
    assert align(modules(*base), modules(*head)) == {"Net": "Net"}


def test_no_module_gets_two_counterparts():
    base = (("Net", "Net"), ("Net.a", "C"), ("Net.a.conv", "Conv2d", CONV))
    twice = (*renamed(base[1:], "Net.a", "Net.x"), *renamed(base[1:], "Net.a", "Net.y"))
    found = align(modules(*base), modules(base[0], *twice))
    assert len(set(found.values())) == len(found)


def test_trees_without_modules():
    assert align(modules(), modules(*VGG)) == {}
    assert parent_of("VGG") is None
    assert parent_of("VGG.features.0") == "VGG.features"
