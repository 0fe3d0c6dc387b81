"""The demo's data and networks: handwritten digits, a spiking network and its ReLU twin.

PyTorch, scikit-learn and SpikingJelly are imported inside the functions, so that the command
line starts without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

TIME_STEPS = 4
"""How often the spiking network is shown a picture; its ReLU twin sees it once."""

BATCH = 64
SEED = 2026
TEST_PICTURES = 360
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Digits:
    """Pictures of shape (n, 1, 8, 8) from 0 to 1 and the digits they show, of shape (n,)."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass
class Trained:
    """A network after training.

    Attributes:
        network: takes (time, batch, 1, 8, 8), gives (time, batch, 10).
        optimizer: as the last training step left it.
        time_steps: how often a picture is shown.
        accuracy: share of the test pictures that it names rightly.
    """

    network: nn.Sequential
    optimizer: Any
    time_steps: int
    accuracy: float = 0.0

    def sequence(self, images: Tensor) -> Tensor:
        """Return pictures repeated over the time steps: (batch, ...) to (time, batch, ...)."""
        return images.unsqueeze(0).repeat(self.time_steps, 1, 1, 1, 1)

    def scores(self, images: Tensor) -> Tensor:
        """Return the mean output over time, (batch, 10), and put the neurons back to rest."""
        from spikingjelly.activation_based import functional

        out: Tensor = self.network(self.sequence(images)).mean(0)
        functional.reset_net(self.network)
        return out


def digits() -> Digits:
    """Load scikit-learn's 1797 handwritten digits, shuffled, 360 of them kept for the test."""
    import torch
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(SEED))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16
    labels = torch.tensor(data.target)[order]
    n = TEST_PICTURES
    return Digits(images[n:], labels[n:], images[:n], labels[:n])


def network(*, spiking: bool) -> nn.Sequential:
    """Return the network, with LIF neurons or with ReLU in their place; the same weights."""
    import torch
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from torch import nn

    def fire() -> nn.Module:
        if not spiking:
            return nn.ReLU()
        lif: nn.Module = neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True)
        return lif

    def block(inputs: int, outputs: int) -> dict[str, nn.Module]:
        conv = layer.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return {"conv": conv, "norm": layer.BatchNorm2d(outputs), "fire": fire()}

    class DigitNet(nn.Sequential):
        """Three convolutions and a read-out."""

    torch.manual_seed(SEED)
    net = DigitNet()
    sizes = {"block1": (1, 16), "block2": (16, 32), "block3": (32, 32)}
    for name, (inputs, outputs) in sizes.items():
        parts = block(inputs, outputs)
        if name != "block1":
            parts["pool"] = layer.MaxPool2d(2)
        net.add_module(name, nn.Sequential())
        for part, module in parts.items():
            getattr(net, name).add_module(part, module)
    net.add_module("flatten", layer.Flatten())
    net.add_module("readout", layer.Linear(32 * 2 * 2, 10))
    functional.set_step_mode(net, "m")
    return net


def train(
    data: Digits, *, spiking: bool, epochs: int, told: Callable[[int, float, float], None]
) -> Trained:
    """Train a network with Adam and cross entropy.

    Args:
        data: the digits.
        spiking: with LIF neurons over `TIME_STEPS` steps, or with ReLU in one.
        epochs: passes over the training pictures.
        told: called after each epoch with its number, the last loss and the accuracy on the test
            pictures.
    """
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)  # the tensors are small: threads would wait for each other
    net = network(spiking=spiking)
    adam = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs)
    trained = Trained(net, adam, TIME_STEPS if spiking else 1)
    order = torch.Generator().manual_seed(SEED)
    for epoch in range(1, epochs + 1):
        net.train()
        shuffled: Tensor = torch.randperm(len(data.labels), generator=order)
        for batch in shuffled.split(BATCH):
            adam.zero_grad()
            loss = cross_entropy(trained.scores(data.images[batch]), data.labels[batch])
            loss.backward()
            adam.step()
        slower.step()
        trained.accuracy = accuracy(trained, data)
        told(epoch, loss.item(), trained.accuracy)
    return trained


def accuracy(trained: Trained, data: Digits) -> float:
    """Return the share of the test pictures that the network names rightly."""
    import torch

    trained.network.eval()
    with torch.no_grad():
        named = trained.scores(data.test_images).argmax(1)
    return (named == data.test_labels).float().mean().item()
