"""`opjoule compare`, for real: the demo's network, once as it is and once with a layer widened."""

from __future__ import annotations

import csv
import io
import json
import re

import polars as pl
import pytest

from opjoule.cli.main import run

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")
pytest.importorskip("sklearn")

WIDE = ("DigitNet.block2.conv", "weight shape 32x16x3x3 -> 64x16x3x3")
BATCH, STEPS = 16, 4
# One more 16-channel kernel of 3x3 for each of 32 new channels at 8x8 places, a multiplication
# and an addition each, in 4 time steps of 16 pictures.
WIDENED = 2 * (32 * 16 * 9) * 64 * BATCH * STEPS


def network(demo, wide):
    """Return the demo's network with spikes in every layer, block2 32 or 64 channels wide."""
    from spikingjelly.activation_based import functional, layer

    net = demo.network(spiking=True)
    if wide:
        net.block2.conv = layer.Conv2d(16, 64, 3, padding=1, bias=False)
        net.block2.norm = layer.BatchNorm2d(64)
        net.block3.conv = layer.Conv2d(64, 32, 3, padding=1, bias=False)
        functional.set_step_mode(net, "m")
    for block in (net.block1, net.block2, net.block3):
        torch.nn.init.constant_(block.norm.bias, 1.5)  # untrained neurons would hardly fire
    return net


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Record one inference and one training step of both networks, and the first one twice."""
    from spikingjelly.activation_based import functional

    from opjoule.cli import demo_network as demo
    from opjoule.tracer import Recorder

    folder = tmp_path_factory.mktemp("compared")
    data = demo.digits()
    pictures = data.images[:BATCH].unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
    for name, wide in (("base", False), ("head", True), ("again", False)):
        torch.manual_seed(7)
        net = network(demo, wide)
        optimizer = torch.optim.Adam(net.parameters())
        with Recorder(folder / name, model=net, batch_dim=1, time_dim=0) as recorder:
            net.eval()
            with recorder.label("inference"), torch.no_grad():
                net(pictures)
            functional.reset_net(net)
            recorder.step()
            net.train()
            with recorder.label("training"):
                torch.nn.functional.cross_entropy(
                    net(pictures).mean(0), data.labels[:BATCH]
                ).backward()
                optimizer.step()
    return folder


@pytest.fixture
def asked(traces, capsys, monkeypatch):
    """Return a function that compares two of the traces: exit code, stdout, stderr."""
    monkeypatch.chdir(traces)

    def ask(*words, base="base", head="head"):
        code = run(["compare", base, head, *map(str, words)])
        return code, *capsys.readouterr()

    return ask


def test_the_reason_stands_in_the_second_line(asked):
    """The first says what the figures are of."""
    code, out, err = asked("--where", "label=inference")
    assert (code, err) == (0, "")
    unit, first = out.splitlines()[:2]
    assert re.fullmatch(
        r"of the whole recordings \(\d+ samples each\), narrowed by label=inference", unit
    )
    assert re.match(r"FLOP \+\d+\.\d %: \S+ M -> \S+ M; most by DigitNet\.block2\.conv, ", first)
    assert first.endswith(WIDE[1])
    assert "\nwarning: the weights have other shapes: DigitNet.block2" in out


def test_the_widened_layer_comes_first_with_exact_figures(asked):
    code, out, _ = asked("--where", "label=inference", "--format", "json")
    first = json.loads(out)["changes"]["flops"][0]
    assert (first["module"], first["reason"]) == WIDE
    assert (code, first["difference"]) == (0, WIDENED)


def test_the_gate_fails_and_names_the_culprits(asked):
    code, out, err = asked("--fail-on", "flops>+0%", "--fail-on", "macs>1e12")
    assert code == 1
    lines = err.splitlines()
    assert lines[0].startswith("opjoule: failed: flops>+0%: ")
    assert WIDE[0] in lines[1] and WIDE[1] in lines[1]
    assert "macs" not in err
    assert out.splitlines()[1].startswith("FLOP +")


@pytest.mark.parametrize(
    ("condition", "head", "code"),
    [
        ("flops>+0%", "again", 0),
        ("flops<+0%", "again", 0),
        ("calls>=+0%", "again", 1),
        ("energy.compute>+0%", "again", 0),
        ("flops>+1000%", "head", 0),
        ("flops>1k", "head", 1),
        ("flops>+1k", "head", 1),
        ("flops<1k", "head", 0),
        ("synops>+5%", "head", 1),
        ("bytes>+1MiB", "head", 1),
        ("energy.compute>+5%", "head", 1),
        ("energy.compute>1J", "head", 0),
        ("energy.lemaire>+5%", "head", 1),
    ],
)
def test_conditions(asked, condition, head, code):
    found, _, err = asked("--fail-on", condition, head=head)
    assert found == code
    assert err.startswith(f"opjoule: failed: {condition}: " if code else "")
    assert bool(err) == bool(code)


def test_identical_traces_are_equal(asked):
    words = ["--energy", "compute", "--where", "label=inference", "--fail-on", "flops>+0%"]
    code, out, err = asked(*words, head="again")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("nothing changed: every figure is equal")
    assert "warning" not in out and "changed  " not in out


def test_estimators_stand_beside_each_other(asked):
    words = ["--energy", "compute", "--energy", "lemaire", "--where", "label=inference"]
    _, out, _ = asked(*words, "--set", "compute.e_mac_pj=0", "--preset", "lemaire=int8",
                      "--revision", "source", "--format", "json")  # fmt: skip
    data = json.loads(out)
    figures = {total["figure"]: total for total in data["totals"]}
    assert list(figures) == ["calls", "flops", "bytes", "synops", "macs", "acs",
                             "energy.compute", "energy.lemaire"]  # fmt: skip
    # without a price for MACs, 0.9 pJ for each AC
    assert figures["energy.compute"]["difference"] == pytest.approx(
        0.9 * figures["acs"]["difference"]
    )
    assert figures["energy.lemaire"]["difference"] > 0


def test_every_format_holds_the_same_figures(asked, tmp_path):
    _, out, _ = asked("--format", "json")
    rows = json.loads(out)["rows"]
    file = tmp_path / "rows.parquet"
    code, out, err = asked("--format", "parquet", "-o", file)
    assert (code, out) == (0, "")
    assert "warning: the weights" in err
    assert pl.read_parquet(file).to_dicts() == rows
    _, out, _ = asked("--format", "csv")
    listed = list(csv.DictReader(io.StringIO(out)))
    assert [int(row["flops_difference"]) for row in listed] == [r["flops_difference"] for r in rows]
    _, out, _ = asked("--format", "csv", "--by", "stage")
    by_stage = {
        row["stage"]: int(row["flops_difference"]) for row in csv.DictReader(io.StringIO(out))
    }
    assert by_stage["forward"] == sum(
        r["flops_difference"] for r in rows if r["stage"] == "forward"
    )


def test_markdown_for_a_pull_request(asked):
    code, out, _ = asked("--format", "markdown", "--fail-on", "flops>+0%", "--by", "module")
    lines = out.splitlines()
    assert code == 1
    assert lines[0].startswith("- of the whole recordings (")
    assert lines[1].startswith("- FLOP +") and lines[1].endswith(WIDE[1])
    assert lines[2].startswith("- failed: flops>+0%: ")
    assert lines[3].startswith(f"  - {WIDE[0]}, aten.convolution")
    assert "| mark | figure | base | head | difference | change |" in lines
    assert any(line.startswith("| changed | FLOP | ") for line in lines)
    assert "**FLOP by module**" in lines


def test_the_tree_adds_submodules_up(asked):
    _, out, _ = asked("--by", "module", "--where", "stage=forward", "--where", "training=false")
    tree = out[out.index("FLOP by module") :]
    kinds = re.findall(r"^(\w+) .*?(block\d|readout|Global) ", tree, re.MULTILINE)
    assert {name: kind for kind, name in kinds} == {
        "Global": "changed", "block1": "equal", "block2": "changed", "block3": "changed",
        "readout": "equal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fail-on", "flops"], "invalid condition"),
        (["--fail-on", "colours>+0%"], "no figure 'colours'"),
        (["--fail-on", "energy.magic>+0%"], "no estimator 'magic'"),
        (["--energy", "magic"], "'magic' is not one of"),
        (["--figure", "magic"], "no figure 'magic'"),
        (["--figure", "energy.watt"], "no estimator 'watt'"),
        (["--by", "colour"], "'colour' is not one of"),
        (["--rules", "magic"], "'magic' is not one of"),
        (["--where", "stage=sideways"], "sideways"),
        (["--where", "module=Nowhere"], "Nowhere"),
        (["--preset", "int8"], "needs --energy"),
        (["--energy", "compute", "--energy", "lemaire", "--preset", "int8"], "for which estimator"),
        (
            ["--energy", "compute", "--preset", "lemaire=int8"],
            "--preset 'lemaire=int8': lemaire is not asked for; add --energy lemaire",
        ),
        (["--energy", "compute", "--set", "spikesim.adc_pj=1"], "add --energy spikesim"),
        (["--revision", "simple=source"], "add --energy simple"),
        (["--energy", "compute", "--set", "e_mac_pj=-1"], "e_mac_pj = -1"),
        (["--energy", "compute", "--config", "nowhere.toml"], "nowhere.toml"),
        (["--energy", "compute", "--revision", "mine"], "'mine' is not one of"),
        (["--energy", "compute", "--where", "training=true"], "model.eval()"),
    ],
)
def test_a_question_that_means_nothing(words, says, asked):
    code, out, err = asked(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("opjoule: ") and says in err


@pytest.mark.parametrize("pair", [("nowhere", "head"), ("base", "nowhere")])
def test_a_trace_that_is_not_there(pair, asked):
    code, out, err = asked(base=pair[0], head=pair[1])
    assert (code, out) == (2, "")
    assert err == "opjoule: nowhere: trace not found.\n"


def test_one_trace_is_not_enough(capsys):
    assert run(["compare", "base"]) == 2
    assert "Missing argument 'HEAD'" in capsys.readouterr().err
