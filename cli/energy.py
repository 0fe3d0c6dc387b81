"""`opjoule energy`: what a recorded run would cost on hardware, one estimator a verb."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import count_text, energy_text, share_text
from . import choosing, count, reading, tables, terminal
from .choosing import ESTIMATORS, REVISIONS
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers.energy.report import EnergyReport
    from ..schemas.costs import CostConfig

KEYS = ("module", "stage", "op", "label", "step", "sample", "component")


class _Energy(click.Group):
    """The estimators; without one, --machine names the hardware."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the verb `machine` before a --machine that stands without one."""
        named = any(each.partition("=")[0] == "--machine" for each in args)
        verb = ["machine"] if named and args[0] not in self.commands else []
        return super().parse_args(ctx, [*verb, *args])


@click.group(
    cls=_Energy,
    short_help="What a recorded run would cost, in joules.",
    help=f"""Estimate the energy of a recorded run.

\b
{choosing.as_help()}

--machine NAME|FILE in place of an estimator: a machine as a file, see opjoule machine.

Figures of different estimators speak of different machines: never compare or add them.""",
)
def energy() -> None:
    """Hold the estimators; the help text stands in the decorator."""


def _verb(name: str) -> click.Command:
    """Return the command of one estimator."""
    choice = ESTIMATORS[name]

    @click.command(name, short_help=choice.help, help=choice.help)
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
        help=f"One constant, e.g. {choice.example}; overrides preset and file.",
    )
    @click.option(
        "--revision",
        type=click.Choice(REVISIONS),
        default="source",
        show_default=True,
        help="Variant of the model: as published (source), or as SpikingJelly computes it.",
    )
    @reading.groups(*KEYS, help="Rows by these. Of one rank: --rank N; a row does not tell it.")
    @reading.rolls_up
    @reading.narrows
    @reading.divides()
    @reading.samples
    @_takes_spikes
    @click.option("--strict", is_flag=True, help="Refuse what the model does not cover.")
    @click.option("--statement", is_flag=True, help="Print the paragraph for a paper instead.")
    @reading.answers(*tables.FORMATS)
    def estimate(**options: Any) -> None:
        _estimate(name, **options)

    return estimate


def _takes_spikes(command: Any) -> Any:
    """Give a command --spikes; an estimator refuses what its model does not know."""
    return click.option(
        "--spikes",
        type=click.Choice(count.SPIKES),
        default="binary",
        show_default=True,
        help="What a spike tensor may hold: {0,1}, {-1,0,1}, {0,a}, whole numbers, or none at all.",
    )(command)


def _estimate(
    name: str,
    trace: Path,
    *,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    by: tuple[str, ...],
    exclusive: bool,
    where: tuple[str, ...],
    statement: bool,
    kind: str,
    output: Path | None,
    partial: bool,
    rank: int | None,
    per: str | None,
    spread: bool,
    **options: Any,
) -> None:
    if statement and by:
        raise click.UsageError("--statement is of the whole estimate: leave --by out")
    if statement and kind in ("csv", "parquet"):
        raise click.UsageError(f"--statement is text, not {kind}: table, json or markdown")
    config = configured(name, options["revision"], preset=preset, file=file, overrides=overrides)
    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    divided = Divided(per or ("sample" if spread else "total"), spread)
    with reading.working(f"estimating ({name})"):
        report: EnergyReport = door().estimate(opened, name, config, per=divided.per, **options)
    for warning in report.warnings:
        terminal.say(f"warning: {warning}")
    if statement:
        return tables.answer(_stated(report, kind), output)
    tables.answer(_shown(report, by, exclusive, kind, divided), output)


@dataclass(frozen=True)
class Divided:
    """What the energies of a table speak of.

    Attributes:
        per: total, sample or step.
        spread: whether their deviation stands beside them.
    """

    per: str = "total"
    spread: bool = False

    @property
    def column(self) -> str:
        """The column that holds the energies."""
        return "energy_pj" if self.per == "total" else f"per_{self.per}_pj"


def _stated(report: EnergyReport, kind: str) -> str:
    """Return the paragraph for a paper; in JSON with the figures that it speaks of."""
    if kind == "json":
        rows = ("rows", "left_out", "details")
        return tables.as_json({k: v for k, v in report.to_dict().items() if k not in rows})
    text = clean(report.statement())
    return f"{tables.markdown_text(text) if kind == 'markdown' else text}\n"


def door() -> Any:
    """Return `analyzers.energy.estimators`."""
    return importlib.import_module("..analyzers.energy.estimators", __package__)


def configured(
    name: str,
    revision: str,
    *,
    preset: str | None,
    file: Path | None,
    overrides: Iterable[str],
) -> CostConfig:
    """Return the configuration that options ask for; a preset is by default the revision's."""
    load: Callable[..., CostConfig] = importlib.import_module(
        "..schemas.costs", __package__
    ).load_config
    preset = preset or door().default_preset(name, revision)
    return load(name, preset=preset, file=file, overrides=tuple(overrides))


def _shown(
    report: EnergyReport, by: tuple[str, ...], exclusive: bool, kind: str, divided: Divided
) -> str | bytes:
    def rows_by(*keys: str) -> pl.DataFrame:
        return report.by(*keys, exclusive=exclusive, per=divided.per, spread=divided.spread)

    if kind == "json":
        rows = {"rows": rows_by(*by).to_dicts()} if by or divided.spread else {}
        return tables.as_json(report.to_dict() | rows | {"per": divided.per})
    if kind in ("csv", "parquet"):
        plain = not by and divided == Divided()
        return tables.as_data(kind, report.rows if plain else rows_by(*by))
    keys = by or ("module",)
    parts = [_rows(rows_by(*keys), keys, report, kind, divided), _breakdown(report, kind, divided)]
    if report.left_out.height:
        parts.append(_left_out(report, kind))
    return _lead(report, keys, kind, divided) + "\n".join([*parts, summary(report)])


def _lead(report: EnergyReport, keys: tuple[str, ...], kind: str, divided: Divided) -> str:
    """Return the lines over the tables that say what their energies speak of."""
    if divided.per == "total":
        return ""
    units = importlib.import_module("..analyzers.workload.divisors", __package__)
    lines = [units.per_text(report.sampled, divided.per, keys)]
    if divided.spread:
        lines.append(units.spread_text(report.sampled, divided.per))
    return tables.lines(lines, kind) + "\n"


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
    return "".join(terminal.wrapped(clean(line)) for line in lines)


def _rows(
    frame: pl.DataFrame,
    keys: tuple[str, ...],
    report: EnergyReport,
    kind: str,
    divided: Divided,
) -> str:
    if keys == ("module",):
        frame = count.as_tree(frame)
    heads = [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]
    return _energies(frame, heads, report.total_pj, kind, divided)


def _breakdown(report: EnergyReport, kind: str, divided: Divided) -> str:
    import polars as pl

    each = report.each_pj(divided.per)
    scale = (each or 0.0) / report.total_pj if report.total_pj else 1.0
    frame = pl.DataFrame(
        {
            "part": [name.removesuffix("_pj") for name in report.breakdown_pj],
            "energy_pj": list(report.breakdown_pj.values()),
        },
        schema={"part": pl.String, "energy_pj": pl.Float64},
    ).with_columns((pl.col("energy_pj") * scale).alias(divided.column))
    head = Column("part", "part", left=True)
    return _energies(frame, [head], report.total_pj, kind, Divided(divided.per))


def _energies(
    frame: pl.DataFrame, heads: list[Column], whole: float, kind: str, divided: Divided
) -> str:
    title = "energy" if divided.per == "total" else f"energy a {divided.per}"
    columns = [
        *heads,
        Column(divided.column, title, energy_text),
        *([Column("std_pj", "±", energy_text)] if divided.spread else []),
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


def _on_machine() -> click.Command:
    """Return the command that estimates on a machine: as of an estimator, without presets."""
    text = "On a machine that a file describes: opjoule machine list."

    def estimate(machine: str, **options: Any) -> None:
        _estimate(f"machine.{machine}", preset=None, file=None, **options)

    option = click.Option(
        ["--machine"], required=True, metavar="NAME|FILE", help="See opjoule machine list."
    )
    shared = [each for each in _verb("compute").params if each.name not in ("preset", "file")]
    for each in shared:
        if isinstance(each, click.Option) and each.name == "overrides":
            each.help = "One price or field, e.g. 'term.MAC.price=3 pJ'; overrides the file."
    return click.Command("machine", callback=estimate, params=[option, *shared], short_help=text,
                         help=text)  # fmt: skip


for _name in ESTIMATORS:
    energy.add_command(_verb(_name))
energy.add_command(_on_machine())
