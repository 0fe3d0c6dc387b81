"""`opjoule config`: what it prints can be read back, what is wrong is one line."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from opjoule.cli.choosing import ESTIMATORS
from opjoule.cli.config import as_toml
from opjoule.cli.main import run
from opjoule.schemas.costs import CONFIGS, load_config, preset_names


def test_toml_comes_back():
    data = {
        "a b": 'say "x"',
        "tiny": 1.09e-05,
        "flag": True,
        "points": [[0.0, 1], [2.5, 3]],
        "part": {"size": 3, "deeper": {"x.y": "µ"}, "none": {}},
        "list": [{"k": 1}],
    }
    assert tomllib.loads(as_toml(data)) == data


@pytest.mark.parametrize("estimator", sorted(CONFIGS))
def test_what_show_prints_validates(estimator, tmp_path, capsys):
    presets = [None, *preset_names(estimator)]
    for preset in presets:
        assert run(["config", "show", estimator, *(["--preset", preset] if preset else [])]) == 0
        file = tmp_path / "made.toml"
        file.write_text(capsys.readouterr().out)
        assert load_config(estimator, file=file) == load_config(estimator, preset=preset)
        assert run(["config", "validate", estimator, str(file)]) == 0
        assert f"is a configuration of {estimator}" in capsys.readouterr().out


def test_show_lays_preset_file_and_set_on_each_other(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text("e_mac_pj = 7.5\n")
    words = ["show", "compute", "--preset", "fp16", "--config", str(file), "--set", "e_ac_pj=0.25"]
    assert run(["config", *words, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["e_mac_pj"], shown["e_ac_pj"]) == (7.5, 0.25)


def test_presets_are_listed_with_their_sources(capsys):
    assert run(["config", "show", "compute", "--presets"]) == 0
    assert capsys.readouterr().out.split() == ["fp16", "fp32", "int8"]
    assert run(["config", "show", "compute", "--preset", "fp16", "--sources"]) == 0
    assert "Horowitz" in capsys.readouterr().out


def test_the_schema_is_a_json_schema(capsys):
    assert run(["config", "schema", "compute"]) == 0
    field = json.loads(capsys.readouterr().out)["properties"]["e_mac_pj"]
    assert (field["default"], field["minimum"]) == (4.6, 0)
    assert field["description"] == "A multiply-accumulate."


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_example_of_every_help_is_a_constant_of_that_estimator(estimator, capsys):
    assert run(["energy", estimator, "--help"]) == 0
    (example,) = re.findall(r"One constant, e\.g\.\s+(\w+=[\d.]+\d);", capsys.readouterr().out)
    assert example == ESTIMATORS[estimator].example
    name, _, value = example.partition("=")
    made = load_config(estimator, overrides=[example])
    assert getattr(made, name) == float(value) != getattr(load_config(estimator), name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "compute", "--set", "e_mac_pj=-1"], "e_mac_pj = -1"),
        (["show", "compute", "--set", "e_mac_pj=nan"], "e_mac_pj"),
        (["show", "spikesim", "--set", "htree_pj=-inf"], "htree_pj = -inf: should be a finite"),
        (["show", "lemaire", "--set", "neurons.IF=3"], "neurons.IF = 3"),
        (["show", "compute", "--set", "e_mac=1"], "did you mean e_mac_pj?"),
        (["show", "compute", "--set", "e_ac_pj"], "write key=value, e.g. e_ac_pj=0.9"),
        (["show", "compute", "--set", "price"], "write key=value, e.g. e_mac_pj=4.6"),
        (["show", "lemaire", "--set", "e_mac_pj"], "write key=value, e.g. e_add_pj=0.1"),
        (["show", "neuromc", "--set", "=3"], "write key=value, e.g. e_add_pj=0.548"),
        (["show", "spikesim", "--set", "e_mac_pj"], "write key=value, e.g. tile_buffer_pj=397"),
        (["show", "compute", "--preset", "fp8"], "fp16, fp32, int8"),
        (["show", "magic"], "'magic' is not one of"),
        (["validate", "compute", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_nonsense_is_one_line(words, says, capsys):
    assert run(["config", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("opjoule: ") and says in err
