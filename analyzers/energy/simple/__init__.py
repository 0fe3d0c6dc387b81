"""Arithmetic, and memory at a flat energy per byte."""
