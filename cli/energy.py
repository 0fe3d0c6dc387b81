"""`opjoule energy`: what a recorded run would cost on hardware, one estimator a verb."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import choosing, count, reading, tables, terminal
from .tables import Column
from ..analyzers.units import count_text, energy_text, share_text

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers.energy.report import EnergyReport

KEYS = ("module", "stage", "op", "label", "step", "component")
REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")

ESTIMATORS: Mapping[str, str] = {
    "compute": "MACs and ACs at an energy each (Horowitz 2014, 45 nm).",
    "simple": "Compute, and a price for each byte of weights and neuron states.",
    "lemaire": "Operations, addressing and memory of inference (Lemaire et al. 2022).",
    "neuromc": "Training on a 32 nm accelerator: forward, backward, optimizer (NeuroMC).",
    "spikesim": "Inference on in-memory crossbars (SpikeSim), dense or event-driven.",
}


@click.group(
    short_help="What a recorded run would cost, in joules.",
    help=f"""Estimate the energy of a recorded run.

\b
{choosing.as_help()}

Figures of different estimators speak of different machines: never compare or add them.""",
)
def energy() -> None:
    """Hold the estimators; the help text stands in the decorator."""


def _verb(name: str) -> click.Command:
    """Return the command of one estimator."""

    @click.command(name, short_help=ESTIMATORS[name], help=ESTIMATORS[name])
    @reading.reads_trace
    @click.option("--preset", metavar="NAME", help=f"See opjoule config show {name} --presets.")
    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML file of constants; it overrides the preset.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help=f"One constant, e.g. {choosing.EXAMPLES[name]}; overrides preset and file.",
    )
    @click.option(
        "--revision",
        type=click.Choice(REVISIONS),
        default="source",
        show_default=True,
        help="Whose form of the model.",
    )
    @reading.groups(*KEYS, help="Rows by these. Of one rank: --rank N; a row does not tell it.")
    @reading.narrows
    @click.option(
        "--batch",
        type=click.IntRange(1),
        metavar="N",
        help="Samples in a batch, where the trace does not know.",
    )
    @click.option(
        "--time-steps",
        type=click.IntRange(1),
        metavar="N",
        help="Time steps of a sample, where the trace does not know.",
    )
    @_takes_spikes(name)
    @click.option("--strict", is_flag=True, help="Refuse what the model does not cover.")
    @click.option("--statement", is_flag=True, help="Print the paragraph for a paper instead.")
    @reading.answers(*tables.FORMATS)
    def estimate(**options: Any) -> None:
        _estimate(name, **options)

    return estimate


def _takes_spikes(name: str) -> Callable[[Any], Any]:
    """Return the option of estimators whose spikes may be more than 0 and 1; nothing for others."""
    if name not in ("compute", "simple"):
        return lambda command: command
    return click.option(
        "--spikes",
        type=click.Choice(count.SPIKES),
        default="binary",
        show_default=True,
        help="What a spike tensor may hold: {0,1}, {-1,0,1}, {0,a}, whole numbers, or none at all.",
    )


def _estimate(
    name: str,
    trace: Path,
    *,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    by: tuple[str, ...],
    where: tuple[str, ...],
    statement: bool,
    kind: str,
    output: Path | None,
    partial: bool,
    rank: int | None,
    **options: Any,
) -> None:
    if statement and by:
        raise click.UsageError("--statement is of the whole estimate: leave --by out")
    if statement and kind in ("csv", "parquet"):
        raise click.UsageError(f"--statement is text, not {kind}: table, json or markdown")
    config = _loading().load_config(name, preset=preset, file=file, overrides=overrides)
    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    estimator = getattr(
        importlib.import_module("..analyzers.energy", __package__), f"estimate_{name}"
    )
    with reading.working(f"estimating ({name})"):
        report: EnergyReport = estimator(opened, config, **options)
    for warning in report.warnings:
        click.echo(f"opjoule: warning: {warning}", err=True)
    if statement:
        return tables.answer(_stated(report, kind), output)
    tables.answer(_shown(report, by, kind, list(opened.modules["path"])), output)


def _stated(report: EnergyReport, kind: str) -> str:
    """Return the paragraph for a paper; in JSON with the figures that it speaks of."""
    if kind == "json":
        rows = ("rows", "left_out", "details")
        return tables.as_json({k: v for k, v in report.to_dict().items() if k not in rows})
    text = tables.clean(report.statement())
    return f"{tables.markdown_text(text) if kind == 'markdown' else text}\n"


def _loading() -> Any:
    return importlib.import_module("..schemas.costs", __package__)


def _shown(report: EnergyReport, by: tuple[str, ...], kind: str, modules: list[str]) -> str | bytes:
    if kind == "json":
        rows = {"rows": report.by(*by).to_dicts()} if by else {}
        return tables.as_json(report.to_dict() | rows)
    if kind in ("csv", "parquet"):
        return tables.as_data(kind, report.by(*by) if by else report.rows)
    parts = [_rows(report, by or ("module",), kind, modules), _breakdown(report, kind)]
    if report.left_out.height:
        parts.append(_left_out(report, kind))
    return "\n".join([*parts, summary(report)])


def summary(report: EnergyReport) -> str:
    """Return the lines under an estimate: total, what it speaks of, and its coverage."""
    each = f", {energy_text(report.per_sample_pj)} a sample" if report.per_sample_pj else ""
    scope = report.scope
    lines = [
        f"total {energy_text(report.total_pj)} ({report.total_pj:.10g} pJ){each}",
        f"{report.estimator}, revision {report.revision}: {scope.title}; {scope.technology}",
        f"stages {', '.join(scope.stages)}; covers {scope.covers}; leaves out {scope.leaves_out}",
        *([f"inputs {report.input_types}"] if report.input_types else []),
        *([report.coverage] if report.coverage else []),
    ]
    return "".join(terminal.wrapped(tables.clean(line)) for line in lines)


def _rows(report: EnergyReport, keys: tuple[str, ...], kind: str, modules: list[str]) -> str:
    frame = report.by(*keys).select(*keys, "energy_pj")
    if keys == ("module",):
        frame = count.as_tree(with_submodules(frame, report.total_pj, modules))
    heads = [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]
    return _energies(frame, heads, report.total_pj, kind)


def _breakdown(report: EnergyReport, kind: str) -> str:
    import polars as pl

    frame = pl.DataFrame(
        {
            "part": [name.removesuffix("_pj") for name in report.breakdown_pj],
            "energy_pj": list(report.breakdown_pj.values()),
        },
        schema={"part": pl.String, "energy_pj": pl.Float64},
    )
    return _energies(frame, [Column("part", "part", left=True)], report.total_pj, kind)


def _energies(frame: pl.DataFrame, heads: list[Column], whole: float, kind: str) -> str:
    columns = [
        *heads,
        Column("energy_pj", "energy", energy_text),
        Column("share", "share", share_text),
        *([Column("bar", "", left=True, style="cyan", optional=1)] if kind == "table" else []),
    ]
    return tables.as_text(kind, count.with_shares(frame, "energy_pj", whole), columns)


def _left_out(report: EnergyReport, kind: str) -> str:
    columns = (
        Column("what", "left out", left=True),
        Column("calls", "calls", count_text),
        Column("macs_share", "share of MACs", share_text),
    )
    return tables.as_text(kind, report.left_out, columns)


def with_submodules(frame: pl.DataFrame, total_pj: float, modules: list[str]) -> pl.DataFrame:
    """Return energies by module with those of the submodules added, and Global over all.

    Args:
        frame: `module` (null outside every module) and `energy_pj`, without submodules.
        total_pj: what all of it adds up to.
        modules: paths of all modules, parents before children.
    """
    import polars as pl

    sums: dict[str, float] = {}
    for path, energy_pj in frame.select("module", "energy_pj").iter_rows():
        parts = (path or "").split(".")
        for size in range(1, len(parts) + 1):
            above = ".".join(parts[:size])
            sums[above] = sums.get(above, 0.0) + energy_pj
    names = ["Global", *(path for path in modules if path in sums)]
    return pl.DataFrame(
        {"module": names, "energy_pj": [total_pj, *(sums[name] for name in names[1:])]},
        schema={"module": pl.String, "energy_pj": pl.Float64},
    )


for _name in ESTIMATORS:
    energy.add_command(_verb(_name))
