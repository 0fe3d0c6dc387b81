"""Counts the calls of a trace: aggregation, the five counters, coverage."""
