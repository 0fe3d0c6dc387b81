"""The commands: they check, ask and print, and know no formula."""

from .main import main

__all__ = ["main"]
