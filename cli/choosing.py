"""Which estimator answers what: the table of `opjoule energy --help` and of docs/choosing.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import NamedTuple


class Choice(NamedTuple):
    """An estimator in words.

    Attributes:
        name: as the command line and `analyzers.energy` know it.
        answers: the question that it answers.
        covers: what it charges.
        stops_at: what it leaves out.
        help: one line of help.
        example: what --set may say.
    """

    name: str
    answers: str
    covers: str
    stops_at: str
    help: str
    example: str


CHOICES = (
    Choice(
        "compute",
        "is spiking arithmetic cheaper, at best?",
        "MACs and ACs of the forward pass",
        "operations that are no MAC or AC, memory, addressing, hardware",
        "MACs and ACs at an energy each (Horowitz 2014, 45 nm).",
        "e_mac_pj=3.2",
    ),
    Choice(
        "simple",
        "the same, with a price for memory",
        "+ uses of weights and biases, neuron states, by the byte",
        "inputs and outputs, sizes of memories",
        "Compute, and a price for each byte of weights and neuron states.",
        "e_memory_pj_per_byte=10",
    ),
    Choice(
        "lemaire",
        "inference on a digital accelerator with SRAM",
        "operations, addressing, all memories by their size",
        "training; layers other than Linear, Conv and neurons",
        "Operations, addressing and memory of inference (Lemaire et al. 2022).",
        "e_mul_pj=2.5",
    ),
    Choice(
        "neuromc",
        "a training step on a training accelerator",
        "forward, backward, optimizer; registers and SRAM",
        "attention, pooling, 3-d convolutions; DRAM",
        "Training on a 32 nm accelerator: forward, backward, optimizer (NeuroMC).",
        "e_mul_pj=0.9",
    ),
    Choice(
        "spikesim",
        "inference on crossbars that compute in memory",
        "Conv2d: crossbars, converters, buffers, H-tree, LIF",
        "training; linear and grouped layers; activity (dense)",
        "Inference on in-memory crossbars (SpikeSim), dense or event-driven.",
        "adc_pj=1.5",
    ),
)
"""The estimators, in the order of every list."""

ESTIMATORS: Mapping[str, Choice] = {choice.name: choice for choice in CHOICES}

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")

HEADS = ("estimator", "answers", "covers", "stops at")

ROWS = tuple((each.name, each.answers, each.covers, each.stops_at) for each in CHOICES)
"""A row for each estimator, cells in the order of `HEADS`."""

_WIDTHS = (9, 24, 25, 22)


def as_help() -> str:
    """Return the table for a terminal of 80 columns."""
    lines: list[str] = []
    for row in (HEADS, *ROWS):
        cells = [
            wrap(cell, width, break_on_hyphens=False)
            for cell, width in zip(row, _WIDTHS, strict=True)
        ]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(width) for part, width in zip(parts, _WIDTHS, strict=True))
            lines.append("".join(("  ", "  ".join(padded))).rstrip())
    return "\n".join(lines)


def as_markdown(heads: Sequence[str] = HEADS) -> str:
    """Return the table, or some of its columns, for a page."""
    places = [HEADS.index(head) for head in heads]
    rows = (HEADS, (":--",) * len(HEADS), *ROWS)
    return "".join(f"| {' | '.join(row[place] for place in places)} |\n" for row in rows)
