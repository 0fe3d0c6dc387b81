"""What most papers on spiking networks compute: rate x T x FLOPs, at the price of an addition.

Z. Zhou et al., "Spikformer" (arXiv 2209.15425), and M. Yao et al., "Spike-driven Transformer"
(arXiv 2307.01694), have the formula that others took over. The first layer makes spikes of images
and is charged as multiply-accumulates, once: an image is the same in each time step. Where spikes
enter it (event cameras), it is like others; counts of events are no spikes, and are taken for an
image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import polars as pl

from ..text import listed
from .facts import Facts
from .rows import OUTSIDE, Row, Term, terms_of

_BORDERS = "borders: each spike meets as many outputs as the mean input"
_ANALOG = "layers that take no spikes"
_KINDS = "what counts as spikes"

_SUMS = ("nonzero", "inputs", "dense", "fanout", "macs", "synops")


@dataclass(frozen=True)
class _Layer:
    """Sums over the products of a layer, and whether spikes enter it."""

    name: str
    driven: bool
    nonzero: int
    inputs: int
    dense: int
    fanout: int
    macs: int
    synops: int

    @property
    def sops(self) -> Fraction:
        """The share of nonzero inputs times the dense MACs of all time steps; exact."""
        return Fraction(self.nonzero * self.dense, self.inputs or 1)

    @property
    def parts(self) -> list[tuple[str, Fraction]]:
        """The difference of the SOPs to opjoule's SynOps: pairs that a nonzero input meets between.

        The mean input of a Linear meets as many outputs as each, so it has no borders.
        """
        if not self.driven:
            return [(_ANALOG, self.sops - self.synops)]
        return [(_BORDERS, self.sops - self.fanout), (_KINDS, Fraction(self.fanout - self.synops))]


def paper_rows(facts: Facts, mac_pj: float, synop_pj: float) -> list[Row]:
    """Return SOPs and energy.

    Args:
        facts: what ran.
        mac_pj: energy of a MAC of the first layer.
        synop_pj: energy of a SynOp of all others.
    """
    sops = Row(
        "paper formula", "SOPs", "synops",
        "rate x T x FLOPs of each layer (FLOPs: dense MACs of a time step); a first layer without "
        "spikes has none", None,
    )  # fmt: skip
    energy = Row(
        "paper formula", "energy", "energy_pj",
        f"{synop_pj} pJ x SOPs + {mac_pj} pJ x FLOPs of a first layer without spikes, once, as of "
        "an image that is the same in each time step", None,
    )  # fmt: skip
    layers = _layers(facts)
    if layers is None:
        return [replace(each, note=facts.unknown) for each in (sops, energy)]
    if not any(layer.driven for layer in layers):
        note = "it is of spiking networks: no layer takes spikes"
        return [replace(each, note=note) for each in (sops, energy)]
    first = None if layers[0].driven else layers[0]
    rest = layers if first is None else layers[1:]
    analog = [layer.name for layer in rest if not layer.driven]
    note = f"takes nonzero inputs of {listed(analog, 2)} for spikes" if analog else ""
    terms = _sop_terms(facts, first, rest)
    found = replace(sops, value=float(_sops(rest)), terms=terms, note=note)
    share = 1.0 if first is None else facts.share_of_steps(first.name)
    if share is None:
        told = f"time steps of {layers[0].name} are not known: give --time-steps"
        return [found, replace(energy, note=told)]
    if first is not None and share < 1 and facts.input_differs(first.name):
        told = f"{first.name} takes other inputs in other time steps: an image is the same in each"
        note = "; ".join(filter(None, (note, told)))
    once = mac_pj * share * first.dense if first else 0.0
    terms = _energy_terms(first, rest, once, mac_pj, synop_pj)
    value = once + synop_pj * float(_sops(rest))
    return [found, replace(energy, value=value, terms=terms, note=note)]


def _layers(facts: Facts) -> list[_Layer] | None:
    """Return the layers in the order in which they ran; None: some inputs were not measured."""
    layers = facts.layers.with_columns(fanout=pl.col("mac_fanout") + pl.col("ac_fanout"))
    known = layers.select("driven", *_SUMS)
    if any(column.null_count() for column in known):
        return None
    sums = layers.group_by("module", maintain_order=True).agg(
        pl.col("driven").any(), *(pl.col(name).sum() for name in _SUMS)
    )
    return [_Layer(*row) for row in sums.rows()]


def _sops(layers: list[_Layer]) -> Fraction:
    return sum((layer.sops for layer in layers), Fraction(0))


def _sop_terms(facts: Facts, first: _Layer | None, rest: list[_Layer]) -> tuple[Term, ...]:
    if facts.own_figure("synops") is None:
        return ()
    parts = [
        *(part for each in rest for part in each.parts),
        ("in the first layer", Fraction(-first.synops if first else 0)),
        (OUTSIDE, Fraction(-int(facts.elsewhere["synops"].sum()))),
    ]
    sums = {what: Fraction(0) for what, _ in parts}
    for what, amount in parts:
        sums[what] += amount
    return terms_of([(what, float(amount)) for what, amount in sums.items()])


def _energy_terms(
    first: _Layer | None, rest: list[_Layer], once: float, mac_pj: float, synop_pj: float
) -> tuple[Term, ...]:
    parts: list[tuple[str, float]] = []
    if first is not None:
        own = mac_pj * first.macs + synop_pj * first.synops
        parts.append(("the first layer once, not in each time step", once - own))
    for layer in rest:
        parts += [(what, synop_pj * float(amount)) for what, amount in layer.parts]
        parts += [(_KINDS if layer.driven else _ANALOG, -mac_pj * layer.macs)]
    return terms_of(parts)
