"""The rule sets: which rules count, and what becomes of an op that none of them names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
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
    primitives,
    products,
    quantization,
    recurrent,
    reductions,
    small_products,
    transforms,
    views,
)
from .call import Call
from .classes import class_of, multiplies_nothing
from .rule import PRODUCTS, UNKNOWN, Counted, Figures, OpRule

_ATEN = (
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
    *quantization.RULES,
    *losses.RULES,
    *optimizers.RULES,
    *copies.RULES,
    *communication.RULES,
    *views.RULES,
)

FULL = (*_ATEN, *primitives.primitives_of(_ATEN))
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
        complex_as_one: whether a complex number counts as one number; else each of its parts is
            one, and products of complex numbers count as in real arithmetic.
        products_only: whether FLOPs are those of products alone, two for each of their dense MACs,
            as `torch.utils.flop_counter.FlopCounterMode` counts: no bias, nothing element-wise, and
            a complex number as one.
    """

    name: str
    rules: Mapping[str, OpRule]
    extra: Mapping[str, OpRule] = field(default_factory=lambda: MappingProxyType({}))
    with_classes: bool = True
    by_values_only: bool = False
    complex_as_one: bool = False
    products_only: bool = False

    def figures(self, call: Call) -> Counted:
        """Count a call.

        Returns:
            How it is counted (`rule`, `class`, `free` or `uncovered`), the family or class, and
            the counters, all None if nothing covers it; its dense products are known whichever
            rules count.
        """
        rule, elements = self.rule_of(call.op), call.of_elements()
        asked = elements if self.complex_as_one else call.of_numbers()
        how, family, found = self._counted(asked, rule)
        same = elements is call or not self.complex_as_one
        dense = _dense_macs(call, self.extra, rule, found if same else None)
        found = found._replace(dense_macs=dense)
        if self.products_only and how != "uncovered" and _named(self.extra, call.op) is None:
            terms = dense if elements is call else _dense_macs(elements, self.extra, rule, None)
            found = found._replace(flops=None if terms is None else 2 * terms)
        return how, family, found

    def _counted(self, call: Call, rule: OpRule | None) -> Counted:
        if rule is not None:
            if rule.free:
                return "free", rule.family, rule.figures(call)
            return "rule", rule.family, rule.counted(call)
        known = class_of(call) if self.with_classes else None
        if known is None:
            return "uncovered", "", UNKNOWN
        how, family, found = known
        return how, family, UNKNOWN if call.opaque and how != "free" else found

    def rule_of(self, op: str) -> OpRule | None:
        """Return the rule that names an op, `aten.mm.default` or `aten.mm`; None if none does."""
        return _named(self.extra, op) or _named(self.rules, op)


_FULL = by_op(FULL)


def family_of(op: str) -> str:
    """Return the family that opjoule's rules give an op: "product", "convolution backward", ...

    Args:
        op: `aten.mm.default`, or `aten.mm`.

    Returns:
        The family; "" if no rule names the op (it is then counted by its class, or not at all).
    """
    rule = _named(_FULL, op)
    return rule.family if rule else ""


def factors_of(op: str) -> tuple[int, int] | None:
    """Return the slots of a product's factors, a layer's input and its weights.

    Args:
        op: `aten.addmm.default`, or `aten.addmm`.

    Returns:
        The slots; None if the op is no product or convolution of two operands.
    """
    rule = _named(_FULL, op)
    return rule.factors if rule else None


def carries_spikes(op: str) -> bool:
    """Tell whether the result of an op is spikes if its first operand is: views, copies, maxima.

    Args:
        op: name with overload, or without.
    """
    rule = _named(_FULL, op)
    if rule is None:
        return False
    return rule.family in ("view", "copy") or rule.figures in pooling.MAXIMA


def _named(rules: Mapping[str, OpRule], op: str) -> OpRule | None:
    """Return the rule for an op, by its name or without its overload."""
    return rules.get(op) or rules.get(".".join(op.split(".")[:2]))


def _dense_macs(
    call: Call, extra: Mapping[str, OpRule], used: OpRule | None, counted: Figures | None
) -> int | None:
    """Return the multiply-accumulates of a call's products if no operand were spikes.

    A rule of one's own decides if it states them or is of a family of products, else opjoule's.

    Args:
        call: the call.
        extra: the user's own rules.
        used: the rule that counted the call; None: its class did, or nothing.
        counted: what that rule counted: most ops are no products, and are not counted again.
            None: that of another call.
    """
    asked = [rule for rules in (extra, _FULL) if (rule := _named(rules, call.op)) is not None]
    for rule in asked:
        if rule.free:
            return 0
        product = rule.family in PRODUCTS
        if call.opaque and not product:
            continue
        if product:
            dense = rule.counted(call.dense())
            macs = dense.macs if isinstance(dense.macs, int) else None
            return macs if dense.dense_macs is None else dense.dense_macs
        found = counted if rule is used and counted is not None else rule.figures(call)
        if found.dense_macs is not None:
            return found.dense_macs
    known = asked or class_of(call) is not None or multiplies_nothing(call.op)
    return 0 if known else None


RULE_SETS: Mapping[str, RuleSet] = MappingProxyType(
    {
        "full": RuleSet("full", _FULL),
        "torch": RuleSet("torch", _FULL, products_only=True),
    }
)
"""The rule sets of opjoule's own rules, by name; `rule_set` knows those of SpikingJelly too."""


def rule_sets() -> tuple[str, ...]:
    """Return the names of all rule sets."""
    return (*RULE_SETS, *_of_spikingjelly())


def rule_set(name: str, extra: Iterable[OpRule] = ()) -> RuleSet:
    """Return a rule set, with the user's own rules before its own.

    Raises:
        ConfigError: there is no such set.
        RuleError: two of the user's rules claim an op.
    """
    found = RULE_SETS.get(name)
    if found is None:
        rules = _of_spikingjelly().get(name)
        if rules is None:
            raise ConfigError(f"unknown rules={name!r}: expected one of {', '.join(rule_sets())}")
        found = RuleSet(
            name, by_op(rules), with_classes=False, by_values_only=True, complex_as_one=True
        )
    return replace(found, extra=by_op(extra))


def _of_spikingjelly() -> Mapping[str, tuple[OpRule, ...]]:
    """Return the rules of SpikingJelly's revisions; without their file, none."""
    if find_spec(".spikingjelly", __package__) is None:
        return {}
    found: Mapping[str, tuple[OpRule, ...]] = import_module(".spikingjelly", __package__).RULES
    return found
