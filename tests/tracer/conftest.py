"""Recordings of small things, read back with pyarrow alone: the tracer's tests see no analyzer."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from opjoule.schemas import STATIC_TABLES  # noqa: E402
from opjoule.schemas.arrow import SCHEMAS  # noqa: E402
from opjoule.tracer import (  # noqa: E402
    Recorder,
    RecordingWarning,
    device_statistics,
    values,
)
from opjoule.tracer.device_reductions import Reductions  # noqa: E402

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def _load_cases():
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE / "cases.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _import_neurons():
    """Import SpikingJelly's neurons while its own warnings are let pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spikingjelly.activation_based.functional
        import spikingjelly.activation_based.layer
        import spikingjelly.activation_based.neuron  # noqa: F401


@pytest.fixture(scope="session")
def cases():
    """Return the module of the reference cases."""
    pytest.importorskip("spikingjelly")
    _import_neurons()
    return _load_cases()


@pytest.fixture(scope="session")
def jelly():
    """Return SpikingJelly's activation_based package."""
    pytest.importorskip("spikingjelly")
    _import_neurons()
    import spikingjelly.activation_based as package

    return package


@pytest.fixture(scope="session")
def kernels():
    """Return Triton's kernels, interpreted on the CPU, in small blocks: there are several."""
    pytest.importorskip("triton", reason="Triton is not installed: its kernels are not tested")
    from opjoule.tracer.device_kernels import Kernels

    found = Kernels(interpreted=True)
    found.block, found.positions, found.rows = 128, 32, 16
    with pytest.MonkeyPatch.context() as patch:
        _interpret_from_now_on(patch)
        yield found


def _interpret_from_now_on(patch):
    """Let Triton's interpreter replace what kernels call once a module, not at each call of one.

    It looks through all of `triton.language` each time, which takes longer than the kernels do.
    """
    from triton.runtime import interpreter

    replace, done = interpreter._patch_lang, {}

    def replace_once(function):
        if id(function.__globals__) not in done:
            done[id(function.__globals__)] = replace(function)
        return SimpleNamespace(restore=lambda: None)

    patch.setattr(interpreter, "_patch_lang", replace_once)


@pytest.fixture
def apart(monkeypatch):
    """Have every storage pass for one of a device where PyTorch's reductions count."""

    def adopt(self, handle, cdata, tensor, original=values.Values._adopt):
        storage = original(self, handle, cdata, tensor)
        storage.device = "cpu:0"
        return storage

    monkeypatch.setattr(values.Values, "_adopt", adopt)
    monkeypatch.setattr(device_statistics, "_counts", lambda device: Reductions())


class Tables:
    """The tables of a trace as lists of dicts; calls carry their signature's columns."""

    def __init__(self, path):
        self.path = Path(path)
        self.manifest = json.loads((self.path / "trace.json").read_text())
        self._rows = {}

    def rows(self, name):
        """Return the rows of a table in the order of its parts."""
        if name not in self._rows:
            if name in STATIC_TABLES:
                files = [self.path / f"{name}.parquet"]
            else:
                files = sorted(self.path.glob(f"{name}-[0-9]*.parquet"))
            parts = [pq.read_table(file) for file in files]
            whole = pa.concat_tables(parts) if parts else SCHEMAS[name].empty_table()
            self._rows[name] = whole.to_pylist()
        return self._rows[name]

    @property
    def signatures(self):
        return self.rows("signatures")

    @property
    def modules(self):
        return self.rows("modules")

    @property
    def module_calls(self):
        return self.rows("module_calls")

    @property
    def optimizer_steps(self):
        return self.rows("optimizer_steps")

    @property
    def calls(self):
        if "joined" not in self._rows:
            joined = []
            for row in self.rows("calls"):
                signature = self.signatures[row["signature_id"]]
                joined.append({**row, **signature, "arguments": json.loads(signature["arguments"])})
            self._rows["joined"] = joined
        return self._rows["joined"]

    @property
    def values(self):
        return {row["value_id"]: row for row in self.rows("values")}

    @property
    def ops(self):
        """The names of the ops in the order of the calls."""
        return [call["op"] for call in self.calls]

    def named(self, word, **wanted):
        """Return the calls whose op holds `word` and whose columns equal `wanted`."""
        return [
            call for call in self.calls
            if word in call["op"] and all(call[name] == value for name, value in wanted.items())
        ]  # fmt: skip

    def path_of(self, call):
        """Return the path of a call's module, None outside."""
        number = call["module_id"]
        return None if number is None else self.modules[number]["path"]

    def calls_of(self, path):
        """Return the module calls of the module at `path`."""
        numbers = {row["module_id"] for row in self.modules if row["path"] == path}
        return [row for row in self.module_calls if row["module_id"] in numbers]


@pytest.fixture(scope="session")
def read():
    """Return the reader of a trace."""
    return Tables


_numbers = itertools.count()


@pytest.fixture
def new(tmp_path):
    """Return a maker of recorders on paths of their own."""

    def make(**options):
        return Recorder(tmp_path / f"trace{next(_numbers)}", **options)

    return make


@pytest.fixture
def trace_of(new):
    """Record `run(recorder)` or `run()` and return its tables; warnings of the recorder pass."""

    def trace(run, *, takes_recorder=False, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            with new(**options) as recorder:
                run(recorder) if takes_recorder else run()
        return Tables(recorder.path)

    return trace


class Oracle(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts what every call really reads and writes; entered before the recorder, it is below."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.real = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        arguments = func._schema.arguments
        slots = []
        for index, argument in enumerate(arguments):
            if "Tensor" in str(argument.type):
                given = args[index] if index < len(args) else kwargs.get(argument.name)
                slots.extend(given if isinstance(given, list | tuple) else [given])
        before = [self.nonzero(slot) for slot in slots]
        result = func(*args, **kwargs)
        outs = result if isinstance(result, list | tuple) else [result]
        after = [self.nonzero(out) for out in outs]
        self.seen.append((str(func), before, after))
        return result

    @staticmethod
    def nonzero(tensor):
        if not isinstance(tensor, torch.Tensor):
            return None
        return int((tensor != 0).sum())

    def watch(self, seq, module, func, args, kwargs, result):
        """Keep what was seen of a recorded call; the recorder's own calls are passed over."""
        self.real[seq] = self.seen[-1]

    def check(self, trace):
        """Compare every statistic of a trace with what was seen; return how many there were."""
        checked = 0
        for call in trace.calls:
            op, before, after = self.real[call["seq"]]
            assert op == call["op"]
            known = [("in", slot, call[f"in{slot}_nonzero"]) for slot in range(3)]
            known.append(("out", 0, call["out0_nonzero"]))
            known += [
                (row["role"], row["slot"], row["nonzero"])
                for row in trace.rows("call_operands")
                if row["seq"] == call["seq"]
            ]
            for role, slot, nonzero in known:
                if nonzero is not None and not (role == "out" and "empty" in op):
                    real = (before if role == "in" else after)[slot]
                    assert nonzero == real, (call["seq"], op, role, slot)
                    checked += 1
        return checked


@pytest.fixture
def checked_trace(trace_of):
    """Record `run()`, compare each statistic with the oracle's, and return the tables."""

    def trace(run, *, at_least=1, **options):
        oracle = Oracle()

        def watched(recorder):
            recorder.watch(oracle.watch)
            run()

        with oracle:
            tables = trace_of(watched, takes_recorder=True, **options)
        assert oracle.check(tables) >= at_least
        return tables

    return trace
