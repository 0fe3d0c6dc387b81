"""The rows that quantities are counted on: one table for each source, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import polars as pl

from ...counting.evaluate import tally
from ...counting.rates import effective_operations
from ...rules import rule_set
from ...trace.neurons import FIRES
from ...trace.signatures import SIGNATURE, of_each_signature
from ...workload.layer_calls import neuron_calls
from ...workload.layer_products import GRADIENT, of_layer, told, with_gradients
from ...workload.layers import MODULE, layers_of, weight_products
from ...workload.modules import scopes_of, with_paths
from ...workload.samples import SAMPLE
from ...workload.traffic import bytes_by_kind
from ..memory_accesses import first_factor, parameter_uses, state_accesses
from ..row_keys import NEURON_OP

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from ...workload.samples import Samples
    from .variant import Variant

OPTIMIZER_OP = "optimizer"
"""Stands for the op of what an optimizer's step updates."""

BYTES = ":bytes"
"""Behind the name of a quantity: its bytes, at the recorded dtype."""

_SIZES = {"in0_numel": pl.Int64, "in1_numel": pl.Int64, "in0_bytes": pl.Int64,
          "in1_bytes": pl.Int64, "out_bytes": pl.Int64, "positions": pl.Int64}  # fmt: skip


class Tables:
    """The tables of one part of a trace; each is made once.

    A row has `rank`, `module_id`, `module` (path), `op`, `of` (layers, neurons or others), `calls`,
    the keys, `signature_id` where it is of an op, and a column for each quantity: null where it is
    not known.
    """

    network = "recorded"
    """Which network the tables are of: what was recorded."""

    def __init__(
        self,
        part: Trace,
        variant: Variant,
        keys: Sequence[str],
        fields: Set[str],
        *,
        spikes: str,
        time_steps: int | None,
        samples: Samples,
        backward: bool,
    ) -> None:
        """Make them as they are asked for.

        Args:
            part: the part of the trace.
            variant: what its revision counts.
            keys: columns of `calls` to keep apart; what filters name among them.
            fields: what the filters of terms name.
            spikes: what a spike tensor may hold.
            time_steps: time steps of a sample, as the user says.
            samples: the samples of the part.
            backward: backward passes are among the part.
        """
        self.part, self.variant, self.keys, self.fields = part, variant, tuple(keys), fields
        self.spikes, self.time_steps, self.samples = spikes, time_steps, samples
        self.backward, self.graded = backward, part
        self.made: dict[str, pl.DataFrame] = {}

    def of(self, source: str) -> pl.DataFrame:
        """Return the table of a source of `quantities.QUANTITIES`."""
        if source not in self.made:
            make: Callable[[], pl.DataFrame] = getattr(self, f"_{source}")
            self.made[source] = make()
        return self.made[source]

    def _calls(self) -> pl.DataFrame:
        rules = rule_set(self.variant.rules)
        part, kept = self._told()
        counted = tally(part, rules, kept, spikes=self.spikes, facts=True)
        return self._placed(with_paths(self.part, counted))

    def _told(self) -> tuple[Trace, list[str]]:
        """Return the part and the keys to keep apart, by gradients if there are backward passes."""
        if not self.backward:
            return self.part, ["module_id", *self.keys]
        if self.graded is self.part:
            self.graded = with_gradients(self.part)
        return self.graded, ["module_id", *self.keys, GRADIENT]

    def _placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows of calls with `of`."""
        weights = weight_products(self.part).select(*SIGNATURE, "second_numel")
        layers = self._layer_sizes()
        paths = set(self.variant.neurons(self.part)["module"])
        below = scopes_of(self.part).filter(pl.col("scope").is_in(paths))["module"]
        neuron = pl.col("module").is_in(below.unique().implode())
        return (
            told(rows)
            .join(weights, on=list(SIGNATURE), how="left", maintain_order="left")
            .join(layers, on=list(MODULE), how="left", maintain_order="left")
            .with_columns(
                of=pl.when(of_layer()).then(pl.lit("layers")).when(neuron).then(pl.lit("neurons"))
                .otherwise(pl.lit("others"))
            )
            .with_columns(driven=_driven(rows.columns))
            .drop("second_numel", "weight_numel")
        )  # fmt: skip

    def _layer_sizes(self) -> pl.DataFrame:
        layers = layers_of(self.part)
        if self.variant.layers is not None:
            layers = layers.filter(pl.col("kind").is_in(self.variant.layers))
        return layers.select(*MODULE, "weight_numel")

    def _layers(self) -> pl.DataFrame:
        uses = parameter_uses(self.part, self.of("calls"), self.variant.layers)
        sizes = of_each_signature(self.part, _sizes, _SIZES)
        uses = uses.join(sizes, on=list(SIGNATURE), how="left", maintain_order="left")
        each = pl.col("weight_bytes") // pl.max_horizontal("weight_numel", 1)
        forward = pl.col(GRADIENT).is_null()
        driven = (
            pl.when(~forward).then(0)
            .when("spikes").then(first_factor("nonzero")).when(~pl.col("spikes")).then(0)
        )  # fmt: skip
        return uses.with_columns(
            pl.col("weight_read_bytes").alias(f"weight_reads{BYTES}"),
            pl.col("bias_read_bytes").alias(f"bias_reads{BYTES}"),
            pl.col("pairs").alias("weight_reads_dense"),
            (pl.col("pairs") * each).alias(f"weight_reads_dense{BYTES}"),
            (_read("numel") * pl.col("calls")).alias("activation_reads"),
            (_read("bytes") * pl.col("calls")).alias(f"activation_reads{BYTES}"),
            (_written("numel") * pl.col("calls")).alias("activation_writes"),
            (_written("bytes") * pl.col("calls")).alias(f"activation_writes{BYTES}"),
            spikes_in=driven,
            outputs_each=pl.when(forward)
            .then(pl.col("out_channels") * pl.col("positions"))
            .otherwise(0),
            of=pl.lit("layers"),
        )

    def _effective(self) -> pl.DataFrame:
        part, kept = self._told()
        rows = told(effective_operations(part, kept)).filter(pl.col(GRADIENT).is_null())
        return rows.with_columns(of=pl.lit("layers"))

    def _updated(self) -> pl.DataFrame:
        """Return the neurons whose updates are part of the part."""
        neurons = self.variant.neurons(self.part)
        return neurons if self.part.of_every_op else neurons.clear()

    def _neurons(self) -> pl.DataFrame:
        neurons = self._updated()
        keys = [*MODULE, *self.keys]
        fired = pl.when(FIRES).then("out_nonzero").otherwise(0)  # readouts give their potential
        calls = neuron_calls(self.part, neurons).join(
            neurons.select(*MODULE, "neuron"), on=list(MODULE)
        ).with_columns(fired=fired).group_by(keys).agg(
            calls=pl.len().cast(pl.Int64),
            neuron_updates=_whole("out_numel"),
            neuron_spikes=_whole("fired"),
        )  # fmt: skip
        named = calls.join(neurons.select(*MODULE, "module"), on=list(MODULE)).sort(
            keys, nulls_last=True
        )
        return named.with_columns(
            op=pl.lit(NEURON_OP), of=pl.lit("neurons"), spikes_out="neuron_spikes"
        )

    def _states(self) -> pl.DataFrame:
        found = state_accesses(
            self.part, self.keys, self._updated(), self.time_steps,
            steps_by_shape=self.variant.steps_by_shape,
        )  # fmt: skip
        return found.select(
            *MODULE, *self.keys, "module",
            op=pl.lit(NEURON_OP), of=pl.lit("neurons"), calls=pl.lit(1, pl.Int64),
            **{name: pl.col("elements") for name in ("state_reads", "state_writes")},
            **{f"{name}{BYTES}": pl.col("bytes") for name in ("state_reads", "state_writes")},
        )  # fmt: skip

    def _optimizer(self) -> pl.DataFrame:
        elements = pl.col("vector_elements") + pl.col("matrix_elements")
        found = self.part.optimizer_steps.select(
            "rank", "label", "step", elements=elements, calls=pl.lit(1, pl.Int64)
        )
        names = ("optimizer_updates", "weight_writes")
        return self._of_no_module(
            found.with_columns(pl.lit("optimizer").alias("stage"), op=pl.lit(OPTIMIZER_OP)),
            {name: pl.col("elements") for name in names},
        )

    def _traffic(self) -> pl.DataFrame:
        part, kept = self._told()
        rows = bytes_by_kind(part, kept)
        return self._placed(with_paths(self.part, rows))

    def _samples(self) -> pl.DataFrame:
        sampled = self.samples
        steps = sampled.frame.select(*SAMPLE, "time_steps")
        rows = (
            sampled.places.unique(SAMPLE, keep="first", maintain_order=True)
            .join(steps, on=list(SAMPLE), how="left", maintain_order="left")
            .with_columns(steps=pl.col("batch") * pl.col("time_steps"))
        )
        if sampled.told is not None or rows.is_empty():  # as the user says, wherever they ran
            many, each = sampled.samples, sampled.time_steps
            every = None if many is None or each is None else many * each
            data = {"rank": [0], "step": [None], "label": [None], "batch": [many], "steps": [every]}
            kinds = {"step": pl.Int32, "label": pl.String, "batch": pl.Int64, "steps": pl.Int64}
            rows = pl.DataFrame(data, schema_overrides=kinds)
        return self._of_no_module(
            rows.with_columns(stage=pl.lit("forward"), op=pl.lit("sample"), calls=pl.lit(1)),
            {"samples": pl.col("batch"), "time_steps": pl.col("steps"), "seconds": pl.col("batch")},
        )

    def _of_no_module(self, rows: pl.DataFrame, columns: Mapping[str, pl.Expr]) -> pl.DataFrame:
        kept = [key for key in self.keys if key in rows.columns]
        return rows.select(
            pl.col("rank").cast(pl.Int32), *kept, "op", pl.col("calls").cast(pl.Int64),
            module_id=pl.lit(None, pl.Int32), module=pl.lit(None, pl.String),
            of=pl.lit("others"), **columns,
        )  # fmt: skip


def _driven(columns: Sequence[str]) -> pl.Expr:
    """Return whether a call of a layer multiplies spikes."""
    if "macs" not in columns:
        return pl.lit(False)
    layer = (pl.col("of") == "layers") & (pl.col("dense_macs") > 0)
    return (layer & (pl.col("macs") == 0)).fill_null(False)


def _whole(name: str) -> pl.Expr:
    """Return a sum that is null if a part of it is not known."""
    return pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum())


def _read(what: str) -> pl.Expr:
    """Return the size of what a layer's call reads besides parameters.

    The gradient of the input reads the output's gradient, that of the weights also the input.
    """
    gradient, at_zero = pl.col(GRADIENT), pl.col("slot") == 0
    first = pl.when(at_zero).then(f"in0_{what}").when(pl.col("slot") == 1).then(f"in1_{what}")
    both = pl.col(f"in0_{what}") + pl.col(f"in1_{what}")
    return (
        pl.when(gradient.is_null() | (gradient == "input")).then(first)
        .when(gradient == "weights").then(both)
        .when(gradient == "both").then(first + both)
    )  # fmt: skip


def _written(what: str) -> pl.Expr:
    """Return the size of what a layer's call writes: its output, or the gradient of its input.

    The backward of a convolution has the input in slot 1.
    """
    gradient, linear = pl.col(GRADIENT), pl.col("kind") == "Linear"
    of_input = pl.when(linear).then(f"out_{what}").otherwise(f"in1_{what}")
    return (
        pl.when(gradient.is_null()).then(f"out_{what}")
        .when(gradient == "weights").then(0)
        .when(gradient != "unknown").then(of_input)
    )  # fmt: skip


def _sizes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return sizes of the first operands and the result; positions: of one sample, of a channel."""
    found = {(o["role"], o["slot"]): o for o in row["operands"] or ()}
    out = found.get(("out", 0)) or {}
    weight = found.get(("in", 1))
    shape, positions = out.get("shape") or [], 1
    if weight is not None and len(weight["shape"] or ()) > 2:  # a convolution: channel, then space
        for size in shape[len(shape) - (len(weight["shape"]) - 2) :]:
            positions *= size
    sizes: dict[str, Any] = {"out_bytes": out.get("bytes"), "positions": positions}
    for slot in (0, 1):
        each = found.get(("in", slot)) or {}
        sizes |= {f"in{slot}_{what}": each.get(what) for what in ("numel", "bytes")}
    return sizes
