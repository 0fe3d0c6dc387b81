"""Budgets in tests: a pytest plugin, see `plugin`."""
