"""Reads traces: finding, checking, opening and filtering what was recorded."""
