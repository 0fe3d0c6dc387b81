"""What each op costs: one row an op family, all five counters in it."""

from .amount import Amount
from .call import Call, Operand
from .rule import Figures, OpRule
from .sets import RULE_SETS, RuleSet, rule_set

__all__ = ["RULE_SETS", "Amount", "Call", "Figures", "OpRule", "Operand", "RuleSet", "rule_set"]
