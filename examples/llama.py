"""A training step of a model shaped like Llama: rotary positions, grouped attention, SwiGLU.

    python examples/llama.py                             # a tiny one, on the CPU
    opjoule record --device meta examples/llama.py 8b    # 8 billion parameters, without data

On the meta device nothing is allocated and nothing is computed; see docs/planning.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu


@dataclass(frozen=True)
class Sizes:
    """Of a model, and of the sequence that it is trained with."""

    layers: int
    width: int
    hidden: int
    heads: int
    key_heads: int
    words: int
    tokens: int


SIZES = {
    "tiny": Sizes(2, 64, 176, heads=4, key_heads=2, words=256, tokens=32),
    "1b": Sizes(16, 2048, 8192, heads=32, key_heads=8, words=128_256, tokens=4096),
    "8b": Sizes(32, 4096, 14336, heads=32, key_heads=8, words=128_256, tokens=4096),
    "70b": Sizes(80, 8192, 28672, heads=64, key_heads=8, words=128_256, tokens=4096),
}
"""By name: 8b has 8.03 billion parameters, 70b 70.55 billion."""


class Attention(nn.Module):
    """Causal attention; several heads of queries share one head of keys and values."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.size = sizes.width // sizes.heads
        shared = sizes.key_heads * self.size
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, shared, bias=False)
        self.value = nn.Linear(sizes.width, shared, bias=False)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Attend within each sequence of (batch, tokens, width)."""
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        q, k = turned(q, *turns), turned(k, *turns)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs of elements of each head by the angle of their position."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Block(nn.Module):
    """Attention and a gated network, each on the normed stream and added to it."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(sizes.width)
        self.attention = Attention(sizes)
        self.norm2 = nn.RMSNorm(sizes.width)
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Return the stream (batch, tokens, width) after this block."""
        x = x + self.attention(self.norm1(x), turns)
        y = self.norm2(x)
        return x + self.down(silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Words to scores of the next word."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.words, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width)
        self.scores = nn.Linear(sizes.width, sizes.words, bias=False)
        size = sizes.width // sizes.heads
        rates = 500_000.0 ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(sizes.tokens).float(), rates).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores (batch, tokens, words) for numbers of words (batch, tokens)."""
        x = self.words(tokens)
        turns = self.cosine[: tokens.shape[1]], self.sine[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, turns)
        return self.scores(self.norm(x))


def train(sizes: Sizes) -> None:
    """Take one training step in bfloat16, on one sequence."""
    model = Llama(sizes).bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    tokens = torch.randint(sizes.words, (1, sizes.tokens + 1))
    scores = model(tokens[:, :-1])
    cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    optimizer.step()


if __name__ == "__main__":
    train(SIZES[sys.argv[1] if len(sys.argv) > 1 else "tiny"])
