"""Recurrent kernels."""

from __future__ import annotations

from .rule import OpRule

RULES: tuple[OpRule, ...] = ()
