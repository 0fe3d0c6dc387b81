"""Energy per action of NeuroMC, under the names that `estimators` looks for."""

from .prices import STRUCTURAL, prices_of

__all__ = ["STRUCTURAL", "prices_of"]
