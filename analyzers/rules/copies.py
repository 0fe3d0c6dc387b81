"""Copies, indexing, factories, random numbers: bytes and no arithmetic."""

from __future__ import annotations

from .rule import OpRule

RULES: tuple[OpRule, ...] = ()
