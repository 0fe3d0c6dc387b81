"""The table of a paper: figures of one sample, ratios, footnotes, and texts that are escaped."""

from __future__ import annotations

from statistics import stdev

import polars as pl
import pytest

import opjoule
from opjoule.analyzers.answers import html, latex, markdown, table
from opjoule.analyzers.answers.page import Column, Page, Sheet
from opjoule.analyzers.comparing.columns import cells_of
from opjoule.schemas import ConfigError

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture
def traces(record):
    """Return two traces: 2 and 3 batches of one sample, into Linear(8, 4) and Linear(8, 2)."""

    def of(width, ones):
        layer = nn.Sequential(nn.Linear(8, width, bias=False)).eval()
        inputs = [torch.tensor([[1.0] * n + [0.0] * (8 - n)]) for n in ones]

        def run():
            with torch.no_grad():
                for each in inputs:
                    layer(each)

        return record(run)

    return {"wide": of(4, (2, 4)), "small": of(2, (1, 2, 6))}


def test_figures_are_those_of_one_sample(traces):
    found = opjoule.table(traces, ["samples", "flops", "acs", "energy.compute", "ratio.acs"])
    wide, small = found.frame.iter_rows(named=True)
    assert (wide["samples"], small["samples"]) == (2, 3)
    assert (wide["flops"], small["flops"]) == (2 * 8 * 4, 2 * 8 * 2)
    assert (wide["acs"], small["acs"]) == (3 * 4, 3 * 2)
    assert wide["acs_std"] == pytest.approx(stdev([8, 16]))
    assert small["acs_std"] == pytest.approx(stdev([2, 4, 12]))
    assert wide["energy.compute"] == pytest.approx(0.9 * 12)
    assert wide["energy.compute_std"] == pytest.approx(0.9 * stdev([8, 16]))
    assert (wide["ratio.acs"], small["ratio.acs"]) == (1, 0.5)


def test_the_default_has_every_estimator_that_applies(traces):
    found = opjoule.table(traces, accuracy={"wide": 0.93})
    assert found.columns[:9] == (
        "samples", "time_steps", "batch", "rate", "flops", "macs", "acs", "synops", "accuracy",
    )  # fmt: skip
    assert {"energy.compute", "ratio.energy.compute", "energy.lemaire"} <= set(found.columns)
    assert "energy.spikesim" not in found.columns  # it knows convolutions only
    notes = " ".join(found.footnotes)
    assert "M. Horowitz" in notes and "E. Lemaire" in notes
    charged = "100.0% of the MACs of the products are charged."
    assert f"compute of all networks: {charged}" in found.footnotes
    (sheet,) = found.page().sheets
    assert sheet.frame["accuracy"].to_list() == ["93.0", ""]
    units = found.to_dict()["units"]
    assert (units["energy.compute"], units["rate"], units["accuracy"]) == ("pJ", "share", "share")
    assert "macs" not in units and "ratio.energy.compute" not in units


def test_constants_are_those_given_and_a_footnote_names_them(traces):
    """An accumulation costs 0.5 pJ in place of 0.9 pJ: 12 and 6 of them a sample."""
    config = opjoule.load_config("compute", overrides=["e_ac_pj=0.5"])
    found = opjoule.table(traces, ["energy.compute"], configs={"compute": config})
    assert found.frame["energy.compute"].to_list() == pytest.approx([6.0, 3.0])
    assert "default constants but e_ac_pj = 0.5" in " ".join(found.footnotes)


def test_revisions_are_those_asked(traces):
    asked = {"compute": "spikingjelly-2.0"}
    found = opjoule.table(traces, ["energy.compute"], revisions=asked)
    assert "revision spikingjelly-2.0" in " ".join(found.footnotes)


@pytest.mark.parametrize(("padding", "macs", "acs"), [(1, 16 * 9, 10 * 10), (0, 4 * 9, 4 * 9)])
def test_padding_is_told_where_it_counts(record, padding, macs, acs):
    """A border of 4 x 4 spikes: 3 x 3 weights meet 10 x 10 of 16 x 9 pairs, the others padding."""
    layer = nn.Sequential(nn.Conv2d(1, 1, 3, padding=padding, bias=False)).eval()
    dense, spikes = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4) > -1

    @torch.no_grad()
    def run():
        layer(dense)
        layer(spikes.float())

    found = opjoule.table(record(run), ["macs", "acs"], per="total")
    assert found.frame.select("macs", "acs").row(0) == (macs, acs)
    told = [line for line in found.footnotes if "count their padding" in line]
    assert len(told) == padding
    assert not [line for line in opjoule.table(record(run), ["macs"]).footnotes if line in told]


def test_estimators_that_apply_to_no_network_say_why(record):
    """In training mode there is no inference to estimate, in the words of each, once."""
    layer = nn.Sequential(nn.Linear(8, 4)).train()
    trace = record(lambda: layer(torch.rand(1, 8)))
    found = opjoule.table({"a": trace})
    why = [line for line in found.footnotes if line.startswith("No energy by ")]
    assert why[0].startswith("No energy by compute, simple, lemaire, spikesim: its forward pass")
    assert str(trace) not in " ".join(found.footnotes)
    assert not [line for line in opjoule.table(trace, ["macs"]).footnotes if line in why]


def test_what_networks_share_is_said_once(traces):
    """Deviations are over 2 and over 3 samples, and each statement of coverage has its calls."""
    found = opjoule.table({**traces, "again": traces["small"]}, ["macs"])
    lines = [line for line in found.footnotes if "standard deviation" in line]
    assert lines == [
        "wide: ± is the standard deviation over 2 samples.",
        "small, again: ± is the standard deviation over 3 samples.",
    ]


def test_all_figures_of_a_column_are_in_one_unit(traces):
    """Of wide 8 and 16 ACs, at 100 pJ: 1,200 and a deviation of 565.7 pJ; of small a third."""
    config = opjoule.load_config("compute", overrides=["e_ac_pj=100"])
    found = opjoule.table(traces, ["acs", "energy.compute"], configs={"compute": config})
    (sheet,) = found.page().sheets
    assert sheet.frame.row(0) == ("wide", "12.0 ± 5.7", "1.20 ± 0.57")
    assert [column.title for column in sheet.columns] == ["Network", "AC", "Energy, compute (nJ)"]
    small = found.frame.row(1, named=True)
    assert small["energy.compute"] < 1000  # by itself in pJ
    assert sheet.frame["energy.compute"][1].startswith(f"{small['energy.compute'] / 1000:.3f}")


@pytest.mark.parametrize("share", [93, -0.5, float("nan"), "93%", True])
def test_an_accuracy_is_a_share(traces, share):
    with pytest.raises(ConfigError, match=f"accuracy of 'wide' is {share!r}: give a share of 1"):
        opjoule.table(traces, ["accuracy"], accuracy={"wide": share})
    own = pl.DataFrame({"network": ["wide"], "accuracy": [93.0]})
    with pytest.raises(ConfigError, match=r"accuracy of 'wide' is 93\.0"):
        opjoule.table(traces, ["accuracy"], extra=own)


def test_exact_counts_stay_exact_and_a_missing_figure_needs_no_unit():
    none = [None, None]
    assert cells_of("macs", [9216.0, None], none) == ("MAC", ["9,216", "-"])
    assert cells_of("macs", [9216.0, 1e6], none) == ("MAC (M)", ["0.00922", "1.00"])
    assert cells_of("macs", [9216.0, 8.5], [2.0, 1.0])[1] == ["9.2160 ± 0.0020", "0.00850 ± 0.0010"]
    assert cells_of("bytes", [2048, 0], none) == ("Bytes (KiB)", ["2.00", "0"])
    assert cells_of("energy.lemaire", none, none)[1] == ["-", "-"]
    shares = cells_of("rate", [0.0686, None], [0.0031, None])
    assert shares == ("Firing rate (%)", ["6.86 ± 0.31", "-"])


def test_figures_as_rows_are_the_same_cells(traces):
    found = opjoule.table(traces, ["flops", "ratio.flops"], spread=False)
    # Linear(8, 4) and Linear(8, 2): 2 x 32 and 2 x 16 FLOP
    cells = [["FLOP", "64", "32"], ["FLOP, ratio", "1.00", "0.500"]]
    (sheet,) = found.page(rows="figures").sheets
    assert sheet.rows(sheet.columns) == cells
    assert [column.title for column in sheet.columns] == ["", "wide", "small"]
    assert r"FLOP, ratio & 1.00 & 0.500 \\" in found.to_latex(rows="figures")
    with pytest.raises(ConfigError, match="rows='nets': expected one of networks, figures"):
        found.page(rows="nets")


def test_names_of_networks_steer_nothing_as_headings(traces):
    found = opjoule.table({HOSTILE: traces["wide"]}, ["flops"]).page(rows="figures")
    for written in (table, html, markdown, latex):
        text = written.written(found)
        assert all(c.isprintable() or c == "\n" for c in text)
        assert "<z>" not in text or written is not html
        assert r"\<z>" in text or written is not markdown


def test_work_outside_modules_is_told(record):
    """Dividing 8 numbers is 8 FLOP beside the 64 of the layer: 8 / 72 = 11.1 %."""
    layer = nn.Sequential(nn.Linear(8, 4, bias=False)).eval()

    def run():
        with torch.no_grad():
            layer(torch.full((1, 8), 8.0) / 16)

    trace = record(run)
    told = "net: 11.1 % of FLOP ran outside every module"
    found = opjoule.table({"net": trace}, ["flops", "macs"])
    assert found.total["net"]["flops"] == 72
    assert any(line.startswith(told) for line in found.footnotes)
    inside = opjoule.table({"net": trace}, ["flops", "macs"], where="module=*")
    assert inside.total["net"]["flops"] == 64
    assert "outside every module" not in " ".join(inside.footnotes)


def test_columns_of_ones_own(traces):
    own = pl.DataFrame({"network": ["small", "wide"], "chip": ["A_1", "B&2"], "year": [2020, 2021]})
    found = opjoule.table(traces, ["chip", "year", "flops"], extra=own, spread=False)
    assert found.frame["chip"].to_list() == ["B&2", "A_1"]
    assert r"wide & B\&2 & 2021 & 64 \\" in found.to_latex()
    assert "| small | A_1 | 2020 | 32 |" in found.to_markdown()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": ["flop"]}, "no column 'flop': did you mean flops?"),
        ({"columns": "macs,firing"}, "no column 'macs,firing'"),
        ({"columns": ["accuracy"]}, "no accuracy was told, as --accuracy SNN=0.93"),
        ({"configs": {"chip": None}}, "unknown estimator 'chip'"),
        ({"revisions": {"lemaire": "x"}}, "unknown revision 'x' of lemaire"),
        ({"configs": {"simple": opjoule.load_config("compute")}}, "simple takes a SimpleConfig"),
        ({"accuracy": {"other": 1}}, "accuracy of 'other': there are wide, small"),
        ({"extra": pl.DataFrame({"x": [1]})}, "need a column `network`"),
        ({"extra": pl.DataFrame({"network": ["wide"], "macs": [1]})}, "give yours another name"),
    ],
    ids=str,
)
def test_what_is_refused(traces, options, says):
    with pytest.raises(ConfigError) as caught:
        opjoule.table(traces, **options)
    assert says in str(caught.value)


def test_two_rows_of_ones_own_for_one_network_are_refused(traces):
    own = pl.DataFrame({"network": ["wide", "small", "wide"], "epochs": [1, 2, 3]})
    with pytest.raises(ConfigError, match=r"two rows of your own columns .* network 'wide'"):
        opjoule.table(traces, extra=own)


def test_a_deviation_is_explained_where_one_is_shown(traces):
    """10 samples in place of the 2 that ran: nothing is known of their deviation, and it is said.

    2 x 8 x 4 FLOP of each of 2, so 128 / 10 of each of 10.
    """
    told = " ".join(opjoule.table(traces, "acs").footnotes)
    assert "wide: ± is the standard deviation over 2 samples." in told
    for columns, options in (("acs", {"spread": False}), ("samples", {}), ("acs", {"samples": 10})):
        notes = " ".join(opjoule.table(traces, columns, **options).footnotes)
        assert "±" not in notes
        replaced = "wide: samples=10 replaces what was recorded: 2 (a guess)." in notes
        assert replaced == ("samples" in options)
    found = opjoule.table(traces, "flops", samples=10).frame
    assert found.columns == ["network", "flops"] and found["flops"][0] == 12.8
    assert not opjoule.count(traces["wide"], per="sample", samples=2).warnings


def test_a_text_is_the_name_of_one_column(traces):
    one, listed = (opjoule.table(traces, columns) for columns in ("macs", ["macs"]))
    assert one.columns == ("macs",) and one.frame.equals(listed.frame)


def test_training_is_left_out(stored):
    """Of the stored trace one batch of 3 ran in eval mode, with 49,874 FLOP."""
    found = opjoule.table({"net": stored}, ["samples", "flops", "energy.neuromc"])
    row = found.frame.row(0, named=True)
    assert (row["samples"], row["flops"]) == (3, 49_874 / 3)
    inference = opjoule.energy(stored, "neuromc", where="label=inference")
    assert row["energy.neuromc"] == pytest.approx(inference.per_sample_pj)


HOSTILE = "\\input{x} & 50% $x$ #1 a_b ^~ [y] <z> -- \x1b[2J"


def test_latex_is_escaped():
    text = latex.escaped(HOSTILE)
    assert text.startswith(r"\textbackslash{}input\{x\} \& 50\% \$x\$ \#1 a\_b ")
    assert "\x1b" not in text and "--" not in text
    # OT1, the encoding of a document that names none, has neither \\textquotedbl nor a plain "
    assert latex.escaped('"a"') == r"\textquotedblright{}a\textquotedblright{}"
    sheet = Sheet(pl.DataFrame({"a": [HOSTILE]}), [Column("a", HOSTILE, left=True)])
    lines = latex.written(Page((sheet,), notes=[HOSTILE])).splitlines()
    assert lines.count(rf"{text} \\") == 2 and rf"\item {text}" in lines


def test_markdown_is_escaped():
    sheet = Sheet(pl.DataFrame({"a": ["c|d"]}), [Column("a", "a|b", left=True)])
    assert markdown.written(Page((sheet,), notes=["*e*"])) == (
        "| a\\|b |\n| :-- |\n| c\\|d |\n\n\\*e\\*\n"
    )
