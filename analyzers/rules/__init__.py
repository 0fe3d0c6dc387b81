"""What each op costs: one row an op family, all five counters in it."""

from .amount import Amount
from .call import Call, Operand
from .elements import cut_of, elements_of, views_all
from .flop_counter import has_formula
from .rule import PRODUCTS, WITHOUT_MACS, Figures, OpRule
from .sets import RULE_SETS, RuleSet, carries_spikes, factors_of, family_of, rule_set, rule_sets

__all__ = [
    "PRODUCTS",
    "RULE_SETS",
    "WITHOUT_MACS",
    "Amount",
    "Call",
    "Figures",
    "OpRule",
    "Operand",
    "RuleSet",
    "carries_spikes",
    "cut_of",
    "elements_of",
    "factors_of",
    "family_of",
    "has_formula",
    "rule_set",
    "rule_sets",
    "views_all",
]
