"""The Python front: what `import opjoule` offers, and how its results show themselves."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import opjoule as oj
from opjoule.analyzers.answers import html as html_writer
from opjoule.analyzers.answers.page import Column, Page, Sheet
from opjoule.analyzers.answers.table import MOST_LINES, brief
from opjoule.analyzers.units import energy_text

STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
RECORDING = {"NeuronRule", "Recorder", "RecordingWarning", "record"}


def test_everything_is_shown_and_there():
    assert set(dir(oj)) == set(oj.__all__)
    assert {"count", "energy", "compare", "coverage", "sweep", "load_config", "OpRule"} <= set(
        dir(oj)
    )
    for name in set(oj.__all__) - RECORDING:
        assert getattr(oj, name) is not None


RESULTS = {
    "trace": lambda t: oj.count(t) and (t if isinstance(t, oj.Trace) else oj.open_trace(t)),
    "counts": lambda t: oj.count(t, by=["module", "op"]),
    "coverage": oj.coverage,
    "energy": lambda t: oj.energy(t, "compute"),
    "energies": oj.energy,
    "comparison": lambda t: oj.compare(t, t, energies=["compute"]),
    "check": lambda t: oj.check(t, ["flops=1k", "energy.compute=1J"]),
    "roofline": lambda t: oj.roofline(t, device="h100"),
    "sweep": lambda t: oj.sweep(t, "compute", {"e_mac_pj": [1.0, 2.0]}),
    "sensitivity": lambda t: oj.sensitivity(t, "neuromc"),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("how", [str, Path, oj.open_trace], ids=["text", "path", "trace"])
def test_a_result_shows_itself_wherever_its_trace_came_from(make, how):
    result = make(how(STORED))
    lines = repr(result).splitlines()
    assert 1 < len(lines) <= MOST_LINES
    assert max(map(len, lines)) < 200
    html = result._repr_html_()
    assert html.count("<table>") == html.count("</table>") >= 1


FILES = {
    "costs": ("e_mac_pj = 2.0", lambda file: oj.load_config("compute", file=file)),
    "costs to vary": (
        "[[config]]\ne_mac_pj = 2.0",
        lambda file: oj.sweep(STORED, "compute", configs=file).frame.to_dicts(),
    ),
    "a machine": (
        '[machine]\nname = "m"\nsource = "s"\n[[term]]\nquantity = "macs"\nprice = "1 pJ"',
        oj.load_machine,
    ),
    "a device": (
        'title = "d"\nsource = "s"\nbytes_per_s = 1e9\n[peaks_per_s]\nany = 1e9',
        lambda file: oj.roofline(STORED, device=file).roof,
    ),
}


@pytest.mark.parametrize(("text", "read"), FILES.values(), ids=FILES)
def test_a_file_is_a_path_or_its_text(tmp_path, text, read):
    file = tmp_path / "costs.toml"
    file.write_text(text)
    assert read(str(file)) == read(file)
    with pytest.raises(oj.ConfigError, match=r"missing\.toml: cannot be read \(No such file"):
        read(str(tmp_path / "missing.toml"))
    with pytest.raises(oj.ConfigError, match=r"3 is no name and no path of a file"):
        read(3)
    file.write_text("x = " + 5000 * "[")
    with pytest.raises(oj.ConfigError, match=r"costs\.toml: not .* \("):
        read(str(file))


def test_every_estimator_that_applies():
    found = oj.energy(STORED)
    assert list(found) == ["compute", "simple", "lemaire", "neuromc", "spikesim"]
    assert found["compute"].total_pj == oj.energy(STORED, "compute").total_pj
    row = found.frame.row(0, named=True)
    assert (row["estimator"], row["total_pj"]) == ("compute", found["compute"].total_pj)


def test_an_estimator_that_does_not_apply_is_named():
    """Forward passes alone: NeuroMC has fragments for them, without a convolution SpikeSim none."""
    found = oj.energy(STORED, where="module=Sequential.5")
    assert set(found.refused) == {"spikesim"}
    assert "spikesim does not apply: " in repr(found)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: oj.energy(STORED, "compute", sampels=3), "did you mean samples?"),
        (lambda: oj.energy(STORED, colour=3), "unknown option 'colour' of energy: options are "),
        (lambda: oj.energy(STORED, config=oj.load_config("compute")), "name it"),
        (lambda: oj.energy(STORED, "watt"), "watt"),
        (lambda: oj.energy(STORED, "compute", samples=0), "samples=0: expected a number"),
        (lambda: oj.energy(STORED, "lemaire", spikes="none"), "spikes='none' is not available"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(call, says):
    with pytest.raises(oj.ConfigError) as caught:
        call()
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: oj.sweep(STORED, "compute", {"e_mac_pj": [1]}, stict=True), "did you mean strict"),
        (lambda: oj.sensitivity(STORED, "compute", per="step"), "unknown option 'per' of sensiti"),
        (lambda: oj.sweep(STORED, "compute", {"e_mac_pj": 1.5}), "a list of values, not the float"),
        (lambda: oj.compare(STORED, STORED, twins="ratio"), "twins='ratio': expected twin_ratio"),
        (lambda: oj.energy(STORED, []), "no estimator is named: choose from compute, "),
        (lambda: oj.energy(STORED, ["compute", "lemair"]), "did you mean lemaire?"),
        (lambda: oj.energy(STORED, ["compute"], oj.load_config("compute")), "to one estimator"),
        (lambda: oj.table([STORED, str(STORED)]), "two traces are in a folder 'spiking-1'"),
        (lambda: oj.table([]), "a table needs at least one trace"),
        (lambda: oj.count(STORED, per="sample", batch="4"), "batch='4': expected a number of"),
        (lambda: oj.count(STORED, per="sample", batch=True), "batch=True: expected a number of"),
        (lambda: oj.rates(STORED, time_steps=2.5), "time_steps=2.5: expected a number of"),
    ],
)
def test_what_other_questions_do_not_take_is_refused_by_name(call, says):
    with pytest.raises(oj.ConfigError) as caught:
        call()
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("ask", [oj.compare, oj.breakeven, oj.count, oj.rates, oj.table])
def test_a_keyword_that_there_is_not_changes_nothing_in_silence(ask):
    traces = (STORED, STORED) if ask in (oj.compare, oj.breakeven) else (STORED,)
    with pytest.raises(TypeError, match=rf"{ask.__name__}\(\) got an unexpected .* 'batches'"):
        ask(*traces, batches=4)


def test_one_or_several_may_stand_where_several_are_asked_for():
    several = oj.energy(STORED, ["lemaire", "compute"])
    assert list(several) == ["lemaire", "compute"]
    assert several["lemaire"].total_pj == oj.energy(STORED, "lemaire").total_pj
    one = oj.compare(STORED, STORED, energies="compute")
    assert one.totals.keys() == oj.compare(STORED, STORED, energies=["compute"]).totals.keys()


def test_networks_without_names_are_called_as_their_folders(tmp_path, monkeypatch):
    named = oj.table({"spiking-1": STORED}, ["flops"])
    for traces in (STORED, [oj.open_trace(STORED)], (str(STORED),)):
        assert oj.table(traces, ["flops"]).to_dict() == named.to_dict()
    monkeypatch.chdir(STORED)
    assert oj.table(".", ["flops"]).to_dict()["rows"][0]["network"] == "spiking-1"


def test_a_long_result_is_cut():
    import polars as pl

    frame = pl.DataFrame({"module": [f"m{i}" for i in range(100)], "energy_pj": [1000.0] * 100})
    columns = (Column("module", "module", left=True), Column("energy_pj", "energy", energy_text))
    lines = brief(Page((Sheet(frame, columns),), "title", notes=["a note"])).splitlines()
    assert len(lines) == MOST_LINES  # the title, 2 of a head, 15 rows, how many more, the note
    assert lines[3].split() == ["m0", "1.00", "nJ"]
    assert lines[-2] == "... and 85 more rows" and lines[-1] == "a note"


def test_names_in_a_result_are_harmless():
    import polars as pl

    frame = pl.DataFrame({"module": ["<script>alert(1)</script>", "a\x1b[31mb"], "macs": [1, 2]})
    columns = (Column("module", "module", left=True), Column("macs", "<i>"))
    page = Page((Sheet(frame, columns),), "<b>", warnings=["<u>\x1b"])
    html = html_writer.written(page)
    assert not [tag for tag in ("<script>", "<b>", "<i>", "<u>", "\x1b") if tag in html]
    assert "\x1b" not in brief(page)


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "opjoule", "count", str(STORED)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "Global" in done.stdout


@pytest.mark.parametrize("make", [m for n, m in RESULTS.items() if n != "trace"])
def test_every_result_has_the_same_ways_out(make):
    result = make(STORED)
    assert result.frame.height and len(result.total)
    assert result.to_markdown().count("| :-- |") + result.to_markdown().count("| --: |")
    assert r"\begin{tabular}" in result.to_latex()
    data = result.to_dict()
    assert "warnings" in data or "line" in data
    if find_spec("pandas") is None:
        with pytest.raises(oj.OpjouleError, match="needs pandas, which is not installed"):
            result.to_pandas()
    else:
        assert len(result.to_pandas()) == result.frame.height


def test_kinds_of_spikes_reach_the_estimators_of_a_comparison():
    """Lemaire's model has no ternary spikes, and says so."""
    with pytest.raises(oj.ConfigError, match="spikes='ternary' is not available"):
        oj.compare(STORED, STORED, energies=["lemaire"], spikes="ternary")
    found = oj.compare(STORED, STORED, energies=["compute"], spikes="none")
    alone = oj.energy(STORED, "compute", spikes="none").total_pj
    assert found.totals["energy.compute"].base == alone
    assert alone > oj.energy(STORED, "compute").total_pj  # 4.6 pJ a MAC in the place of 0.9 an AC


FILTERED = {
    **{name: getattr(oj, name) for name in ("count", "coverage", "rates", "conventions", "energy",
                                            "report", "breakeven", "table")},
    **{name: (lambda t, name=name, **options: oj.energy(t, name, **options))
       for name in ("compute", "simple", "lemaire", "neuromc", "spikesim")},
    "machine": lambda t, **options: oj.energy(t, machine="loihi", **options),
    "check": lambda t, **options: oj.check(t, "flops=1", **options),
    "compare": lambda t, **options: oj.compare(t, t, **options),
    "roofline": lambda t, **options: oj.roofline(t, device="h100", **options),
    "sweep": lambda t, **options: oj.sweep(t, "compute", {"e_mac_pj": [1.0]}, **options),
}  # fmt: skip


@pytest.mark.parametrize("ask", FILTERED.values(), ids=FILTERED)
def test_a_filter_that_no_call_fits_is_refused(ask):
    """As on the command line; the stored trace has two labels."""
    ask(STORED, where="label=inference")
    for where, says in (
        ("label=x", "no calls fit --where label=x: the trace has labels inference, training"),
        (["stage=backward", "label=inference"], "together, though some fit each of them"),
    ):
        with pytest.raises(oj.ConfigError, match=says):
            ask(STORED, where=where)
    assert oj.count(oj.open_trace(STORED).where("label=x")).total["flops"] == 0


LARGE = {
    "a limit": lambda: oj.check(STORED, {"flops": "1e309"}),
    "a limit with a prefix": lambda: oj.check(STORED, "flops=1e308P"),
    "an energy": lambda: oj.check(STORED, "energy.compute=1e400"),
    "a condition": lambda: oj.compare(STORED, STORED).failures(["flops>1e309"]),
    "a share": lambda: oj.compare(STORED, STORED).failures(["flops>+1e400%"]),
    "a peak": lambda: oj.roofline(STORED, peak="1e400", bandwidth=1),
    "a bandwidth": lambda: oj.roofline(STORED, peak=1, bandwidth="1e308P"),
}


@pytest.mark.parametrize("ask", LARGE.values(), ids=LARGE)
def test_a_number_beyond_every_figure_is_refused(ask):
    """Numbers of 64 bits end at 1.8e308."""
    with pytest.raises(oj.ConfigError, match=r"'.+1e\d+.*': the number is larger than any figure"):
        ask()


@pytest.mark.parametrize("name", ["batch", "time_steps", "samples"])
def test_a_number_of_samples_is_at_most_a_trillion(name):
    assert oj.count(STORED, **{name: 10**12}, per="sample").frame.height
    with pytest.raises(oj.ConfigError, match=f"{name}=10+: .*at most 1,000,000,000,000"):
        oj.count(STORED, **{name: 10**20}, per="sample")


def test_an_energy_that_is_no_number_is_refused():
    """More than one MAC at 1e308 pJ is more than 1.8e308 pJ; a MAC at 1e300 pJ is less."""
    costs = oj.load_config("compute", overrides=["e_mac_pj=1e300"])
    macs = oj.energy(STORED, "compute").counts["mac"]
    assert macs > 2
    assert oj.energy(STORED, "compute", costs).breakdown_pj["mac_pj"] == pytest.approx(1e300 * macs)
    with pytest.raises(oj.ConfigError, match="compute: the energy is larger than any number"):
        oj.sweep(STORED, "compute", {"e_mac_pj": [1.0, 1e308]})
    dear = oj.load_machine("loihi").model_dump()
    first = next(iter(dear["term"].values()))
    first["price"] = 1e308
    with pytest.raises(oj.ConfigError, match="the energy is larger than any number"):
        oj.sweep_machines(STORED, [type(oj.load_machine("loihi"))(**dear)])


def test_a_share_of_no_counter_names_those_that_there_are():
    counts = oj.count(STORED)
    assert "of MAC" in counts.to_latex(share="macs")
    with pytest.raises(oj.ConfigError, match="share='mac': no such counter: did you mean macs"):
        counts.to_latex(share="mac")


ALONE = {
    "overrides": lambda one: oj.load_config("compute", overrides=one("e_mac_pj=1")),
    "conditions": lambda one: [
        failure.to_dict() for failure in oj.compare(STORED, STORED).failures(one("flops>1"))
    ],
    "conditions of a page": lambda one: oj.compare(STORED, STORED).to_markdown(
        conditions=one("flops>1")
    ),
    "conditions as data": lambda one: oj.compare(STORED, STORED).to_dict(one("flops>1")),
    "lines": lambda one: oj.compare(STORED, STORED).failed_lines(one("flops>1")),
    "figures": lambda one: oj.compare(STORED, STORED).to_markdown(one("macs")),
    "twins": lambda one: oj.compare(STORED, STORED, twins=one("twin_ratio")).to_markdown(),
    "energies": lambda one: oj.compare(STORED, STORED, energies=one("compute")).to_markdown(),
    "limits": lambda one: oj.check(STORED, one("flops=1k")).to_markdown(),
    "filters": lambda one: oj.count(STORED, where=one("stage=forward")).to_dict(),
    "assumptions": lambda one: oj.count(STORED, assume=one("dense")).to_dict(),
    "keys": lambda one: oj.count(STORED, by=one("stage")).to_dict(),
    "keys of energies": lambda one: oj.energy(STORED).to_markdown(by=one("stage")),
    "keys of an energy": lambda one: oj.energy(STORED, "compute").to_markdown(by=one("stage")),
    "keys of a roofline": lambda one: oj.roofline(STORED, device="h100", by=one("op")).to_dict(),
    "columns": lambda one: oj.table(STORED, columns=one("flops")).to_dict(),
    "machines": lambda one: oj.sweep_machines(STORED, one("loihi")).to_dicts(),
    "machines of a page": lambda one: oj.report(STORED, machines=one("loihi")).to_dict()["total"],
    "ops": lambda one: (oj.OpRule("mine", one("aten.mm"), lambda call: oj.Figures(1, 1)).ops,),
}


@pytest.mark.parametrize("ask", ALONE.values(), ids=ALONE)
def test_one_text_stands_for_itself_where_several_may(ask):
    assert ask(str) == ask(lambda text: [text])
