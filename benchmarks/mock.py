"""Mock-up traces of any length: a real recording's parts, laid end to end with shifted numbers.

python benchmarks/mock.py runs/mock --calls 10000000
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from spikingjelly.activation_based import functional

from opjoule import Recorder
from opjoule.schemas import PART_TABLES, Manifest
from opjoule.tracer.writer import Writer

PART_CALLS = 250_000
"""Calls of one part, about as many as a recorder flushes at once."""

SEQS = ("seq", "forward_seq", "first_seq", "last_seq", "written_seq")
VALUES = ("value_id", "base_value_id", "in0_value", "in1_value", "in2_value", "out0_value")
CALLS = ("module_call_id", "parent_call_id")
OTHERS = ("storage_id", "optimizer_step_id", "step", "sample", "first_node", "last_node")


def recorded(path: Path) -> Path:
    """Record one inference and one training step of SEW-ResNet-18, the tile of every mock-up."""
    training = next(
        work for work in models.workloads() if "SEW" in work.name and work.what == "training step"
    )
    with Recorder(path, model=training.model, **training.options) as recorder:
        training.model.eval()
        with recorder.label("inference"), torch.no_grad():
            training.model(torch.rand(4, 8, 3, 32, 32))
        training.reset()
        recorder.step()
        training.model.train()
        with recorder.label("training"):
            training.run()
        training.reset()
    return path


def mock(path: Path, calls: int) -> Path:
    """Write a valid trace of at least `calls` calls; return where it is."""
    with tempfile.TemporaryDirectory(prefix="opjoule-bench-") as folder:
        source = recorded(Path(folder) / "tile")
        tile = {name: _table(source, name) for name in PART_TABLES}
        manifest = Manifest.read(json.loads((source / "trace.json").read_bytes()))
        strides = _strides(tile)
        copies = -(-calls // tile["calls"].num_rows)
        writer = Writer(path, overwrite=False)
        together = max(1, PART_CALLS // tile["calls"].num_rows)
        for first in range(0, copies, together):
            tiles = np.arange(first, min(first + together, copies))
            for name, table in tile.items():
                writer.write(name, _tiled(table, tiles, strides))
        for name in ("signatures", "modules"):
            writer.write(name, pq.read_table(source / f"{name}.parquet"))
        steps = pq.read_table(source / "optimizer_steps.parquet")
        writer.write("optimizer_steps", _tiled(steps, np.arange(copies), strides))
        writer.finish(
            replace(
                manifest,
                parts=writer.parts,
                rows=writer.rows,
                steps=manifest.steps * copies,
                notes=[f"mock-up: {copies} copies of one recording"],
            )
        )
    return path


def ranks(path: Path, number: int) -> Path:
    """Record an inference and a training step of a small spiking VGG as so many ranks.

    Each has data of its own, so that no part of one equals another's.
    """
    net = models.vgg(10, width=8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for rank in range(number):
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(number), "TORCHELASTIC_RUN_ID": "bench"}
        torch.manual_seed(rank)
        with Recorder(path, model=net, batch_dim=1, time_dim=0) as recorder:
            net.eval()
            with recorder.label("inference"), torch.no_grad():
                net(torch.rand(4, 2, 3, 32, 32))
            functional.reset_net(net)
            recorder.step()
            net.train()
            with recorder.label("training"):
                optimizer.zero_grad()
                net(torch.rand(4, 2, 3, 32, 32)).sum().backward()
                optimizer.step()
            functional.reset_net(net)
    return path


def _table(source: Path, name: str) -> pa.Table:
    parts = [pq.read_table(part) for part in sorted(source.glob(f"{name}-*.parquet"))]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def _strides(tile: dict[str, pa.Table]) -> dict[str, int]:
    """Return for each kind of number how far one tile is from the next."""
    calls, values, modules = tile["calls"], tile["values"], tile["module_calls"]
    found = {name: _top(calls["seq"]) for name in SEQS}
    found |= {name: _top(values["value_id"]) for name in VALUES}
    found |= {name: _top(modules["module_call_id"]) for name in CALLS}
    own = {"storage_id": values["storage_id"], "step": calls["step"], "sample": modules["sample"],
           "first_node": modules["last_node"]}  # fmt: skip
    found |= {name: _top(column) for name, column in own.items()}
    return found | {"optimizer_step_id": 1, "last_node": found["first_node"]}


def _top(column: Any) -> int:
    return int(pc.max(column).as_py() or 0) + 1


def _tiled(table: pa.Table, tiles: np.ndarray, strides: dict[str, int]) -> pa.Table:
    """Return the table once for each tile, its numbers shifted by that many strides."""
    rows = table.num_rows
    many = pa.concat_tables([table] * len(tiles)).unify_dictionaries().combine_chunks()
    by_row = np.repeat(tiles.astype(np.int64), rows)
    columns = [
        _shifted(column.combine_chunks(), field, by_row, strides)
        for column, field in zip(many.columns, many.schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=many.schema)


def _shifted(column: Any, field: pa.Field, by_row: np.ndarray, strides: dict[str, int]) -> Any:
    """Return a column with its numbers shifted, also those inside lists of module values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], field.type)
    kind = field.type
    if field.name in strides:
        shift = pa.array(by_row * strides[field.name])
        return pc.add(column.cast(pa.int64()), shift).cast(kind)
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        inner = column.flatten()
        if "value_id" not in [child.name for child in kind.value_type]:
            return column
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        deeper = np.repeat(by_row, lengths)
        children = [
            _shifted(inner.field(place), child, deeper, strides)
            for place, child in enumerate(kind.value_type)
        ]
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        inside = pa.StructArray.from_arrays(children, fields=list(kind.value_type))
        return pa.ListArray.from_arrays(pa.array(offsets), inside, type=kind, mask=column.is_null())
    return column


def main() -> None:
    """Write a mock-up trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--ranks", type=int, help="so many ranks of a small network instead")
    chosen = parser.parse_args()
    if chosen.ranks:
        ranks(chosen.path, chosen.ranks)
    else:
        mock(chosen.path, chosen.calls)


if __name__ == "__main__":
    main()
