"""A roofline as points and lines: what a picture of it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ..workload.modules import GLOBAL

if TYPE_CHECKING:
    from .roofline import Roofline

KEYS = ("module", "op", "stage", "label", "step", "sample", "rank")


class Roofs(NamedTuple):
    """What a picture of a roofline shows.

    Attributes:
        points: `name`, `intensity` (FLOP by byte), `flops_per_s` (FLOPs by the time at the roof,
            never above it), `share` of the whole time and `bound`, what takes longest first.
        peaks: precision -> FLOP a second, of what was computed in.
        bytes_per_s: the bandwidth, under which the roof slopes.
    """

    points: pl.DataFrame
    peaks: dict[str, float]
    bytes_per_s: float

    def ridge(self, precision: str) -> float:
        """Return the intensity from which on arithmetic is the limit."""
        return self.peaks[precision] / self.bytes_per_s


def roofs_of(roofline: Roofline) -> Roofs:
    """Return the points of a roofline's rows: of modules, those with none below them.

    What computes nothing, moves nothing or has no known time has no point.
    """
    frame = roofline.frame
    keys = [key for key in KEYS if key in frame.columns]
    if "module" in keys and GLOBAL in frame["module"]:  # else each row is a module's own calls
        paths = frame["module"].drop_nulls().unique().to_list()
        above = {path.rpartition(".")[0] for path in paths}
        while further := {path.rpartition(".")[0] for path in above} - above:
            above |= further
        frame = frame.filter(~pl.col("module").is_in([*above, GLOBAL]))
    name = pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator=" ",
                         ignore_nulls=True) if keys else pl.lit("everything")  # fmt: skip
    points = frame.filter(
        (pl.col("flops") > 0) & (pl.col("bytes") > 0) & (pl.col("time_s") > 0)
    ).select(
        "intensity",
        "share",
        "bound",
        name=name,
        flops_per_s=pl.col("flops") / pl.col("time_s"),
    )
    points = points.select("name", "intensity", "flops_per_s", "share", "bound")
    peaks = {
        precision: peak
        for precision in roofline.precisions
        if (peak := roofline.roof.peak_per_s(precision)) is not None
    }
    return Roofs(
        points.sort("share", descending=True, maintain_order=True, nulls_last=True),
        peaks,
        roofline.roof.bytes_per_s,
    )
