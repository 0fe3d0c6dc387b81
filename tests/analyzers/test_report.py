"""The page: it shows the figures of the commands, escapes what it shows, and loads nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

import opjoule as oj
from opjoule.cli.main import run
from opjoule.schemas import ConfigError
from opjoule.schemas.costs import machine_text

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
               None)  # fmt: skip
STORED = Path(__file__).resolve().parents[1] / "data" / "spiking-1"
HOSTILE = "<script>alert(1)</script>\"'&\u202e"


class Page(HTMLParser):
    """A page, read: the figures of cards, of the tree and of tables, and all tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.cards, self.tree, self.tables, self.tags, self.words = {}, {}, {}, [], []
        self.card = self.module = self.table = None
        self.heads, self.keys = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if "data-card" in found:
            self.card = found["data-card"]
        if "data-keys" in found:
            self.keys = found["data-keys"].split(" ")
        if "data-module" in found:
            self.module, self.card = found["data-module"], None
            self.tree[self.module] = {}
        if "data-table" in found:
            self.table, self.module, self.card = found["data-table"], None, None
            self.tables[self.table], self.heads = [], []
        if tag == "th" and found.get("scope") == "col":
            self.heads.append(found.get("data-key"))
        if tag == "tr" and self.table:
            self.tables[self.table].append({})
            self.place = -1
        if tag == "td" or (tag == "th" and found.get("scope") == "row"):
            self.place += 1
        if tag == "data":
            value = json.loads(found["value"])
            if self.table:
                self.tables[self.table][-1][self.heads[self.place]] = value
            elif self.module is not None:
                self.tree[self.module][self.keys[int(found["class"][1:])]] = value
            elif self.card:
                self.cards.setdefault(self.card, value)

    def handle_endtag(self, tag):
        if tag == "table":
            self.table = None

    def handle_data(self, data):
        self.words.append(data)


def answered(capsys, *words):
    assert run([*map(str, words), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def page():
    """Return the page of the stored trace, compared with itself, read."""
    return Page(oj.report(STORED, STORED, peak="1T", bandwidth="10G").to_html())


def test_the_tree_shows_what_count_and_energy_answer(page, stored, capsys):
    rows = answered(capsys, "count", stored, "--per", "sample")["rows"]
    energies = {
        name: {row["module"]: row["per_sample_pj"]
               for row in answered(capsys, "energy", name, stored, "--by", "module")["rows"]}
        for name in ("compute", "neuromc")
    }  # fmt: skip
    assert len(rows) > 5
    for row in rows:
        module = "" if row["module"] == "Global" else row["module"]
        shown = page.tree[module]
        for name in ("flops", "bytes", "macs", "acs"):
            assert shown[f"{name}_per_sample"] == row[f"{name}_per_sample"]
        for name, found in energies.items():
            assert shown.get(f"energy.{name}.per_sample_pj") == found.get(row["module"])
    # conv 1 -> 4 of 3x3 without bias, norm 4 + 4, linear 64 -> 5 with bias: 36 + 8 + 325
    assert page.tree[""]["parameters"] == page.tree["Sequential"]["parameters"] == 369


def test_cards_and_tables_show_what_the_commands_answer(page, stored, capsys):
    rates = answered(capsys, "rates", stored)
    assert page.cards["rate"] == rates["totals"]["rate"]
    for shown, row in zip(page.tables["layers"][1:], rates["layers"], strict=True):
        assert shown["rate"] == row["rate"] and shown["neurons"] == row["neurons"]
    (total,) = answered(capsys, "count", stored, "--by", "total", "--per", "sample")["rows"]
    assert page.cards["flops"] == total["flops_per_sample"]
    compute = answered(capsys, "energy", "compute", stored)
    assert page.cards["energy.compute"] == compute["per_sample_pj"]
    assert page.cards["energy.compute.total_pj"] == compute["total_pj"]
    parts = [row["energy_pj"] for row in page.tables["parts.compute"][1:]]
    assert parts == list(compute["breakdown_pj"].values())
    roof = answered(capsys, "roofline", stored, "--peak", "1T", "--bandwidth", "10G")
    assert page.cards["roofline.time_s"] == roof["total"]["time_s"]
    assert "the whole recording (6 samples)" in "".join(page.words)
    times = [row.get("time_s") for row in page.tables["roofline"][1:]]
    assert times == [row["time_s"] for row in roof["rows"]]
    compared = answered(capsys, "compare", stored, stored, "--per", "sample")
    shown = [row["base"] for row in page.tables["totals"][1:]]
    assert shown[: len(compared["totals"])] == [each["base"] for each in compared["totals"]]


def test_statements_warnings_and_coverage_stand_in_it(page, stored):
    text = " ".join(page.words)
    found = oj.energy(stored)
    assert len(found) >= 2
    share = 15744 / 49152  # dense MACs of the inference, and of all passes of a training run
    assert found["compute"].account.share == found["lemaire"].account.share == share
    assert text.count("; 32.0% of the MACs of the products charged") >= 2
    for report in found.values():
        assert report.statement() in text
        for warning in report.warnings:
            assert warning in text
    for why in found.refused.values():
        assert why in text
    assert oj.count(stored).coverage.line() in text


def test_it_asks_for_nothing_from_outside(page):
    """No address but places in the page, no image, no frame, one script of its own."""
    for tag, found in page.tags:
        assert tag not in ("img", "iframe", "link", "object", "embed", "base", "form")
        assert "src" not in found and not any(name.startswith("on") for name in found)
        assert found.get("href", "#").startswith("#")
    assert [tag for tag, _ in page.tags].count("script") == 1
    ids = {found["id"] for _, found in page.tags if "id" in found}
    assert {found["href"][1:] for _, found in page.tags if "href" in found} <= ids


def many_modules(trace, count):
    """Return a trace with further modules of a hostile name; none of them ran."""
    (root,) = trace.modules.filter(pl.col("parent_id").is_null())["module_id"]
    last = int(trace.modules["module_id"].max())
    one = trace.modules.filter(pl.col("path") == "Sequential.0")
    added = pl.concat(
        one.with_columns(
            module_id=pl.lit(last + place, pl.Int32), parent_id=pl.lit(root, pl.Int32),
            path=pl.lit(f"Sequential.{HOSTILE}{place}"), **{"class": pl.lit(f"a.{HOSTILE}")},
        )
        for place in range(1, count + 1)
    )  # fmt: skip
    return replace(trace, modules=pl.concat([trace.modules, added]))


def test_texts_of_a_trace_are_shown_as_text(stored):
    """Control characters too: the mark that turns the direction of text becomes an escape."""
    html = oj.report(many_modules(oj.open_trace(stored), 1)).to_html()
    assert "<script>alert" not in html and "\u202e" not in html
    page = Page(html)
    shown = "<script>alert(1)</script>\"'&\\u202e1"
    assert f"Sequential.{shown}" in page.tree and shown in page.words
    assert [tag for tag, _ in page.tags].count("script") == 1


@pytest.fixture(scope="module")
def large():
    """Return a page with a thousand modules."""
    return oj.report(
        many_modules(oj.open_trace(STORED), 1000), peak="1T", bandwidth="10G"
    ).to_html()


def test_a_thousand_modules_fit_into_two_megabytes(large):
    assert len(Page(large).tree) == 1 + 10 + 1000
    assert len(large.encode()) < 2e6


@pytest.mark.parametrize("kept", ["sound", "cut", "of another kind", "nowhere"])
def test_the_template_is_compiled_once_wherever_that_can_be_kept(
    stored, tmp_path, monkeypatch, kept
):
    from opjoule.analyzers.reporting import page

    right = oj.report(stored).to_html()
    folder = tmp_path / "no" if kept == "nowhere" else tmp_path
    monkeypatch.setattr(page, "cache_from_source", lambda file: str(folder / "page.x.pyc"))
    monkeypatch.setattr(page.sys, "dont_write_bytecode", False)

    def made():
        page._template.cache_clear()
        return oj.report(stored).to_html()

    assert made() == right
    files = [*tmp_path.iterdir()]
    assert len(files) == (kept != "nowhere")
    for file in files:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[:30], "of another kind": b"\0" * 99}.get(kept, whole))
        before = file.stat().st_mtime_ns
        assert made() == right
        assert file.read_bytes()[:2] == b"j2"
        assert (file.stat().st_mtime_ns == before) == (kept == "sound")
        file.unlink()
        monkeypatch.setattr(page.sys, "dont_write_bytecode", True)
        assert made() == right
        assert not file.exists()
    page._template.cache_clear()


def test_a_trace_without_a_forward_pass_has_a_page(stored):
    found = oj.report(stored, where="stage=backward")
    assert found.rates is None and "forward pass" in " ".join(Page(found.to_html()).words)


def test_rates_have_a_card_where_something_fires(stored):
    dense = oj.report(stored, where="module=Sequential.0")
    assert 'data-card="flops"' in dense.to_html()
    assert 'data-card="rate"' not in dense.to_html()
    assert 'data-card="activation_sparsity"' not in dense.to_html()


def test_headline_figures_are_those_of_the_other_answers(stored):
    found = oj.report(stored, device="h100")
    counts, compute = oj.count(stored, per="sample"), oj.energy(stored, "compute")
    assert found.total["macs"] == counts.each["macs"]
    assert found.total["energy.compute"] == compute.per_sample_pj
    assert found.total["rate"] == oj.rates(stored).totals["rate"]
    assert dict(found.frame.iter_rows()) == {k: v for k, v in found.total.items()}
    data = found.to_dict()
    assert data["energies"] == oj.energy(stored).to_dict() and data["compared"] is None
    assert data["roofline"] == oj.roofline(stored, device="h100").to_dict()
    assert "| energy.compute |" in found.to_markdown() and r"\toprule" in found.to_latex()


def test_wrong_settings_are_refused(stored):
    with pytest.raises(ConfigError, match="unknown estimator 'lemair'"):
        oj.report(stored, revisions={"lemair": "source"})


def test_machines_stand_beside_the_estimators(stored, tmp_path, capsys):
    """By name and by file, in the headline, in the tree, and in the comparison."""
    file = tmp_path / "mine.toml"
    text = machine_text("paper")
    file.write_text(text.replace('name = "paper"', 'name = "mine"'))
    assert file.read_text() != text
    target = tmp_path / "a.html"
    words = ["report", stored, stored, "--machine", "loihi", "--machine", file, "-o", target]
    assert run([str(word) for word in words]) == 0
    page = Page(target.read_text())
    for key, machine in (("machine.loihi", "loihi"), ("machine.mine", file)):
        alone = oj.energy(stored, machine=machine)
        assert page.cards[f"energy.{key}"] == alone.per_sample_pj
        tree = {k: v[f"energy.{key}.per_sample_pj"] for k, v in page.tree.items()
                if f"energy.{key}.per_sample_pj" in v}  # fmt: skip
        own = dict(alone.by("module").select("module", "per_sample_pj").iter_rows())
        assert tree == {"" if name == "Global" else name: pj for name, pj in own.items()}
        assert f"energy.{key}" in " ".join(page.words)
    found = oj.report(stored, stored, machines=["loihi"])
    assert found.total["energy.machine.loihi"] == found.compared.totals["energy.machine.loihi"].head
    with pytest.raises(ConfigError, match="two machines are named 'loihi'"):
        oj.report(stored, machines=["loihi", "loihi"])
    assert "energy.machine.loihi" in oj.report(stored, machines="loihi").total


def test_the_command_writes_it(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["report", str(stored)]) == 0
    found = oj.report(stored)
    assert (tmp_path / "report.html").read_text() == found.to_html()
    assert found.save(tmp_path / "a.html").read_text() == found.to_html()
    assert len(repr(found).splitlines()) <= 20 and "energy.compute" in repr(found)
    assert (
        found._repr_html_().startswith("<iframe srcdoc=") and "<script" not in found._repr_html_()
    )
    words = ["report", str(stored), "--set", "compute.e_mac_pj=9.2", "-o", "b.html"]
    assert run(words) == 0
    dearer = oj.load_config("compute", overrides=["e_mac_pj=9.2"])
    assert (
        oj.energy(stored, "compute", dearer).per_sample_pj
        == Page((tmp_path / "b.html").read_text()).cards["energy.compute"]
    )
    capsys.readouterr()
    for words, line in (
        (["-o", "a.pdf"], "does not end in .html"),
        (["-o", str(stored / "a.html")], "is inside the trace"),
        ([str(stored), str(stored)], "on a base and a trace"),
    ):
        assert run(["report", str(stored), *words]) == 2
        assert line in capsys.readouterr().err


def opened(text, folder):
    """Open a page in a browser: returns its document, what it asked for, and the console's lines.

    What the browser asks for by itself (a dictionary, an update) is not of the site `file:`.
    """
    (folder / "page.html").write_text(text)
    log = folder / "net.json"
    words = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"),
        (folder / "page.html").as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    lines = [line for line in log.read_text().splitlines() if "site=file://" in line]
    asked = set(re.findall(r'"url":"((?!file:|data:)[^"]*)"', "\n".join(lines)))
    return done.stdout, asked, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_opens_it(large, tmp_path):
    """No line on the console, no request; its script has run."""
    shown, asked, console = opened(large, tmp_path)
    assert not console and not asked
    assert '<p class="tools">' in shown  # the script shows its buttons


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_the_browser_would_notice(tmp_path):
    text = "<img src='http://127.0.0.1:9/a.png'><script>console.log('here')</script>"
    _, asked, console = opened(text, tmp_path)
    assert asked == {"http://127.0.0.1:9/a.png"} and any("here" in line for line in console)
