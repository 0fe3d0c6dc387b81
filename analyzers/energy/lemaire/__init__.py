"""Lemaire et al. 2022: operations, addressing and memory of inference."""
