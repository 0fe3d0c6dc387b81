"""The rule sets: which rules count, and what becomes of an op that none of them names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ...schemas import ConfigError, RuleError
from . import (
    attention,
    communication,
    convolutions,
    copies,
    elementwise,
    fused_layers,
    interpolations,
    layer_norms,
    losses,
    normalisation,
    optimizers,
    pooling,
    products,
    recurrent,
    reductions,
    small_products,
    spikingjelly,
    torch_flops,
    transforms,
    views,
)
from .call import Call
from .classes import class_of
from .rule import Figures, OpRule

FULL = (
    *products.RULES,
    *small_products.RULES,
    *convolutions.RULES,
    *attention.RULES,
    *fused_layers.RULES,
    *recurrent.RULES,
    *normalisation.RULES,
    *layer_norms.RULES,
    *pooling.RULES,
    *interpolations.RULES,
    *transforms.RULES,
    *reductions.RULES,
    *elementwise.RULES,
    *losses.RULES,
    *optimizers.RULES,
    *copies.RULES,
    *communication.RULES,
    *views.RULES,
)
"""Every rule that opjoule has."""


def by_op(rules: Iterable[OpRule]) -> Mapping[str, OpRule]:
    """Return rules by the names of their ops.

    Raises:
        RuleError: two rules claim an op.
    """
    found: dict[str, OpRule] = {}
    for rule in rules:
        for op in rule.ops:
            if op in found:
                raise RuleError(
                    f"two rules claim {op}: families {found[op].family} and {rule.family}. "
                    "Take it out of one of them."
                )
            found[op] = rule
    for op in found:
        packet = op.rpartition(".")[0]
        if op.count(".") == 2 and packet in found:
            raise RuleError(
                f"two rules claim {op}: by its name, family {found[op].family}, and as an "
                f"overload of {packet}, family {found[packet].family}. Take one of them out."
            )
    return MappingProxyType(found)


@dataclass(frozen=True)
class RuleSet:
    """Rules that count together.

    Attributes:
        name: as the user chooses it.
        rules: by op, with or without overload.
        extra: the user's own, asked first.
        with_classes: whether ops without a rule are counted by what PyTorch says of them.
        by_values_only: whether constants are spikes if their values are.
        flops: FLOPs in place of the rules' own, or None.
    """

    name: str
    rules: Mapping[str, OpRule]
    extra: Mapping[str, OpRule] = field(default_factory=lambda: MappingProxyType({}))
    with_classes: bool = True
    by_values_only: bool = False
    flops: Callable[[Call], int | None] | None = None

    def figures(self, call: Call) -> tuple[str, str, Figures | None]:
        """Count a call.

        Returns:
            How it is counted (`rule`, `class`, `free` or `uncovered`), the family or class, and
            the counters; None if nothing covers it.
        """
        rule = self.rule_of(call)
        if rule is not None and call.opaque and not rule.free:
            return "rule", rule.family, Figures(None, None, None, None, None)
        if rule is not None:
            how, family, found = "free" if rule.free else "rule", rule.family, rule.figures(call)
        else:
            known = class_of(call) if self.with_classes else None
            if known is None:
                return "uncovered", "", None
            how, family, found = known
            if call.opaque and how != "free":
                return how, family, Figures(None, None, None, None, None)
        return how, family, found if self.flops is None else replace(found, flops=self.flops(call))

    def rule_of(self, call: Call) -> OpRule | None:
        """Return the rule that names the op of a call, or None."""
        for rules in (self.extra, self.rules):
            rule = rules.get(call.op) or rules.get(call.packet)
            if rule is not None:
                return rule
        return None


RULE_SETS: Mapping[str, RuleSet] = MappingProxyType(
    {
        "full": RuleSet("full", by_op(FULL)),
        "torch": RuleSet("torch", by_op(FULL), flops=torch_flops.flops),
        "spikingjelly-2.0": RuleSet(
            "spikingjelly-2.0",
            by_op(spikingjelly.RELEASE),
            with_classes=False,
            by_values_only=True,
        ),
        "spikingjelly-2026-08": RuleSet(
            "spikingjelly-2026-08",
            by_op(spikingjelly.TUTORIAL),
            with_classes=False,
            by_values_only=True,
        ),
    }
)
"""The rule sets by name."""


def rule_set(name: str, extra: Iterable[OpRule] = ()) -> RuleSet:
    """Return a rule set, with the user's own rules before its own.

    Raises:
        ConfigError: there is no such set.
        RuleError: two of the user's rules claim an op.
    """
    if name not in RULE_SETS:
        raise ConfigError(f"no rule set {name!r}: choose from {', '.join(RULE_SETS)}")
    return replace(RULE_SETS[name], extra=by_op(extra))
