"""`opjoule machine`: machines that come with opjoule, and files that describe others."""

from __future__ import annotations

from pathlib import Path

import click

from . import options, tables
from .reading import Source
from .tables import Reply


@click.group(short_help="Show, check and describe machines.")
def machine() -> None:
    """Show, check and describe machines: what each charges, and where its prices stand."""


@machine.command("list", short_help="The machines that come with opjoule.")
@options.answers
def list_machines(reply: Reply) -> None:
    """List the machines that come with opjoule."""
    import polars as pl

    from ..analyzers.answers.page import Column
    from ..schemas.costs import load_machine, machine_names

    found = [(name, load_machine(name)) for name in machine_names()]
    frame = pl.DataFrame(
        {
            "machine": [name for name, _ in found],
            "charges": [", ".join(each.term) for _, each in found],
            "technology": [each.machine.technology for _, each in found],
            "source": [each.machine.source for _, each in found],
        }
    )
    columns = [
        Column("machine", "machine", left=True, style="bold"),
        Column("charges", "charges", left=True, wrap=True),
        Column("source", "source", left=True, wrap=True),
    ]
    reply.listing(frame, columns)


@machine.command(short_help="Print a machine file as it is written.")
@click.argument("name", metavar="NAME|FILE")
def show(name: str) -> None:
    """Print the file of a machine, with the sources of its prices."""
    from ..schemas.costs import machine_text

    tables.text(machine_text(name))


@machine.command(short_help="Check a machine file.")
@click.argument("name", metavar="NAME|FILE")
@click.argument("trace", required=False, type=click.Path(path_type=Path))
def validate(name: str, trace: Path | None) -> None:
    """Check that FILE is a machine, and with TRACE that its terms match something there.

    The exit code is 2 if it is none, 1 if a term matches nothing.
    """
    from ..analyzers.units import count_text
    from ..schemas.costs import load_machine

    made = load_machine(name)
    tables.text(f"{name} is a machine: {made.machine.name}, terms {', '.join(made.term)}\n")
    if trace is None:
        return
    from ..analyzers.energy.estimators import estimate

    report = estimate(Source(trace).opened(), "machine", made)
    for warning in report.warnings:
        click.echo(f"opjoule: warning: {warning}", err=True)
    counted = [f"{term}: {count_text(n)}" for term, n in report.counts.items()]
    tables.text(f"in {trace}: {', '.join(counted)}\n")
    if any("matches nothing" in warning for warning in report.warnings):
        click.get_current_context().exit(1)


@machine.command(short_help="Print the JSON schema of a machine file.")
def schema() -> None:
    """Print the JSON schema of a machine file, for editors and other tools."""
    from ..schemas.costs import Machine

    tables.text(tables.as_json(Machine.model_json_schema()))


@machine.command(short_help="What terms may count.")
@options.answers
def quantities(reply: Reply) -> None:
    """List what terms may count: the unit, the formula, and what a recording must hold."""
    import polars as pl

    from ..analyzers.answers.page import Column
    from ..schemas.quantities import QUANTITIES

    fields = ("name", "unit", "formula", "needs")
    frame = pl.DataFrame(
        {each: [getattr(quantity, each) for quantity in QUANTITIES.values()] for each in fields}
    )
    columns = [
        Column("name", "quantity", left=True, style="bold"),
        Column("unit", "unit", left=True),
        Column("formula", "how it is counted", left=True, wrap=True),
        Column("needs", "needs", left=True, wrap=True),
    ]
    reply.listing(frame, columns)
