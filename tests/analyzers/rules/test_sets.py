"""The rule sets: names, claims, classes, what is unknown."""

from __future__ import annotations

import pytest

from opjoule.analyzers.rules import Call, Figures, OpRule, rule_set
from opjoule.analyzers.rules.sets import FULL
from opjoule.schemas import ConfigError, RuleError

OTHER = {
    "flex_attention": "a higher-order operator, not in the dispatcher's list",
    "flex_attention_backward": "a higher-order operator",
    "_c10d_functional_autograd.wait_tensor": "of torch.distributed's newer releases",
    "mkldnn._linear_pointwise": "registered where oneDNN is built in",
}
"""Ops of other releases and backends."""


def test_every_op_exists_in_torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.ao.quantization.fx._decomposed")  # registers some of them
    known = {name.split(".")[0].replace("::", ".") for name in
             torch._C._dispatch_get_all_op_names()}  # fmt: skip
    if not torch.distributed.is_available():
        known |= {op for rule in FULL for op in rule.ops if "c10d" in op}
    claimed = {".".join(op.split(".")[:2]) for rule in FULL for op in rule.ops}
    missing = claimed - known - set(OTHER)
    assert set(OTHER) <= claimed
    assert not missing or tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13), missing


def test_no_op_is_claimed_twice():
    ops = [op for rule in FULL for op in rule.ops]
    assert len(ops) == len(set(ops))
    # nor by its overload beside its packet: the sets would not have been made
    twice = [OpRule("a", ("aten.mm",), Figures), OpRule("b", ("aten.mm.default",), Figures)]
    with pytest.raises(RuleError, match=r"aten\.mm\.default"):
        rule_set("full", twice)


def test_an_unknown_set_is_named():
    with pytest.raises(ConfigError, match=r"spikingjelly-2\.0"):
        rule_set("spikingjelly")


def test_rules_of_ones_own_come_first(build):
    rule = OpRule("mine", ("aten.mm",), lambda call: Figures(call.out.numel, call.moved))
    call = build("mm", [("self", (2, 3)), ("mat2", (3, 4))], [(2, 4)])
    how, family, found = rule_set("full", [rule]).figures(call)
    assert (how, family, found.flops) == ("rule", "mine", 8)


@pytest.mark.parametrize(
    ("options", "how", "family", "flops", "moved"),
    [
        ({"tags": ("pointwise",)}, "class", "pointwise", 8, 56),
        ({"tags": ("reduction",)}, "class", "reduction", 6, 56),
        ({"is_view": True}, "free", "view", 0, 0),
        ({}, "uncovered", "", None, None),
    ],
)
def test_classes(figures, options, how, family, flops, moved):
    found = figures("unheard_of", [("self", (2, 3))], [(2, 4)], **options)
    assert (found["how"], found["family"]) == (how, family)
    assert (found["flops"], found["bytes"]) == (flops, moved)


def test_what_reads_nothing_is_a_factory(figures):
    found = figures("unheard_of", [], [(2, 4)])
    assert (found["how"], found["family"], found["bytes"]) == ("class", "factory", 32)


def test_spikingjellys_sets_have_no_classes(figures):
    found = figures("unheard_of", [("self", (2, 3))], [(2, 4)], rules="spikingjelly-2.0",
                    tags=("pointwise",))  # fmt: skip
    assert found["how"] == "uncovered"


def test_operands_without_a_shape_are_unknown(build):
    from dataclasses import replace

    call = build("mm", [("self", (2, 3)), ("mat2", (3, 4))], [(2, 4)])
    nested: Call = replace(call, ins={**call.ins, 0: call.ins[0]._replace(layout="sparse_coo")})
    for name in ("full", "torch"):
        _, family, found = rule_set(name).figures(nested)
        assert family == "product"
        assert found == Figures(None, None, None, None, None, dense_macs=None)
    view = build("view", [("self", (2, 3))], [(6,)])
    hidden = replace(view, ins={0: view.ins[0]._replace(layout="unknown")})
    assert rule_set("full").figures(hidden)[2] == Figures(dense_macs=0)
