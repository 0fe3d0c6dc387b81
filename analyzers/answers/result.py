"""What every result can do: show itself, and write itself in each format.

Writers are loaded where one is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...schemas import OpjouleError
from .page import Page

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


class Result(ABC):
    """A result: it has a `frame`, a `total` and a page, from which every format is written."""

    @abstractmethod
    def page(self, *args: Any, **options: Any) -> Page:
        """Return what is shown: tables, coverage, warnings. Options are those of each result."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON, with coverage and warnings."""

    def to_markdown(self, *args: Any, **options: Any) -> str:
        """Return it as Markdown, with its coverage and warnings; options as of `page`."""
        from . import markdown

        return markdown.written(self.page(*args, **options))

    def to_latex(self, *args: Any, **options: Any) -> str:
        """Return it as LaTeX (booktabs), with its coverage and warnings; options as of `page`."""
        from . import latex

        return latex.written(self.page(*args, **options))

    def to_pandas(self) -> Any:
        """Return `frame` as a pandas frame.

        Raises:
            OpjouleError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise OpjouleError("to_pandas needs pandas, which is not installed: pip install pandas")
        frame: pl.DataFrame = self.frame  # type: ignore[attr-defined]
        return frame.to_pandas()

    def plot(self, *args: Any, **options: Any) -> Figure:
        """Return it as a picture: a figure of matplotlib, which a notebook shows.

        Raises:
            OpjouleError: matplotlib is not installed; or there is no picture of such a result.
        """
        raise OpjouleError(
            f"there is no picture of {type(self).__name__}: use to_pandas() or frame"
        )

    def __repr__(self) -> str:
        from . import table

        return table.brief(self.page())

    def _repr_html_(self) -> str:
        from . import html

        return html.written(self.page())
