"""What the signatures say of ops: operands by slot, arguments with defaults, views, writes."""

from __future__ import annotations

import io

import torch
import torch.nn.functional as F
from torch import nn

from opjoule.tracer.operands import spelled
from opjoule.tracer.signatures import plain_argument


def the(trace, word):
    (call,) = trace.named(word)
    return call


def operands(call):
    return [
        (o["role"], o["slot"], o["name"], o["list_index"], o["shape"]) for o in call["operands"]
    ]


def test_operands_keep_their_slots(trace_of):
    """Batch norm without running statistics: slots 3 and 4 stay empty; three results."""
    x, w = torch.rand(2, 3, 4), torch.rand(3)
    call = the(trace_of(lambda: torch.native_batch_norm(x, w, None, None, None, True, 0.1, 1e-5)),
               "native_batch_norm")  # fmt: skip
    assert operands(call)[:2] == [
        ("in", 0, "input", None, [2, 3, 4]), ("in", 1, "weight", None, [3]),
    ]  # fmt: skip
    assert [o["slot"] for o in call["operands"]] == [0, 1, 0, 1, 2]
    assert call["in2_value"] is None


def test_lists_take_a_slot_for_each_element(trace_of):
    parts = [torch.rand(2, k + 1) for k in range(5)]
    trace = trace_of(lambda: torch.cat(parts, dim=1))
    call = the(trace, "aten.cat")
    assert operands(call)[:5] == [("in", k, "tensors", k, [2, k + 1]) for k in range(5)]
    assert call["arguments"] == {"dim": 1}
    more = [row for row in trace.rows("call_operands") if row["seq"] == call["seq"]]
    assert [(row["role"], row["slot"]) for row in more] == [("in", 3), ("in", 4)]
    assert [row["nonzero"] for row in more] == [8, 10]


def test_how_tensors_lie(trace_of):
    x = torch.rand(4, 6, dtype=torch.float64).t()[::2]
    operand = the(trace_of(lambda: x.exp()), "aten.exp.")["operands"][0]
    assert (operand["shape"], operand["stride"], operand["dtype"]) == ([3, 4], [2, 6], "float64")
    assert (operand["numel"], operand["bytes"], operand["device"]) == (12, 96, "cpu")
    assert (operand["layout"], operand["requires_grad"]) == ("strided", False)


def test_defaults_are_filled_in(trace_of):
    x, w = torch.rand(1, 2, 5, 5), torch.rand(2, 2, 3, 3)
    arguments = the(trace_of(lambda: F.conv2d(x, w)), "aten.convolution")["arguments"]
    assert arguments == {
        "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "transposed": False,
        "output_padding": [0, 0], "groups": 1,
    }  # fmt: skip
    added = the(trace_of(lambda: torch.add(x, x)), "aten.add")
    assert added["arguments"] == {"alpha": 1}
    scaled = the(trace_of(lambda: torch.addmm(w[0, 0], w[0, 1], w[1, 0], beta=0.5)), "aten.addmm")
    assert scaled["arguments"] == {"beta": 0.5, "alpha": 1}


def test_numbers_in_the_place_of_tensors_are_arguments(trace_of):
    x = torch.rand(3)
    call = the(trace_of(lambda: x * 2.5), "aten.mul")
    assert call["arguments"] == {"other": 2.5}
    assert [o["slot"] for o in call["operands"] if o["role"] == "in"] == [0]
    assert call["in1_value"] is None


def test_arguments_that_are_no_numbers(trace_of):
    x = torch.rand(2, 3)
    cast = the(trace_of(lambda: x.to(torch.float16)), "aten._to_copy")
    assert cast["arguments"]["dtype"] == "float16"
    infinite = the(trace_of(lambda: x.masked_fill(x > 0.5, float("-inf"))), "masked_fill")
    assert infinite["arguments"]["value"] == "-inf"
    kept = trace_of(lambda: F.gelu(x, approximate="tanh"))
    assert the(kept, "aten.gelu")["arguments"] == {"approximate": "tanh"}


def test_views_and_writes(trace_of):
    x = torch.rand(2, 3)

    def run():
        x.view(3, 2).add_(1)
        torch.exp(x, out=torch.empty(2, 3))

    trace = trace_of(run)
    assert the(trace, "aten.view")["is_view"]
    added, written = the(trace, "aten.add_"), the(trace, "aten.exp.out")
    assert (added["is_view"], added["mutates"], written["mutates"]) == (False, ["self"], ["out"])
    assert "pointwise" in added["tags"]


def test_unsaid_writes_are_said(trace_of):
    x, state = torch.rand(2, 3, 4), [torch.zeros(3), torch.ones(3)]
    call = the(trace_of(lambda: F.batch_norm(x, *state, training=True)), "native_batch_norm")
    assert call["mutates"] == ["running_mean", "running_var"]


def test_calls_that_differ_in_data_share_a_signature(trace_of):
    def run():
        for _ in range(3):
            torch.rand(2, 3).exp()
        torch.rand(3, 2).exp()

    trace = trace_of(run)
    assert [call["signature_id"] for call in trace.named("aten.exp.")][:3] == [1, 1, 1]
    assert len(trace.signatures) == 4  # rand and exp, for two shapes


def test_a_number_that_changes_at_every_call_makes_few_signatures(trace_of):
    """A learning rate schedule of 200 different numbers; 32 are told, then one row for the rest."""
    x = torch.rand(3)

    def run():
        for k in range(200):
            x * (k + 0.5)

    trace = trace_of(run)
    assert len(trace.signatures) == 33
    assert trace.named("aten.mul")[-1]["arguments"] == {"other": None}
    assert trace.named("aten.mul")[3]["arguments"] == {"other": 3.5}


def test_numbers_in_lists_that_change_at_every_call_make_few_signatures(trace_of):
    """As the step sizes of an optimizer that works on lists."""
    parameters = [torch.rand(2), torch.rand(3)]

    def run():
        for k in range(100):
            torch._foreach_mul_(parameters, [1.5 + k, 2.5 + k])

    trace = trace_of(run)
    assert len(trace.signatures) == 33
    assert trace.calls[-1]["arguments"] == {"scalars": [None, None]}


def test_places_that_change_at_every_call_make_few_signatures(trace_of, monkeypatch):
    from opjoule.tracer import signatures

    monkeypatch.setattr(signatures, "_ROUGHER", ((signatures._without_numbers, 50),))
    x = torch.rand(200, 2)

    def run():
        for k in range(198):
            x[k : k + 2]

    trace = trace_of(run)
    assert len(trace.signatures) == 53  # 0 and 1 are told from other numbers
    first, last = trace.named("aten.slice")[3], trace.named("aten.slice")[-1]
    assert (first["arguments"]["start"], first["arguments"]["end"]) == (3, 5)
    assert (last["arguments"]["start"], last["arguments"]["dim"]) == (None, 0)


def test_generators_do_not_tell_signatures_apart(trace_of):
    def run():
        for seed in range(3):
            torch.rand(2, generator=torch.Generator().manual_seed(seed))

    assert len(trace_of(run).signatures) == 1


def test_tensors_without_strided_elements(trace_of):
    """Sparse, quantized, nested, meta: the call stands, its statistics and strides are null."""
    import warnings

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.eye(3).to_sparse().sum()
            torch.nested.nested_tensor([torch.rand(2), torch.rand(3)]) * 2
            torch.quantize_per_tensor(torch.rand(4), 0.1, 0, torch.qint8).dequantize()
        torch.empty(3, 3, device="meta").exp()

    trace = trace_of(run)
    strange = {
        (o["layout"], o["device"], o["dtype"]): o for s in trace.signatures for o in s["operands"]
    }
    assert strange["sparse_coo", "cpu", "float32"]["stride"] is None
    assert ("strided", "meta", "float32") in strange
    exp = the(trace, "aten.exp.")
    assert (exp["in0_class"], exp["in0_nonzero"]) == (None, None)
    assert any("could not be read" in note for note in trace.manifest["notes"])


def test_a_checkpoint_that_is_loaded_leaves_no_weights_in_the_trace(trace_of):
    """`torch.load` hands storages to ops; their text is every byte that they hold."""
    layer, file = nn.Linear(64, 64), io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    trace = trace_of(lambda: layer.load_state_dict(torch.load(file)))
    told = {call["arguments"]["source"] for call in trace.named("set_.source_Storage")}
    assert told == {"storage of 16384 bytes", "storage of 256 bytes"}


class Odd:
    """Something that prints what it holds, and has no hash."""

    __hash__ = None

    def __repr__(self):
        return "secret " * 1000


def test_things_that_nobody_knows_are_told_by_their_class():
    assert spelled([1, Odd(), (2.5, None)]) == (1, f"{__name__}.Odd", (2.5, None))
    assert plain_argument(Odd()) == f"{__name__}.Odd"
    assert plain_argument(torch.device("cpu")) == "cpu"
    assert plain_argument(1 + 2j) == "(1+2j)"
