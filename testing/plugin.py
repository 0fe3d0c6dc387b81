"""The pytest plugin: the fixture `record`, and the mark `opjoule` with limits on what it records.

pytest loads it where opjoule is installed; nothing of opjoule imports it. It loads neither PyTorch
nor Polars before a test records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..analyzers import Trace

MARK = "opjoule"
LIMIT = "max_"
"""Before the name of a figure, in the mark."""

OPTIONS = (
    "where", "rules", "spikes", "energies", "revision", "strict", "samples", "batch", "time_steps",
    "allow_unknown",
)  # fmt: skip
"""Keywords of the mark that `opjoule.check` is called with."""

_ABOUT = (
    f"{MARK}(max_flops=..., max_energy={{...}}, ...): what the fixture `record` records stays "
    "within these limits, see the documentation of opjoule, Budgets"
)


@dataclass
class _Budget:
    """The limits of a test, and how many traces were checked against them."""

    limits: list[str]
    options: dict[str, Any]
    checked: int = field(default=0)


_BUDGETS = pytest.StashKey[list[_Budget]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _ABOUT)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Read the limits of a test; a mark that means nothing fails it before it runs."""
    from ..schemas.errors import OpjouleError

    budgets = []
    for mark in item.iter_markers(MARK):
        try:
            budgets.append(_budget(mark))
        except OpjouleError as error:
            pytest.fail(f"mark {MARK}: {error}", pytrace=False)
    item.stash[_BUDGETS] = budgets


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that has limits and recorded nothing: it would pass in silence."""
    yield
    if any(not budget.checked for budget in item.stash.get(_BUDGETS, [])):
        pytest.fail(
            f"the test is marked {MARK} and recorded nothing: call the fixture `record`",
            pytrace=False,
        )


@pytest.fixture
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Trace]:
    """Return a function that records a model and checks the limits of the test.

    `record(model, *inputs, **options)` runs the model once on its inputs and returns the trace.
    Options are those of `opjoule.record`; a single dict of inputs gives keyword arguments.
    """
    budgets = request.node.stash.get(_BUDGETS, [])
    made: list[Path] = []

    def write(model: Any, *inputs: Any, **options: Any) -> Trace:
        __tracebackhide__ = True
        from .. import OpjouleError, open_trace
        from .. import record as recorded

        path = tmp_path / "opjoule" / str(len(made))
        made.append(path)
        given = inputs[0] if len(inputs) == 1 else tuple(inputs)
        trace = open_trace(recorded(model, given, path, **options))
        try:
            broken = [line for budget in budgets for line in _broken(trace, budget)]
        except OpjouleError as error:  # what only the trace tells: a glob that no module fits
            refused = str(error)
        else:
            refused = ""
        if refused:
            pytest.fail(f"mark {MARK}: {refused}", pytrace=False)
        if broken:
            pytest.fail("\n".join([*broken, f"the trace: {path}"]))
        return trace

    return write


def _broken(trace: Trace, budget: _Budget) -> Iterator[str]:
    """Check a trace; yield a line for each limit that does not hold, and what to know of it."""
    from ..analyzers import check

    budget.checked += 1
    found = check(trace, budget.limits, **budget.options)
    if not found:
        yield from (f"over budget: {each.line()}" for each in found.failures)
        yield from (*found.charged, *found.warnings)


def _budget(mark: pytest.Mark) -> _Budget:
    """Return the limits and options of a mark.

    Raises:
        ConfigError: it names none, or something that there is not.
    """
    from ..analyzers.checking.figures import COUNTED, ENERGY, TWIN_RATIO
    from ..analyzers.checking.limits import limits_of
    from ..schemas import ConfigError
    from ..schemas.spelling import meant

    known = (*(LIMIT + name for name in (*COUNTED, "energy", TWIN_RATIO)), *OPTIONS)
    limits: list[str] = []
    options: dict[str, Any] = {}
    if mark.args:
        raise ConfigError(f"takes keywords only, as {LIMIT}flops='1G', not {mark.args[0]!r}")
    for name, value in mark.kwargs.items():
        if name not in known:
            hint = f"{meant(name, known)}there are {', '.join(known)}"
            raise ConfigError(f"unknown keyword {name!r}: {hint}")
        if name in OPTIONS:
            options[name] = value
        elif name == f"{LIMIT}energy":
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name}={value!r}: write {{'compute': '1 uJ'}}, by estimator")
            limits += _by_name(ENERGY, value)
        elif isinstance(value, Mapping) and name == LIMIT + TWIN_RATIO:
            limits += _by_name(f"{TWIN_RATIO}.", value)
        else:
            limits += [f"{name.removeprefix(LIMIT)}={each}" for each in _several(value)]
    limits_of(limits)
    return _Budget(limits, options)


def _by_name(prefix: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the limits of a figure by estimator or machine."""
    for name, limit in value.items():
        yield from (f"{prefix}{name}={each}" for each in _several(limit))


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
