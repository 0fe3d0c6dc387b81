"""Kernels on lists against the single-tensor ops; the forms of an optimizer beside each other."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count
from opjoule.analyzers.rules.functions import COSTS
from opjoule.analyzers.rules.optimizers import RULES

SHAPES = [(2, 3), (4,), ()]  # 11 elements


def _list(name, dtype="float32"):
    return [(name, shape, dtype, place) for place, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(
    ("op", "lists", "arguments"),
    [
        ("add.List", ["self", "other"], {"alpha": 1}),
        ("add.List", ["self", "other"], {"alpha": 0.5}),
        ("mul.Scalar", ["self"], {"scalar": 2}),
        ("sqrt", ["self"], {}),
        ("addcmul.Scalar", ["self", "tensor1", "tensor2"], {"value": 0.1}),
        ("addcmul.Scalar", ["self", "tensor1", "tensor2"], {"value": 1}),
        ("lerp.Scalar", ["self", "tensors1"], {"weight": 0.1}),
        ("clamp_min.Scalar", ["self"], {"scalar": 0}),
    ],
)
def test_lists_count_as_their_tensors(of_five, op, lists, arguments):
    name, _, overload = op.partition(".")
    apart = [0] * 5
    for shape in SHAPES:
        single = of_five(name, [(each, shape) for each in lists], [shape], **arguments)
        apart = [total + more for total, more in zip(apart, single, strict=True)]
    operands = [operand for each in lists for operand in _list(each)]
    found = of_five(f"_foreach_{op}", operands, SHAPES, **arguments)
    assert list(found) == apart
    # in place nothing is handed back
    there = of_five(f"_foreach_{name}_.{overload}", operands, [], mutates=("self",), **arguments)
    assert there == found


def test_copies_do_not_read_what_they_overwrite(of_five):
    operands = [*_list("self"), *_list("src")]
    assert of_five("_foreach_copy_", operands, [], mutates=("self",))[:2] == (0, 88)
    assert of_five("_foreach_zero_", _list("self"), [], mutates=("self",))[:2] == (0, 44)


def test_norms_of_lists(of_five):
    # 11 products; 11 - 3 additions counted with them, a root each: 2n = 11 + 8 + 3
    found = of_five("_foreach_norm.Scalar", _list("self"), [(), (), ()], ord=2)
    assert found == (22, 56, 0, 11, 0)


@pytest.mark.parametrize(
    ("op", "states", "arguments", "each"),
    [
        # m 3, v 1 + 3, root 3, p 3
        ("_fused_adam_", ["exp_avgs", "exp_avg_sqs"], {"weight_decay": 0}, 13),
        ("_fused_adam_", ["exp_avgs", "exp_avg_sqs"], {"weight_decay": 0.1}, 15),
        ("_fused_adamw_", ["exp_avgs", "exp_avg_sqs"], {"weight_decay": 0.1}, 14),
        ("_fused_sgd_", [], {"weight_decay": 0, "momentum": 0}, 2),
        ("_fused_sgd_", ["momentum_buffer_list"], {"weight_decay": 0.1, "momentum": 0.9}, 6),
        ("_fused_adagrad_", ["state_sums"], {"weight_decay": 0}, 7),
    ],
)
def test_fused_steps(of_five, op, states, arguments, each):
    operands = [o for name in ("self", "grads", *states) for o in _list(name)]
    found = of_five(op, operands, [], mutates=("self", "grads", *states), **arguments)
    # all is read; parameters and states are written, gradients are not
    assert found[:2] == (11 * each, 44 * (2 + len(states)) + 44 * (1 + len(states)))


def test_unscaled_gradients_are_written_too(of_five):
    operands = [*_list("self"), *_list("grads"), ("grad_scale", ())]
    found = of_five("_fused_sgd_", operands, [], mutates=("self", "grads"), momentum=0)
    assert found[:2] == (33, 4 * 23 + 88)


def test_numbers_that_change_with_every_step(recorded):
    """The recorder leaves a learning rate out once it has changed often: the work is the same."""
    torch = pytest.importorskip("torch")
    steps = 40
    for form in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        parameter = torch.nn.Parameter(torch.rand(50))
        optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1, **form)

        def run(parameter=parameter, optimizer=optimizer):
            for number in range(steps):
                optimizer.param_groups[0]["lr"] = 0.1 / (number + 1)
                parameter.grad = torch.rand(50)
                optimizer.step()

        run()
        frame = count(recorded(run), by=["stage"]).frame
        flops = frame.row(by_predicate=_optimizer(), named=True)["flops"]
        # 14 an element and the step's counter
        assert flops == steps * (14 * 50 + 1)


def test_every_function_of_lists_has_a_cost():
    names = {op.removeprefix("aten._foreach_").rstrip("_") for op in RULES[0].ops}
    assert names - {"add", "sub"} <= set(COSTS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {"weight_decay": 0.01}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {"weight_decay": 0.01}),
        ("SGD", {"momentum": 0.9, "weight_decay": 0.01}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("SGD", {}),
        ("Adagrad", {"weight_decay": 0.01}),
    ],
)
def test_plain_foreach_and_fused_agree(recorded, name, options):
    torch = pytest.importorskip("torch")
    found = []
    for form in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.rand(*shape)) for shape in ((5, 4), (6,))]
        optimizer = getattr(torch.optim, name)(parameters, lr=0.1, **options, **form)

        def step(parameters=parameters, optimizer=optimizer):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()

        step()
        answer = count(recorded(step), by=["stage"])
        assert not answer.coverage.uncovered
        found.append(answer.frame.row(by_predicate=_optimizer(), named=True)["flops"])
    # beside the elements: the step counters, which foreach and fused count in a tensor each
    assert max(found) - min(found) <= 2
    assert min(found) > 0


def _optimizer():
    import polars as pl

    return pl.col("stage") == "optimizer"
