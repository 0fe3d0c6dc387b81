"""opjoule: record a PyTorch model's aten calls once; count and cost them offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .analyzers.comparing.compare import compare
    from .analyzers.counting.count import count
    from .analyzers.counting.coverage import coverage
    from .analyzers.trace.trace import open_trace
    from .tracer.record import record
    from .tracer.recorder import Recorder

__all__ = ["Recorder", "__version__", "compare", "count", "coverage", "open_trace", "record"]


def __getattr__(name: str) -> Any:
    # Lazy, so that analyzing never loads PyTorch and recording never loads Polars.
    if name == "Recorder":
        from .tracer import Recorder

        return Recorder
    if name == "record":
        from .tracer import record

        return record
    if name == "open_trace":
        from .analyzers import open_trace

        return open_trace
    if name == "count":
        from .analyzers import count

        return count
    if name == "compare":
        from .analyzers import compare

        return compare
    if name == "coverage":
        from .analyzers import coverage

        return coverage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
