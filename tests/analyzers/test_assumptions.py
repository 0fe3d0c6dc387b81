"""What was not measured is assumed: expected counts by arithmetic, and every figure says so."""

from __future__ import annotations

import json

import polars as pl
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import opjoule as oj  # noqa: E402
from opjoule.cli.main import run  # noqa: E402

RATE = 0.25


class Fire(nn.Module):
    def forward(self, x):
        return (x >= 0.5).to(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.fire1 = Fire()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.fire2 = Fire()
        self.out = nn.Linear(8 * 4 * 4, 10, bias=False)

    def forward(self, x):
        x = self.pool(self.fire1(self.conv1(x)))
        return self.out(self.fire2(self.conv2(x)).flatten(1))


NEURONS = [oj.NeuronRule(Fire, kind="IF")]
CONV1 = 3 * 8 * 8 * 4 * 9  # batch 3, 8 x 8 outputs of 4 channels, 3 x 3 x 1 products each
CONV2 = 3 * 4 * 4 * 8 * 9 * 4
OUT = 3 * 128 * 10
# Of 4 places a row, 3 x 3 kernels find 2, 3, 3 and 2 inputs in a row: 10, and 10 x 10 in the plane.
PAIRS2 = 3 * 4 * 8 * 10 * 10


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    path = tmp_path_factory.mktemp("planned") / "trace"
    with_neurons = {"neurons": NEURONS, "device": "meta"}
    return oj.record(lambda: Net().eval(), torch.zeros(3, 1, 8, 8), path, **with_neurons)


def of_modules(trace, figure, **options):
    rows = oj.count(trace, "module", **options).frame.filter(pl.col(figure) != 0)
    return dict(rows.select("module", figure).iter_rows())


def test_without_an_assumption_nothing_is_known(planned):
    assert oj.count(planned).total["macs"] is None
    assert not oj.count(planned).assumed


def test_dense(planned):
    macs = of_modules(planned, "macs", assume="dense")
    each = {"Net.conv1": CONV1, "Net.conv2": CONV2, "Net.out": OUT}
    assert macs == {**each, "Net": sum(each.values()), "Global": sum(each.values())}
    assert oj.count(planned, assume="dense").total["synops"] == 0


def test_spikes_leave_neurons_and_pass_through_pooling_and_views(planned):
    """conv1 takes in the image. A share of the pairs that meet is left; borders meet fewer."""
    driven = {"Net.conv2": int(RATE * PAIRS2), "Net.out": int(RATE * OUT)}
    synops = of_modules(planned, "synops", assume=f"spikes={RATE}")
    assert synops == {**driven, "Net": sum(driven.values()), "Global": sum(driven.values())}
    macs = of_modules(planned, "macs", assume=f"spikes={RATE}")
    assert macs == dict.fromkeys(("Net.conv1", "Net", "Global"), CONV1)


def test_spikes_enter_modules(planned):
    synops = of_modules(planned, "synops", assume=f"spikes={RATE}@conv2")
    assert synops["Net.conv2"] == synops["Global"] == int(RATE * PAIRS2)
    both = of_modules(planned, "synops", assume=[f"spikes={RATE}@*", "spikes=0.5@Net.out"])
    # Of 8 places a row, 3 x 3 kernels find 2, 3 six times, and 2 inputs in a row: 22.
    conv1 = int(RATE * 3 * 4 * 22 * 22)
    assert both == {
        "Net.conv1": conv1, "Net.conv2": int(RATE * PAIRS2), "Net.out": int(0.5 * OUT),
        "Net": (whole := conv1 + int(RATE * PAIRS2) + int(0.5 * OUT)), "Global": whole,
    }  # fmt: skip


def test_rates_and_energies_follow(planned):
    found = oj.rates(planned, assume=f"spikes={RATE}")
    assert found.layers["rate"].to_list() == [RATE, RATE]
    estimate = oj.energy(planned, "compute", assume=f"spikes={RATE}")
    # 4.6 pJ a MAC and 0.9 an AC (Horowitz)
    assert estimate.total_pj == pytest.approx(4.6 * CONV1 + 0.9 * RATE * (PAIRS2 + OUT))
    assert "Energy (assumed): " in estimate.statement()
    assert f"Assumed (spikes={RATE}), not measured" in estimate.statement()


class Dense(nn.Module):
    """Nothing in it is zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.out = nn.Linear(3 * 4 * 4, 5)

    def forward(self, x):
        return self.out(self.conv(x).sigmoid().flatten(1))


@pytest.mark.parametrize("assume", ["dense", "spikes=0.5@out"])
def test_an_assumption_that_is_true_changes_no_figure(tmp_path, assume):
    """A training step, recorded with statistics and without: counts and estimates are equal."""
    torch.manual_seed(0)
    model, given = Dense(), torch.rand(2, 2, 8, 8) + 0.1
    if assume != "dense":
        half = torch.tensor([0.0, 1.0]).repeat(2, 24).view(2, 48)
        model.conv.register_forward_hook(lambda *_: half.view(2, 3, 4, 4).requires_grad_())
        model.conv.weight.requires_grad_(requires_grad=False)
        model.conv.bias.requires_grad_(requires_grad=False)
        model.forward = lambda x: model.out(model.conv(x).flatten(1))
    how = {"loss_fn": lambda y: y.square().sum(), "optimizer": torch.optim.SGD}
    for level in ("full", "none"):
        oj.record(model, given, tmp_path / level, statistics=level, **how)
    real = oj.count(tmp_path / "full", ["module", "op", "stage"])
    told = oj.count(tmp_path / "none", ["module", "op", "stage"], assume=assume)
    assert told.frame.equals(real.frame)
    assert told.total["acs"] == real.total["acs"]
    one, two = (oj.energy(tmp_path / "full", "neuromc"),
                oj.energy(tmp_path / "none", "neuromc", assume=assume))  # fmt: skip
    assert one.total_pj == two.total_pj


def test_what_was_measured_is_never_replaced(tmp_path):
    path = oj.record(Net().eval(), torch.rand(3, 1, 8, 8), tmp_path / "trace", neurons=NEURONS)
    real = oj.count(path, "module")
    for assume in ("dense", "spikes=0.9", "spikes=0.9@*"):
        found = oj.count(path, "module", assume=assume)
        assert found.frame.equals(real.frame)
        (line,) = found.assumed
        assert line.startswith(f"assume {assume} changes nothing")
        assert "(assumed)" not in found.to_markdown()
    trace = oj.open_trace(path)
    assert trace.assuming("dense").values.collect()["nonzero"].to_list()[0] is not None


def test_what_no_assumption_can_mean(planned, tmp_path):
    for text in ("sparse", "spikes", "spikes=2", "spikes=x", "spikes=0.1@", "dense=1"):
        with pytest.raises(oj.ConfigError, match="write dense, spikes=SHARE or spikes=SHARE@"):
            oj.count(planned, assume=text)
    with pytest.raises(oj.ConfigError, match=r"no module of .* fits 'head'"):
        oj.count(planned, assume="spikes=0.1@head")
    with pytest.raises(oj.ConfigError, match="no product runs in modules that fit"):
        oj.count(planned, assume="spikes=0.1@fire1")
    path = oj.record(Dense, torch.rand(2, 2, 8, 8), tmp_path / "trace", device="meta")
    with pytest.raises(oj.ConfigError, match=r"no module of .* is known to be a spiking neuron"):
        oj.count(path, assume="spikes=0.1")


def test_a_narrowed_trace_is_narrowed_after_it(planned):
    trace = oj.open_trace(planned).where("module=conv2").assuming("dense")
    assert oj.count(trace).total["macs"] == CONV2
    assert oj.count(planned, where="module=out", assume="dense").total["macs"] == OUT


COMMANDS = [
    ["count"], ["coverage"], ["rates"], ["energy"], ["energy", "lemaire"],
    ["sweep", "compute", "--vary", "e_mac_pj=1,2"], ["check", "--max", "macs=1G"],
    ["energy", "--machine", "paper"], ["breakeven", "--time-steps", "4"],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("kind", ["table", "markdown", "latex", "json", "csv"])
def test_every_answer_says_what_is_assumed(planned, words, kind, tmp_path, capsys):
    output = tmp_path / "answer"
    run([*words, str(planned), "--assume", f"spikes={RATE}", "--format", kind, "-o", str(output)])
    capsys.readouterr()
    if kind == "json":
        assert json.loads(output.read_text())["assumed"][0].startswith("assumed (spikes=0.25)")
        return
    beside = tmp_path / "answer.notes.txt" if kind == "csv" else output
    assert "assumed (spikes=0.25), not measured" in " ".join(beside.read_text().split())
    if kind == "csv":
        head, *rows = output.read_text().splitlines()
        assert head.endswith(",assumed") and all("assumed (spikes=0.25)" in row for row in rows)


def test_answers_about_several_traces_and_the_page(planned, tmp_path):
    assume = {"assume": "dense"}
    for found in (oj.compare(planned, planned, **assume), oj.table({"a": planned}, **assume)):
        assert "assumed (dense), not measured" in found.to_dict()["assumed"][0]
        assert "assumed (dense), not measured" in found.to_markdown()
    page = oj.report(planned, **assume)
    assert "assumed (dense), not measured" in page.to_html()
    assert page.to_dict()["assumed"]
    times = oj.roofline(planned, device="h100", **assume)
    assert "changes none of them" in times.warnings[0]
    run(["report", str(planned), "--assume", "dense", "-o", str(tmp_path / "page.html")])
    assert "assumed (dense), not measured" in (tmp_path / "page.html").read_text()
