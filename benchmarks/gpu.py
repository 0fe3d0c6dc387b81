"""What only a GPU can tell, in one command and under eight minutes: `python benchmarks/gpu.py`.

It checks that what a GPU counts equals what the CPU counts of the same tensors, in every reference
model and dtype, and that a recorded step never waits; it counts launches and measures ratios. It
prints tables for docs/benchmarks.md, and leaves with 1 if a check fails. With `--device cpu` the
CPU's tensors pass for a GPU's, so that this script can be tried where there is none.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import overhead
import torch
from models import Workload, resnet18, workload, workloads
from peers import CONTEXTS, OURS, PLAIN

from opjoule import Recorder
from opjoule.tracer import device_statistics, values
from opjoule.tracer.device_reductions import Reductions
from opjoule.tracer.operands import ABSENT
from opjoule.tracer.session import Session
from opjoule.tracer.synapses_of_calls import SynapticRow

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LEVELS = {"none": "opjoule, none", "synaptic": "opjoule, synaptic", "full": OURS}
FACTS = ("bits", "nonzero", "ones", "minus_ones", "low", "high")
CASES = Path(__file__).resolve().parents[1] / "tests" / "reference" / "cases.py"


def main() -> None:
    """Check, measure and print."""
    chosen = arguments()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU here (PyTorch finds no CUDA device): --device cpu tries the script itself")
    with passing() if chosen.device == "cpu" else nullcontext():
        wrong, compared = check_types(chosen.device)
        found = check_models(chosen)
        wrong += found[0]
        waits = check_waiting(chosen)
        launches = [measure_launches(work) for work in steps(chosen)]
        ratios = [measure_ratios(work, chosen.rounds) for work in steps(chosen)]
    print("\n".join(report(chosen, compared, found, waits, launches, ratios)))
    for line in (*wrong, *waits):
        print(f"WRONG: {line}")
    sys.exit(1 if wrong or waits else 0)


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small models: no figures to quote")
    parser.add_argument("--rounds", type=int, help="interleaved runs (7; quick: 1)")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 7)
    return chosen


@contextmanager
def passing() -> Iterator[None]:
    """Have the CPU's storages pass for those of a device."""
    real = values.Values._adopt

    def adopt(self: Any, handle: Any, cdata: int, tensor: torch.Tensor) -> Any:
        storage = real(self, handle, cdata, tensor)
        storage.device = "cpu:0"
        return storage

    values.Values._adopt = adopt  # type: ignore[method-assign]
    try:
        yield
    finally:
        values.Values._adopt = real  # type: ignore[method-assign]


class Compared(device_statistics.DeviceMeasurer):
    """Measures all that it is given on the host too, from copies, and compares at a flush."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._host: list[tuple[Any, Any]] = []
        self._rows: list[tuple[str, SynapticRow, SynapticRow | None]] = []
        self.compared = 0
        self.wrong: list[str] = []

    def measure(self, value: Any, tensor: torch.Tensor) -> None:
        """Measure a value on both."""
        self._host.append((value, on_host(tensor)))
        super().measure(value, tensor)

    def synapses(self, op: Any, ins: list[Any], others: list[Any]) -> Any:
        """Measure a call on both."""
        row = super().synapses(op, ins, others)
        host = Session("full")
        copies = []
        for value, tensor, _ in ins:
            if value is None:
                copies.append(ABSENT)
                continue
            copy = tensor.detach().to("cpu", copy=True)
            known = host.value_of(copy)
            known.storage.device = known.device = "cpu"
            host.measure(known, copy)
            copies.append((known, copy, host.values.layout))
        expected = host.synapses._measure(op, copies, others)
        self._rows.append((op.name, row, expected))
        host.values.close()
        return row

    def collect(self) -> None:
        """Compare what was measured since the last time."""
        super().collect()
        self.exact = not any(isinstance(counts, Reductions) for counts in self.counts.values())
        for value, expected in self._host:
            found = [getattr(value, name) for name in FACTS]
            if value.measured == 2 and value.layout.dtype_name == "uint64" and not self.exact:
                continue  # past 2^63: PyTorch's reductions leave it unknown
            if found != expected:
                self.wrong.append(f"{value.layout.dtype_name}: {found}, the CPU says {expected}")
        for name, row, other in self._rows:
            told, expected = _row(row), _row(other)
            if told != expected:
                self.wrong.append(f"{name}: {told}, the CPU says {expected}")
        self.compared += len(self._host) + len(self._rows)
        self._host.clear()
        self._rows.clear()


def on_host(tensor: torch.Tensor) -> list[Any]:
    """Return the facts about a copy on the host."""
    host = Session("full")
    copy = tensor.detach().to("cpu", copy=True)
    known = host.value_of(copy)
    known.storage.device = known.device = "cpu"
    host.measure(known, copy)
    host.values.close()
    return [getattr(known, name) for name in FACTS]


def _row(row: SynapticRow | None) -> dict[str, Any]:
    if row is None:
        return {}
    told = {name: getattr(row, name) for name in SynapticRow.__slots__}
    return {name: value for name, value in told.items() if value is not None}


@contextmanager
def recording(**options: Any) -> Iterator[Recorder]:
    """Record into a directory that is removed again."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Recorder(Path(folder) / "trace", **options) as recorder:
            yield recorder


@contextmanager
def comparing(**options: Any) -> Iterator[Compared]:
    """Record, and have everything measured twice."""
    with recording(statistics="full", **options) as recorder:
        measurer = recorder._session.device_measurer = Compared(recorder._session)
        yield measurer
    if recorder._session.device_failed is not None:
        measurer.wrong.append(str(recorder._session.device_failed))


def check_types(device: str) -> tuple[list[str], int]:
    """Compare tensors of every dtype and of several layouts."""
    names = [name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)]
    dtypes = {getattr(torch, name) for name in names}
    inner = Session("full")
    inner.device_measurer = Compared(inner)
    kept = []
    for dtype in sorted(dtypes, key=str):
        for numbers in ([0, 1, 1], [2, 0, 2], [3, 4, 0], [1, 1], [0.5, 0], [-1, 1, 0], range(3000)):
            try:
                if dtype is torch.complex32:  # PyTorch warns of it, and nothing reads it
                    continue
                made = torch.tensor(list(numbers), dtype=torch.float64).to(dtype)
                found = made.to(device).reshape(1, -1).expand(3, -1)
                kept += [found[0], found, found[0, ::2]]
            except (RuntimeError, TypeError):  # no numbers, or none on this device
                continue
    for tensor in kept:
        value = inner.value_of(tensor)
        if not value.measured:
            inner.measure(value, tensor)
    inner.device_measurer.collect()
    inner.values.close()
    return inner.device_measurer.wrong, inner.device_measurer.compared


def check_models(chosen: argparse.Namespace) -> tuple[list[str], int, int]:
    """Compare everything in the reference models; return what is wrong, runs and comparisons."""
    spec = importlib.util.spec_from_file_location("cases", CASES)
    assert spec is not None and spec.loader is not None
    cases = sys.modules["cases"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    names = ("train_spiking_convs",) if chosen.quick else tuple(cases.CASES)
    wrong, runs, compared = [], 0, 0
    for name in names:
        for dtype in DTYPES[:1] if chosen.quick else DTYPES:
            case = cases.build(name)
            model = case.model.to(chosen.device, dtype)
            given = [x.to(chosen.device, dtype) for x in case.inputs]
            try:
                with comparing(model=model) as measurer:
                    run_case(case, model, given)
            except (RuntimeError, NotImplementedError) as error:  # no kernel for the dtype
                print(f"{name}, {dtype}: left out ({str(error)[:80]})", file=sys.stderr)
                continue
            wrong += [f"{name}, {line}" for line in measurer.wrong]
            runs, compared = runs + 1, compared + measurer.compared
    return wrong, runs, compared


def run_case(case: Any, model: Any, given: list[torch.Tensor]) -> None:
    """Run a reference model as it is meant to be."""
    if not case.train:
        with torch.no_grad():
            model(*given)
        return
    out = model(*given)
    case.loss_fn(out, case.target.to(out)).backward()
    case.optimizer.step()


def steps(chosen: argparse.Namespace) -> list[Workload]:
    """Return a dense training step and a spiking one that is bound by launches."""
    trained = [work for work in workloads(chosen.device) if work.what == "training step"]
    if chosen.quick:
        return [work for work in trained if "MLP" in work.name]
    torch.manual_seed(0)
    images = torch.rand(64, 3, 224, 224, device=chosen.device)
    dense = resnet18(spiking=False, classes=1000)
    return [
        workload("ResNet-18, 64x3x224x224", "training step", dense, images, 1000, over_time=False),
        *(work for work in trained if "SEW" in work.name),
    ]


def check_waiting(chosen: argparse.Namespace) -> list[str]:
    """Record steps in which whatever waits for the GPU raises; return what did."""
    if chosen.device != "cuda":
        return []
    waits = []
    for work in steps(chosen):
        work.run()
        work.reset()
        for level in LEVELS:
            try:
                with recording(model=work.model, statistics=level, **work.options):
                    torch.cuda.set_sync_debug_mode("error")
                    try:
                        work.run()
                    finally:
                        torch.cuda.set_sync_debug_mode("default")
            except RuntimeError as error:
                waits.append(f"{work.name}, {level}: {str(error).partition(chr(10))[0]}")
            work.reset()
    return waits


def measure_launches(work: Workload) -> dict[str, Any]:
    """Return by level the launches that a recorded call adds, beside the model's own."""
    told: dict[str, Any] = {"name": work.name}
    work.run()
    work.reset()
    plain = _launches(work)
    for level in LEVELS:
        with recording(model=work.model, statistics=level, **work.options) as recorder:
            launched = _launches(work)
            calls = max(recorder._session.seq, 1)
        work.reset()
        told[level] = (launched - plain) / calls if plain else float("nan")
    told["calls"] = calls
    return told


def _launches(work: Workload) -> int:
    """Return how many kernels a run launches."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        work.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return sum(str(event.device_type).endswith("CUDA") for event in profile.events())


def measure_ratios(work: Workload, rounds: int) -> dict[str, Any]:
    """Return the time of the work inside a recording over that of the plain run, by level."""
    times: dict[str, list[float]] = {peer: [] for peer in (PLAIN, *LEVELS.values())}
    for turn in range(rounds + 1):
        for peer in times:
            assert peer in CONTEXTS
            taken = overhead.once(work, peer)[1].wall
            if turn:
                times[peer].append(taken)
    base = statistics.median(times[PLAIN])
    ratios = {level: statistics.median(times[peer]) / base for level, peer in LEVELS.items()}
    return {"name": work.name, "plain": base, **ratios}


def report(
    chosen: argparse.Namespace, compared: int, models: Any, waits: list[str], launches: Any,
    ratios: Any,
) -> list[str]:  # fmt: skip
    """Return the lines for docs/benchmarks.md."""
    cuda = chosen.device == "cuda"
    where = torch.cuda.get_device_name() if cuda else "CPU tensors that pass for a GPU's"
    waited = "not checked" if not cuda else f"{len(waits)} of them waited"
    return [
        f"{where}, PyTorch {torch.__version__}, medians of {chosen.rounds} interleaved runs"
        + (", QUICK: no figures to quote" if chosen.quick else ""),
        f"Compared with the CPU: {compared} tensors of all dtypes; {models[2]} values and calls in "
        f"{models[1]} runs of reference models. Recorded steps: {waited}.",
        "",
        "| training step | plain | none | synaptic | full |",
        "| :-- | --: | --: | --: | --: |",
        *(
            f"| {row['name']} | {row['plain'] * 1e3:.3g} ms | "
            + " | ".join(f"{row[level]:.2f}" for level in LEVELS)
            + " |"
            for row in ratios
        ),
        "",
        "| launches added by a call | calls | none | synaptic | full |",
        "| :-- | --: | --: | --: | --: |",
        *(
            f"| {row['name']} | {row['calls']} | "
            + " | ".join(f"{row[level]:.2f}" for level in LEVELS)
            + " |"
            for row in launches
        ),
    ]


if __name__ == "__main__":
    main()
