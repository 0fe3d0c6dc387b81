"""Pictures: what is drawn are the figures of the results; files open; names are text."""

from __future__ import annotations

import struct
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import opjoule as oj
from opjoule.cli.main import run
from opjoule.schemas import ConfigError, OpjouleError

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.text import Text  # noqa: E402

from opjoule.analyzers.plotting.canvas import short_names, shortened, written  # noqa: E402

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
HOSTILE = "$\\frac{x$_^<b>&amp;\x1b[31m\u202e你\n"
SHOWN = "$\\frac{x$_^<b>&amp;\\x1b[31m\\u202e\\u4f60\\n"


@pytest.fixture(scope="module")
def compute():
    """Return the compute estimate of the stored trace."""
    return oj.energy(STORED, "compute")


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def bars(axes):
    """Return the lengths of the bars of each part, by the text of the row."""
    return [
        dict(zip(names(axes), [patch.get_width() for patch in part], strict=True))
        for part in axes.containers
        if hasattr(part, "patches")
    ]


def close(found, expected):
    """Tell whether figures are equal but for the last digits, which the unit of the axis moves."""
    return found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_bars_of_an_estimate_are_its_energies(compute):
    """The largest first; the longest is 64 nJ, so the axis is in nJ, of 1000 pJ."""
    (axes,) = compute.plot().axes
    assert axes.get_xlabel() == "energy (nJ)"
    macs, acs = bars(axes)
    rows = compute.by("module", "component", exclusive=True)
    for part, found in (("mac", macs), ("ac", acs)):
        known = dict(rows.filter(component=part).select("module", "energy_pj").iter_rows())
        assert close({k: v * 1e3 for k, v in found.items()}, {n: known.get(n, 0.0) for n in found})
    totals = [macs[name] + acs[name] for name in macs]
    assert totals == sorted(totals, reverse=True)
    assert close(sum(totals) * 1e3, compute.total_pj)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["mac", "ac"]


def test_a_sample_a_step_and_deviations(compute):
    (axes,) = compute.plot("step", per="sample").axes
    rows = compute.by("step", per="sample").sort("step")
    assert names(axes) == [f"step {step}" for step in rows["step"]]
    whole = [sum(part[name] for part in bars(axes)) * 1e3 for name in names(axes)]
    assert close(whole, rows["per_sample_pj"].to_list())
    assert axes.get_xlabel() == "energy a sample (nJ)"
    training = oj.energy(STORED, "neuromc", per="step")
    (axes,) = training.plot((), spread=True).axes
    (errors,) = [each for each in axes.containers if hasattr(each, "has_xerr")]
    (lines,) = errors.lines[2]
    ((start, end),) = lines.get_segments()
    one, two = training.by("step")["energy_pj"]  # the deviation of two is half their distance,
    assert (end[0] - start[0]) / 2 * 1e3 == pytest.approx(abs(one - two) / 2**0.5)  # by n - 1


def thousand(report):
    """Return an estimate of a thousand modules; each has its number times a picojoule."""
    rows = pl.concat(
        report.rows.head(1).with_columns(
            module=pl.lit(f"encoder.layers.{place}.attention.projection.linear"),
            energy_pj=pl.lit(float(place)),
        )
        for place in range(1, 1001)
    )
    return replace(report, rows=rows, total_pj=500500.0)


def test_the_largest_of_a_thousand_modules_and_the_others(compute):
    """1 + ... + 1000 = 500,500; the twelve largest are 989 to 1000, together 11,934."""
    large = thousand(compute)
    compute.plot()  # what matplotlib loads once
    start = time.process_time()
    figure = large.plot()
    content = written(figure, "svg")
    assert time.process_time() - start < 2
    (axes,) = figure.axes
    (found,) = bars(axes)
    assert len(found) == 13 and "988 others" in found
    assert close(list(found.values())[:2], [1.0, 0.999]) and axes.get_xlabel() == "energy (nJ)"
    assert close(found["988 others"] * 1e3, 500500 - 11934)
    assert len(content) < 1e6
    assert any("1000" in name for name in found)  # what is told apart stays in short names


def test_each_estimator_has_its_own_axis(stored):
    found = oj.energy(stored)
    axes = found.plot().axes
    assert len(axes) == len(found) > 2
    assert not any(each.get_shared_x_axes().get_siblings(each) != [each] for each in axes)
    for panel, (name, report) in zip(axes, found.items(), strict=True):
        assert panel.get_title(loc="left").startswith(f"{name}: ")
        unit = {"pJ": 1.0, "nJ": 1e3, "µJ": 1e6}[panel.get_xlabel()[-3:-1]]
        whole = sum(sum(part.values()) for part in bars(panel)) * unit
        assert whole == pytest.approx(report.total_pj, rel=1e-9)


def test_bars_of_counts_are_each_modules_own(stored):
    counts = oj.count(stored, "module")
    own = oj.count(stored, "module", exclusive=True).frame
    units = {"flops": ("FLOP (k)", 1e3), "bytes": ("bytes (KiB)", 1024), "calls": ("calls", 1)}
    for figure, (label, unit) in units.items():
        (axes,) = counts.plot(figure).axes
        (found,) = bars(axes)
        assert axes.get_xlabel() == label
        known = {row["module"] or "(no module)": row[figure] for row in own.iter_rows(named=True)}
        assert close({k: v * unit for k, v in found.items()}, {n: known.get(n, 0) for n in found})
        assert sum(known.values()) == pytest.approx(sum(found.values()) * unit)


def test_counts_by_other_keys_and_unknown_ones(stored):
    counts = oj.count(stored, ["op", "stage"], per="sample")
    (axes,) = counts.plot("macs", most=2).axes
    assert axes.get_xlabel() == "MAC a sample (k)" and len(names(axes)) == 3
    first = counts.frame.sort("macs", descending=True).row(0, named=True)
    (found,) = bars(axes)
    longest = next(iter(found.values()))
    assert close(longest * 1e3, first["macs_per_sample"])
    lost = replace(counts, frame=counts.frame.with_columns(macs=None, macs_per_sample=None))
    figure = lost.plot("macs")
    assert f"not known for {counts.frame.height} rows" in figure.get_supxlabel()
    with pytest.raises(ConfigError, match="unknown figure 'mac'"):
        counts.plot("mac")


def steps(layers, times):
    return pl.DataFrame(
        [(f"layers.{n}", t, (n + t) / 40) for n in range(layers) for t in range(times)],
        schema=["module", "time_step", "rate"], orient="row",
    )  # fmt: skip


def test_rates_by_layer_and_over_time(stored):
    found = oj.rates(stored)
    (axes,) = found.plot().axes
    (shown,) = bars(axes)
    assert shown == dict(found.layers.select("module", "rate").iter_rows())
    (axes,) = found.plot("products").axes
    assert bars(axes) == [dict(found.products.select("module", "nonzero_share").iter_rows())]
    few, many = (replace(found, steps=steps(layers, 5)) for layers in (3, 20))
    _, axes = few.plot().axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [
        [(n + t) / 40 for t in range(5)] for n in range(3)
    ]
    axes, scale = many.plot("time").axes
    values = axes.images[0].get_array()
    assert values.tolist() == [[(n + t) / 40 for t in range(5)] for n in range(20)]
    assert scale.get_ylabel() == "firing rate (%)"
    with pytest.raises(OpjouleError, match="rates over time are not recorded"):
        found.plot("time")
    with pytest.raises(ConfigError, match="unknown of='tme'"):
        found.plot("tme")


def test_many_layers_are_a_profile_without_names(stored):
    found = oj.rates(stored)
    layers = pl.concat(found.layers.with_columns(rate=pl.lit(n / 100)) for n in range(50))
    (axes,) = replace(found, layers=layers).plot().axes
    assert [bar.get_width() for bar in axes.patches] == layers["rate"].to_list()
    assert axes.get_ylabel() == "100 layers, as in the network"


def test_points_and_roofs(stored):
    """At 1 TFLOP/s and 10 GB/s the roof bends at 100 FLOP/B."""
    found = oj.roofline(stored, peak="1T", bandwidth="10G")
    (axes,) = found.plot(labels=2).axes
    leaves = found.frame.filter(~pl.col("module").is_in(["Global", "Sequential"]))
    leaves = leaves.filter(pl.col("flops") > 0).sort("share", descending=True)
    rates = [row["flops"] / row["time_s"] for row in leaves.iter_rows(named=True)]
    expected = [list(pair) for pair in zip(leaves["intensity"], rates, strict=True)]
    assert axes.collections[0].get_offsets().tolist() == expected
    (roof,) = axes.lines
    assert list(roof.get_xdata())[1] == 100 and list(roof.get_ydata())[1:] == [1e12, 1e12]
    sizes = axes.collections[0].get_sizes()
    assert list(sizes) == sorted(sizes, reverse=True)
    labels = {text.get_text() for text in axes.texts}
    assert set(leaves["module"].head(2)) <= labels and leaves["module"][2] not in labels


def test_sweeps(stored):
    line = oj.sweep(stored, "compute", {"e_mac_pj": [4.0, 1.0, 0.01]})
    (axes,) = line.plot().axes
    ordered = line.frame.sort("e_mac_pj")
    assert list(axes.lines[0].get_xdata()) == [0.01, 1.0, 4.0]
    assert close(list(axes.lines[0].get_ydata()), (ordered["total_pj"] / 1e3).to_list())
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "energy (nJ)"
    both = oj.sweep(stored, "compute", {"e_mac_pj": [2.0, 1.0], "e_ac_pj": [0.1, 0.2, 0.3]},
                    per="sample")  # fmt: skip
    axes, scale = both.plot().axes
    table = both.frame.sort("e_mac_pj", "e_ac_pj")["per_sample_pj"].to_list()
    drawn = [value * 1e3 for row in axes.images[0].get_array().tolist() for value in row]
    assert close(drawn, table)
    assert names(axes) == ["1", "2"] and scale.get_ylabel() == "energy a sample (nJ)"
    told = pl.DataFrame({"name": ["old", "new"], "e_mac_pj": [4.6, 1.0]})
    (axes,) = oj.sweep(stored, "compute", configs=told).plot().axes
    assert names(axes) == ["old", "new"]
    found = oj.sensitivity(stored, "compute")
    (axes,) = found.plot().axes
    expected = dict(found.frame.select("constant", "percent_per_percent").iter_rows())
    assert bars(axes) == [expected]


@pytest.fixture(scope="module")
def same():
    """Return the stored trace, compared with itself."""
    return oj.compare(STORED, STORED)


def test_differences_biggest_first(stored, same):
    trace = oj.open_trace(stored)
    found = oj.compare(trace, trace.where("stage=forward"))
    (axes,) = found.plot("flops").axes
    (shown,) = bars(axes)
    assert axes.get_xlabel() == "FLOP, head - base (k)"
    rows = found.by("module", exclusive=True).filter(pl.col("flops_difference") != 0)
    known = {row["module"] or "(no module)": row["flops_difference"]
             for row in rows.iter_rows(named=True)}  # fmt: skip
    assert close({name: length * 1e3 for name, length in shown.items()}, known)
    assert list(shown.values()) == sorted(shown.values())  # all are less: the biggest first
    (axes,) = same.plot().axes
    assert not axes.patches and "equal" in axes.get_title(loc="left")


def test_networks_are_ratios_one_panel_for_each_estimator(stored):
    trace = oj.open_trace(stored)
    columns = ["energy.compute", "energy.simple", "flops"]
    found = oj.table({"A": trace, "B": trace.where("step=0")}, columns, spread=False)
    axes = found.plot().axes
    assert len(axes) == 2
    for panel, column in zip(axes, columns, strict=False):
        first, second = found.frame[column]
        assert bars(panel) == [{"A": 1.0, "B": second / first}]
    assert axes[0].get_title(loc="left") == "compute: energy a sample"
    (panel,) = found.plot(["flops"]).axes
    assert panel.get_title(loc="left") == "FLOP a sample"
    with pytest.raises(OpjouleError, match="a column of numbers"):
        found.plot(["network"])


def test_what_a_network_does_not_have_is_no_unknown_bar(stored):
    """A rate of a network without neurons; its panel shows what the table shows."""
    trace = oj.open_trace(stored)
    found = oj.table({"A": trace, "B": trace}, ["rate"], spread=True)
    lone = replace(found, frame=found.frame.with_columns(
        rate=pl.when(pl.col("network") == "A").then("rate")))  # fmt: skip
    (panel,) = lone.plot(["rate"]).axes
    rate = found.page().sheets[0].frame["rate"][0]
    assert [text.get_text() for text in panel.texts] == [f"1.00 ({rate} %)", "-"]


def test_pictures_say_what_deviations_are_over(stored):
    found = oj.rates(stored)
    said = "\n".join(text.get_text() for text in found.plot().texts)
    assert found.page().notes[-1] in said.replace("\n", " ")
    assert found.page().notes[-1].startswith("± is the standard deviation over")


@pytest.fixture(scope="module")
def hostile(compute):
    """Return two pictures of an estimate whose module has a hostile name."""
    rows = compute.rows.with_columns(module=pl.lit(HOSTILE), component=pl.lit("_part$"))
    second = rows.with_columns(component=pl.lit("b$"))
    found = replace(compute, rows=pl.concat([rows, second]))
    return found.plot(width=7), found.plot(width=7)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_names_are_text_and_the_same_picture_is_the_same_file(hostile, kind):
    """No mathematics, no control character; what the font lacks is an escape."""
    settings = dict(matplotlib.rcParams)
    one, two = (written(figure, kind) for figure in hostile)
    assert one == two and dict(matplotlib.rcParams) == settings
    texts = hostile[0].findobj(Text)
    assert SHOWN in [text.get_text() for text in texts]
    assert "_part$" in [text.get_text() for text in texts]
    assert not any(text.get_parse_math() for text in texts if text.get_text())
    if kind == "svg":
        assert ET.fromstring(one).tag.endswith("svg") and b"<script" not in one
        assert b"<b>" not in one and b"dc:date" not in one
    elif kind == "pdf":
        assert one.startswith(b"%PDF-") and one.rstrip().endswith(b"%%EOF")
    else:
        assert one.startswith(b"\x89PNG")
        width, _ = struct.unpack(">II", one[16:24])
        assert width == 7 * 300


def test_nothing_to_draw_and_zero(stored, compute):
    prices = oj.load_config("compute", overrides=["e_mac_pj=0", "e_ac_pj=0"])
    free = oj.energy(stored, "compute", prices)
    (axes,) = free.plot().axes
    assert {width for part in bars(axes) for width in part.values()} == {0.0}
    single = oj.energy(stored, "compute", where="module=Sequential.0")
    (axes,) = single.plot().axes
    assert names(axes) == ["Sequential.0"]
    nothing = replace(compute, rows=compute.rows.clear(), recount=None)
    (axes,) = nothing.plot().axes
    assert not axes.patches and axes.get_xlim() == (0, 1)
    with pytest.raises(OpjouleError, match="no picture of Coverage"):
        oj.coverage(stored).plot()
    with pytest.raises(ConfigError, match=r"width=1: write inches, 2 to 40"):
        compute.plot(width=1)


def test_a_notebook_shows_it(compute):
    figure = compute.plot()
    content = figure._repr_png_()
    assert isinstance(figure, matplotlib.figure.Figure) and content.startswith(b"\x89PNG")
    width, _ = struct.unpack(">II", content[16:24])
    assert width == 3.5 * 300  # a column of a paper
    title = compute.page().title
    assert figure.get_suptitle().replace("\n", " ") == title
    assert figure.get_supxlabel().replace("\n", " ") == compute.coverage
    guess = replace(compute, warnings=("assumed spikes of 10 %", "another")).plot()
    assert guess.get_supxlabel().splitlines() == ["assumed spikes of 10 %", compute.coverage]


def test_long_names_are_cut_in_the_middle():
    assert shortened("encoder.layers.0.mlp", 11) == "enco….0.mlp"
    alike = [f"model.encoder.layers.{n}.attention.projection" for n in (3, 14)]
    short = short_names(alike, 16)
    assert len(set(short)) == 2 and all(len(name) <= 16 for name in short)
    assert "3" in short[0] and "14" in short[1]


class Hidden:
    """A finder to which matplotlib is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)


@pytest.fixture
def without(monkeypatch):
    """Hide matplotlib."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])


def test_without_matplotlib_one_line_says_what_to_install(
    without, stored, compute, capsys, tmp_path
):
    line = 'a picture needs matplotlib, which is not installed: pip install "opjoule[plots]"'
    with pytest.raises(OpjouleError) as caught:
        compute.plot()
    assert str(caught.value) == line
    target = tmp_path / "a.svg"
    assert run(["count", str(stored), "-o", str(target)]) == 2
    assert capsys.readouterr().err == f"opjoule: {line}\n" and not target.exists()


VERBS = (
    ["energy", "compute", "--by", "op", "--per", "sample"],
    ["rates"],
    ["roofline", "--device", "h100"],
    ["sweep", "compute", "--sensitivity"],
    ["table", "--columns", "flops"],
)


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_commands_write_pictures(words, stored, tmp_path, capsys):
    target = tmp_path / "a.svg"
    trace = [str(stored)]
    verb = words[:2] if words[0] in ("energy", "sweep") else words[:1]
    assert run([*verb, *trace, *words[len(verb) :], "-o", str(target), "--width", "5"]) == 0
    assert f"wrote {target}" in capsys.readouterr().err
    assert ET.parse(target).getroot().get("width") == f"{5 * 72}pt"


def test_the_command_draws_what_the_result_draws(stored, same, tmp_path, capsys):
    target = tmp_path / "a.svg"
    words = ["compare", stored, stored, "--figure", "macs", "--by", "op", "-o", target]
    assert run([str(word) for word in words]) == 0
    assert target.read_bytes() == written(same.plot("macs", by="op"), "svg")


def test_endings(stored, tmp_path, capsys):
    known = ".txt, .json, .csv, .md, .markdown, .tex, .parquet"
    for verb, name, line in (
        ("count", "a.xlsx", f"ends in .xlsx: write {known}, .svg, .png, .pdf, or"),
        ("coverage", "a.svg", f"(of this answer there is no picture): write {known}, or"),
    ):
        assert run([verb, str(stored), "-o", str(tmp_path / name)]) == 2
        assert line in capsys.readouterr().err
