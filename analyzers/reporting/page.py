"""The page as HTML: the sections in the template, all in one file that asks for nothing else."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.bccache import Bucket, FileSystemBytecodeCache

from ..text import plain
from ..units import bytes_text, count_text, ratio_text, share_text, time_text
from . import sections
from .cells import figure
from .tree import tree_of

if TYPE_CHECKING:
    from .report import Report


def page(report: Report) -> str:
    """Return the page of a report.

    Every text of the trace is escaped, and the page's own policy forbids it to load anything and to
    run any script but its own.
    """
    from ... import __version__

    script = "\n".join(filter(None, _file("page.js").splitlines()))  # as it leaves below
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    tree = tree_of(report)
    found = _template().render(
        version=__version__,
        style=_file("page.css"),
        script=script,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        title=_title(report),
        unit=plain(sections.unit(report)),
        filters=[plain(text) for text in report.trace.filters],
        cards=list(sections.cards(report)),
        warnings=sections.warnings(report),
        line=plain(report.counts.coverage.line()),
        tree=tree,
        stages=sections.stages(report),
        estimates=list(sections.estimates(report)),
        refused={name: plain(why) for name, why in report.energies.refused.items()},
        coverage=sections.coverage(report),
        environment=sections.environment(report),
        **_rates(report),
        **_roofline(report),
        **_compared(report),
    )
    return "\n".join(line for line in found.splitlines() if line) + "\n"


def _title(report: Report) -> str:
    roots = [each.rpartition(".")[2] for each in
             report.modules.filter(report.modules["parent"].is_null())["class"]]  # fmt: skip
    name = report.trace.path.name
    models = list(dict.fromkeys(roots))
    shown = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if models[3:] else "")
    return plain(f"{shown} ({name})" if shown else name)


def _rates(report: Report) -> Mapping[str, Any]:
    rates = report.rates
    return {
        "layers": sections.layers(report),
        "lines": sections.lines_over_time(report),
        "over_time": sections.over_time(report),
        "products": sections.products(report),
        "rates_line": "" if rates is None else plain(rates.line()),
        "no_rates": plain(report.without.get("rates", "")),
    }


def _roofline(report: Report) -> Mapping[str, Any]:
    found = report.roofline
    if found is None:
        return {"roofline": None}
    from ..timing.points import roofs_of  # loaded where there is a roofline
    from .drawings import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, roofline_chart

    return {
        "roofline": sections.grid(
            "roofline", found.frame,
            [("module", "module", None), ("flops", "FLOP", count_text),
             ("bytes", "bytes", bytes_text), ("intensity", "FLOP/B", ratio_text),
             ("bound", "bound by", None), ("bound_share", "in", share_text),
             ("time_s", "time at the roof", time_text), ("share", "share", share_text)],
        ),
        "roofline_total": figure(found.total["time_s"], time_text),
        "span": plain(found.span()),
        "device": plain(found.device),
        "roofline_notes": [plain(note) for note in found.notes],
        "chart": roofline_chart(roofs_of(found)),
        "box": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
                "top": TOP, "bottom": HEIGHT - BOTTOM},
    }  # fmt: skip


def _compared(report: Report) -> Mapping[str, Any]:
    found = report.compared
    if found is None:
        return {"compared": None}
    return {
        "compared": sections.totals(found),
        "base_name": plain(found.base.trace.path.name),
        "base_unit": plain(found.unit_line()),
        "base_warnings": [plain(text) for text in found.warnings],
        "changes": list(sections.changes(found)),
    }


class _Compiled(FileSystemBytecodeCache):
    """The compiled template, kept where Python keeps compiled modules: to parse it takes longer.

    Where nothing can be written or what was written cannot be read, it is compiled anew.
    """

    def load_bytecode(self, bucket: Bucket) -> None:
        try:
            super().load_bytecode(bucket)
        except Exception:  # whatever unpickling a damaged file comes to
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)


@cache
def _template() -> jinja2.Template:
    from ... import __version__

    module = Path(cache_from_source(__file__))
    by = f"{module.stem}-{__version__}.jinja2-{jinja2.__version__}"
    kept = _Compiled(str(module.parent), f"{by}.%s.cache")
    made = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_file), bytecode_cache=kept,
    )  # fmt: skip
    return made.get_template("page.html.jinja")


@cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
