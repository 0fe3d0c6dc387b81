"""Which estimator answers what: the table of `opjoule energy --help` and of docs/choosing.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap

HEADS = ("estimator", "answers", "covers", "stops at")

ROWS = (
    (
        "compute",
        "is spiking arithmetic cheaper, at best?",
        "MACs and ACs of the forward pass",
        "memory, addressing, neuron states, hardware",
    ),
    (
        "simple",
        "the same, with a price for memory",
        "+ uses of weights and biases, neuron states, by the byte",
        "inputs and outputs, sizes of memories",
    ),
    (
        "lemaire",
        "inference on a digital accelerator with SRAM",
        "operations, addressing, all memories by their size",
        "training; layers other than Linear, Conv and neurons",
    ),
    (
        "neuromc",
        "a training step on a training accelerator",
        "forward, backward, optimizer; registers and SRAM",
        "attention, pooling, 3-d convolutions; DRAM",
    ),
    (
        "spikesim",
        "inference on crossbars that compute in memory",
        "Conv2d: crossbars, converters, buffers, H-tree, LIF",
        "training; linear and grouped layers; activity (dense)",
    ),
)
"""A row for each estimator, cells in the order of `HEADS`."""

EXAMPLES: Mapping[str, str] = {
    "compute": "e_mac_pj=3.2",
    "simple": "e_memory_pj_per_byte=10",
    "lemaire": "e_mul_pj=2.5",
    "neuromc": "e_mul_pj=0.9",
    "spikesim": "adc_pj=1.5",
}
"""What --set may say, an example for each."""

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
