"""Multiply-accumulates and accumulations at an energy each, and nothing else."""
