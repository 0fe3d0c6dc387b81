"""Checks one trace against limits: `flops=1G`, `energy.lemaire=5 uJ/sample`."""
