"""Machine files: units, what goes together, and one line for what does not."""

from __future__ import annotations

import json

import pytest

from opjoule import ConfigError
from opjoule.schemas.costs import Machine, load_config, load_machine, machine_names, machine_text
from opjoule.schemas.costs.machine import bytes_of, price_of

HEAD = '[machine]\nname = "mine"\nsource = "a paper"\n'
TERM = '[[term]]\nquantity = "synops"\nprice = "1 pJ"\n'


@pytest.mark.parametrize(
    ("text", "pj", "per"),
    [
        ("23.6 pJ", 23.6, "one"),
        ("2 nJ/op", 2000, "one"),
        (".5fJ", 0.0005, "one"),
        ("1e-3 uJ", 1000, "one"),
        ("1 µJ", 1e6, "one"),
        ("0.25 pJ/bit", 0.25, "bit"),
        ("25 pJ/byte", 25, "byte"),
        ("25 pJ / B", 25, "byte"),
        ("3 mW", 3e9, "second"),  # 3 mJ a second
        ("2 W", 2e12, "second"),
    ],
)
def test_prices_have_units(text, pj, per):
    assert price_of(text) == (pytest.approx(pj, rel=1e-15), per)


def test_sizes():
    assert [bytes_of(text) for text in ("64 KiB", "1.5 MiB", "12 B")] == [65536, 1572864, 12]


WRONG = {
    TERM.replace("1 pJ", "1 pj"): "'pj' is no unit of a price: did you mean pJ?",
    TERM.replace("1 pJ", "1 kWh"): "'kWh' is no unit",
    TERM.replace("1 pJ", "-1 pJ"): "finite and not negative",
    TERM.replace("1 pJ", "1e999 pJ"): "finite and not negative",
    TERM.replace("1 pJ", "nan pJ"): "is no price",
    TERM.replace("1 pJ", "1 pJ/bits"): "/bits is unknown: did you mean bit?",
    TERM.replace("1 pJ", "1 W/bit"): "a power has no /bit",
    TERM.replace('"1 pJ"', "1.0"): "price = 1.0 has no unit: write it as text, \"1.0 pJ\"",
    TERM.replace('"1 pJ"', "nan"): "has no unit",
    TERM.replace("synops", "synop"): "unknown quantity 'synop': did you mean synops?",
    TERM.replace("1 pJ", "1 pJ/byte"): "synops has no width",
    TERM.replace("1 pJ", "1 W"): "a price in W goes with the quantity seconds",
    TERM.replace('"synops"', '["synops", "weight_reads"]'): "have one unit, not element and op",
    TERM.replace("synops", "weight_writes"): 'weight_writes needs a machine of scope = "training"',
    TERM.replace("synops", "seconds").replace("pJ", "W"): "tell seconds_per_sample in [machine]",
    TERM.replace("price", "prise"): "Machine has no field term.synops.prise: did you mean price?",
    TERM + 'memory = "sram"\n': "give one of price, price_by_bits and memory",
    TERM.replace('price = "1 pJ"', 'memory = "sram"'): "synops has no width",
    TERM.replace("synops", "weight_reads").replace('price = "1 pJ"', 'memory = "sram"'):
        "no memory 'sram'",
    TERM + 'kind = "parameter"\n': "kind is of bytes_read and bytes_written",
    TERM + 'of = "layer"\n': "should be 'all', 'layers', 'neurons' or 'others'",
    TERM + 'bits = 0\n': "should be greater than or equal to 1",
    TERM + TERM: "two have the name 'synops'",
    TERM.replace("synops", "neuron_updates") + 'where = "op=aten.mm*"\n': "belongs to no op",
    TERM + 'name = "a.b"\n': "should match pattern",
    "": "Machine.term",
    "term = 3\n": "write each term under its own [[term]]",
    "x = " + "[" * 3000 + "]" * 3000: "not TOML",
    "x = " + "[" * 40 + "]" * 40: "nested deeper than a machine file is",
    TERM.replace("synops", "macs") * 1 + "".join(
        TERM.replace("[[term]]", f'[[term]]\nname = "t{n}"') for n in range(300)
    ): "at most 256",
    TERM + '[[memory]]\nname = "m"\n': "give one of price and price_per_bit",
    TERM + '[[memory]]\nname = "m"\nprice = "1 pJ"\n': "by /bit or /byte",
    TERM + '[[memory]]\nname = "m"\nprice_per_bit = {at_bytes = [2.0, 1.0], pj = [1.0, 1.0]}\n':
        "at_bytes has to rise",
    TERM + '[[memory]]\nname = "m"\nprice_per_bit = {at_bytes = [2.0], pj = [1.0, 1.0]}\n':
        "at_bytes has 1 points and pj 2",
    TERM + '[[memory]]\nname = "m"\nprice_per_bit = {at_bytes = [2.0], pj = [inf]}\n':
        "should be a finite number",
}  # fmt: skip


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_a_wrong_file_gets_one_line(place, tmp_path):
    text, says = list(WRONG.items())[place]
    file = tmp_path / "mine.toml"
    file.write_text(f"{text}\n{HEAD}" if "[[" not in text[:9] else HEAD + text)
    with pytest.raises(ConfigError) as caught:
        load_machine(file)
    line = str(caught.value)
    assert says in line and line.startswith(f"{file}: ")
    assert "\n" not in line and len(line.replace(str(file), "")) < 700


def test_a_missing_field_names_the_file_however_it_is_read(tmp_path):
    """Alone, with what overrides it, and on the command line."""
    file = tmp_path / "mine.toml"
    says = f"{file}: Machine.machine is missing"
    file.write_text(TERM)
    for read in (
        lambda: load_machine(file),
        lambda: load_config(f"machine.{file}"),
        lambda: load_config(f"machine.{file}", overrides="term.synops.price='2 pJ'"),
    ):
        with pytest.raises(ConfigError) as caught:
            read()
        assert str(caught.value) == says


def test_a_head_is_checked(tmp_path):
    file = tmp_path / "mine.toml"
    for head, says in {
        '[machine]\nname = "mine"\n': "Machine.machine.source",
        HEAD.replace("mine", "my chip"): "Machine.machine.name",
        HEAD + 'scope = "all"\n': "'forward' or 'training'",
        HEAD + "seconds_per_sample = inf\n": "finite",
    }.items():
        file.write_text(head + TERM)
        with pytest.raises(ConfigError) as caught:
            load_machine(file)
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="no machine 'spinaker': did you mean spinnaker"):
        load_machine("spinaker")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_machine(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_machine(_folder(tmp_path))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not TOML"):
        load_machine(binary)
    huge = tmp_path / "huge.toml"
    huge.write_text("# " + "x" * 1_000_001)
    with pytest.raises(ConfigError, match="more than 1,000,000 bytes"):
        load_machine(huge)


def _folder(path):
    folder = path / "folder.toml"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", machine_names())
def test_a_shipped_machine_states_its_source_and_comes_back(name):
    made = load_machine(name)
    assert made.machine.name == name and len(made.machine.source) > 20
    assert machine_text(name).startswith("# ")
    assert Machine(**made.model_dump()) == made
    assert Machine(**json.loads(made.model_dump_json())) == made


def test_the_schema_is_of_the_file_as_it_is_written():
    schema = Machine.model_json_schema()
    assert schema["properties"]["term"]["type"] == "array"
    term = schema["$defs"]["Term"]["properties"]
    assert term["price"]["type"] == "string" and "pJ/bit" in term["price"]["description"]


@pytest.mark.parametrize("price", ["3", "0.5", "-1", "true"])
def test_a_price_that_is_set_has_a_unit_as_in_a_file(price):
    name = "term.neuron update.price"
    with pytest.raises(ConfigError, match=f"price = {price} has no unit: write it as"):
        load_config("machine.loihi", overrides=[f"{name}={price}"])
    assert (
        load_config("machine.loihi", overrides=[f"{name}=3 nJ"]).term["neuron update"].price == 3e3
    )
