"""What opjoule, FlopCounterMode and SpikingJelly count: sums over ops."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from ..counting.evaluate import tally
from ..rules import RULE_SETS, has_formula, rule_set, rule_sets
from ..text import listed
from .facts import Facts, figures_of
from .rows import Row, Term, by_place, largest, terms_of

_OWN = {
    "flops": ("FLOPs", "every addition and multiplication is one, element-wise work too"),
    "macs": ("MACs", "multiply-accumulates of products without spikes, and of norms"),
    "acs": ("ACs", "additions: those that spikes trigger, and all others"),
    "synops": ("SynOps", "pairs of a spike and an output that meet, exact at borders"),
    "dense_macs": ("dense MACs", "multiply-accumulates of all products as if nothing were spikes"),
}

_ENERGY = (
    "MACs and SynOps of Linear and convolutions at {mac} and {synop} pJ (machine paper); "
    "energy compute charges norms, neurons and other work too"
)

_FLOP_COUNTER = "two for each multiply-accumulate of products; no biases, nothing element-wise"

_SPIKINGJELLY = {
    "flops": ("FlopCounter", "a rule for each overload of an op; others count 0"),
    "macs": ("MACCounter", "products by its rules, unless the values of an operand are spikes"),
    "acs": ("ACCounter", "additions by its rules, spike-driven products too"),
    "synops": ("SynOpCounter", "spike-driven products, spikes by their values"),
}


def own_rows(facts: Facts, mac_pj: float, synop_pj: float) -> list[Row]:
    """Return opjoule's figures.

    Args:
        facts: what ran.
        mac_pj: energy of a MAC.
        synop_pj: energy of a SynOp.
    """
    found = []
    for kind, (figure, definition) in _OWN.items():
        value, note = facts.figures.total[kind], facts.figures.gap(kind)
        least = kind in facts.figures.at_least
        row = Row("opjoule", figure, kind, definition, value, note=note, at_least=least)
        found.append(row)
    energy = own_energy(facts, mac_pj, synop_pj)
    definition = _ENERGY.format(mac=mac_pj, synop=synop_pj)
    note = facts.unknown if energy is None else ""
    return [*found, Row("opjoule", "energy", "energy_pj", definition, energy, note=note)]


def own_energy(facts: Facts, mac_pj: float, synop_pj: float) -> float | None:
    """Return the energy of layers by opjoule's own counts, in pJ; None: some were not measured."""
    macs, synops = facts.layers["macs"], facts.layers["synops"]
    if macs.null_count() or synops.null_count():
        return None
    return float(macs.sum()) * mac_pj + float(synops.sum()) * synop_pj


def flop_counter_rows(facts: Facts) -> list[Row]:
    """Return what FlopCounterMode counts, with the products that it has no formula for."""
    named = pl.col("op").is_in([op for op in facts.own["op"].unique() if has_formula(op)])
    rows = facts.own.with_columns(named=named)
    known, unknown = rows.filter("named"), rows.filter(~pl.col("named") & (pl.col("twice") != 0))
    row = Row("FlopCounterMode", "total FLOPs", "flops", _FLOP_COUNTER, None)
    if known["twice"].null_count():
        return [replace(row, note="the size of a product is not recorded")]
    value = int(known["twice"].sum())
    note = "" if unknown.is_empty() else f"it has no formula for {_ops(unknown)}"
    if facts.own_figure("flops") is None:
        return [replace(row, note=note, value=value)]
    extra = rows.with_columns(
        extra=pl.col("flops") - pl.col("twice").fill_null(0),
        family=pl.when(pl.col("family").is_in(["product", "convolution"]))
        .then(pl.lit("biases"))
        .otherwise("family"),
    )
    lost = [(f"no formula for {op}", -twice) for op, twice in _by_op(unknown, "twice")]
    found = largest(lost, "no formula for other ops")
    terms = terms_of([*by_place(extra, "extra"), *found])
    return [replace(row, note="" if lost else note, value=value, terms=terms)]


def _by_op(rows: pl.DataFrame, figure: str) -> list[tuple[str, int]]:
    return rows.group_by("op", maintain_order=True).agg(pl.col(figure).sum()).rows()


def _ops(rows: pl.DataFrame) -> str:
    return listed(rows["op"].unique(maintain_order=True).to_list(), 3)


def spikingjelly_rows(facts: Facts) -> list[Row]:
    """Return what each revision of SpikingJelly's op_counter counts."""
    found = []
    for name in rule_sets()[len(RULE_SETS) :]:
        rules = rule_set(name)
        told = tally(facts.part, rules)
        figures = figures_of(told, rules)
        title = name.replace("spikingjelly-", "SpikingJelly ")
        for kind, (figure, definition) in _SPIKINGJELLY.items():
            value, note = figures.total[kind], figures.gap(kind)
            terms = () if note or facts.own_figure(kind) is None else _by_rules(facts, told, kind)
            least = kind in figures.at_least
            found.append(Row(title, figure, kind, definition, value, terms, note, least))
    return found


def _by_rules(facts: Facts, told: pl.DataFrame, kind: str) -> tuple[Term, ...]:
    """Return the difference op by op, those that have no rule there said so."""
    ours = facts.own.group_by("op", maintain_order=True).agg(ours=pl.col(kind).sum())
    theirs = told.group_by("op").agg(
        theirs=pl.col(kind).sum(), without=(pl.col("how") == "uncovered").all()
    )
    both = ours.join(theirs, on="op", how="left", maintain_order="left")
    what = pl.when("without").then(pl.lit("no rule for ") + pl.col("op")).otherwise("op")
    amount = pl.col("theirs").fill_null(0) - pl.col("ours")
    parts = both.select(what.alias("what"), amount.alias("amount")).rows()
    return terms_of(largest(parts, "other ops"))
