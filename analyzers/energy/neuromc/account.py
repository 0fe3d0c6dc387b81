"""The account: every fragment of a trace, by revision, and what no fragment covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import NeuroMCConfig
from ...workload.samples import Samples
from ..spikingjelly.neuromc_layers import add_layers, counts, half_run_backward, layer_rows
from ..spikingjelly.neuromc_traced import add_traced
from .calls import Products, product_calls, products_in, with_forward
from .fragment_table import Pieces
from .left_out import LEFT_OUT, left_out, op_counts
from .modules import ID, calls_of, inside, known_modules, linear_shares
from .neurons_and_norms import add_neurons, add_norms
from .operands import Norm
from .optimizers import add_optimizers, refused_optimizers
from .products import StageOf, add_products
from .stages import Stage, stage_of

if TYPE_CHECKING:
    from ...trace.trace import Trace


@dataclass(frozen=True)
class Account:
    """What is charged, and what is not.

    Attributes:
        pieces: the fragments and the calls that they stand for.
        left_out: `what`, `calls` and `macs` of what no fragment covers.
        outside: likewise of losses and what runs outside every module, which nobody charges.
        op_counts: every op that ran, see `op_counts`.
        neurons: `rank` and `module_id` of neurons and of what is below them.
        half_run: layers that ran backward less often than forward (spikingjelly-2.0).
        unplaced: backward products of which the trace does not tell the forward product.
        unmeasured: products whose input was not measured; it is taken for dense.
        inputs: forward products, and those among them that take spikes.
    """

    pieces: Pieces
    left_out: pl.DataFrame
    outside: pl.DataFrame
    op_counts: pl.DataFrame
    neurons: pl.DataFrame
    half_run: tuple[str, ...]
    unplaced: int
    unmeasured: int
    inputs: tuple[int, int]


def account_of(
    trace: Trace, whole: Trace, revision: str, config: NeuroMCConfig, samples: Samples
) -> Account:
    """Return the account of a trace.

    Args:
        trace: the trace, narrowed to what is estimated.
        whole: the trace as it was before, to look up what backward calls come from.
        revision: source, spikingjelly-2.0 or spikingjelly-2026-08.
        config: only `STRUCTURAL` fields matter.
        samples: of the whole trace.
    """
    modules, products = known_modules(whole), products_in(whole)
    calls = _calls(trace, whole, modules, products, by_values_only=revision != "source")
    stages: dict[tuple[str | None, str], Stage] = {}

    def stage(label: str | None, recorded: str) -> Stage:
        key = (label, recorded)
        if key not in stages:
            stages[key] = stage_of(label, recorded, revision, config)
        return stages[key]

    pieces = Pieces()
    if revision == "source":
        if config.weight_reads == "sample":
            shares = linear_shares(whole, modules, samples)
            calls = calls.join(shares, on=ID, how="left", maintain_order="left")
        _add_source(pieces, trace, whole, calls, modules, products, stage, config)
        half_run: list[str] = []
    else:
        half_run = _add_release(pieces, trace, whole, calls, modules, products, stage, revision)
    ran = op_counts(trace)
    neurons = inside(whole, modules, "neuron").select("rank", "module_id")
    missing, outside = _left_out(trace, revision, ran, modules, neurons)
    forward = calls.filter((pl.col("role") == "forward") & pl.col("sort").is_in(["matmul", "conv"]))
    gradient = (pl.col("sort") == "matmul") & pl.col("role").is_null()
    return Account(
        pieces=pieces,
        left_out=missing,
        outside=outside,
        op_counts=ran,
        neurons=neurons,
        half_run=tuple(half_run),
        unplaced=calls.filter(gradient).height,
        unmeasured=int(forward["first_spikes"].null_count()),
        inputs=(forward.height, int(forward["first_spikes"].sum())),
    )


def _calls(
    trace: Trace, whole: Trace, modules: pl.DataFrame, products: Products, *, by_values_only: bool
) -> pl.DataFrame:
    """Return the calls of products outside optimizers, with their modules and module calls."""
    found = product_calls(trace, products, by_values_only=by_values_only)
    known = found
    if whole is not trace:
        known = product_calls(whole, products, by_values_only=by_values_only)
    calls = with_forward(found.filter(pl.col("stage") != "optimizer"), known, whole, products)
    layers = modules.filter(pl.col("kind") != "neuron")
    of = calls_of(whole, layers).select(
        *ID,
        "last_seq",
        "grad_enabled",
        "multi_step",
        "in_shape",
        "out_shape",
    )
    return calls.join(layers, on=["rank", "module_id"], how="left", maintain_order="left").join(
        of, on=ID, how="left", maintain_order="left"
    )


def _add_source(
    pieces: Pieces, trace: Trace, whole: Trace, calls: pl.DataFrame, modules: pl.DataFrame,
    products: Products, stage: StageOf, config: NeuroMCConfig,
) -> None:  # fmt: skip
    parts = "parts" if "parts" in calls.columns else pl.lit(None, pl.Int64)
    add_products(pieces, calls.with_columns(parts=parts), products, stage, config)

    def always(recorded: str, phase: str, role: str) -> bool:
        return True

    add_norms(pieces, _norm_calls(calls), products, stage, always)
    add_neurons(pieces, trace, whole, modules, stage, always)
    add_optimizers(pieces, trace, stage)


def _add_release(
    pieces: Pieces, trace: Trace, whole: Trace, calls: pl.DataFrame, modules: pl.DataFrame,
    products: Products, stage: StageOf, revision: str,
) -> list[str]:  # fmt: skip
    """Take in what a revision of SpikingJelly counts; return layers half of whose calls it has."""
    layers = layer_rows(calls, products, revision)
    add_layers(pieces, layers, revision, stage)
    calls = calls.join(_volumes(products), on=["rank", "signature_id"], how="anti")
    norms = _norm_calls(calls)
    add_norms(pieces, norms.filter(pl.col("in_shape").is_not_null()), products, stage, counts)
    add_neurons(pieces, trace, whole, modules, stage, counts)
    add_optimizers(pieces, trace, stage)
    known_shapes = _trainable(whole) if revision == "spikingjelly-2.0" else frozenset()
    traced = calls.with_columns(in_shape=pl.lit(None, pl.String), multi_step=pl.lit(False))
    add_traced(pieces, traced, products, known_shapes, stage)
    if revision != "spikingjelly-2.0":
        return []
    paths = whole.modules.select("rank", "module_id", module="path")
    return half_run_backward(layers.join(paths, on=["rank", "module_id"], maintain_order="left"))


def _norm_calls(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of batch norms; the module call's shape only where it is a batch norm's."""
    own = (pl.col("kind") == "norm").fill_null(False)
    return calls.filter(pl.col("sort").is_in(["norm", "norm_backward"])).with_columns(
        in_shape=pl.when(own).then("in_shape"),
        multi_step=own & pl.col("multi_step").fill_null(False),
    )


def _volumes(products: Products) -> pl.DataFrame:
    """Return the batch norms of three dimensions in space, for which there is no fragment."""
    rows = [key for key, one in products.items() if isinstance(one, Norm) and len(one.shape) > 4]
    return pl.DataFrame(rows, schema={"rank": pl.Int32, "signature_id": pl.Int32}, orient="row")


def _trainable(trace: Trace) -> frozenset[tuple[int, ...]]:
    return frozenset(
        tuple(parameter["shape"])
        for parameters in trace.modules["parameters"].to_list()
        for parameter in parameters or ()
        if parameter["requires_grad"]
    )


def _left_out(
    trace: Trace, revision: str, ran: pl.DataFrame, modules: pl.DataFrame, neurons: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what no fragment covers, optimizers first; and what is outside the account."""
    convs = modules.filter(pl.col("kind").is_in(["conv1d", "conv2d"])).select("rank", "module_id")
    rest, outside = left_out(ran, trace, revision, neurons, convs)
    steps = [(what, n, 0) for what, n in refused_optimizers(trace).items()]
    return pl.concat([pl.DataFrame(steps, schema=LEFT_OUT, orient="row"), rest]), outside
