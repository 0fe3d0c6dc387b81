"""`opjoule compare`: two traces side by side, what changed and why, and budgets that hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import comparisons, count, energy, reading, tables
from .choosing import ESTIMATORS, REVISIONS
from .terminal import say

if TYPE_CHECKING:
    from ..analyzers import Comparison
    from ..schemas.costs import CostConfig

KEYS = ("module", "op", "stage")


def takes_configurations(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of several estimators, see `configurations`."""
    for decorate in (
        click.option(
            "--revision", "revisions", multiple=True, metavar="[ESTIMATOR=]NAME",
            help=f"Whose form of the model: {', '.join(REVISIONS)}.  [default: source]",
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="[ESTIMATOR.]KEY=VALUE",
            help="One constant; overrides preset and file. Every trace gets the same constants.",
        ),
        click.option(
            "--config", "files", multiple=True, metavar="[ESTIMATOR=]FILE",
            help="TOML file of constants; it overrides the preset.",
        ),
        click.option(
            "--preset", "presets", multiple=True, metavar="[ESTIMATOR=]NAME", help="Constants."
        ),
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.command(short_help="Two traces side by side: what changed, and why.")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("head", type=click.Path(path_type=Path))
@click.option(
    "--energy",
    "estimators",
    multiple=True,
    type=reading.EstimatorName(tuple(ESTIMATORS)),
    help="Compare this estimate too; several stand beside each other, never added.",
)
@takes_configurations
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 if it holds: flops>+0%, energy.lemaire>+5%, bytes>+1MiB, macs>1e9.",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="FIGURE",
    help="Explain the change of this: flops, synops, energy.compute, ...  [default: what failed, "
    "or the first that changed]",
)
@reading.groups(*KEYS, help="Show rows by these too.")
@reading.rolls_up
@click.option(
    "--top",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Rows of an explanation.",
)
@reading.narrows
@click.option("--rules", type=click.Choice(count.RULES), default="full", show_default=True,
              help="Counting rules of both sides.")  # fmt: skip
@click.option("--spikes", type=click.Choice(count.SPIKES), default="binary", show_default=True,
              help="What a spike tensor may hold.")  # fmt: skip
@reading.divides(
    spread=False, default="sample if the traces have different numbers of them, else total"
)
@reading.samples
@click.option("--strict", is_flag=True, help="Refuse what the estimators do not cover.")
@click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]")
@click.option("--partial", is_flag=True, help="Read what an aborted recording left.")
@reading.answers(*tables.FORMATS)
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    base: Path,
    head: Path,
    *,
    conditions: tuple[str, ...],
    figures: tuple[str, ...],
    by: tuple[str, ...],
    exclusive: bool,
    top: int,
    kind: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Compare HEAD with BASE: counters and estimates, aligned by module path, op and stage.

    \b
      opjoule compare runs/base runs/head
      opjoule compare runs/base runs/head --energy lemaire --where stage=forward
      opjoule compare runs/base runs/head --fail-on "flops>+0%" --format markdown

    Conditions: FIGURE>+5% (grown by more than that), FIGURE>+1e6 (by so much), FIGURE>1e9 (HEAD's
    total); >=, < and <= too. A condition of an energy estimates it. The exit code is 1 if a
    condition holds, 2 if the question or a trace is wrong.
    """  # noqa: D301
    comparison = _compared(base, head, conditions, options)
    failures = comparison.failures(conditions)
    shown = comparisons.figures(comparison, figures, failures)
    texts = comparisons.Texts(comparison, failures, shown, top)
    content: str | bytes
    if kind == "json":
        content = tables.as_json(texts.data())
    elif kind in ("csv", "parquet"):
        rows = comparison.by(*by, exclusive=exclusive) if by else comparison.rows
        content = tables.as_data(kind, rows)
        for warning in comparison.warnings:
            say(f"warning: {warning}")
    else:
        content = texts.text(kind, by, exclusive)
    tables.answer(content, output)
    for line in texts.failed():
        say(line)
    if failures:
        ctx.exit(1)


def _compared(
    base: Path, head: Path, conditions: tuple[str, ...], options: Mapping[str, Any]
) -> Comparison:
    from ..analyzers import compare as compared
    from ..analyzers.comparing.budgets import budget

    asked = [budget(condition).figure for condition in conditions]
    names = [name.removeprefix("energy.") for name in asked if name.startswith("energy.")]
    estimators = list(dict.fromkeys((*options["estimators"], *names)))
    revision, energies = configurations(estimators, options, "--energy {}")
    traces = [
        reading.opened(path, partial=options["partial"], rank=options["rank"])
        for path in (base, head)
    ]
    others = {
        name: options[name]
        for name in ("where", "rules", "spikes", "per", "samples", "batch", "time_steps")
    }
    with reading.working("comparing"):
        return compared(
            *traces, energies=energies, revision=revision, strict=options["strict"], **others
        )


def configurations(
    estimators: Sequence[str], options: Mapping[str, Any], asked_by: str
) -> tuple[dict[str, str], dict[str, CostConfig]]:
    """Return the revision and the configuration of each estimator.

    Args:
        estimators: the estimators that are asked.
        options: `revisions`, `presets`, `files` and `overrides`, each of which may name one.
        asked_by: the option that asks for an estimator, {} in the place of its name.
    """
    revision = _by_estimator("--revision", options["revisions"], estimators, asked_by)
    for name in revision.values():
        if name not in REVISIONS:
            raise click.UsageError(f"--revision {name!r} is not one of {', '.join(REVISIONS)}")
    preset = _by_estimator("--preset", options["presets"], estimators, asked_by)
    file = _by_estimator("--config", options["files"], estimators, asked_by)
    changes: dict[str, list[str]] = {}
    for text in options["overrides"]:
        name, value = _addressed("--set", text, ".", estimators, asked_by)
        changes.setdefault(name, []).append(value)
    return revision, {
        name: energy.configured(
            name,
            revision.get(name, REVISIONS[0]),
            preset=preset.get(name),
            file=Path(file[name]) if name in file else None,
            overrides=changes.get(name, ()),
        )
        for name in estimators
    }


def _by_estimator(
    option: str, texts: Iterable[str], estimators: Sequence[str], asked_by: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        if option == "--revision" and text in REVISIONS:
            found |= dict.fromkeys(estimators, text)
            continue
        name, value = _addressed(option, text, "=", estimators, asked_by)
        found[name] = value
    return found


def _addressed(
    option: str, text: str, mark: str, estimators: Sequence[str], asked_by: str
) -> tuple[str, str]:
    """Return which estimator an option is for, and its value; alone, an estimator needs no name.

    Raises:
        click.UsageError: it names none of several, or there is none.
    """
    for name in estimators:
        if text.startswith(name + mark):
            return name, text.removeprefix(name + mark)
    name, found, _ = text.partition(mark)
    if found and name in ESTIMATORS:
        raise click.UsageError(
            f"{option} {text!r}: {name} is not asked for; add {asked_by.format(name)}"
        )
    if len(estimators) == 1:
        return estimators[0], text
    if not estimators:
        raise click.UsageError(f"{option} {text!r} needs {asked_by.format('ESTIMATOR')}")
    names = " or ".join(f"{each}{mark}{text}" for each in estimators)
    raise click.UsageError(f"{option} {text!r}: for which estimator? Write {names}")
