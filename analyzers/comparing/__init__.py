"""Compares two traces: what changed, by how much, and why."""
