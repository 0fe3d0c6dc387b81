"""`opjoule table`: networks beside each other, as in the table of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import configuring, options, reading
from .choosing import ESTIMATORS
from .reading import Source
from .tables import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

_COSTS = ("revisions", "presets", "files", "overrides")


@click.command(short_help="Networks beside each other, as in the table of a paper.")
@click.argument("traces", nargs=-1, required=True, metavar="NAME=TRACE...")
@click.option(
    "--columns",
    multiple=True,
    metavar="NAME,...",
    help="samples, time_steps, batch, rate, flops, macs, acs, synops, bytes, accuracy, "
    "energy.ESTIMATOR, twin_ratio, input_rate, breakeven_rate, ratio.COLUMN, ...  "
    "[default: the usual ones]",
)
@click.option(
    "--accuracy", "accuracies", multiple=True, metavar="NAME=SHARE", help="Accuracy, such as 0.93."
)
@click.option(
    "--add",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV file with columns of your own; its column network names the row.",
)
@click.option(
    "--rows",
    type=click.Choice(("networks", "figures")),
    default="networks",
    help="What has a row of its own: with figures as rows many columns fit a page.",
)
@options.divides(default="sample")
@click.option("--no-spread", is_flag=True, help="Without standard deviations.")
@options.narrows
@options.configurations
@options.spikes
@options.samples
@options.opens
@options.draws
def table(
    traces: tuple[str, ...],
    reply: Reply,
    columns: tuple[str, ...],
    accuracies: tuple[str, ...],
    add: Path | None,
    rows: str,
    per: str | None,
    spread: bool,
    no_spread: bool,
    assume: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **asked: Any,
) -> None:
    """Put networks beside each other: operations, rates and energies of one sample.

    \b
      opjoule table SNN=runs/snn ANN=runs/ann --accuracy SNN=0.93 --accuracy ANN=0.94
      opjoule table SNN=runs/snn ANN=runs/ann --columns rate,acs,energy.compute -o table.tex
      opjoule table SNN=runs/snn --columns macs,energy.compute --config costs.toml

    Of each trace its inference, in eval mode. Deviations are over samples. Footnotes say what
    each energy speaks of, what it leaves out, and how far it reaches.
    """  # noqa: D301
    if spread and no_spread:
        raise click.UsageError("--spread and --no-spread contradict each other")
    named = _pairs("trace", traces, unnamed=True)
    shares = {name: _share(name, text) for name, text in _pairs("--accuracy", accuracies).items()}
    opened = {
        name: Source(Path(path), partial, rank, assume=assume).opened()
        for name, path in named.items()
    }
    chosen = [each.strip() for text in columns for each in text.split(",") if each.strip()]
    costs = _costs(chosen, {name: asked.pop(name) for name in _COSTS})
    from ..analyzers import table as laid_out

    with reading.working("counting"):
        found = laid_out(
            opened,
            chosen or None,
            accuracy=shares or None,
            extra=_own(add),
            per=per or "sample",
            spread=not no_spread,
            **costs,
            **asked,
        )
    reply.give(found, shown={"rows": rows}, drawn={"columns": chosen or None})


def _costs(columns: Sequence[str], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configurations and revisions of the estimators of the columns, or of all."""
    if not any(told.values()):
        return {}
    named = [name for name in ESTIMATORS if {f"energy.{name}", f"ratio.energy.{name}"} & {*columns}]
    estimators = named if columns else list(ESTIMATORS)
    revisions, configs = configuring.several(estimators, told, "--columns energy.{}")
    return {"configs": configs, "revisions": revisions}


def _pairs(what: str, texts: tuple[str, ...], *, unnamed: bool = False) -> dict[str, str]:
    """Return NAME=VALUE texts as a dictionary; a trace without a name has that of its folder.

    Raises:
        click.UsageError: there is no name or value, or a name twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if unnamed and not equals:
            name, value = Path(text).name, text
        if not name or not value:
            raise click.UsageError(f"{what} {text!r}: write NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{what} {text!r}: {name} stands there twice")
        found[name] = value
    return found


def _share(name: str, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.UsageError(f"--accuracy {name}={text}: write a share such as 0.93, or 93%")
    return share


def _own(path: Path | None) -> pl.DataFrame | None:
    if path is None:
        return None
    import polars as pl

    try:
        return pl.read_csv(path)
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise click.UsageError(f"--add {path}: not a CSV table ({reason})") from None
