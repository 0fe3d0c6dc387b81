"""`opjoule demo`: from training to joules, on real digits, in less than a minute."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..analyzers.units import bytes_text, count_text, share_text
from . import demo_network, invocation
from .terminal import say

if TYPE_CHECKING:
    from .demo_network import Digits, Trained

DEFAULT = Path("runs") / "demo"
"""Where the demo writes unless told otherwise; it replaces what an earlier demo left there."""

KINDS = ("spiking", "relu")

COLUMNS = "accuracy,rate,flops,macs,acs,synops,energy.compute,ratio.energy.compute,energy.lemaire"
"""What is shown of the two networks beside each other."""


@click.command(short_help="Train a small spiking network, record it, count and cost it.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=f"Directory for the two traces.  [default: {DEFAULT}, replaced if there]",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    metavar="N",
    help="Passes over the training pictures.",
)
@click.option("--overwrite", is_flag=True, help="Replace traces that stand in DIR already.")
def demo(output: Path | None, epochs: int, overwrite: bool) -> None:
    """Train a small spiking network on handwritten digits, record it, count and cost it.

    A convolutional network with LIF neurons is trained for some seconds on scikit-learn's digits,
    and the same network with ReLU in place of the neurons, on one thread. Of each, one inference
    batch and one training step are recorded; everything that is then shown comes from the two
    traces, under the command that shows it again.
    """
    folder = output or DEFAULT
    replace = overwrite or output is None
    _free(folder, replace)
    with _needed():
        data = demo_network.digits()
        trained = {kind: _train(data, kind, epochs) for kind in KINDS}
        for kind in KINDS:
            _record(folder / kind, trained[kind], data, replace)
    _tell_sizes(folder)
    _show(folder, {kind: trained[kind].accuracy for kind in KINDS})


def _free(folder: Path, replace: bool) -> None:
    """Refuse a taken directory before the training, not after it."""
    for path in (folder / kind for kind in KINDS):
        if path.exists() and not replace:
            raise click.ClickException(f"{path} exists: --overwrite replaces it, -o names another")


@contextmanager
def _needed() -> Iterator[None]:
    """Say in one line which package the demo lacks."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the demo trains a network and needs {error.name}, which is not installed: "
            "pip install 'opjoule[demo]'"
        ) from None


def _train(data: Digits, kind: str, epochs: int) -> Trained:
    """Train a network and say a line after each epoch."""

    def told(epoch: int, loss: float, accuracy: float) -> None:
        say(
            f"{kind} network, epoch {epoch} of {epochs}: loss {loss:.3f}, "
            f"{share_text(accuracy)} of {len(data.test_labels)} unseen digits named rightly"
        )

    return demo_network.train(data, spiking=kind == "spiking", epochs=epochs, told=told)


def _record(path: Path, trained: Trained, data: Digits, overwrite: bool) -> None:
    """Record one inference batch and one training step, labelled so."""
    import torch
    from spikingjelly.activation_based import functional
    from torch.nn.functional import cross_entropy

    from ..tracer import Recorder

    net, size = trained.network, demo_network.BATCH
    unseen, seen = (images[:size] for images in (data.test_images, data.images))
    recorder = Recorder(
        path, model=net, batch_dim=1, time_dim=0, overwrite=overwrite, seed=demo_network.SEED
    )
    with recorder:
        net.eval()
        with recorder.label("inference"), torch.no_grad():
            net(trained.sequence(unseen))
        functional.reset_net(net)
        recorder.step()
        net.train()
        trained.optimizer.zero_grad(set_to_none=True)
        with recorder.label("training"):
            loss = cross_entropy(net(trained.sequence(seen)).mean(0), data.labels[:size])
            loss.backward()
            trained.optimizer.step()
        functional.reset_net(net)


def _tell_sizes(folder: Path) -> None:
    from ..analyzers import open_trace

    for trace in (open_trace(folder / kind) for kind in KINDS):
        size = sum(part.bytes for part in trace.manifest.parts)
        calls = count_text(trace.manifest.rows["calls"])
        say(f"recorded {trace.path}: {calls} calls, {bytes_text(size)}")


def _show(folder: Path, accuracy: dict[str, float]) -> None:
    """Print what the traces tell, each part under the command that shows it again."""
    spiking, relu = (str(folder / kind) for kind in KINDS)
    inference, training = ("--where", "label=inference"), ("--where", "label=training")
    _run("count", spiking, *inference)
    _run("rates", spiking, *inference)
    shares = (f"--accuracy={kind}={accuracy[kind]:.4f}" for kind in KINDS)
    _run("table", f"spiking={spiking}", f"relu={relu}", *shares, "--columns", COLUMNS)
    _run("energy", "neuromc", spiking, *training, "--by", "stage")
    typed = invocation.command()
    say(f"next: {typed} {shlex.join(('count', relu, *inference))}")
    say(f"      {typed} record YOUR_SCRIPT.py")
    if activate := invocation.activation():
        say(f"      {activate} puts opjoule on your PATH")


def _run(*words: str) -> None:
    """Show a command, then run it."""
    from .main import opjoule

    click.echo(f"\n$ opjoule {shlex.join(words)}\n")
    with opjoule.make_context("opjoule", list(words), obj={}) as context:
        opjoule.invoke(context)
