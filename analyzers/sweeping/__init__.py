"""Estimates many configurations from one reading of a trace."""
