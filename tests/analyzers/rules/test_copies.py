"""Copies, indexing, factories, views: bytes and no arithmetic."""

from __future__ import annotations

import pytest

from opjoule.analyzers import count

X = ("self", (4, 5))  # 80 B
ROW = ("index", (3,), "int64")  # 24 B


@pytest.mark.parametrize(
    ("op", "operands", "outs", "arguments", "moved"),
    [
        ("clone", [X], [(4, 5)], {}, 160),
        ("cat", [("tensors", (4, 5), "float32", 0), ("tensors", (2, 5), "float32", 1)], [(6, 5)],
         {}, 240),
        ("_to_copy", [X], [("", (4, 5), "float64")], {}, 240),
        # what is written is not read
        ("copy_", [X, ("src", (5,))], [(4, 5)], {}, 100),
        ("fill_.Scalar", [X], [(4, 5)], {}, 80),
        ("zero_", [X], [(4, 5)], {}, 80),
        ("normal_", [X], [(4, 5)], {}, 80),
        ("zeros_like", [X], [(4, 5)], {}, 80),
        ("new_full", [X], [(2,)], {}, 8),
        ("arange", [], [("", (7,), "int64")], {}, 56),
        ("bernoulli", [X], [(4, 5)], {}, 160),
        ("bernoulli.p", [X], [(4, 5)], {"p": 0.5}, 80),
        # three rows are read, not four; indices; the result
        ("index_select", [X, ROW], [(3, 5)], {"dim": 0}, 60 + 24 + 60),
        ("embedding", [("weight", (4, 5)), ("indices", (3,), "int64")], [(3, 5)], {}, 144),
        ("index.Tensor", [X, ("indices", (3,), "int64", 0)], [(3, 5)], {}, 144),
        ("index.Tensor", [X, ("indices", (4, 5), "bool", 0)], [(7,)], {}, 28 + 20 + 28),
        ("embedding_dense_backward", [("grad_output", (3, 5)), ("indices", (3,), "int64")],
         [(4, 5)], {}, 60 + 24 + 80),
        # what is written in place: three rows of the source
        ("index_copy_", [X, ROW, ("source", (3, 5))], [(4, 5)], {"dim": 0}, 24 + 60 + 60),
        ("index_copy", [X, ROW, ("source", (3, 5))], [(4, 5)], {"dim": 0}, 24 + 60 + 160),
        ("index_put_", [X, ("indices", (3,), "int64", 0), ("values", ())], [(4, 5)], {},
         24 + 4 + 60),
        ("index_put_", [X, ("indices", (3,), "int64", 0), ("indices", (3,), "int64", 1),
                        ("values", (3,))], [(4, 5)], {}, 48 + 12 + 12),
        ("index_fill_.int_Scalar", [X, ROW], [(4, 5)], {"dim": 0}, 24 + 60),
        ("select_backward", [("grad_output", (5,))], [(4, 5)], {}, 100),
        ("slice_scatter", [X, ("src", (2, 5))], [(4, 5)], {}, 160),
        ("where.self", [("condition", (4, 5), "bool"), X, ("other", (4, 5))], [(4, 5)], {}, 260),
    ],
)  # fmt: skip
def test_bytes(of_five, op, operands, outs, arguments, moved):
    assert of_five(op, operands, outs, **arguments) == (0, moved, 0, 0, 0)


def test_out_is_written_and_not_read(of_five):
    found = of_five("add.out", [X, ("other", (4, 5)), ("out", (4, 5))], [(4, 5)], alpha=1,
                    mutates=("out",))  # fmt: skip
    assert found[:2] == (20, 240)
    found = of_five("sigmoid_backward.grad_input", [("grad_output", (4, 5)), ("output", (4, 5)),
                    ("grad_input", (4, 5))], [(4, 5)], mutates=("grad_input",))  # fmt: skip
    assert found[1] == 240


@pytest.mark.parametrize(
    ("op", "source", "arguments", "flops", "acs"),
    [
        ("index_add_", ("source", (3, 5)), {"dim": 0, "alpha": 1}, 15, 15),
        ("index_add_", ("source", (3, 5)), {"dim": 0, "alpha": 2}, 30, 15),
        ("index_reduce_", ("source", (3, 5)), {"dim": 0, "reduce": "amax"}, 15, 0),
    ],
)
def test_what_adds_in_place_reads_it_too(of_five, op, source, arguments, flops, acs):
    found = of_five(op, [X, ROW, source], [(4, 5)], mutates=("self",), **arguments)
    assert found == (flops, 24 + 60 + 60 + 60, 0, 0, acs)


def test_accumulating_puts(of_five):
    operands = [X, ("indices", (3,), "int64", 0), ("values", (3, 5))]
    found = of_five("index_put_", operands, [(4, 5)], accumulate=True)
    assert found == (15, 24 + 180, 0, 0, 15)
    places = ("index", (2, 5), "int64")
    found = of_five("scatter_add_", [X, places, ("src", (9, 9))], [(4, 5)], dim=0)
    assert found == (10, 80 + 120, 0, 0, 10)


def test_bags(of_five):
    # 6 rows of 5 added into 2 bags: 30 - 10; a mean divides 10
    operands = [("weight", (100, 5)), ("indices", (6,), "int64"), ("offsets", (2,), "int64")]
    found = of_five("_embedding_bag", operands, [(2, 5)], mode=0)
    assert found == (20, 120 + 64 + 40, 0, 0, 20)
    assert of_five("_embedding_bag", operands, [(2, 5)], mode=1)[0] == 30
    # the largest of each bag: 30 - 10 comparisons, and nothing is added
    found = of_five("_embedding_bag", operands, [(2, 5)], mode=2)
    assert (found[0], *found[2:]) == (20, 0, 0, 0)


def test_a_bag_of_maxima_costs_what_its_maximum_pooling_does(recorded):
    """5 bags of 4 rows of 8: 3 comparisons for each of 40 elements, no MAC and no AC."""
    torch = pytest.importorskip("torch")
    table, ids = torch.rand(30, 8), torch.randint(0, 30, (5, 4))
    found = [
        count(recorded(run), where=f"op={op}").total
        for op, run in (
            (
                "aten._embedding_bag*",
                lambda: torch.nn.functional.embedding_bag(ids, table, mode="max"),
            ),
            (
                "aten.max_pool2d*",
                lambda: torch.nn.functional.max_pool1d(table[ids].transpose(1, 2), 4),
            ),
        )
    ]
    assert [(each["flops"], each["macs"], each["acs"]) for each in found] == [(120, 0, 0)] * 2


@pytest.mark.parametrize(
    "op", ["view", "t", "expand", "detach", "_unsafe_view", "empty.memory_format", "empty_like",
           "lift_fresh", "alias", "_local_scalar_dense", "unbind.int", "set_.source_Storage"],
)  # fmt: skip
def test_views_metadata_and_allocation_are_free(figures, op):
    found = figures(op, [X], [(4, 5)])
    assert found["how"] == "free"
    assert [found[name] for name in ("flops", "bytes", "synops", "macs", "acs")] == [0] * 5
