"""What a crossbar sees of a 2-d convolution without groups: sites, patches and rows by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..schemas import TILE_WIDTHS
from .synapses import Reach, pairs_by_row


@dataclass(frozen=True, slots=True)
class Crossbar:
    """What a crossbar sees of a 2-d convolution without groups.

    Attributes:
        sites: output positions whose receptive field holds a nonzero element.
        patches: by tile width, (output position, channel tile) pairs with a nonzero element.
        rows: by tile of the smallest width, (nonzero element, output position) pairs.
    """

    sites: int
    patches: list[int]
    rows: list[int]


def crossbar(reach: Reach, mask: Any) -> Crossbar:
    """Measure `mask`, (batch, c_in, height, width) of uint8, for every tile width.

    Pooling and joining channels may change places: the tiles of the smallest width are pooled, the
    wider ones are joined from those.
    """
    tiles = _joined(mask, TILE_WIDTHS[0])
    met = reach.pooled(np.ascontiguousarray(tiles.transpose(2, 3, 1, 0)), first=0)
    patches = [int(np.count_nonzero(met.view(np.bool_)))]
    for _ in TILE_WIDTHS[1:]:
        if met.shape[2] > 1:
            met = _halved(met)
            patches.append(int(np.count_nonzero(met.view(np.bool_))))
        else:
            patches.append(patches[-1])  # one tile already
    sites = np.bitwise_or.reduce(met, axis=2) if met.shape[2] > 1 else met
    return Crossbar(int(np.count_nonzero(sites)), patches, _rows(reach, mask))


def no_crossbar(reach: Reach) -> Crossbar:
    """Return what is measured of an input of zeros."""
    tiles = -(-reach.geometry.c_in // TILE_WIDTHS[0])
    return Crossbar(0, [0] * len(TILE_WIDTHS), [0] * tiles)


def _rows(reach: Reach, mask: Any) -> list[int]:
    """Count (nonzero element, output position) pairs by tile of the smallest width."""
    batch, channels = mask.shape[:2]
    width = TILE_WIDTHS[0]
    whole = channels // width * width
    flat = mask.reshape(batch, channels, -1)
    counts = np.zeros((-(-channels // width), flat.shape[2]), np.int64)
    for start in range(0, batch, 255 // width):  # so that a byte holds a tile's ones
        summed = np.add.reduce(flat[start : start + 255 // width], axis=0, dtype=np.uint8)
        if whole:
            tiles = summed[:whole].reshape(-1, width, flat.shape[2])
            counts[: len(tiles)] += np.add.reduce(tiles, axis=1, dtype=np.uint8)
        if whole < channels:
            counts[-1] += np.add.reduce(summed[whole:], axis=0, dtype=np.uint8)
    rows: list[int] = pairs_by_row(counts, reach.forward).tolist()
    return rows


def _joined(mask: Any, width: int) -> Any:
    """Or together `width` neighbouring channels, a power of 2; the last group may be smaller."""
    batch, channels = mask.shape[:2]
    whole, rest = divmod(channels, width)
    joined = np.empty((batch, -(-channels // width), *mask.shape[2:]), np.uint8)
    if whole:
        grouped = mask[:, : whole * width].reshape(batch, whole, width, *mask.shape[2:])
        while width > 1:
            width //= 2
            grouped = grouped[:, :, :width] | grouped[:, :, width:]
        joined[:, :whole] = grouped[:, :, 0]
    if rest:
        np.bitwise_or.reduce(mask[:, channels - rest :], axis=1, out=joined[:, whole])
    return joined


def _halved(met: Any) -> Any:
    """Or together pairs of neighbours along the third axis; the last may stay alone."""
    halved = met[:, :, 0::2].copy()
    others = met[:, :, 1::2]
    part = halved[:, :, : others.shape[2]]
    part |= others
    return halved
