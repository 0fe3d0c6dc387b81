"""A plain classifier: what one inference counts, by module.

Run it with `python examples/classifier.py`; the trace is then in runs/classifier.
"""

from __future__ import annotations

import torch
from torch import nn

import opjoule

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(4),
    nn.Flatten(),
    nn.Linear(256, 10),
).eval()
images = torch.rand(8, 3, 32, 32)

opjoule.record(model, images, "runs/classifier", overwrite=True)

trace = opjoule.open_trace("runs/classifier")
counts = opjoule.count(trace, by="module")
print(counts.frame)
print(counts.coverage.line())
