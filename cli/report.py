"""`opjoule report`: everything that is known of a trace, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import configuring, options, reading, tables
from .choosing import ESTIMATORS
from .options import placed
from .reading import Source
from .roofline import PRECISIONS

if TYPE_CHECKING:
    from ..schemas.costs import CostConfig


def _page(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    if value.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{value} does not end in .html: a report is an HTML page")
    placed(ctx, param, value)
    return value


@click.command(short_help="Everything about a trace on one page, an HTML file.")
@click.argument(
    "traces", nargs=-1, required=True, metavar="[BASE] TRACE", type=click.Path(path_type=Path)
)
@click.option("--device", metavar="NAME", help="Add the roofline of this device, see roofline.")
@click.option("--peak", metavar="FLOP/S", help="Instead of a device, e.g. 989T.")
@click.option("--bandwidth", metavar="B/S", help="Instead of a device, e.g. 3.35T.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="What the device computes in.")
@options.configurations
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME|FILE",
    help="Estimate on this machine too, see opjoule machine list; several stand beside each other.",
)
@options.narrows
@options.spikes
@options.samples
@options.opens
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    default="report.html",
    show_default=True,
    callback=_page,
    help="Where to write the page.",
)
def report(
    traces: tuple[Path, ...],
    output: Path,
    *,
    where: tuple[str, ...],
    assume: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **asked: Any,
) -> None:
    """Write a page on TRACE; with BASE before it, as in compare, also on what changed.

    \b
      opjoule report runs/train --device h100 --machine loihi
      opjoule report runs/base runs/head -o head.html

    The page is one file: it loads nothing, and opens without a network.
    """  # noqa: D301
    from ..analyzers import report as reported

    if len(traces) > 2:
        raise click.UsageError(f"a report is on one trace, or on a base and a trace: {len(traces)}")
    told = ("revisions", "presets", "files", "overrides")
    chosen = {name: asked.pop(name) for name in told}
    revisions: dict[str, str] = {}
    configs: dict[str, CostConfig] = {}
    if any(chosen.values()):
        revisions, configs = configuring.several(tuple(ESTIMATORS), chosen, "it, {}")
    *bases, trace = (Source(path, partial, rank, assume=assume).opened() for path in traces)
    with reading.working("counting and estimating"):
        found = reported(trace, *bases, where=where, configs=configs, revisions=revisions, **asked)
        page = found.to_html()
    tables.text(page, output)
