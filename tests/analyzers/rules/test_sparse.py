"""Products with a sparse factor: each element that it stores meets a row or a column."""

from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from opjoule.analyzers import count, open_trace

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")
LAYOUTS = ("coo", "csr", "csc")
INDICES = {
    "coo": lambda a: (a._indices(),),
    "csr": lambda a: (a.crow_indices(), a.col_indices()),
    "csc": lambda a: (a.ccol_indices(), a.row_indices()),
}


def matrix(layout, rows=5, columns=6):
    """Return a dense matrix with many zeros, and the same as a sparse one."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.rand(rows, columns, generator=generator)
    dense[torch.rand(rows, columns, generator=generator) < 0.6] = 0
    return dense, getattr(dense, "to_sparse" if layout == "coo" else f"to_sparse_{layout}")()


def size(*tensors):
    return sum(each.numel() * each.element_size() for each in tensors)


def totals(trace, **options):
    found = count(trace, **options).total
    return {name: found[name] for name in ("flops", "bytes", "synops", "macs", "acs")}


def pairs(dense, other):
    """Return how many pairs of numbers are multiplied in dense @ other without zeros of dense."""
    return sum(
        1
        for i in range(dense.shape[0])
        for k in range(dense.shape[1])
        for _ in range(other.shape[1] if other.ndim > 1 else 1)
        if dense[i, k] != 0
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("vector", [False, True])
def test_stored_elements_meet_the_columns_of_the_other_factor(recorded, layout, vector):
    dense, sparse = matrix(layout)
    h = torch.rand(6) if vector else torch.rand(6, 3)
    results = []
    trace = recorded(lambda: results.append(sparse @ h))
    assert torch.allclose(results[0], dense @ h)
    values = sparse._values() if layout == "coo" else sparse.values()
    terms = pairs(dense, h)
    assert 0 < terms < dense.numel() * (1 if vector else 3)
    assert totals(trace) == {
        "flops": 2 * terms, "macs": terms, "acs": 0, "synops": 0,
        "bytes": size(values, *INDICES[layout](sparse), h, results[0]),
    }  # fmt: skip
    found = count(trace)
    assert found.total["dense_macs"] == terms and found.coverage.macs_share == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_second_factor_may_be_the_sparse_one(recorded, layout):
    dense, sparse = matrix(layout)
    x = torch.rand(2, 5)
    found = totals(recorded(lambda: x @ sparse))
    assert found["macs"] == pairs(dense.t(), x.t()) == found["flops"] // 2


def test_the_same_with_no_zero_costs_what_the_dense_product_does(recorded):
    """Where nothing is left out the MACs are m·n·k; only the bytes of the indices are more."""
    dense, h = torch.rand(5, 6) + 1, torch.rand(6, 3)
    plain = totals(recorded(lambda: dense @ h))
    for sparse in (dense.to_sparse(), dense.to_sparse_csr()):
        found = totals(recorded(lambda sparse=sparse: sparse @ h))
        assert found["bytes"] > plain["bytes"]
        assert found | {"bytes": 0} == plain | {"bytes": 0}


def test_blocks_count_with_the_zeros_that_they_hold(recorded):
    """Two blocks of 2 x 2 by 6 x 3: 8 stored elements by 3 columns."""
    dense = torch.zeros(4, 6)
    dense[0, 0] = dense[2, 5] = 1.5
    h = torch.rand(6, 3)
    assert totals(recorded(lambda: dense.to_sparse_bsr((2, 2)) @ h), where="op=aten.mm")[
        "macs"] == 24  # fmt: skip


def test_batches_sums_and_scales(recorded):
    """bmm adds up over the batch; addmm adds 15 elements, scaled ones are multiplied."""
    dense, sparse = matrix("coo")
    h, bias = torch.rand(6, 3), torch.rand(5, 3)
    batch = torch.stack([dense, dense]).to_sparse()
    two = torch.rand(2, 6, 3)
    assert totals(recorded(lambda: batch.bmm(two)))["macs"] == 2 * pairs(dense, h)
    found = totals(recorded(lambda: torch.sparse.addmm(bias, sparse, h, beta=2, alpha=3)))
    assert found["macs"] == pairs(dense, h)
    assert found["flops"] == 2 * pairs(dense, h) + 15 + 15 + 15


def test_a_sampled_product_forms_stored_elements_alone(recorded):
    """Each element that is stored is a sum of 4 products."""
    dense, sparse = matrix("csr")
    x, y = torch.rand(5, 4), torch.rand(4, 6)
    found = totals(recorded(lambda: torch.sparse.sampled_addmm(sparse, x, y)))
    assert found["macs"] == 4 * int((dense != 0).sum())


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_graph_network_and_its_gradient(recorded, layout):
    """A @ (h @ W): forward and backward both products run, those with A by what it stores."""
    dense, sparse = matrix(layout, 6, 6)
    h, w = torch.rand(6, 4), torch.rand(4, 3, requires_grad=True)
    trace = recorded(lambda: (torch.sparse.mm(sparse, h @ w) ** 2).sum().backward())
    stored = int((dense != 0).sum())
    found = count(trace)
    # h @ w and h.T @ gradient; A and A.T by 3 columns
    assert found.total["dense_macs"] == 2 * 6 * 4 * 3 + 2 * stored * 3
    assert found.coverage.macs_share == 1


def test_spikes_that_meet_a_sparse_matrix_are_not_guessed(recorded):
    """Which of them meet a stored element is in the data: MACs 0, ACs unknown, the size known."""
    dense, sparse = matrix("coo")
    spikes = torch.tensor([[0.0, 1, 1]] * 6)
    found = count(recorded(lambda: sparse @ spikes)).total
    assert (found["macs"], found["acs"], found["synops"]) == (0, None, None)
    assert found["dense_macs"] == pairs(dense, spikes)


def test_two_sparse_factors_are_of_unknown_size(recorded):
    _, sparse = matrix("coo")
    found = count(recorded(lambda: sparse @ sparse.t()))
    assert found.total["dense_macs"] is None and found.coverage.macs_share is None


def test_traces_that_do_not_tell_what_is_stored_leave_it_unknown(record):
    """As they were written before the column was there."""
    _, sparse = matrix("coo")
    path = record(lambda: sparse @ torch.rand(6, 3))
    file = path / "signatures.parquet"
    table = pq.read_table(file)
    assert table["stored"].null_count < table.num_rows
    pq.write_table(table.drop_columns(["stored"]), file)
    manifest = path / "trace.json"
    trace = open_trace(_signed(path, manifest, file))
    assert count(trace, where="op=aten.mm").total["dense_macs"] is None


def _signed(path, manifest, file):
    told = json.loads(manifest.read_text())
    (part,) = [each for each in told["parts"] if each["name"] == file.name]
    part["bytes"] = len(file.read_bytes())
    part["checksum"] = "blake2b:" + hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    told.pop("checksum", None)
    manifest.write_text(json.dumps(told))
    return path


def test_looking_at_what_is_stored_is_no_call_and_leaves_the_run_alone(recorded):
    """A layer is given a sparse tensor with a gradient: the run's calls, and no others."""
    _, sparse = matrix("coo")

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(6, 3))

        def forward(self, x):
            return x @ self.weight

    def run(model):
        model.weight.grad = None
        x = sparse.clone().requires_grad_()
        model(x).sum().backward()
        return x.grad.to_dense(), model.weight.grad

    model = Layer()
    expected, kept = run(model), []
    trace = recorded(lambda: kept.extend(run(model)), model=model)
    assert all(torch.equal(*both) for both in zip(expected, kept, strict=True))
    ops = count(trace, by="op").frame["op"].to_list()
    assert "aten.mm.default" in ops and "aten.crow_indices.default" not in ops
    forward = count(trace, by="op", where="stage=forward").frame
    assert {"aten._values.default", "aten._indices.default"}.isdisjoint(forward["op"])
