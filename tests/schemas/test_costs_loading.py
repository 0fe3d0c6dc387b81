"""Configurations: presets below a file below overrides, and nonsense refused in one line."""

from __future__ import annotations

import pytest

from opjoule.schemas import ConfigError
from opjoule.schemas.costs import (
    CONFIGS,
    ComputeConfig,
    LemaireConfig,
    NeuronOperations,
    SpikeSimConfig,
    changed,
    load_config,
    preset_names,
    preset_text,
)


def test_defaults_need_no_preset():
    assert load_config("compute") == ComputeConfig(e_mac_pj=4.6, e_ac_pj=0.9)


@pytest.mark.parametrize(
    ("preset", "mac", "ac"), [("fp32", 4.6, 0.9), ("fp16", 1.5, 0.4), ("int8", 0.23, 0.03)]
)
def test_compute_presets(preset, mac, ac):
    assert load_config("compute", preset=preset) == ComputeConfig(e_mac_pj=mac, e_ac_pj=ac)


def test_every_preset_loads_and_cites():
    names = [(estimator, preset) for estimator in CONFIGS for preset in preset_names(estimator)]
    assert ("lemaire", "int8") in names
    for estimator, preset in names:
        assert isinstance(load_config(estimator, preset=preset), CONFIGS[estimator])
        assert preset_text(estimator, preset).startswith("#")


def test_file_over_preset_and_overrides_over_both(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('estimator = "lemaire"\ne_add_pj = 0.7\nmemory = "piecewise"\n')
    config = load_config("lemaire", preset="int8", file=file, overrides=["memory=authors"])
    assert config == LemaireConfig(word_bits=8, e_add_pj=0.7, e_mul_pj=0.2)


def test_eight_bits_bring_their_energies():
    assert load_config("lemaire", overrides=["word_bits=8"]).e_mul_pj == 0.2
    assert load_config("lemaire", overrides=["word_bits=16"]).e_mul_pj == 3.1
    assert LemaireConfig(word_bits=8, e_mul_pj=0.5).e_mul_pj == 0.5


@pytest.mark.parametrize("text", ["0.5", ".5", "5e-1", "+.5"])
def test_numbers_as_people_write_them(text):
    assert load_config("compute", overrides=[f"e_mac_pj={text}"]).e_mac_pj == 0.5


def test_an_override_is_toml_or_text():
    config = load_config(
        "lemaire", overrides=["memory_breakpoints=[[0, 1], [1, 1], [2, 1], [3, 1]]"]
    )
    assert config.memory_breakpoints == ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0))


@pytest.mark.parametrize(
    ("estimator", "options", "said"),
    [
        ("lemair", {}, "no estimator 'lemair': did you mean lemaire? choose from"),
        ("lemaire", {"preset": "int9"}, "lemaire has no preset 'int9': choose from int16,"),
        ("compute", {"overrides": ["e_mca_pj=1"]}, "no field e_mca_pj: did you mean e_mac_pj?"),
        ("compute", {"overrides": ["e_mac_pj=-1"]}, "e_mac_pj = -1: should be greater than or"),
        ("compute", {"overrides": ["e_mac_pj=nan"]}, "e_mac_pj = nan: should be a finite number"),
        ("compute", {"overrides": ["e_mac_pj=inf"]}, "e_mac_pj = inf: should be a finite number"),
        ("compute", {"overrides": ["e_mac_pj=many"]}, "e_mac_pj = 'many': should be a valid numb"),
        ("compute", {"overrides": ["e_mac_pj=true"]}, "e_mac_pj = True: should be a valid number"),
        ("compute", {"overrides": ["e_mac_pj='3'"]}, "e_mac_pj = '3': should be a valid number"),
        ("compute", {"overrides": ["e_mac_pj=[3]"]}, "e_mac_pj = [3]: should be a valid number"),
        ("compute", {"overrides": [f"e_mac_pj={'9' * 80}x"]}, "99...: should be a valid number"),
        ("spikesim", {"overrides": ["xbar_size=true"]}, "xbar_size = True: should be a valid int"),
        ("lemaire", {"overrides": ["sparse_share=1.5"]}, "should be less than or equal to 1"),
        ("lemaire", {"overrides": ["neurons.IF.acs=1"]}, "neurons.IF.acs: known are acs_per_spike"),
        ("lemaire", {"overrides": ["memory_breakpoints.4.1=1"]}, "memory_breakpoints = {'4'"),
        ("compute", {"overrides": ["e_mac_pj"]}, "--set 'e_mac_pj': write key=value"),
        ("compute", {"overrides": [".=1"]}, "write key=value"),
        ("lemaire", {"overrides": ["word_bits=12"]}, "word_bits = 12: should be 32, 16 or 8"),
        ("lemaire", {"overrides": ["memory_breakpoints=[[1, 1]]"]}, "strictly increasing sizes"),
        ("lemaire", {"overrides": ["snn_fifo_capacity_elements=0"]}, "greater than or equal to 1"),
    ],
)
def test_nonsense_is_refused(estimator, options, said):
    with pytest.raises(ConfigError) as caught:
        load_config(estimator, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def _energies(config):
    """Return the numeric fields of a configuration, tables and lists included, by their paths."""

    def walk(data, path):
        if isinstance(data, dict):
            for key, value in data.items():
                yield from walk(value, (*path, key))
        elif isinstance(data, list | tuple):
            for place, value in enumerate(data):
                yield from walk(value, (*path, str(place)))
        elif isinstance(data, float):
            yield path

    return walk(config.model_dump(), ())


@pytest.mark.parametrize("estimator", sorted(CONFIGS))
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), True])
def test_no_number_is_negative_or_not_finite(estimator, value):
    config = CONFIGS[estimator]()
    paths = list(_energies(config))
    assert paths
    for path in paths:
        with pytest.raises(ConfigError) as caught:
            changed(config, {path: value})
        assert ".".join(path[:1]) in str(caught.value)


def test_places_in_a_list_are_overridden_one_by_one():
    config = load_config("lemaire", overrides=["memory_breakpoints.2.1=7"])
    points = [list(point) for point in LemaireConfig().memory_breakpoints]
    points[2][1] = 7.0
    assert [list(point) for point in config.memory_breakpoints] == points


def test_a_table_is_overridden_key_by_key():
    config = load_config("lemaire", overrides=["neurons.LIF.acs_per_step=2"])
    assert config.neurons["IF"] == NeuronOperations()
    # a LIF neuron multiplies and adds once a step by default, and that stays
    assert config.neurons["LIF"] == NeuronOperations(macs_per_step=1.0, acs_per_step=2.0)


def test_changed_keeps_what_was_set_and_fills_the_rest_in_anew():
    base = LemaireConfig(word_bits=8, memory="piecewise")
    assert base.e_add_pj == 0.03
    wide = changed(base, {"word_bits": 32})
    assert wide == LemaireConfig(memory="piecewise")  # with the energies of 32 bits
    assert changed(LemaireConfig(e_add_pj=0.7), {"word_bits": 8}).e_add_pj == 0.7
    assert changed(SpikeSimConfig(), {}) == SpikeSimConfig()


def test_changed_reaches_into_tables_without_bringing_back_what_was_removed():
    alone = LemaireConfig(neurons={"my.Neuron": NeuronOperations(acs_per_step=1.0)})
    config = changed(alone, {("neurons", "my.Neuron", "acs_per_spike"): 3.0})
    expected = NeuronOperations(acs_per_step=1.0, acs_per_spike=3.0)
    assert config.neurons == {"my.Neuron": expected}
    both = changed(LemaireConfig(), {"neurons.IF.acs_per_spike": 3.0, "e_add_pj": 1.0})
    assert both.neurons["IF"].acs_per_spike == 3.0
    assert both.neurons["LIF"] == LemaireConfig().neurons["LIF"]


def test_every_constant_of_a_preset_has_a_source():
    for estimator in CONFIGS:
        for preset in preset_names(estimator):
            cited = False
            for line in preset_text(estimator, preset).splitlines():
                name, equals, _ = line.partition("=")
                if line.startswith("#") or not equals:
                    cited = cited or line.startswith("#")
                elif name.strip().endswith("_pj") or "_pj_" in name:
                    assert cited or "#" in line, f"{estimator}-{preset}: {line}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read (No such file"),
        ("e_mac_pj 3", "not TOML"),
        ('estimator = "lemaire"', "is a configuration of 'lemaire', not of compute"),
        ("e_mac_pj = -3", "e_mac_pj = -3"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, said):
    file = tmp_path / "costs.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config("compute", file=file)
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)


def test_a_configuration_is_frozen_and_refuses_when_built_by_hand():
    with pytest.raises(ConfigError, match=r"e_add_pj = -0\.1"):
        LemaireConfig(e_add_pj=-0.1)
    with pytest.raises(ValueError, match="frozen"):
        LemaireConfig().e_add_pj = 1.0
