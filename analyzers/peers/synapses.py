"""What NeuroBench, Norse and sinabs count: sums over Linear and convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ..text import listed
from .facts import Facts
from .rows import OUTSIDE, Row, Term, by_place, terms_of

_KINDS = "what counts as spikes"

_NEUROBENCH = {
    "Dense": ("dense_macs", "pairs of an input and a weight that meet in Linear and Conv layers"),
    "Effective_MACs": ("macs", "those of neither a zero input nor a zero weight, in calls whose "
                               "input holds more than -1, 0 and 1"),
    "Effective_ACs": ("acs", "the same in calls whose input holds only -1, 0 and 1"),
}  # fmt: skip


def neurobench_rows(facts: Facts) -> list[Row]:
    """Return NeuroBench's `SynapticOperations`: of Linear and Conv layers, not of transposed."""
    transposed = pl.col("kind").str.starts_with("ConvTranspose")
    layers, others = facts.layers.filter(~transposed), facts.layers.filter(transposed)
    loops = facts.has_run("torch.nn.modules.rnn.")
    made = {
        "Dense": ("pairs", _dense),
        "Effective_MACs": ("n_macs", _effective_macs),
        "Effective_ACs": ("n_acs", _effective_acs),
    }
    found = []
    for figure, (column, differences) in made.items():
        kind, definition = _NEUROBENCH[figure]
        value = None if loops else _total(layers, column)
        note = f"it counts {listed(loops)} by states that a trace does not keep, or stops there"
        note = note if loops else "" if value is not None else facts.unknown
        terms: tuple[Term, ...] = ()
        if value is not None and facts.own_figure(kind) is not None:
            left_out = "dense" if kind == "dense_macs" else kind
            rest = [("in transposed convolutions", -int(others[left_out].sum()))]
            terms = terms_of([*differences(layers), *rest, *by_place(facts.elsewhere, kind)])
        found.append(Row("NeuroBench", figure, kind, definition, value, terms, note))
    return found


def _dense(layers: pl.DataFrame) -> list[tuple[str, float]]:
    return [("zeros of the padding", _less(layers, "pairs", "dense"))]


def _effective_macs(layers: pl.DataFrame) -> list[tuple[str, float]]:
    return [
        ("zeros of the padding", _less(layers, "mac_pairs", "mac_dense")),
        ("zeros among the inputs", _less(layers, "mac_fanout", "mac_pairs")),
        ("zeros among the weights", _less(layers, "n_macs", "mac_fanout")),
        (_KINDS, _less(layers, "mac_dense", "macs")),
    ]


def _effective_acs(layers: pl.DataFrame) -> list[tuple[str, float]]:
    return [
        ("zeros among the weights", _less(layers, "n_acs", "ac_fanout")),
        (_KINDS, _less(layers, "ac_fanout", "acs")),
    ]


def _less(layers: pl.DataFrame, one: str, other: str) -> int:
    return int(layers[one].sum()) - int(layers[other].sum())


def _total(layers: pl.DataFrame, column: str) -> int | None:
    return None if layers[column].null_count() else int(layers[column].sum())


def norse_rows(facts: Facts) -> list[Row]:
    """Return what Norse's `SynOpsCounter` gives around each Linear and Conv2d that spikes enter."""
    layers, others = _of_two_kinds(facts)
    definition = (
        "spikes x outputs of a Linear, spikes x output channels x kernel / groups of a Conv2d; "
        "of layers that spikes enter"
    )
    row = ("Norse", "SynOpsCounter", "synops", definition)
    if layers["spikes"].null_count():
        return [Row(*row, None, note=facts.unknown)]
    met = int((layers["spikes"] * layers["fan"]).sum())
    fanout = int(layers["spikes_fanout"].sum())
    parts = [
        ("borders and strides: each spike is taken to meet every tap", met - fanout),
        (_KINDS, fanout - int(layers["synops"].sum())),
    ]
    return [Row(*row, met, _synop_terms(facts, parts, others))]


def sinabs_rows(facts: Facts) -> list[Row]:
    """Return what sinabs' `SNNAnalyzer` gives: input values times the outputs that each meets."""
    layers, others = _of_two_kinds(facts)
    definition = (
        "sum of the input values of Linear and Conv2d layers, each times the outputs that it "
        "meets, exact at borders"
    )
    whole = Row("sinabs", "synops", "synops", definition, None)
    told = "the same, of layers that spikes enter"
    driven = Row("sinabs", "synops of spikes", "synops", told, None)
    if layers["plain"].null_count() or layers["spikes_fanout"].null_count():
        return [replace(row, note=facts.unknown) for row in (whole, driven)]
    fanout = int(layers["spikes_fanout"].sum())
    parts = [(_KINDS, fanout - int(layers["synops"].sum()))]
    driven = replace(driven, value=fanout, terms=_synop_terms(facts, parts, others))
    graded = layers.filter(~pl.col("plain"))["module"].unique(maintain_order=True).to_list()
    if not graded:
        return [replace(whole, value=fanout, terms=driven.terms), driven]
    note = f"it adds up values of inputs, which a trace does not keep: {listed(graded, 2)}"
    return [replace(whole, note=note), driven]


def _of_two_kinds(facts: Facts) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return Linear and Conv2d layers, and the others."""
    two = pl.col("kind").is_in(["Linear", "Conv2d"])
    return facts.layers.filter(two), facts.layers.filter(~two)


def _synop_terms(
    facts: Facts, parts: Sequence[tuple[str, float]], others: pl.DataFrame
) -> tuple[Term, ...]:
    if facts.own_figure("synops") is None:
        return ()
    rest = [("in other layers", -int(others["synops"].sum()))]
    return terms_of([*parts, *rest, (OUTSIDE, -int(facts.elsewhere["synops"].sum()))])
