"""Lets `python -m opjoule.cli` stand for `opjoule`."""

from __future__ import annotations

from .main import main

if __name__ == "__main__":
    main()
