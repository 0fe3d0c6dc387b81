"""What each op costs, one row an op family: see `rule` for what a row is made of."""

from .rule import Call, Operand, OpRule

__all__ = ["Call", "OpRule", "Operand"]
