"""A training step: forward, backward and optimizer told apart, and who the work belongs to.

Run it with `python examples/training_step.py`; the trace is then in runs/training-step.
"""

from __future__ import annotations

import torch
from torch import nn

import opjoule

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters())

with opjoule.Recorder("runs/training-step", model=model, overwrite=True) as recorder:
    for _ in range(2):
        inputs, labels = torch.rand(32, 64), torch.randint(0, 10, (32,))
        optimizer.zero_grad()
        with recorder.label("network"):
            outputs = model(inputs)
        with recorder.label("loss"):
            loss = nn.functional.cross_entropy(outputs, labels)
        loss.backward()
        optimizer.step()

trace = opjoule.open_trace("runs/training-step")
print(opjoule.count(trace, by=["step", "stage"]).frame)
print(opjoule.count(trace, by="module", where="stage=backward").frame)
print(opjoule.count(trace, by="label", where="stage=forward").frame)
