"""Calls built by hand, and what a rule set counts of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opjoule.analyzers.rules import Call, rule_set
from opjoule.analyzers.rules.amount import CALLS, amount
from opjoule.analyzers.rules.call import FLAGGED, call_of

REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "cases.py"


def _reference() -> ModuleType:
    name = "opjoule_reference_cases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REFERENCE)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes `case_name` each reference case."""
    if "case_name" in metafunc.fixturenames:
        pytest.importorskip("torch")
        metafunc.parametrize("case_name", list(_reference().CASES))


@pytest.fixture
def build_case(case_name: str) -> Callable[[], Any]:
    """Return a function that builds the reference case anew."""
    pytest.importorskip("spikingjelly")
    return lambda: _reference().build(case_name)


def run(case: Any) -> None:
    """Run a case: forward, and where it trains a whole step."""
    output = case.model(*case.inputs)
    if case.train:
        case.loss_fn(output, case.target).backward()
        case.optimizer.step()


@pytest.fixture(scope="session")
def run_case() -> Callable[[Any], None]:
    """Return the function that runs a case."""
    return run


SIZES = {"float32": 4, "float64": 8, "float16": 2, "int64": 8, "int32": 4, "int8": 1, "bool": 1}


def _operand(role: str, slot: int, what: Any) -> dict[str, Any]:
    """Return an operand of (name, shape, dtype, list index); all but the first two may be left."""
    name, shape, *more = what
    dtype = more[0] if more else "float32"
    numel = prod(shape)
    return {
        "role": role, "slot": slot, "name": name, "list_index": more[1] if len(more) > 1 else None,
        "shape": list(shape), "stride": None, "dtype": dtype, "layout": "strided", "device": "cpu",
        "numel": numel, "bytes": numel * SIZES[dtype], "requires_grad": False,
    }  # fmt: skip


@pytest.fixture(scope="session")
def build() -> Callable[..., Call]:
    """Return a function that builds a call.

    `build("mm", [("self", (2, 3)), ("mat2", (3, 4))], [(2, 4)], alpha=2)`: None among the operands
    keeps a slot empty; results are shapes, or (name, shape, dtype). `spikes` names operands that
    are spike tensors; all other flagged ones are not.
    """

    def make(
        op: str,
        ins: list[Any],
        outs: list[Any],
        *,
        spikes: tuple[str, ...] = (),
        unmeasured: bool = False,
        mutates: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        is_view: bool = False,
        **arguments: Any,
    ) -> Call:
        packet, _, overload = op.partition(".")
        results = [o if o and isinstance(o[0], str) else ("", o) for o in outs]
        operands = [_operand("in", slot, what) for slot, what in enumerate(ins) if what]
        operands += [_operand("out", slot, what) for slot, what in enumerate(results)]
        signature = {
            "op": f"aten.{packet}.{overload or 'default'}", "packet": f"aten.{packet}",
            "operands": operands, "arguments": json.dumps(arguments), "tags": list(tags),
            "is_view": is_view, "mutates": list(mutates),
        }  # fmt: skip
        flags = {slot: None if unmeasured else slot in spikes for slot in FLAGGED}
        return call_of(signature, flags)

    return make


@pytest.fixture(scope="session")
def figures(build: Callable[..., Call]) -> Callable[..., dict[str, Any]]:
    """Return a function that counts one such call; `facts` are its statistics."""

    def counted(
        *args: Any, rules: str = "full", facts: dict[str, int] | None = None, **options: Any
    ) -> dict[str, Any]:
        how, family, found = rule_set(rules).figures(build(*args, **options))
        known = {CALLS: 1, **(facts or {})}
        answer: dict[str, Any] = {"how": how, "family": family, "dense_macs": found.dense_macs}
        for name in ("flops", "bytes", "synops", "macs", "acs"):
            figure = getattr(found, name)
            answer[name] = (
                None
                if figure is None
                else sum(known[part] * times for part, times in amount(figure).parts.items())
            )
        return answer

    return counted


@pytest.fixture(scope="session")
def of_five(figures: Callable[..., dict[str, Any]]) -> Callable[..., tuple[Any, ...]]:
    """Return a function that returns (FLOPs, bytes, SynOps, MACs, ACs) alone."""

    def counted(*args: Any, **options: Any) -> tuple[Any, ...]:
        found = figures(*args, **options)
        return tuple(found[name] for name in ("flops", "bytes", "synops", "macs", "acs"))

    return counted
