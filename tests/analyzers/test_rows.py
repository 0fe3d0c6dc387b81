"""Which rows a page shows, in what order, and what stands beside a module."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from opjoule.analyzers import count, roofline
from opjoule.analyzers.answers import table
from opjoule.analyzers.energy import energy
from opjoule.analyzers.units import bytes_text
from opjoule.schemas import ConfigError


@pytest.fixture
def counts(stored):
    return count(stored, by="module")


def first(page):
    return page.sheets[0]


def column(page, name):
    return first(page).frame[name].to_list()


def test_a_module_has_its_class(counts, stored):
    shown = column(counts.page(), "class")
    assert [each.name for each in first(counts.page()).columns][:2] == ["module", "class"]
    told = dict(zip(counts.frame["module"], shown, strict=True))
    for path, name in count(stored).modules().iter_rows():
        assert told.get(path, name) == name and "." not in name
    assert told["Global"] is None
    assert "class" not in counts.frame.columns  # of the page alone
    for other in (energy(stored, "compute"), roofline(stored, device="h100")):
        assert column(other.page(), "class")[1] == shown[1]


def test_wide_adds_parameters_and_the_shape_of_the_result(counts):
    """Two steps of 3 images: Conv2d(1, 4, 3) has 4 x 1 x 3 x 3 = 36 weights, BatchNorm2d(4) 4 + 4,
    Linear(64, 5) has 64 x 5 + 5 = 325 parameters; 36 + 8 + 325 = 369."""
    page = counts.page(wide=True)
    told = dict(zip(column(page, "class"), zip(column(page, "parameters"),
                column(page, "outputs"), strict=True), strict=True))  # fmt: skip
    assert told["Sequential"] == (369, "2\u00d73\u00d75")
    assert told["Conv2d"] == (36, "2\u00d73\u00d74\u00d78\u00d78")
    assert told["BatchNorm2d"][0] == 8
    assert told["Linear"] == (325, "2\u00d73\u00d75")


def test_levels_of_modules(counts):
    """What is left out is part of what stays: the first rows say the same as without."""
    whole = counts.frame
    levels = {path: path.count(".") + 1 for path in whole["module"] if path != "Global"}
    assert max(levels.values()) > 1
    for depth in (1, 2):
        page = first(counts.page(depth=depth))
        assert page.frame.height == 1 + sum(level <= depth for level in levels.values())
    assert column(counts.page(depth=1), "flops")[0] == column(counts.page(), "flops")[0]


def test_no_levels_of_exclusive_figures(stored):
    with pytest.raises(ConfigError, match="exclusive"):
        count(stored, by="module", exclusive=True).page(depth=1)
    with pytest.raises(ConfigError, match="of modules"):
        count(stored, by="op").page(depth=1)


def test_sorted_by_a_column(counts):
    """Without a tree, figures from the largest on; the row of everything stays first."""
    page = counts.page(sort="bytes")
    paths = column(page, "module")
    known = dict(counts.frame.select("module", "bytes").iter_rows())
    assert paths[0] == "Global"
    sizes = [known[path] for path in paths[1:]]
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(ConfigError, match="did you mean flops"):
        counts.page(sort="flosp")
    with pytest.raises(ConfigError, match="unknown option 'tpo' of a page: did you mean top"):
        counts.page(tpo=3)


def test_ops_are_sorted_by_what_is_counted(stored):
    found = count(stored, by="op")
    for share in ("flops", "bytes"):
        known = dict(found.frame.select("op", share).iter_rows())
        sizes = [known[op] for op in column(found.page(share=share), "op")]
        assert sizes == sorted(sizes, reverse=True)


def test_the_first_rows_and_the_sum_of_the_others(stored):
    found = count(stored, by="op")
    sizes = sorted(found.frame["bytes"], reverse=True)
    page = first(found.page(share="bytes", top=2))
    assert page.frame.height == 2
    (note,) = page.notes
    assert note.startswith(f"... and {len(sizes) - 2} more rows: ")
    assert note.endswith(f": {bytes_text(sum(sizes[2:]))} bytes")
    assert first(found.page(top=len(sizes))).notes == []
    # a lower bound among what is not shown makes their sum one
    last = pl.int_range(pl.len()) == pl.len() - 1
    bounds = pl.when(last).then(pl.lit("flops bytes")).alias("at_least")
    bounded = replace(found, frame=found.frame.with_columns(bounds))
    (line,) = first(bounded.page(share="bytes", top=2)).notes
    assert line == note.replace("rows: ", "rows: ≥ ")
    with pytest.raises(ConfigError, match="at least 1"):
        found.page(top=0)


def test_modules_overlap_so_they_are_not_added(counts):
    page = first(counts.page(top=1))
    assert page.frame["module"][0] == "Global" and page.frame.height == 2
    (note,) = page.notes
    rest = counts.frame.height - 2
    assert note == f"... and {rest} more rows (a module includes those below it)"


def test_by_class(stored):
    """Classes hold what their modules do themselves: they add up to the whole."""
    found = count(stored, by="class")
    assert found.frame["flops"].sum() == found.total["flops"]
    own = count(stored, by="module", exclusive=True)
    classes = dict(own.modules().iter_rows())
    sums: dict[str | None, int] = {}
    for path, flops in own.frame.select("module", "flops").iter_rows():
        name = classes.get(path)
        sums[name] = sums.get(name, 0) + (flops or 0)
    assert dict(found.frame.select("class", "flops").iter_rows()) == sums
    report = energy(stored, "compute")
    assert report.by("class")["energy_pj"].sum() == pytest.approx(report.total_pj)
    assert set(report.by("class")["class"]) <= {*classes.values(), None}
    times = roofline(stored, "class", device="h100")
    assert times.frame["time_s"].sum() == pytest.approx(times.total["time_s"])


def test_what_is_all_zero_is_left_out_first(stored):
    """Without spikes nothing is driven by them: SynOp goes before columns that say something."""
    page = count(stored, by="module", spikes="none").page()
    assert set(column(page, "synops")) == {"0"}
    whole = table.written(page)
    room = max(map(len, whole.splitlines()[:3])) - 1
    assert "(too narrow for SynOp" in table.written(page, room)
