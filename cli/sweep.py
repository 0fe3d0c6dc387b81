"""`opjoule sweep`: many configurations over one recorded run, and what decides the result."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import configuring, options, reading
from .choosing import ESTIMATORS
from .reading import Source
from .tables import Reply

if TYPE_CHECKING:
    import polars as pl

_LONGEST = 100_000


@click.command(short_help="Many configurations over one run; what decides the result.")
@click.argument("estimator", type=reading.EstimatorName(tuple(ESTIMATORS)))
@options.reads_trace
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
@options.configuration("e_mac_pj=3.2", "What is not varied comes from a preset.")
@options.divides(spread=False)
@options.samples
@options.strict("what the model does not cover")
@options.draws
def sweep(
    estimator: str,
    source: Source,
    reply: Reply,
    *,
    vary: tuple[str, ...],
    configs: Path | None,
    sensitivity: bool,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    per: str | None,
    **asked: Any,
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
    base = configuring.one(
        estimator, asked["revision"], preset=preset, file=file, overrides=overrides
    )
    table = _table(configs)
    opened = source.opened()
    from ..analyzers import sensitivity as decisive
    from ..analyzers import sweep as swept

    with reading.working(f"sweeping ({estimator})"):
        found = (
            decisive(opened, estimator, base, **asked)
            if sensitivity
            else swept(opened, estimator, axes, table, config=base, per=per or "total", **asked)
        )
    reply.give(found)


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
