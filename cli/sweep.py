"""`opjoule sweep`: many configurations over one recorded run, and what decides the result."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import bar, energy_text, ratio_text
from . import reading, tables
from .choosing import ESTIMATORS, REVISIONS
from .energy import configured
from .tables import Column
from .terminal import clean, say

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers.sweeping.sweep import Sweep
    from ..schemas.costs import CostConfig

_LONGEST = 100_000


@click.command(short_help="Many configurations over one run; what decides the result.")
@click.argument("estimator", type=reading.EstimatorName(tuple(ESTIMATORS)))
@reading.reads_trace
@click.option(
    "--vary",
    multiple=True,
    metavar="FIELD=VALUES",
    help="FIRST:LAST:COUNT, FIRST:LAST:COUNT:log, or values with commas; several: every "
    "combination.",
)
@click.option(
    "--configs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV, Parquet or TOML ([[config]]) with a configuration in each row.",
)
@click.option("--sensitivity", is_flag=True, help="What each constant decides, instead.")
@click.option("--preset", metavar="NAME", help="What is not varied comes from a preset.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file of what is not varied; it overrides the preset.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One constant that is not varied; overrides preset and file.",
)
@click.option(
    "--revision",
    type=click.Choice(REVISIONS),
    default="source",
    show_default=True,
    help="Variant of the model: as published (source), or as SpikingJelly computes it.",
)
@reading.narrows
@reading.divides(spread=False)
@reading.samples
@click.option("--strict", is_flag=True, help="Refuse what the model does not cover.")
@reading.answers(*tables.FORMATS)
def sweep(
    estimator: str,
    trace: Path,
    *,
    vary: tuple[str, ...],
    configs: Path | None,
    sensitivity: bool,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    where: tuple[str, ...],
    kind: str,
    output: Path | None,
    partial: bool,
    rank: int | None,
    per: str | None,
    **options: Any,
) -> None:
    """Estimate a recorded run with every configuration of a grid or a table.

    \b
      opjoule sweep compute runs/train --vary e_mac_pj=0.5:5:10 --vary e_ac_pj=0.03,0.1,0.9
      opjoule sweep lemaire runs/train --configs machines.csv --format csv
      opjoule sweep spikesim runs/train --sensitivity

    The trace is read once for all configurations that count the same.
    """  # noqa: D301
    if sensitivity and (vary or configs):
        raise click.UsageError(
            "--sensitivity looks around one configuration: without --vary and --configs"
        )
    if not (sensitivity or vary or configs):
        raise click.UsageError(
            "nothing to vary: give --vary FIELD=VALUES, --configs FILE or --sensitivity"
        )
    if sensitivity and per not in (None, "total"):
        raise click.UsageError("--sensitivity tells shares of the total: without --per")
    axes = _axes(vary)
    base = configured(estimator, options["revision"], preset=preset, file=file, overrides=overrides)
    table = _table(configs)
    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    swept = importlib.import_module("..analyzers.sweeping.sweep", __package__)
    with reading.working(f"sweeping ({estimator})"):
        if sensitivity:
            found = swept.sensitivity(opened, estimator, base, **options)
        else:
            found = swept.sweep(opened, estimator, axes, table, config=base, per=per or "total",
                                **options)  # fmt: skip
    for warning in found.warnings:
        say(f"warning: {warning}")
    tables.answer(_shown(found, base, kind, sensitivity), output)


def _table(configs: Path | None) -> pl.DataFrame | None:
    if configs is None:
        return None
    reading_tables = importlib.import_module("..analyzers.sweeping.configurations", __package__)
    found: pl.DataFrame = reading_tables.read_configs(configs)
    return found


def _axes(vary: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the values of each varied field.

    Raises:
        click.UsageError: a --vary is malformed, or its field was varied before.
    """
    found: dict[str, list[Any]] = {}
    for text in vary:
        field, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not field or not values:
            raise click.UsageError(f"--vary {text!r}: write FIELD=FIRST:LAST:COUNT or FIELD=A,B,C")
        if field in found:
            raise click.UsageError(f"--vary {text!r}: {field} is varied twice")
        found[field] = _range(text, values) if ":" in values else _list(values)
    return found


def _range(text: str, values: str) -> list[float] | list[int]:
    """Return COUNT values from FIRST to LAST, both included; whole if ends and steps are."""
    parts = [part.strip() for part in values.split(":")]
    log = len(parts) == 4 and parts[3] == "log"
    try:
        first, last, count = float(parts[0]), float(parts[1]), int(parts[2])
        if not (log or len(parts) == 3) or not math.isfinite(first) or not math.isfinite(last):
            raise ValueError
    except (ValueError, IndexError):
        raise click.UsageError(
            f"--vary {text!r}: write FIRST:LAST:COUNT or FIRST:LAST:COUNT:log, all numbers"
        ) from None
    if not 2 <= count <= _LONGEST:
        raise click.UsageError(f"--vary {text!r}: COUNT is from 2 to {_LONGEST}")
    if log and (first <= 0 or last <= 0):
        raise click.UsageError(f"--vary {text!r}: a logarithmic range starts and ends above 0")
    if log:
        inner = [first * (last / first) ** (place / (count - 1)) for place in range(1, count - 1)]
        return [first, *inner, last]
    whole = all(part.lstrip("+-").isdigit() for part in parts[:2])
    if whole and (int(parts[1]) - int(parts[0])) % (count - 1) == 0:
        step = (int(parts[1]) - int(parts[0])) // (count - 1)
        return [int(parts[0]) + step * place for place in range(count)]
    inner = [first + (last - first) * place / (count - 1) for place in range(1, count - 1)]
    return [first, *inner, last]


def _list(values: str) -> list[Any]:
    loading = importlib.import_module("..schemas.costs.loading", __package__)
    return [loading.toml_value(value.strip()) for value in values.split(",")]


def _shown(found: Sweep, base: CostConfig, kind: str, sensitivity: bool) -> str | bytes:
    if kind == "json":
        return tables.as_json(_plain(found, base))
    if kind in ("csv", "parquet"):
        return tables.as_data(kind, found.frame)
    if not sensitivity:
        columns = _sweep_columns(found.frame, found.per)
        return _lead(found, kind) + tables.as_text(kind, found.frame, columns) + _summary(found)
    frame = _with_bar(found.frame)
    return tables.as_text(kind, frame, _sensitivity_columns(kind)) + _summary(found)


def _plain(found: Sweep, base: CostConfig) -> dict[str, Any]:
    report = found.reports[0]
    return {
        "estimator": report.estimator,
        "revision": report.revision,
        "stages": list(report.scope.stages),
        "technology": report.scope.technology,
        "source": report.scope.source,
        "coverage": report.coverage,
        "per": found.per,
        "samples": report.samples,
        "warnings": list(found.warnings),
        "config": base.model_dump(mode="json"),
        "rows": found.frame.to_dicts(),
    }


def _summary(found: Sweep) -> str:
    report = found.reports[0]
    lines = [
        f"{report.estimator}, revision {report.revision}: {report.scope.title}; "
        f"{report.scope.technology}; stages {', '.join(report.scope.stages)}",
        *([report.coverage] if report.coverage else []),
    ]
    return "\n" + "".join(f"{clean(line)}\n" for line in lines)


def _lead(found: Sweep, kind: str) -> str:
    """Return the line over a table that says what its energies speak of; none for the total."""
    if found.per == "total":
        return ""
    per_text = importlib.import_module("..analyzers.workload.divisors", __package__).per_text
    return tables.lines([per_text(found.reports[0].sampled, found.per)], kind) + "\n"


def _sweep_columns(frame: pl.DataFrame, per: str) -> list[Column]:
    """Return the columns of a sweep: of its energies those that speak of what was asked for."""
    ending = "_pj" if per == "total" else f"_per_{per}_pj"
    columns = []
    for name in frame.columns:
        if name in ("total_pj", "per_sample_pj", "per_step_pj"):
            if per == "total" or name == f"per_{per}_pj":
                title = name.removesuffix("_pj").replace("_", " ")
                columns.append(Column(name, title, energy_text))
        elif name.startswith("energy_"):
            part = name[len("energy_") :].removesuffix(ending)
            if name.endswith(ending) and "_per_" not in part:
                columns.append(Column(name, part, energy_text))
        else:
            columns.append(Column(name, name, _value_text, style="bold"))
    return columns


def _sensitivity_columns(kind: str) -> list[Column]:
    return [
        Column("constant", "constant", left=True, style="bold"),
        Column("value", "value", _value_text),
        Column("percent_per_percent", "% per %", ratio_text),
        Column("energy_pj", "charged with it", energy_text),
        *([Column("bar", "", left=True, style="cyan")] if kind == "table" else []),
    ]


def _with_bar(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    bars = [bar(abs(share)) for share in frame["percent_per_percent"]]
    return frame.with_columns(pl.Series("bar", bars, dtype=pl.String))


def _value_text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
