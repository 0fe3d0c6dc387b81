"""MACs and ACs of the forward passes: the actions that `compute` and `simple` both price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ...schemas.costs.compute import ComputeConfig
from ..counting.coverage import by_op
from ..counting.evaluate import tally
from ..frames import at_once
from ..rules import WITHOUT_MACS, rule_set
from ..text import listed, percent
from ..trace.signatures import SIGNATURE
from ..trace.trace import narrowed
from ..workload.inference import forward_part, mode_warnings
from ..workload.modules import with_paths
from ..workload.precisions import precisions_of
from ..workload.spikes import SPIKE_MODES, check_spikes
from ..workload.unmeasured import Gaps, gaps_of
from .row_keys import KEYS, key_columns, keys_of

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from ..workload.samples import Samples

DEFAULT_TYPE = "fp32"
"""What the default constants of operations are of, see `ComputeConfig`."""

COUNTERS = {"mac": "macs", "ac": "acs"}
"""Component -> the counter that it is."""

_CONSIDERABLE = 0.05
"""Share of the FLOPs from which on work that is no MAC and no AC is named."""


@dataclass(frozen=True)
class Arithmetic:
    """What revisions may do differently when they count operations.

    Attributes:
        rules: the rule set.
        eval_only: only passes in eval mode are inference.
        spike_modes: what a spike tensor may hold.
        names_uncovered: say which ops no rule covers, and what ran outside every module.
    """

    rules: str = "full"
    eval_only: bool = True
    spike_modes: tuple[str, ...] = SPIKE_MODES
    names_uncovered: bool = True


class Operations(NamedTuple):
    """The counted calls of the forward passes of a trace.

    Attributes:
        whole: the trace, narrowed.
        part: the forward passes in it.
        counted: what `tally` returned, with `module`.
        how: how they were counted.
        spikes: what a spike tensor may hold.
    """

    whole: Trace
    part: Trace
    counted: pl.DataFrame
    how: Arithmetic
    spikes: str

    def by(self, keys: Sequence[str]) -> Operations:
        """Return the same operations, told apart by some of `KEYS`."""
        return self._replace(counted=_counted(self.part, self.how, keys, self.spikes))

    def total(self, counter: str) -> int:
        """Return a counter of everything."""
        return int(self.counted[counter].sum())

    def rows(self) -> pl.DataFrame:
        """Return `KEYS`, `component` (of `COUNTERS`) and `count`: what is priced."""
        counted = self.counted.lazy().with_columns(key_columns(self.counted))
        parts = [
            counted.filter(pl.col(counter) > 0)
            .group_by(KEYS, maintain_order=True)
            .agg(count=pl.col(counter).sum())
            .select(*KEYS, component=pl.lit(component), count="count")
            for component, counter in COUNTERS.items()
        ]
        return at_once(pl.concat(parts))

    def gaps(self) -> Gaps:
        """Return what is not in the counts; raise TraceError if no product is."""
        named = self.how.names_uncovered
        return gaps_of(self.part, self.counted, self.whole, open_ops=named)

    def modes(self, samples: Samples) -> list[str]:
        """Return one sentence on what is charged in training mode, if anything is.

        Args:
            samples: those that were charged.
        """
        return mode_warnings(self.part) if self.how.eval_only else samples.energy_modes

    def types(self, config: ComputeConfig) -> list[str]:
        """Return one sentence on products of another type than the default constants, if any ran.

        Args:
            config: the constants; those of one's own are of the type that one chose.
        """
        default = ComputeConfig()
        if not self.how.names_uncovered or config.e_mac_pj != default.e_mac_pj:
            return []
        products = self.counted.filter(pl.col("dense_macs") > 0)
        macs = (
            products.join(precisions_of(self.part), on=list(SIGNATURE), how="left")
            .group_by("precision")
            .agg(pl.col("dense_macs").sum())
            .sort("dense_macs", "precision", descending=[True, False])
        )
        others = macs.filter(pl.col("precision") != DEFAULT_TYPE)
        if others.is_empty():
            return []
        share = int(others["dense_macs"].sum()) / int(macs["dense_macs"].sum())
        return [
            f"the constants are of {DEFAULT_TYPE}, but {percent(share)} of the MACs ran in "
            f"{listed(others['precision'].to_list())}: choose constants of that type (--preset, "
            "--set e_mac_pj=... --set e_ac_pj=...)"
        ]

    def uncovered(self) -> list[str]:
        """Return one sentence on the ops that no rule covers, where the revision names them."""
        ops = by_op(self.counted).filter(how="uncovered")["op"]
        named = self.how.names_uncovered and len(ops) > 0
        return [f"no rule covers {', '.join(ops)}: left out"] if named else []

    def without_macs(self) -> list[str]:
        """Return one sentence on transforms that are a considerable share of the FLOPs."""
        rows = self.counted.filter(pl.col("family").is_in(WITHOUT_MACS))
        flops, total = int(rows["flops"].sum()), self.total("flops")
        if not self.how.names_uncovered or flops <= _CONSIDERABLE * total:
            return []
        names = listed(rows["op"].unique(maintain_order=True).to_list(), 3)
        return [
            f"not charged: {percent(flops / total)} of the FLOPs are Fourier transforms ({names}), "
            "which count no MACs and no ACs"
        ]


def operations_of(
    trace: Trace, how: Arithmetic, *, spikes: str, where: str | Sequence[str] | None
) -> Operations:
    """Count the forward passes of a trace; estimators that ask alike share the counts.

    Args:
        trace: the trace.
        how: the revision's way to count.
        spikes: what a spike tensor may hold.
        where: filters.

    Raises:
        ConfigError: a filter that means nothing, or spikes that the revision does not know.
        TraceError: there is no forward pass in eval mode.
    """
    check_spikes(spikes, how.spike_modes)
    whole = narrowed(trace, where)
    part = forward_part(whole, eval_only=how.eval_only)
    asked = ("operations", how.rules, spikes)
    if asked not in part.own:
        part.own[asked] = _counted(part, how, keys_of(part), spikes)
    return Operations(whole, part, part.own[asked], how, spikes)


def _counted(part: Trace, how: Arithmetic, keys: Sequence[str], spikes: str) -> pl.DataFrame:
    kept = ["module_id", *(key for key in keys if key not in ("module", "op"))]
    counted = tally(part, rule_set(how.rules), kept, spikes=spikes, facts=True)
    return with_paths(part, counted)
