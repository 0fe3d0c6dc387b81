"""`opjoule report`: everything that is known of a trace, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import count, reading, tables
from .choosing import ESTIMATORS
from .compare import configurations, takes_configurations
from .roofline import PRECISIONS

if TYPE_CHECKING:
    from ..schemas.costs import CostConfig


def _placed(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    from ..schemas import MANIFEST_NAME, UNFINISHED_NAME

    for folder in value.resolve().parents:
        if any((folder / name).exists() for name in (MANIFEST_NAME, UNFINISHED_NAME)):
            raise click.UsageError(f"-o {str(value)!r} is inside the trace {str(folder)!r}", ctx)
    if value.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{value} does not end in .html: a report is an HTML page")
    return value


@click.command(short_help="Everything about a trace on one page, an HTML file.")
@click.argument(
    "traces", nargs=-1, required=True, metavar="[BASE] TRACE", type=click.Path(path_type=Path)
)
@click.option("--device", metavar="NAME", help="Add the roofline of this device, see roofline.")
@click.option("--peak", metavar="FLOP/S", help="Instead of a device, e.g. 989T.")
@click.option("--bandwidth", metavar="B/S", help="Instead of a device, e.g. 3.35T.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="What the device computes in.")
@takes_configurations
@reading.narrows
@click.option("--spikes", type=click.Choice(count.SPIKES), default="binary", show_default=True,
              help="What a spike tensor may hold.")  # fmt: skip
@reading.samples
@click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]")
@click.option("--partial", is_flag=True, help="Read what an aborted recording left.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    default="report.html",
    show_default=True,
    callback=_placed,
    help="Where to write the page.",
)
def report(traces: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Write a page on TRACE; with BASE before it, as in compare, also on what changed.

    \b
      opjoule report runs/train --device h100
      opjoule report runs/base runs/head -o head.html

    The page is one file: it loads nothing, and opens without a network.
    """  # noqa: D301
    from ..analyzers import report as reported
    from ..analyzers.trace.suggestions import refuse_nothing

    if len(traces) > 2:
        raise click.UsageError(f"a report is on one trace, or on a base and a trace: {len(traces)}")
    told = ("revisions", "presets", "files", "overrides")
    chosen = {name: options.pop(name) for name in told}
    revisions: dict[str, str] = {}
    configs: dict[str, CostConfig] = {}
    if any(chosen.values()):
        revisions, configs = configurations(tuple(ESTIMATORS), chosen, "it, {}")
    read = {name: options.pop(name) for name in ("partial", "rank")}
    *bases, trace = (reading.opened(path, **read) for path in traces)
    where = options.pop("where")
    if where and not bases:
        refuse_nothing(trace, where)
    with reading.working("counting and estimating"):
        found = reported(trace, *bases, where=where, configs=configs, revisions=revisions,
                         **options)  # fmt: skip
        page = found.to_html()
    tables.answer(page, output)
