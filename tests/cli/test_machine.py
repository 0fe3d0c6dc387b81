"""`opjoule machine`, and `energy --machine`: what they print and what they refuse."""

from __future__ import annotations

import json

import pytest

from opjoule.cli.main import run
from opjoule.schemas.costs import machine_names
from opjoule.schemas.quantities import QUANTITIES

FILE = """[machine]
name = "mine"
source = "a paper"

[[term]]
name = "event"
quantity = "synops"
price = "2 nJ"
"""


@pytest.fixture
def chip(tmp_path):
    """Return a machine file that charges 2 nJ a synaptic operation."""
    file = tmp_path / "mine.toml"
    file.write_text(FILE)
    return file


def test_the_list_and_a_file(answered):
    rows = json.loads(answered("machine", "list", "--format", "json"))
    assert [row["machine"] for row in rows] == list(machine_names())
    assert "IEEE Micro 38(1), 2018" in answered("machine", "list")
    assert 'price = "81 pJ"' in answered("machine", "show", "loihi")


def test_the_schema_and_the_quantities(answered):
    assert json.loads(answered("machine", "schema"))["title"] == "Machine"
    rows = json.loads(answered("machine", "quantities", "--format", "json"))
    assert [row["name"] for row in rows] == list(QUANTITIES)
    assert "neurons_per_core" in answered("machine", "quantities", "--format", "csv")


def test_a_file_is_checked_alone_and_on_a_trace(answered, chip, stored):
    assert "is a machine: mine, terms event" in answered("machine", "validate", chip)
    # the stored trace has 10 synaptic operations in its passes in eval mode
    assert f"in {stored}: event: 10\n" in answered("machine", "validate", chip, stored)


def test_a_term_that_matches_nothing_fails_the_check(chip, stored, capsys):
    chip.write_text(FILE + 'where = ["op=aten.convolutoin*"]\n')
    assert run(["machine", "validate", str(chip), str(stored)]) == 1
    err = capsys.readouterr().err
    assert "term 'event' matches nothing" in err and "did you mean aten.convolution" in err


def test_an_estimate_on_a_file(answered, chip, stored):
    out = answered("energy", "--machine", chip, stored)
    assert "total 20.0 nJ (20000 pJ), 6.67 nJ a sample" in out and "covers event (synops)" in out
    assert "aten.convolution.default, dense input (no term)" in out
    assert answered("energy", stored, f"--machine={chip}") == out


def test_a_machine_for_spikes_is_no_free_ride_for_dense_products(answered, refused, tmp_path):
    """It showed 0 J beside a spiking network's energy."""
    torch, opjoule = pytest.importorskip("torch"), pytest.importorskip("opjoule")
    dense = opjoule.record(torch.nn.Linear(3, 2).eval(), torch.rand(4, 3), tmp_path / "dense")
    for machine in ("loihi", "loihi-sanafe", "spinnaker2"):
        line = refused("energy", dense, "--machine", machine)
        assert f"machine {machine} charges none of the products that ran" in line
    found = answered("table", f"ANN={dense}", "--columns", "energy.machine.loihi")
    assert "machine.loihi does not apply to ANN" in found and "0 J" not in found


def test_prices_can_be_set(answered, stored):
    words = ("energy", stored, "--machine", "loihi", "--format", "json")
    data = json.loads(answered(*words, "--set", "term.neuron update.price=0.1 nJ"))
    # 1,566 updates at 100 pJ
    assert data["breakdown_pj"]["neuron update_pj"] == 156_600
    assert data["estimator"] == "machine.loihi"


def test_a_machine_is_named_where_an_estimator_is(answered, stored, chip):
    swept = answered("sweep", "machine.loihi", stored, "--vary", "term.neuron update.price=1,2",
                     "--format", "json")  # fmt: skip
    rows = json.loads(swept)["rows"]
    assert rows[1]["total_pj"] - rows[0]["total_pj"] == 1566
    assert "machine.loihi energy" in answered(
        "compare", stored, stored, "--energy", "machine.loihi"
    )
    assert "127 nJ" in answered("check", stored, "--max", "energy.machine.loihi=1 uJ")
    table = answered("table", f"SNN={stored}", "--columns", "energy.machine.loihi", "--format",
                     "csv")  # fmt: skip
    assert float(table.splitlines()[1].split(",")[1]) == 127_117 / 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("energy", "--machine", "lohi"), "did you mean loihi?"),
        (("energy", "--machine", "loihi", "--set", "term.x.price=1 pJ"), "term.x"),
        (("energy", "--machine", "loihi", "--set", "machine.nam=1"), "did you mean name?"),
        (("sweep", "machine.lohi", "--sensitivity"), "did you mean loihi?"),
        (("check", "--max", "energy.machine.lohi=1"), "did you mean loihi?"),
        (("table", "--columns", "energy.machine.lohi"), "did you mean loihi?"),
    ],
)
def test_a_wrong_question_is_refused(words, says, stored, refused):
    assert says in refused(*words, stored)
