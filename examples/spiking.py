"""A spiking network: firing rates, counts, and compute energy against costs of one's own.

Run it with `python examples/spiking.py`; it needs SpikingJelly.
"""

from __future__ import annotations

import polars as pl
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import opjoule
from opjoule.analyzers import energy
from opjoule.schemas.costs import load_config

TIME_STEPS, BATCH = 4, 8

torch.manual_seed(0)
net = nn.Sequential(
    layer.Conv2d(1, 8, 3, padding=1),
    neuron.IFNode(),
    layer.Conv2d(8, 16, 3, padding=1, stride=2),
    neuron.LIFNode(),
    layer.Flatten(),
    layer.Linear(16 * 4 * 4, 10),
).eval()
functional.set_step_mode(net, "m")
frames = (torch.rand(TIME_STEPS, BATCH, 1, 8, 8) < 0.3).float()

opjoule.record(net, frames, "runs/spiking", overwrite=True, batch_dim=1, time_dim=0)
functional.reset_net(net)

trace = opjoule.open_trace("runs/spiking")

neurons = trace.modules.filter(pl.col("neuron").is_not_null())
rates = (
    trace.module_calls.join(neurons.lazy().select("module_id", "path"), on="module_id")
    .select("path", value_id=pl.col("outputs").list.first().struct.field("value_id"))
    .join(trace.values, on="value_id")
    .select("path", rate=pl.col("nonzero") / pl.col("numel"))
    .collect()
)
print(rates)

print(opjoule.count(trace, by="module").frame.select("module", "flops", "macs", "acs", "synops"))

report = energy.estimate_compute(trace, load_config("compute", overrides=["e_mac_pj=3.2"]))
print(report.statement())
