"""Energy per action of Lemaire's model, under the names that `estimators` looks for."""

from .prices import prices_of
from .report import STRUCTURAL

__all__ = ["STRUCTURAL", "prices_of"]
